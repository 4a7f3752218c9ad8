"""Socket errors in words, as the system that they came from names them.

Facts name them as POSIX does, on every system: ``EACCES (permission denied)``. Windows' own tools
and documents know them by their numbers: ``WSAEACCES (10013, permission denied)``.
"""

from __future__ import annotations

import re
from typing import Match

from .words import short

# https://learn.microsoft.com/windows/win32/winsock/windows-sockets-error-codes-2
WINSOCK = {
    "EINTR": 10004,
    "EBADF": 10009,
    "EACCES": 10013,
    "EFAULT": 10014,
    "EINVAL": 10022,
    "EMFILE": 10024,
    "EWOULDBLOCK": 10035,
    "EINPROGRESS": 10036,
    "EALREADY": 10037,
    "ENOTSOCK": 10038,
    "EOPNOTSUPP": 10045,
    "EAFNOSUPPORT": 10047,
    "EADDRINUSE": 10048,
    "EADDRNOTAVAIL": 10049,
    "ENETDOWN": 10050,
    "ENETUNREACH": 10051,
    "ENETRESET": 10052,
    "ECONNABORTED": 10053,
    "ECONNRESET": 10054,
    "ENOBUFS": 10055,
    "EISCONN": 10056,
    "ENOTCONN": 10057,
    "ESHUTDOWN": 10058,
    "ETIMEDOUT": 10060,
    "ECONNREFUSED": 10061,
    "EHOSTDOWN": 10064,
    "EHOSTUNREACH": 10065,
}
_NAMED = re.compile(r"(?<![A-Za-z0-9])(E[A-Z]{3,15})(?: \(([a-z ]{1,60})\))?(?![A-Za-z0-9])")


def error_in_words(error: str, system: str, limit: int = 100) -> str:
    """An error of a fact as it may stand in a sentence: printable ASCII, at most ``limit``
    characters.

    :param system: as in ``Facts.system``
    """
    text = error[: 2 * limit]
    if system == "windows":
        text = _NAMED.sub(_as_windows, text)
    return short(text, limit)


def _as_windows(found: Match[str]) -> str:
    name, words = found.groups()
    number = WINSOCK.get(name)
    if number is None:
        return found.group()
    if words:
        return f"WSA{name} ({number}, {words})"
    return f"WSA{name} ({number})"
