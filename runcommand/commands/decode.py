"""``imds-check decode``: the report in what Run Command returned."""

from __future__ import annotations

import argparse

from ..arguments import Parser
from ..output import plain, tell, write
from .files import read_file


def add(commands: argparse._SubParsersAction[Parser]) -> Parser:
    """The command's own arguments."""
    command = commands.add_parser(
        "decode", help="print the report from what Run Command returned (az, PowerShell, portal)"
    )
    command.add_argument(
        "file",
        nargs="?",
        default="-",
        metavar="FILE",
        help="the output of az, PowerShell or the portal (default: -, standard input)",
    )
    return command


def run(options: argparse.Namespace) -> int:
    from ..operator.decode import decode
    from ..operator.run_command import SIZE_LIMIT

    content = read_file(options.file, SIZE_LIMIT, "what Run Command gives back")
    found = decode(content)
    for decoded in found:
        write(plain(decoded.report))
        beside = list(decoded.notes)
        if decoded.err.strip():
            beside.append(f"The VM's standard error:\n{decoded.err}")
        tell(plain("\n".join(beside)))
    return max(decoded.exit_code for decoded in found)
