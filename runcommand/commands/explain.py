"""``imds-check explain``: the help page of a cause or a check."""

from __future__ import annotations

import argparse

from ..arguments import Parser, fail, unknown
from ..output import write


def add(commands: argparse._SubParsersAction[Parser]) -> Parser:
    """The command's own arguments."""
    command = commands.add_parser(
        "explain", help="print the help page of a cause or a check, or the table of all of them"
    )
    command.add_argument(
        "name",
        nargs="?",
        metavar="ID",
        help="a cause, such as route-missing, or a check, such as imds.reachable",
    )
    return command


def run(options: argparse.Namespace) -> int:
    from ..report import explain

    if options.name is None:
        write(explain.table())
        return 0
    page = explain.page(options.name)
    if page is None:
        said = unknown("cause or check", options.name, explain.names())
        fail(f"{said} explain without an argument lists them")
    write(page)
    return 0
