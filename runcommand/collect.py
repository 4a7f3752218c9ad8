"""Runs every collector side by side under one deadline and makes the facts of what they find.

A collector is a function that takes the ``Board`` and returns the value of the field of ``Facts`` that it is named for.
It says ``Unavailable`` (or raises anything at all) where it finds nothing. It may wait on the board for what another
one finds. One that hangs is left behind: its thread is a daemon, and its child processes are killed.
"""

from __future__ import annotations

import threading
import time
import traceback
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any, Callable, Dict, List, Mapping, Optional

from . import __version__
from .facts import Address, Expected, Facts, Instant, Mac, Unavailable, instant

Collector = Callable[["Board"], Any]
ENDING_S = 0.3  # kept back from the deadline, to judge and to write
GRACE_S = 0.2  # collectors are told an earlier end, so that what they bring at their last moment still counts
SWITCH_S = 0.05  # how soon an interrupt is noticed while waiting


class NotAvailable(Exception):
    """Raised by a collector: the fact cannot be had on this system, and why."""


class Board:
    """What the collectors of one run have found so far, and how much time they have. Thread-safe."""

    def __init__(self, seconds: float) -> None:
        self.started = time.monotonic()
        self._end = self.started + seconds - ENDING_S
        self._found: Dict[str, Any] = {}
        self._notes: List[Unavailable] = []
        self._news = threading.Condition()

    def remaining(self, at_most: float = float("inf")) -> float:
        """Seconds that a collector has left (0 or more), and not more than ``at_most``."""
        return max(0.0, min(self._end - GRACE_S - time.monotonic(), at_most))

    def post(self, name: str, value: Any) -> None:
        with self._news:
            self._found[name] = value
            self._news.notify_all()

    def note(self, fact: str, reason: str) -> None:
        """Says why a part of a fact is missing, or had to be found in another way."""
        with self._news:
            self._notes.append(Unavailable(fact, reason))

    def notes(self) -> List[Unavailable]:
        with self._news:
            return sorted(self._notes, key=lambda note: (note.fact, note.reason))

    def wait(self, name: str, at_most: float = float("inf")) -> Any:
        """What was posted under ``name``, waiting for it; None if it failed or did not come in time."""
        with self._news:
            self._news.wait_for(lambda: name in self._found, self.remaining(at_most))
            found = self._found.get(name)
        return None if isinstance(found, Unavailable) else found

    def wait_for_all(
        self, names: List[str], interrupted: threading.Event, progress: Callable[[str, float], None]
    ) -> None:
        """Returns when all are there, the time is up or ``interrupted`` is set, telling ``progress`` what it waits for."""
        with self._news:
            while time.monotonic() < self._end and not interrupted.is_set():
                missing = [name for name in names if name not in self._found]
                if not missing:
                    return
                progress(missing[0], time.monotonic() - self.started)
                self._news.wait(SWITCH_S)

    def found(self, name: str) -> Any:
        with self._news:
            return self._found.get(name, Unavailable(name, "not finished when the time was up"))


@dataclass(frozen=True)
class Run:
    """One run's conditions: what is asked of ``collect`` apart from the collectors themselves."""

    system: str
    host: str
    deadline_s: float = 20.0
    expected_mac: Optional[Mac] = None
    expected_ip: Optional[Address] = None


def collect(
    run: Run,
    collectors: Mapping[str, Collector],
    cleanup: Callable[[], None] = lambda: None,
    interrupted: Optional[threading.Event] = None,
    progress: Callable[[str, float], None] = lambda name, elapsed: None,
) -> Facts:
    """All facts of one run, at most ``run.deadline_s`` after the call.

    ``cleanup`` is called at the end; it kills the processes that are still running. Setting ``interrupted`` (from a signal
    handler) ends the waiting, and is a fact itself. ``progress`` is told what is waited for, and for how many seconds.
    """
    board = Board(run.deadline_s)
    collected_at = now()
    interrupted = interrupted or threading.Event()
    for name, collector in collectors.items():
        _start(name, collector, board)
    board.wait_for_all(list(collectors), interrupted, progress)
    cleanup()
    values = {name: board.found(name) for name in collectors}
    missing = tuple(value for value in values.values() if isinstance(value, Unavailable))
    return Facts(
        system=run.system,
        host=run.host,
        collected_at=collected_at,
        elapsed_s=round(time.monotonic() - board.started, 3),
        deadline_s=run.deadline_s,
        tool_version=__version__,
        interrupted=interrupted.is_set(),
        expected=Expected(run.expected_mac, run.expected_ip),
        unavailable=(*missing, *board.notes()),
        **{name: value for name, value in values.items() if not isinstance(value, Unavailable)},
    )


def now() -> Instant:
    """The machine's clock, to the second."""
    return instant(datetime.now(timezone.utc).replace(microsecond=0))


def _start(name: str, collector: Collector, board: Board) -> None:
    def work() -> None:
        try:
            value = collector(board)
        except NotAvailable as missing:
            value = Unavailable(name, str(missing))
        except BaseException as failure:  # whatever it is, it costs this one fact
            value = Unavailable(name, describe(failure))
        board.post(name, value)

    try:
        threading.Thread(target=work, name=name, daemon=True).start()
    except RuntimeError as failure:  # no more threads for this user
        board.post(name, Unavailable(name, describe(failure)))


def describe(failure: BaseException) -> str:
    """What failed, and where: ``ValueError: too long at adapters.py:31``."""
    frames = traceback.extract_tb(failure.__traceback__)
    where = f" at {frames[-1].filename.replace(chr(92), '/').rpartition('/')[2]}:{frames[-1].lineno}" if frames else ""
    return f"{type(failure).__name__}: {failure}{where}"
