"""Limits on time that a busy machine does not break: what is counted is either the work done, in
units of a plain loop, or the waiting, by a clock that this process itself drives.
"""

from __future__ import annotations

import threading
import time
from functools import lru_cache

LOOP = 1 << 20  # characters
LITTLE = 60.0  # loops: about a second of a machine of today
TICK_S = 0.01
# How many times as long as alone a program may take beside other tests.
BUSY = 3


class Work:
    """The CPU time of this process from here on."""

    def __init__(self) -> None:
        self._began = time.process_time()

    def loops(self) -> float:
        """How many times as long it is as a plain loop over ``LOOP`` characters."""
        return (time.process_time() - self._began) / one_loop()


def in_time(seconds: float, limit_s: float) -> bool:
    """Whether a run kept a limit and did not hang. ``tests/bench`` prints how long runs take."""
    return seconds < BUSY * limit_s


@lru_cache(maxsize=None)
def one_loop() -> float:
    """Seconds of CPU time (about 0.015), the best of three."""
    text, best = "a" * LOOP, float("inf")
    for _ in range(3):
        began = time.process_time()
        for character in text:
            if character == "\2":
                break
        best = min(best, time.process_time() - began)
    return best


class Waiting:
    """A clock that a thread of this process drives from here on: it loses the time for which the
    machine lets no thread of this process run, and what it measures does too.
    """

    def __init__(self) -> None:
        self._ticks = 0
        self._stopped = threading.Event()
        threading.Thread(target=self._tick, daemon=True).start()

    def times(self, limit_s: float) -> float:
        """How many times as long as a limit it has waited. It stops here."""
        self._stopped.set()
        return self._ticks * TICK_S / limit_s

    def _tick(self) -> None:
        while not self._stopped.wait(TICK_S):
            self._ticks += 1
