"""Works side by side, each in a thread of its own, until one end of time: a name's resolution cannot be bounded otherwise."""

from __future__ import annotations

import threading
import time
from typing import Callable, List, Optional, Sequence

from .collect import NoFact

LATE = "not done in time"


def run(
    works: Sequence[Callable[[], None]], seconds: float, is_enough: Callable[[], bool] = lambda: False
) -> List[Optional[str]]:
    """Runs them all; of each, why it has not come to its end, None where it has. What has not ended is left behind: its thread is
    a daemon.

    :param seconds: for all of them together
    :param is_enough: asked after each has ended: whether the others need not be waited for
    """
    end = time.monotonic() + seconds
    reasons: List[Optional[str]] = [LATE] * len(works)
    news = threading.Condition()

    def start(number: int, work: Callable[[], None]) -> None:
        def watched() -> None:
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

        try:
            threading.Thread(target=watched, name="side by side", daemon=True).start()
        except RuntimeError as error:  # no more threads for this user
            reasons[number] = str(error)

    for number, work in enumerate(works):
        start(number, work)
    with news:
        news.wait_for(lambda: LATE not in reasons or is_enough(), max(0.0, end - time.monotonic()))
        return list(reasons)
