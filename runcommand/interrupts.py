"""Signals that ask a run to end.

They are noted from the program's first moment on: they end the collecting, never the report.
"""

from __future__ import annotations

import signal
import threading
from typing import Any, Dict, List

NAMES = (
    "SIGINT",
    "SIGTERM",
    "SIGQUIT",
    "SIGHUP",
    "SIGBREAK",
    "SIGXCPU",
)  # those that this system has
# What imds-check.sh ignores on behalf of the program, because a shell that is ended loses the
# report.
IGNORED_BY_THE_SCRIPT = ("SIGINT", "SIGTERM", "SIGQUIT")

_came: List[int] = []
_before: Dict[int, Any] = {}  # the handlers that stood there


def note(even_if_ignored: bool = False) -> None:
    """From now on the signals are noted, until ``stop``. One that is ignored stays so: nohup
    ignores SIGHUP.

    :param even_if_ignored: those too that the script ignored
    """
    if threading.current_thread() is not threading.main_thread():
        return  # only the main thread may
    for name in NAMES:
        number = getattr(signal, name, None)
        if number is None or number in _before:
            continue
        is_ignored = signal.getsignal(number) is signal.SIG_IGN
        if is_ignored and not (even_if_ignored and name in IGNORED_BY_THE_SCRIPT):
            continue
        _before[number] = signal.signal(number, lambda got, frame: _came.append(got))


def came() -> bool:
    """Whether one of them has come."""
    return bool(_came)


def stop() -> None:
    """Puts back what stood there; what has come is forgotten."""
    for number, handler in _before.items():
        signal.signal(number, handler)
    _before.clear()
    _came.clear()
