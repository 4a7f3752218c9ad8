"""``imds-check replay``: judges recorded facts again, offline."""

from __future__ import annotations

import argparse
from typing import Optional

from ..arguments import REDACTS, Parser, add_format, fail
from ..output import print_report
from .files import read_file, shown_path


def add(commands: argparse._SubParsersAction[Parser]) -> Parser:
    """The command's own arguments."""
    command = commands.add_parser("replay", help="diagnose again from a report.json, offline")
    command.add_argument(
        "report", metavar="REPORT.json", help="from the report folder of an earlier run"
    )
    add_format(command)
    command.add_argument("--redact", action="store_true", help=REDACTS)
    return command


def run(options: argparse.Namespace) -> int:
    from ..attest.document import read_again
    from ..diagnosis import diagnose
    from ..facts.decoding import FactsError
    from ..report import recorded

    content = read_file(options.report, recorded.SIZE_LIMIT, "a report")
    try:
        facts = recorded.facts_of_report(content)
    except FactsError as error:
        fail(f"{shown_path(options.report)}: {_of_run_command(content) or error}")
    facts = read_again(facts)
    if options.redact:
        from ..redaction import redacted

        facts = redacted(facts)
    return print_report(diagnose(facts), options.format, "none (replay)")


def _of_run_command(content: bytes) -> Optional[str]:
    """What to do with a file that is no report.json but what Run Command gave back; None where it
    is neither.
    """
    from ..operator.run_command import is_given_back

    if is_given_back(content):
        what = "what Run Command gave back, or a report's text, not a report.json"
        return f"{what}: use imds-check decode"
    return None
