"""Progress while the probes run, and colour: on a terminal, never in a pipe."""

from __future__ import annotations

import os
import re
import time
from types import TracebackType
from typing import Match, Optional, TextIO, Type

QUIET_S = 0.5  # a run that is over by then shows nothing
COLUMNS = 60  # of the line of progress
WORDS = {
    "imds": "asking IMDS",
    "wireserver": "asking the WireServer",
    "differential": "asking from every local address",
    "neighbours": "checking the next hop",
}
VERDICT = re.compile(r"^VERDICT  (([A-Z]+).*)$", re.MULTILINE)
STATUS = re.compile(r"^  (fail|warn|ok|error)( +)(?=[a-z]+\.)", re.MULTILINE)
_COLOURS = {
    "HEALTHY": 32,
    "DEGRADED": 33,
    "BROKEN": 31,
    "INCONCLUSIVE": 35,
    "fail": 31,
    "warn": 33,
    "ok": 32,
    "error": 35,
}


def is_terminal(stream: Optional[TextIO]) -> bool:
    try:
        return stream is not None and stream.isatty()
    except (OSError, ValueError):
        return False


def has_colour(stream: Optional[TextIO]) -> bool:
    """Whether to colour: a terminal that is not dumb, unless NO_COLOR is set
    (https://no-color.org).
    """
    # Windows' console takes colours only once they are switched on
    if not is_terminal(stream) or "NO_COLOR" in os.environ or os.name == "nt":
        return False
    return os.environ.get("TERM", "dumb") != "dumb"


def coloured(report: str) -> str:
    """Colours the verdict and the status words."""
    report = VERDICT.sub(_verdict, report, count=1)
    return STATUS.sub(_status, report)


def _verdict(line: Match[str]) -> str:
    return f"VERDICT  {_paint(line.group(1), line.group(2))}"


def _status(word: Match[str]) -> str:
    return f"  {_paint(word.group(1), word.group(1))}{word.group(2)}"


def _paint(text: str, key: str) -> str:
    return f"\x1b[1;{_COLOURS.get(key, 0)}m{text}\x1b[0m"


class Progress:
    """One line on standard error that says what is waited for; gone when the report comes."""

    def __init__(self, output: Optional[TextIO], errors: Optional[TextIO]) -> None:
        self._stream = errors if is_terminal(output) and is_terminal(errors) else None
        self._shown = 0.0

    def __enter__(self) -> Progress:
        return self

    def __call__(self, waiting_for: str, elapsed_s: float) -> None:
        if self._stream and elapsed_s > QUIET_S and time.monotonic() - self._shown > 0.2:
            self._shown = time.monotonic()
            work = WORDS.get(waiting_for, f"reading {waiting_for}")
            self._say(f"\r  {work} ... {elapsed_s:.0f} s".ljust(COLUMNS))

    def __exit__(
        self,
        kind: Optional[Type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        if self._shown:
            self._say("\r" + " " * COLUMNS + "\r")

    def _say(self, text: str) -> None:
        if self._stream is None:
            return
        try:
            self._stream.write(text)
            self._stream.flush()
        except (OSError, ValueError):
            self._stream = None
