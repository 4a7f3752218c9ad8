"""This process's own limit of open files, raised where it is too low to look at anything."""

from __future__ import annotations

import sys

ENOUGH, TOO_FEW = 512, 128  # open files


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
