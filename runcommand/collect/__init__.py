"""Runs every collector side by side under one deadline and makes the facts of what they find.

A collector is a function that takes the ``Board`` and returns the value of the field of ``Facts``
that it is named for. It raises ``NoFact`` (or anything at all) where it finds nothing. It may wait
on the board for what another one finds. One that hangs is left behind with its thread, and its
child processes are killed.

Where the system gives too few threads, those that there are take the collectors in turn: a thread
that has done one begins the next, and one that waits for a collector that nobody has begun does its
work itself. Without any, the main thread does.
"""

from __future__ import annotations

import errno
import signal
import sys
import threading
import time
import traceback
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import partial
from typing import Any, Callable, Dict, List, Mapping, Optional, Tuple

from .. import __version__
from ..facts import Address, Expected, Facts, Instant, Mac, Note, Unavailable, instant
from . import threads

Collector = Callable[["Board"], Any]
DEFAULT_DEADLINE_S = 20.0  # as long as the shortest Run Command
ENDING_S = 0.3  # kept back from the deadline, to judge and to write
# collectors are told an earlier end, so that what they bring at their last moment still counts
GRACE_S = 0.2
SWITCH_S = 0.05  # how soon an interrupt is noticed while waiting
LATE = "not finished when the time was up"
INTERRUPTED = "the run was interrupted"
SECOND_S = (
    0.1  # before a second try that another collector waits for: what was short may be free by then
)
SHORTAGES = (
    errno.ENOMEM,
    errno.EAGAIN,
    errno.EMFILE,
    errno.ENFILE,
)  # pass when another collector has ended


class NoFact(Exception):
    """Raised by a collector: the fact cannot be had on this system, and why."""


class NoProgram(NoFact):
    """A program is not on this system: its text is ``nft: not found``, and no other failure's is
    (``facts.ABSENT``).
    """


class TimeUp(NoFact):
    """Raised inside of a collector that the main thread runs, when the time is up."""


def is_shortage(failure: BaseException) -> bool:
    """Whether something failed for want of memory, threads, processes or file descriptors."""
    if isinstance(failure, OSError):
        return failure.errno in SHORTAGES
    return isinstance(failure, (MemoryError, threads.NoThread))


