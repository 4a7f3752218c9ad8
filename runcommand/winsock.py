"""The errors of Windows' sockets, as another system numbers them: what a Windows VM saw is also
judged elsewhere.

https://learn.microsoft.com/windows/win32/winsock/windows-sockets-error-codes-2
"""

from __future__ import annotations

import errno

_NAMES = {
    10013: "EACCES",
    10022: "EINVAL",
    10024: "EMFILE",
    10048: "EADDRINUSE",
    10049: "EADDRNOTAVAIL",
    10050: "ENETDOWN",
    10051: "ENETUNREACH",
    10053: "ECONNABORTED",
    10054: "ECONNRESET",
    10055: "ENOBUFS",
    10060: "ETIMEDOUT",
    10061: "ECONNREFUSED",
    10064: "EHOSTDOWN",
    10065: "EHOSTUNREACH",
}
HOST_NOT_FOUND, NO_DATA = 11001, 11004  # and what is between them: errors of a resolver


def posix_code(number: int) -> int:
    """The errno of this system for an error of Winsock; the number itself where there is none."""
    return getattr(errno, _NAMES.get(number, ""), number)


def is_of_a_name(number: int) -> bool:
    """Whether the error says that a name has no address."""
    return HOST_NOT_FOUND <= number <= NO_DATA
