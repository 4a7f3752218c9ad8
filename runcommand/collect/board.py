"""What the collectors of one run share: what each has found so far, whose turn it is, and the time
that is left.
"""

from __future__ import annotations

import threading
import time
from functools import partial
from typing import Any, Callable, Dict, List, Optional, Set, Tuple

from ..facts import Note, Unavailable
from ..network import CONNECT_S
from . import threads
from .alarm import until_alarm
from .errors import LATE

Collector = Callable[["Board"], Any]
ENDING_S = 0.3  # kept back from the deadline, to judge and to write
# collectors are told an earlier end, so that what they bring at their last moment still counts
GRACE_S = 0.2
SWITCH_S = 0.05  # how soon an interrupt is noticed while waiting
INTERRUPTED = "the run was interrupted"
# before a further try that another collector waits for: what was short may be free by then
SECOND_S = 0.1
# such tries end so long after the first: by then every connect and every program has ended
PATIENCE_S = CONNECT_S + 1.0
# What collectors hand each other that is no fact, by its name on the board:
# (scope, whole URL) pairs, with the query, which may be a secret
PAC_URLS = "pac urls"
# the certificates in the attested document, in DER, the signer's first
DOCUMENT = "attested certificates"


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
        self._short_since: Dict[str, float] = {}  # of what has failed for want of something
        self._alone: Set[str] = set()  # what was begun again when all others were done
        self._lack = ""  # why no thread is to be had
        self._threads = 0  # that are at work
        self._was_interrupted = False
        self._news = threading.Condition()

    # --- whose turn it is ---

    def give_turn(self, name: str, work: Callable[[], None]) -> None:
        """Work that posts ``name``, for ``start`` or for whoever comes first."""
        with self._news:
            self._turns[name] = work

    def give_second_turn(self, name: str, work: Callable[[], None]) -> bool:
        """The same for what failed for want of something: it begins when all others are done, or
        when one waits for it. False: it has had its last turn.
        """
        with self._news:
            now = time.monotonic()
            is_over = now - self._short_since.setdefault(name, now) > PATIENCE_S
            if is_over or name in self._alone:
                return False
            self._second_turns[name] = work
            self._news.notify_all()  # one that waits for it takes it
            return True

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
            until_alarm(self.remaining(), partial(self._work_through, interrupted))

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

    def _open_second_turn(self, names: List[str]) -> None:
        """Lets the next one begin again, alone: side by side they would want for the same."""
        with self._news:
            left = [name for name in names if name not in self._found]
            if left and all(name in self._second_turns for name in left):
                self._alone.add(left[0])
                self._turns[left[0]] = self._second_turns.pop(left[0])

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
            self._open_second_turn(names)
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
