"""``imds-check decode``: the report in what Run Command returned."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from ..arguments import REDACTS, Parser, add_format, fail
from ..output import plain, print_report, tell, write
from .files import read_file

if TYPE_CHECKING:
    from ..operator.decode import Decoded

NO_FORMAT = "--format: the report has no raw material to judge, and is shown as it was printed."


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
    add_format(command)
    command.add_argument("--redact", action="store_true", help=REDACTS)
    return command


def run(options: argparse.Namespace) -> int:
    from ..operator.decode import decode
    from ..operator.run_command import SIZE_LIMIT

    content = read_file(options.file, SIZE_LIMIT, "what Run Command gives back")
    found = decode(content)
    if options.redact and not all(decoded.facts for decoded in found):
        fail("--redact: a report without the raw material of imds-check.ps1 cannot be redacted")
    codes = []
    for decoded in found:
        beside = list(decoded.notes)
        if decoded.facts is not None:
            codes.append(_judge(decoded, options))
        else:
            write(plain(decoded.report))
            codes.append(decoded.exit_code)
            if options.format:
                beside.append(NO_FORMAT)
        if decoded.err.strip():
            beside.append(f"The VM's standard error:\n{decoded.err}")
        # what stands beside the report may name the VM
        if not options.redact:
            tell(plain("\n".join(beside)))
    return max(codes)


def _judge(decoded: Decoded, options: argparse.Namespace) -> int:
    """Prints the report that the VM's exe would have printed; gives its exit code."""
    from ..diagnosis import diagnose

    assert decoded.facts is not None
    facts = decoded.facts
    if options.redact:
        from ..redaction import redacted

        facts = redacted(facts)
    return print_report(diagnose(facts), options.format, "none (decode)")