class Board:
    """What the collectors of one run have found so far, and how much time they have.

    Thread-safe.
    """

    def __init__(self, seconds: float, ending_s: float = ENDING_S) -> None:
        self.started = time.monotonic()
        self._end = self.started + seconds - ending_s
        self._found: Dict[str, Any] = {}
        self._drafts: Dict[str, Any] = {}
        self._notes: List[Note] = []
        self._turns: Dict[str, Callable[[], None]] = {}  # the work that nobody has begun
        self._second_turns: Dict[str, Callable[[], None]] = {}  # when all others are done
        self._lack = ""  # why no thread is to be had
        self._threads = 0  # that are at work
        self._was_interrupted = False
        self._news = threading.Condition()

    # --- whose turn it is ---

    def give_turn(self, name: str, work: Callable[[], None]) -> None:
        """Work that posts ``name``, for ``start`` or for whoever comes first."""
        with self._news:
            self._turns[name] = work

    def give_second_turn(self, name: str, work: Callable[[], None]) -> None:
        """The same for what failed for want of something: it begins when all others are done, or
        when one waits for it.
        """
        with self._news:
            self._second_turns[name] = work
            self._news.notify_all()  # one that waits for it takes it

    def start(self, interrupted: Callable[[], bool]) -> None:
        """Begins what nobody has begun: each in a thread of its own, as far as the system gives
        them; without any, here.
        """
        while True:
            with self._news:
                name = next(iter(self._turns), "")
                work = self._turns.pop(
                    name, None
                )  # before its thread begins: or else one that waits for it would take it
                self._threads += work is not None
            if work is None:
                break
            try:
                threads.start(partial(self._take_turns, work))
            except threads.NoThread as lack:
                self._lack = str(lack)
                with self._news:
                    self._threads -= 1
                    self._turns = {name: work, **self._turns}
                break
        with self._news:
            is_alone = not self._threads and bool(self._turns)
        if is_alone:
            _until_alarm(self.remaining(), partial(self._work_through, interrupted))

    def _take_turns(self, first: Callable[[], None]) -> None:
        try:
            first()
            self._work_through()
        finally:
            with self._news:
                self._threads -= 1

    def _work_through(self, interrupted: Callable[[], bool] = lambda: False) -> None:
        """Does what nobody has begun, one after the other."""
        while not interrupted():
            work = self.next_turn()
            if work is None:
                return
            work()

    def next_turn(self, name: str = "") -> Optional[Callable[[], None]]:
        """A piece of work that nobody else gets now: ``name``'s, by default the next one's. None
        where it is begun.
        """
        with self._news:
            if self.remaining() <= 0:
                return None
            name = name or next(iter(self._turns), "")
            return self._turns.pop(name, None) or self._second_turns.pop(name, None)

    def _open_second_turns(self, names: List[str]) -> None:
        with self._news:
            if all(name in self._found or name in self._second_turns for name in names):
                self._turns.update(self._second_turns)
                self._second_turns.clear()

    # --- what is found ---

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
        """What was posted under ``name``, waiting for it; None if it failed or did not come in
        time.

        :param or_draft: a draft will do
        """
        end = time.monotonic() + self.remaining(at_most)
        is_there = partial(self._is_there, name, or_draft)

        def has_news() -> bool:
            return is_there() or name in self._turns or name in self._second_turns

        while True:
            with self._news:
                self._news.wait_for(has_news, max(0.0, end - time.monotonic()))
                if is_there() or time.monotonic() >= end:
                    found = self._found.get(name, self._drafts.get(name) if or_draft else None)
                    return None if isinstance(found, Unavailable) else found
                is_second = name in self._second_turns
            if is_second:
                time.sleep(self.remaining(SECOND_S))
            work = self.next_turn(name)
            if work:
                work()

    def _is_there(self, name: str, or_draft: bool) -> bool:
        return name in self._found or (or_draft and name in self._drafts)

    def wait_for_all(
        self,
        names: List[str],
        interrupted: Callable[[], bool],
        progress: Callable[[str, float], None],
    ) -> None:
        """Begins what is to be done, and returns when all are there, the time is up or
        ``interrupted`` says so.

        ``progress`` is told what is waited for.
        """
        while time.monotonic() < self._end and not interrupted():
            if self._turns:
                self.start(interrupted)
            with self._news:
                missing = [name for name in names if name not in self._found]
                if missing:
                    self._news.wait(SWITCH_S)
            if not missing:
                return
            self._open_second_turns(names)
            progress(missing[0], time.monotonic() - self.started)
        self._was_interrupted = interrupted()

    def found(self, name: str) -> Any:
        with self._news:
            missing = Unavailable(name, self._why_missing(name))
            return self._found.get(name, self._drafts.get(name, missing))

    def _why_missing(self, name: str) -> str:
        if self._was_interrupted:
            return INTERRUPTED
        if name in self._turns:
            return f"not begun when the time was up{': ' if self._lack else ''}{self._lack}"
        if name in self._second_turns:
            return "failed for want of memory, and the time was up before a second try"
        return LATE


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
    ending_s: float = ENDING_S,
) -> Facts:
    """All facts of one run, at most ``run.deadline_s`` after the call.

    ``cleanup`` is called at the end; it kills the processes that are still running. When
    ``interrupted`` says True, the waiting ends, and that is a fact itself. ``progress`` is told
    what is waited for, and for how many seconds. ``ending_s`` of the deadline is kept back for what
    is done with the facts.
    """
    board = Board(run.deadline_s, ending_s)
    collected_at = now()
    for name, collector in collectors.items():
        board.give_turn(name, partial(_work, name, collector, board))
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


def _work(name: str, collector: Collector, board: Board, is_second: bool = False) -> None:
    """Runs a collector and posts what it finds, or why it finds nothing."""
    try:
        value = collector(board)
    except NoFact as missing:
        value = Unavailable(name, str(missing))
    except BaseException as failure:  # whatever it is, it costs this one fact
        if is_shortage(failure) and not is_second:
            board.give_second_turn(name, partial(_work, name, collector, board, is_second=True))
            return
        value = Unavailable(name, describe(failure))
    board.post(name, value)


def _until_alarm(seconds: float, work: Callable[[], None]) -> None:
    """Does ``work``; in the main thread ``TimeUp`` is raised in it, again and again, after so many
    seconds (not on Windows).

    It may ring anywhere, also between two collectors: that ends the work, and is no failure.
    """
    is_main = threading.current_thread() is threading.main_thread()
    if sys.platform == "win32" or seconds <= 0 or not is_main:
        work()
        return
    is_over: List[bool] = []

    def ring(number: int, frame: Any) -> None:
        if not is_over:
            raise TimeUp(LATE)

    before = signal.signal(signal.SIGALRM, ring)
    try:
        try:
            signal.setitimer(signal.ITIMER_REAL, seconds, SWITCH_S)
            work()
        except TimeUp:
            pass
        finally:
            is_over.append(True)
    except TimeUp:
        pass  # it rang once more before it was over
    finally:
        is_over.append(True)
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def describe(failure: BaseException) -> str:
    """What failed, and where: ``ValueError: too long at adapters.py:31``."""
    return f"{type(failure).__name__}: {failure}{place(failure)}"


def place(failure: BaseException) -> str:
    """Where it failed: `` at adapters.py:31``; empty where that is not known."""
    frames = traceback.extract_tb(failure.__traceback__)
    return (
        f" at {frames[-1].filename.replace(chr(92), '/').rpartition('/')[2]}:{frames[-1].lineno}"
        if frames
        else ""
    )
