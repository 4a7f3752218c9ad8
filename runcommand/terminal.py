"""What only a terminal gets: progress while the probes run, and colour. In a pipe there is neither."""

from __future__ import annotations

import os
import re
import time
from types import TracebackType
from typing import Optional, TextIO, Type

QUIET_S = 0.5  # a run that is over by then shows nothing
WORDS = {
    "imds": "asking IMDS",
    "wireserver": "asking the WireServer",
    "differential": "asking from every local address",
    "neighbours": "looking at the next hop",
}
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
    """Whether to colour: a terminal that is not dumb, and nobody said NO_COLOR
    (https://no-color.org).
    """
    if (
        not is_terminal(stream) or "NO_COLOR" in os.environ or os.name == "nt"
    ):  # Windows: not before it is switched on
        return False
    return os.environ.get("TERM", "dumb") != "dumb"


def coloured(report: str) -> str:
    """Colours the verdict and the status words."""
    report = re.sub(
        r"^VERDICT  (([A-Z]+).*)$",
        lambda m: f"VERDICT  {_paint(m.group(1), m.group(2))}",
        report,
        count=1,
        flags=re.MULTILINE,
    )
    return re.sub(
        r"^  (fail|warn|ok|error)( +)(?=[a-z]+\.)", lambda m: f"  {_paint(m.group(1), m.group(1))}{m.group(2)}", report,
        flags=re.MULTILINE,
    )  # fmt: skip


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
            self._say(
                f"\r  {WORDS.get(waiting_for, f'reading {waiting_for}')} ... {elapsed_s:.0f} s".ljust(
                    60
                )
            )

    def __exit__(
        self,
        kind: Optional[Type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        if self._shown:
            self._say("\r" + " " * 60 + "\r")

    def _say(self, text: str) -> None:
        if self._stream is None:
            return
        try:
            self._stream.write(text)
            self._stream.flush()
        except (OSError, ValueError):
            self._stream = None
