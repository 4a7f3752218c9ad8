"""What collectors of the network and of the system both need: how long a connect may take, and what
the errors of a socket mean.
"""

from __future__ import annotations

import errno
import os
import socket

from .facts import Outcome

CONNECT_S = 3.0  # one TCP connect

# What each error means, and how it is put into words that are the same on every system. Windows'
# WSA names are the same.
_ERRORS = {
    "ECONNREFUSED": (Outcome.REFUSED, "connection refused"),
    "ETIMEDOUT": (Outcome.TIMED_OUT, "timed out"),
    "EHOSTUNREACH": (Outcome.UNREACHABLE, "no route to host"),
    "ENETUNREACH": (Outcome.UNREACHABLE, "network is unreachable"),
    "EHOSTDOWN": (Outcome.UNREACHABLE, "host is down"),
    "ENETDOWN": (Outcome.UNREACHABLE, "network is down"),
    "EINVAL": (Outcome.UNREACHABLE, "invalid argument"),  # what Linux says of a blackhole route
    "EACCES": (Outcome.FORBIDDEN, "permission denied"),
    "EPERM": (Outcome.FORBIDDEN, "operation not permitted"),
    "ECONNRESET": (Outcome.RESET, "connection reset"),
    "ECONNABORTED": (Outcome.RESET, "connection aborted"),
    "EPIPE": (Outcome.RESET, "broken pipe"),
    "EADDRNOTAVAIL": (Outcome.FAILED, "address not available"),
    "EMFILE": (Outcome.FAILED, "too many open files"),
    "ENOBUFS": (Outcome.FAILED, "no buffer space"),
}


def error_name(code: int) -> str:
    """An errno as POSIX names it, also where Windows put ``WSA`` before it."""
    name = errno.errorcode.get(code, f"error {code}")
    return name[3:] if name.startswith("WSA") else name


def outcome_of(error: OSError) -> Outcome:
    """The name of what an ``OSError`` of a socket means."""
    if isinstance(error, socket.timeout):
        return Outcome.TIMED_OUT
    return _ERRORS.get(error_name(error.errno or 0), (Outcome.FAILED, ""))[0]


def error_text(error: OSError) -> str:
    """An error by its name and in words: ``ECONNREFUSED (connection refused)``."""
    if not error.errno:
        return str(error)
    name = error_name(error.errno)
    words = _ERRORS.get(name, (Outcome.FAILED, error.strerror or os.strerror(error.errno)))[1]
    return f"{name} ({words})"
