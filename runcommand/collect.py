"""Runs every collector side by side under one deadline and makes the facts of what they find.

A collector is a function that takes the ``Board`` and returns the value of the field of ``Facts`` that it is named for.
It raises ``NoFact`` (or anything at all) where it finds nothing. It may wait on the board for what another
one finds. One that hangs is left behind: its thread is a daemon, and its child processes are killed.
"""

from __future__ import annotations

import threading
import time
import traceback
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any, Callable, Dict, List, Mapping, Optional, Tuple

from . import __version__
from .facts import Address, Expected, Facts, Instant, Mac, Note, Unavailable, instant

Collector = Callable[["Board"], Any]
DEFAULT_DEADLINE_S = 20.0  # as long as the shortest Run Command
ENDING_S = 0.3  # kept back from the deadline, to judge and to write
GRACE_S = 0.2  # collectors are told an earlier end, so that what they bring at their last moment still counts
SWITCH_S = 0.05  # how soon an interrupt is noticed while waiting


class NoFact(Exception):
    """Raised by a collector: the fact cannot be had on this system, and why."""


class Board:
    """What the collectors of one run have found so far, and how much time they have. Thread-safe."""

    def __init__(self, seconds: float) -> None:
        self.started = time.monotonic()
        self._end = self.started + seconds - ENDING_S
        self._found: Dict[str, Any] = {}
        self._drafts: Dict[str, Any] = {}
        self._notes: List[Note] = []
        self._news = threading.Condition()

    def remaining(self, at_most: float = float("inf")) -> float:
        """Seconds that a collector has left (0 or more), and not more than ``at_most``."""
        return max(0.0, min(self._end - GRACE_S - time.monotonic(), at_most))

    def post(self, name: str, value: Any) -> None:
        with self._news:
            self._found[name] = value
            self._news.notify_all()

    def draft(self, name: str, value: Any) -> None:
        """What a collector has so far: it counts if the run ends before the collector does."""
        with self._news:
            self._drafts[name] = value
            self._news.notify_all()

    def note(self, fact: str, text: str) -> None:
        """Says how a fact was found out in another way than the usual one, and why."""
        with self._news:
            self._notes.append(Note(fact, text))

    def notes(self) -> Tuple[Note, ...]:
        with self._news:
            return tuple(sorted(self._notes, key=lambda note: (note.fact, note.text)))

    def wait(self, name: str, at_most: float = float("inf"), or_draft: bool = False) -> Any:
        """What was posted under ``name``, waiting for it; None if it failed or did not come in time.

        :param or_draft: a draft will do
        """
        with self._news:
            self._news.wait_for(
                lambda: name in self._found or (or_draft and name in self._drafts), self.remaining(at_most)
            )
            found = self._found.get(name, self._drafts.get(name) if or_draft else None)
        return None if isinstance(found, Unavailable) else found

    def wait_for_all(
        self, names: List[str], interrupted: Callable[[], bool], progress: Callable[[str, float], None]
    ) -> None:
        """Returns when all are there, the time is up or ``interrupted`` says so, telling ``progress`` what it waits for."""
        while time.monotonic() < self._end and not interrupted():
            with self._news:
                missing = [name for name in names if name not in self._found]
                if missing:
                    self._news.wait(SWITCH_S)
            if not missing:
                return
            progress(missing[0], time.monotonic() - self.started)

    def found(self, name: str) -> Any:
        with self._news:
            missing = Unavailable(name, "not finished when the time was up")
            return self._found.get(name, self._drafts.get(name, missing))


@dataclass(frozen=True)
class Run:
    """One run's conditions: what is asked of ``collect`` apart from the collectors themselves."""

    system: str
    host: str
    deadline_s: float = DEFAULT_DEADLINE_S
    expected_mac: Optional[Mac] = None
    expected_ip: Optional[Address] = None
    endpoints: bool = False  # the hosts of certificates are tried in any case


def collect(
    run: Run,
    collectors: Mapping[str, Collector],
    cleanup: Callable[[], None] = lambda: None,
    interrupted: Callable[[], bool] = lambda: False,
    progress: Callable[[str, float], None] = lambda name, elapsed: None,
) -> Facts:
    """All facts of one run, at most ``run.deadline_s`` after the call.

    ``cleanup`` is called at the end; it kills the processes that are still running. When ``interrupted`` says True, the
    waiting ends, and that is a fact itself. ``progress`` is told what is waited for, and for how many seconds.
    """
    board = Board(run.deadline_s)
    collected_at = now()
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
        interrupted=interrupted(),
        expected=Expected(run.expected_mac, run.expected_ip),
        unavailable=missing,
        notes=board.notes(),
        **{name: value for name, value in values.items() if not isinstance(value, Unavailable)},
    )


def now() -> Instant:
    """The machine's clock, to the second."""
    return instant(datetime.now(timezone.utc).replace(microsecond=0))


def _start(name: str, collector: Collector, board: Board) -> None:
    def work() -> None:
        try:
            value = collector(board)
        except NoFact as missing:
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
    return f"{type(failure).__name__}: {failure}{place(failure)}"


def place(failure: BaseException) -> str:
    """Where it failed: `` at adapters.py:31``; empty where that is not known."""
    frames = traceback.extract_tb(failure.__traceback__)
    return f" at {frames[-1].filename.replace(chr(92), '/').rpartition('/')[2]}:{frames[-1].lineno}" if frames else ""
