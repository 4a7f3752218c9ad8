"""One TCP connect, and how it ended."""

from __future__ import annotations

from enum import Enum
from typing import Optional

from ..frozen import dataclass
from .addresses import Address
from .kinds import Message, NicName


class Outcome(str, Enum):
    """How an attempt to connect, or the exchange after it, ended."""

    ANSWERED = "answered"  # the TCP handshake was completed
    HTTP = "http"  # a whole HTTP head came back
    GARBLED = "garbled"  # bytes came back, and they are not HTTP
    TIMED_OUT = "timed-out"
    REFUSED = "refused"
    UNREACHABLE = "unreachable"
    FORBIDDEN = "forbidden"  # refused locally: EACCES, EPERM, WSAEACCES
    RESET = "reset"  # cut by the other side before the answer was whole
    FAILED = "failed"  # another local error, which ``error`` names


@dataclass(frozen=True)
class Connection:
    """One TCP connect.

    ``source`` and ``device`` are what it was bound to, ``local_address`` what the system used.
    """

    address: Address
    port: int
    outcome: Outcome
    source: Optional[Address] = None
    device: Optional[NicName] = None
    local_address: Optional[Address] = None
    error: Optional[Message] = None
    elapsed_s: float = 0.0
    allowed_s: float = 0.0  # that it could have taken
