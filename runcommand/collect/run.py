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

import time
from datetime import datetime, timezone
from functools import partial
from typing import Callable, Mapping, Optional

from .. import __version__
from ..facts import Address, Expected, Facts, Instant, Mac, Unavailable, instant
from ..frozen import dataclass
from .board import ENDING_S, Board, Collector
from .errors import NoFact, describe, is_shortage

DEFAULT_DEADLINE_S = 20.0  # as long as the shortest Run Command


@dataclass(frozen=True)
class RunOptions:
    """What one run is asked for, apart from the collectors."""

    system: str
    host: str
    deadline_s: float = DEFAULT_DEADLINE_S
    expected_mac: Optional[Mac] = None
    expected_ip: Optional[Address] = None
    endpoints: bool = False  # the hosts of certificates are tried in any case


def collect(
    options: RunOptions,
    collectors: Mapping[str, Collector],
    cleanup: Callable[[], None] = lambda: None,
    interrupted: Callable[[], bool] = lambda: False,
    progress: Callable[[str, float], None] = lambda name, elapsed: None,
    ending_s: float = ENDING_S,
) -> Facts:
    """All facts of one run, at most ``options.deadline_s`` after the call.

    ``cleanup`` is called at the end; it kills the processes that are still running. When
    ``interrupted`` says True, the waiting ends, and that is a fact itself. ``progress`` is told
    what is waited for, and for how many seconds. ``ending_s`` of the deadline is kept back for what
    is done with the facts.
    """
    board = Board(options.deadline_s, ending_s)
    collected_at = now()
    for name, collector in collectors.items():
        board.give_turn(name, partial(_work, name, collector, board))
    board.wait_for_all(list(collectors), interrupted, progress)
    cleanup()
    values = {name: board.found(name) for name in collectors}
    missing = tuple(value for value in values.values() if isinstance(value, Unavailable))
    return Facts(
        system=options.system,
        host=options.host,
        collected_at=collected_at,
        elapsed_s=round(time.monotonic() - board.started, 3),
        deadline_s=options.deadline_s,
        tool_version=__version__,
        interrupted=interrupted(),
        expected=Expected(options.expected_mac, options.expected_ip),
        unavailable=missing,
        notes=board.notes(),
        **{name: value for name, value in values.items() if not isinstance(value, Unavailable)},
    )


def now() -> Instant:
    """The machine's clock, to the second."""
    return instant(datetime.now(timezone.utc).replace(microsecond=0))


def _work(name: str, collector: Collector, board: Board) -> None:
    """Runs a collector and posts what it finds, or why it finds nothing."""
    try:
        value = collector(board)
    except NoFact as missing:
        value = Unavailable(name, str(missing))
    except BaseException as failure:  # whatever it is, it costs this one fact
        again = partial(_work, name, collector, board)
        if is_shortage(failure) and board.give_second_turn(name, again):
            return
        value = Unavailable(name, describe(failure))
    board.post(name, value)
