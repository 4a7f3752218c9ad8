"""Works side by side, each in a thread of its own, until one end of time: a name's resolution
cannot be bounded otherwise.
"""

from __future__ import annotations

import threading
import time
from functools import partial
from typing import Callable, List, Optional, Sequence

from . import threads
from .errors import NoFact

LATE = "not done in time"


def run(
    works: Sequence[Callable[[], None]],
    seconds: float,
    is_enough: Callable[[], bool] = lambda: False,
) -> List[Optional[str]]:
    """Runs them all; of each, why it has not come to its end, None where it has. What has not ended
    is left behind with its thread. Those for which the system gives no thread are run in turn by
    the caller's.

    :param seconds: for all of them together
    :param is_enough: asked after each has ended: whether the others need not be waited for
    """
    end = time.monotonic() + seconds
    reasons: List[Optional[str]] = [LATE] * len(works)
    news = threading.Condition()

    def watched(number: int, work: Callable[[], None]) -> None:
        reason = None
        try:
            work()
        except NoFact as missing:
            reason = str(missing)
        except Exception as failure:  # whatever it is, it costs this one
            reason = f"{type(failure).__name__}: {failure}"[:200]
        with news:
            reasons[number] = reason
            news.notify_all()

    in_turn: List[Callable[[], None]] = []
    for number, work in enumerate(works):
        begin = partial(watched, number, work)
        try:
            threads.start(begin)
        except threads.NoThread:
            in_turn.append(begin)
    for left_over in in_turn:
        if time.monotonic() < end and not is_enough():
            left_over()
    with news:
        news.wait_for(lambda: LATE not in reasons or is_enough(), max(0.0, end - time.monotonic()))
        return list(reasons)
