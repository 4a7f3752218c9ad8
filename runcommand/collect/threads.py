"""Threads that are left behind where they hang, and that cannot hang whoever starts them."""

from __future__ import annotations

import _thread
import contextlib
import threading
from typing import Callable

from .. import limits

STACK = (
    4 * 1024 * 1024
)  # bytes: what the deepest recursion of any Python needs; the usual 8 MiB count against a limit

RESERVE = 16 * 1024 * 1024  # bytes beside the stack: a thread that begins without cannot even fail


class NoThread(Exception):
    """The system gives no thread: a limit of memory or of processes."""


def start(work: Callable[[], None]) -> None:
    """Runs ``work``, which raises nothing, in a thread of its own that does not outlive the
    program. Raises ``NoThread``.

    ``threading.Thread.start`` waits until the thread has begun, and so for ever where memory ends
    just then.
    """
    if limits.are_tight():
        _check_room()
    # where it is refused, the system's own size will do
    with contextlib.suppress(ValueError, RuntimeError):
        threading.stack_size(STACK)
    try:
        _thread.start_new_thread(work, ())
    except (RuntimeError, MemoryError) as error:
        raise NoThread(str(error) or "not enough memory") from None


def _check_room() -> None:
    """Raises ``NoThread`` where there is no room for a thread and for what it does."""
    import mmap

    try:
        mmap.mmap(-1, STACK + RESERVE).close()  # reserved and given back, never touched
    except (OSError, MemoryError):
        raise NoThread("not enough memory") from None
