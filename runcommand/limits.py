"""This process's own limits: of open files, raised where it is too low to look at anything; of
memory; how often Python looks for garbage.
"""

from __future__ import annotations

import gc
import sys

SELDOM = 100_000  # new objects, some 10 MB
ENOUGH, TOO_FEW = 512, 128  # open files


def look_for_garbage_seldom() -> None:
    """Python looks for cycles after every 700 new objects, among all that was imported: that is
    a fifth of a healthy run.
    """
    gc.set_threshold(SELDOM)


def raise_open_files() -> None:
    """As far as the system lets this user. Nothing where there is no such limit (Windows)."""
    if sys.platform == "win32":
        return
    try:
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if not 0 <= soft < TOO_FEW:
            return
        if 0 <= hard < ENOUGH:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        resource.setrlimit(
            resource.RLIMIT_NOFILE, (ENOUGH, max(hard, ENOUGH) if hard >= 0 else hard)
        )
    except (ImportError, OSError, ValueError):
        pass  # not allowed: each collector that needs more says so


def are_tight() -> bool:
    """Whether this process may have only so much address space (``ulimit -v``), or few open
    files.
    """
    if sys.platform == "win32":
        return False
    try:
        import resource

        if resource.getrlimit(resource.RLIMIT_AS)[0] != resource.RLIM_INFINITY:
            return True
        return 0 <= resource.getrlimit(resource.RLIMIT_NOFILE)[0] < TOO_FEW
    except (ImportError, OSError, ValueError):
        return False
