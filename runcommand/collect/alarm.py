"""Work that the main thread does itself, ended by an alarm when the time is up."""

from __future__ import annotations

import signal
import sys
import threading
from typing import Any, Callable, List

from .errors import LATE, TimeUp

AGAIN_S = 0.05  # the alarm rings again: the first ring may be swallowed by what it interrupts


def until_alarm(seconds: float, work: Callable[[], None]) -> None:
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
            signal.setitimer(signal.ITIMER_REAL, seconds, AGAIN_S)
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
