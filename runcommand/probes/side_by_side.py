"""Works side by side, each in a thread of its own, until one end of time: a name's resolution cannot be bounded otherwise."""

from __future__ import annotations

import threading
import time
from typing import Callable, List, Optional, Sequence


def run(
    works: Sequence[Callable[[], None]], seconds: float, is_enough: Callable[[], bool] = lambda: False
) -> List[Optional[str]]:
    """Runs them all; why one has not ended, None where it has. What has not ended is left behind: its thread is a daemon.

    :param seconds: for all of them together
    :param is_enough: asked after each has ended: whether the others need not be waited for
    """
    end = time.monotonic() + seconds
    reasons: List[Optional[str]] = ["not done in time"] * len(works)
    news = threading.Condition()

    def start(number: int, work: Callable[[], None]) -> None:
        def watched() -> None:
            try:
                work()
            finally:
                with news:
                    reasons[number] = None
                    news.notify_all()

        try:
            threading.Thread(target=watched, name="side by side", daemon=True).start()
        except RuntimeError as error:  # no more threads for this user
            reasons[number] = str(error)

    for number, work in enumerate(works):
        start(number, work)
    with news:
        news.wait_for(lambda: "not done in time" not in reasons or is_enough(), max(0.0, end - time.monotonic()))
        return list(reasons)
