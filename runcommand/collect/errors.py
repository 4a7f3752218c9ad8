"""Why a collector has no fact: what it raises, and how a failure is put into words."""

from __future__ import annotations

import errno
import traceback

from . import threads

LATE = "not finished when the time was up"
# of what another collector gives back when it has ended
SHORTAGES = (errno.ENOMEM, errno.EAGAIN, errno.EMFILE, errno.ENFILE)


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


def describe(failure: BaseException) -> str:
    """What failed, and where: ``ValueError: too long at adapters.py:31 in parse``."""
    return f"{type(failure).__name__}: {failure}{place(failure)}"


def place(failure: BaseException) -> str:
    """Where it failed: `` at adapters.py:31 in parse``; empty where that is not known.

    The script for Linux carries shortened source, whose lines have other numbers.
    """
    frames = traceback.extract_tb(failure.__traceback__)
    if not frames:
        return ""
    name = frames[-1].filename.replace(chr(92), "/").rpartition("/")[2]
    return f" at {name}:{frames[-1].lineno} in {frames[-1].name}"
