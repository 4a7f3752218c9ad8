"""Functions of the system's own DLLs, by ctypes: from System32 only, with declared types."""

from __future__ import annotations

import ctypes
from ctypes.wintypes import BOOL, HANDLE
from functools import lru_cache
from typing import Any

from ...collect import NoFact

LOAD_LIBRARY_SEARCH_SYSTEM32 = 0x00000800  # libloaderapi.h


@lru_cache(maxsize=None)
def _library(name: str) -> Any:
    return getattr(ctypes, "WinDLL")(
        name, use_last_error=True, winmode=LOAD_LIBRARY_SEARCH_SYSTEM32
    )


@lru_cache(maxsize=None)
def function(library: str, name: str, restype: Any, *argtypes: Any) -> Any:
    """A function of a DLL, ready to be called.

    Raises ``NoFact`` where this system does not have it.
    """
    try:
        found = _library(library)[name]
    except (OSError, AttributeError):
        raise NoFact(f"{library} has no {name} on this system") from None
    found.restype, found.argtypes = restype, argtypes
    return found


def last_error() -> int:
    """``GetLastError`` of the last call of this thread."""
    return int(getattr(ctypes, "get_last_error")())


def close_handle(handle: Any) -> None:
    """``CloseHandle``, of a file, a process, a token or a job."""
    function("kernel32", "CloseHandle", BOOL, HANDLE)(handle)


def failed(name: str, code: int) -> NoFact:
    """The error to raise when a function fails (winerror.h has the codes)."""
    return NoFact(f"{name}: error {code}")
