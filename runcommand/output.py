"""The report to standard output, and what is said beside it."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Callable, Optional

from . import interrupts, terminal

if TYPE_CHECKING:
    from .diagnosis import Diagnosis


def tell(text: str) -> None:
    """To standard error, where it takes it."""
    if sys.stderr is not None:
        with suppress(OSError):
            sys.stderr.write(text)


def watched(
    work: Callable[[Callable[[], bool], Callable[[str, float], None]], Diagnosis],
) -> Diagnosis:
    """Runs a diagnosis with progress on a terminal.

    Ctrl-C and SIGTERM end the collecting, not the report: ``print_report`` lets go.
    """
    interrupts.note()
    with terminal.Progress(sys.stdout, sys.stderr) as progress:
        return work(interrupts.came, progress)


def print_report(diagnosis: Diagnosis, format: Optional[str], files: str) -> int:
    """Prints the report; gives the exit code.

    A report that cannot be made has a shorter one in its place.
    """
    from .diagnosis import EXIT_CODES
    from .report import json_report, text
    from .rules.finding import Verdict

    code = diagnosis.exit_code
    try:
        if format == "json":
            report = json_report.as_json(diagnosis)
        elif format == "full":
            report = text.full(diagnosis, files)
        else:
            report = text.portal(diagnosis, files)
        if format != "json" and terminal.has_colour(sys.stdout):
            report = terminal.coloured(report)
    except Exception as error:  # a fault of this program
        report = text.last_resort(diagnosis.facts, error)
        code = EXIT_CODES[Verdict.INCONCLUSIVE]
    write(report)
    interrupts.stop()
    return code


def write(report: str) -> None:
    """To standard output: one that is closed, full or gone costs the output, not the exit code."""
    if sys.stdout is None:
        return
    try:
        sys.stdout.write(report)
        sys.stdout.flush()
    except (OSError, ValueError):
        # so that the interpreter's own flush at the end has nothing to complain of
        with suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def plain(text: str) -> str:
    """What comes from a VM, as it may go to a terminal: lines of printable ASCII."""
    from .model.words import to_ascii

    return "".join(f"{to_ascii(line)}\n" for line in text.splitlines())
