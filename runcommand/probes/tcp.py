"""TCP connects, many side by side in one thread, each with a named outcome."""

from __future__ import annotations

import errno
import os
import selectors
import socket
import time
from dataclasses import dataclass
from typing import List, Optional, Sequence, Tuple

from ..facts import Address, Connection, Outcome

CONNECT_S = 3.0  # one TCP connect

_OUTCOMES = {
    Outcome.REFUSED: ("ECONNREFUSED", "WSAECONNREFUSED"),
    Outcome.TIMED_OUT: ("ETIMEDOUT", "WSAETIMEDOUT"),
    Outcome.UNREACHABLE: (
        "EHOSTUNREACH", "ENETUNREACH", "EHOSTDOWN", "ENETDOWN", "WSAEHOSTUNREACH", "WSAENETUNREACH", "WSAENETDOWN",
        "EINVAL",  # what Linux says of a blackhole route
    ),
    Outcome.FORBIDDEN: ("EACCES", "EPERM", "WSAEACCES"),
    Outcome.RESET: ("ECONNRESET", "ECONNABORTED", "WSAECONNRESET", "WSAECONNABORTED", "EPIPE"),
}  # fmt: skip
_BY_ERRNO = {
    getattr(errno, name): outcome for outcome, names in _OUTCOMES.items() for name in names if hasattr(errno, name)
}
_IN_PROGRESS = {getattr(errno, name) for name in ("EINPROGRESS", "EWOULDBLOCK", "WSAEWOULDBLOCK") if hasattr(errno, name)}


def outcome_of(error: OSError) -> Outcome:
    """The name of what an ``OSError`` of a socket means."""
    if isinstance(error, socket.timeout):
        return Outcome.TIMED_OUT
    return _BY_ERRNO.get(error.errno or 0, Outcome.FAILED)


def error_text(error: OSError) -> str:
    """An error as its symbol and the system's words: ``ECONNREFUSED (Connection refused)``."""
    code = error.errno or 0
    return f"{errno.errorcode.get(code, f'error {code}')} ({os.strerror(code)})" if code else str(error)


@dataclass(frozen=True)
class Attempt:
    """Where to connect to, and from where: a local address, a device (Linux), both or neither."""

    address: Address
    port: int
    source: Optional[Address] = None
    device: Optional[str] = None


class Network:
    """The real network. The simulator puts another in its place."""

    def begin(self, attempt: Attempt) -> socket.socket:
        """A non-blocking socket with its connect under way. Raises ``OSError`` when it fails at once."""
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            sock.setblocking(False)
            self._bind(sock, attempt)
            code = sock.connect_ex((attempt.address, attempt.port))
            if code and code not in _IN_PROGRESS:
                raise OSError(code, os.strerror(code))
        except BaseException:
            sock.close()
            raise
        return sock

    @staticmethod
    def _bind(sock: socket.socket, attempt: Attempt) -> None:
        try:
            if attempt.device:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, attempt.device.encode() + b"\0")
            if attempt.source:
                sock.bind((attempt.source, 0))
        except OSError as error:  # says nothing of the network: it must not look like a refused connect
            raise BindError(f"cannot be bound to it: {error_text(error)}") from None

    @staticmethod
    def local_address(sock: socket.socket) -> Optional[Address]:
        """The source address that the system chose; None where it did not say."""
        try:
            local = sock.getsockname()[0]
        except OSError:
            return None
        return None if local == "0.0.0.0" else Address(local)


class BindError(OSError):
    """The socket could not be bound to the address or device asked for."""


def connect(
    network: Network, attempts: Sequence[Attempt], timeout: float
) -> List[Tuple[Connection, Optional[socket.socket]]]:
    """Connects all attempts side by side; each result in the order of the attempts.

    :param timeout: seconds for all of them together
    :return: the fact, and the open socket where the outcome is ``answered`` (the caller closes it)
    """
    began = time.monotonic()
    results: List[Optional[Tuple[Connection, Optional[socket.socket]]]] = [None] * len(attempts)

    def end(number: int, sock: Optional[socket.socket], outcome: Outcome, error: Optional[str] = None) -> None:
        attempt = attempts[number]
        results[number] = (
            Connection(
                attempt.address,
                attempt.port,
                outcome,
                attempt.source,
                attempt.device,
                network.local_address(sock) if sock else attempt.source,
                error,
                round(time.monotonic() - began, 4),
            ),
            sock if outcome is Outcome.ANSWERED else None,
        )
        if sock and outcome is not Outcome.ANSWERED:
            sock.close()

    with selectors.DefaultSelector() as waiting:
        for number, attempt in enumerate(attempts):
            try:
                waiting.register(network.begin(attempt), selectors.EVENT_WRITE, number)
            except OSError as error:
                end(number, None, outcome_of(error), error_text(error))
        while waiting.get_map() and time.monotonic() - began < timeout:
            for key, _ in waiting.select(max(0.0, timeout - (time.monotonic() - began))):
                sock: socket.socket = key.fileobj  # type: ignore[assignment]
                waiting.unregister(sock)
                code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                error = OSError(code, os.strerror(code))
                end(key.data, sock, outcome_of(error) if code else Outcome.ANSWERED, error_text(error) if code else None)
        for key in list(waiting.get_map().values()):
            end(key.data, key.fileobj, Outcome.TIMED_OUT)  # type: ignore[arg-type]
    return [result for result in results if result]
