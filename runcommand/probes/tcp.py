"""TCP connects, many side by side in one thread, each with a named outcome."""

from __future__ import annotations

import errno
import os
import selectors
import socket
import sys
import time
from typing import Dict, List, Optional, Sequence, Tuple

from ..collect.errors import is_shortage
from ..facts import Address, Connection, Outcome
from ..frozen import dataclass
from ..network import error_text, outcome_of

_IN_PROGRESS = {
    getattr(errno, name)
    for name in ("EINPROGRESS", "EWOULDBLOCK", "WSAEWOULDBLOCK")
    if hasattr(errno, name)
}


@dataclass(frozen=True)
class Endpoint:
    """Where a service of the platform is asked.

    ``true_address`` is False when the probes are pointed elsewhere.
    """

    address: Address
    port: int = 80
    true_address: bool = True


@dataclass(frozen=True)
class Attempt:
    """Where to connect to, and from where: a local address, a device (Linux), both or neither."""

    address: Address
    port: int
    source: Optional[Address] = None
    device: Optional[str] = None


class Connector:
    """Makes the sockets, on the real network. The simulator puts another in its place."""

    def begin(self, attempt: Attempt) -> socket.socket:
        """A non-blocking socket with its connect under way.

        Raises ``OSError`` when it fails at once.
        """
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
            if attempt.device and sys.platform == "linux":
                sock.setsockopt(
                    socket.SOL_SOCKET, socket.SO_BINDTODEVICE, os.fsencode(attempt.device) + b"\0"
                )
            if attempt.source:
                sock.bind((attempt.source, 0))
        except OSError as error:
            # says nothing of the network: it must not look like a refused connect
            raise BindError(f"cannot be bound to it: {error_text(error)}") from None

    def local_address(self, sock: socket.socket) -> Optional[Address]:
        """The source address that the system chose; None where it did not say."""
        try:
            local = sock.getsockname()[0]
        except OSError:
            return None
        if local == "0.0.0.0":
            return None
        return Address(local)

    def resolve(self, host: str) -> List[Address]:
        """The IPv4 addresses of a host name, or an IPv4 address itself.

        Raises ``OSError``. It may take as long as it likes.
        """
        try:
            found = socket.getaddrinfo(host, None, socket.AF_INET, socket.SOCK_STREAM)
        except UnicodeError:  # a name that no resolver takes
            raise OSError("no host name") from None
        return [Address(str(address[0])) for *_, address in found]


class BindError(OSError):
    """The socket could not be bound to the address or device asked for."""


def connect(
    connector: Connector, attempts: Sequence[Attempt], timeout: float, needed: int = 0
) -> List[Tuple[Connection, Optional[socket.socket]]]:
    """Connects all attempts side by side; each result in the order of the attempts.

    Raises ``OSError`` where this process has no file descriptor or memory left to wait with.

    :param timeout: seconds for all of them together
    :param needed: the first so many attempts are what the caller cannot do without: where one of
        them cannot begin for want of descriptors or memory, that is raised too. Of the others it
        is their outcome.
    :return: the fact, and the open socket where the outcome is ``answered`` (the caller closes it)
    """
    began = time.monotonic()
    results: Dict[int, Tuple[Connection, Optional[socket.socket]]] = {}

    def end(
        number: int, sock: Optional[socket.socket], outcome: Outcome, error: Optional[str] = None
    ) -> None:
        attempt = attempts[number]
        local_address = attempt.source
        if sock:
            local_address = connector.local_address(sock)
        connection = Connection(
            attempt.address,
            attempt.port,
            outcome,
            attempt.source,
            attempt.device,
            local_address,
            error,
            round(time.monotonic() - began, 4),
            round(timeout, 4),
        )
        if sock and outcome is not Outcome.ANSWERED:
            sock.close()
            sock = None
        results[number] = (connection, sock)

    with selectors.DefaultSelector() as waiting:
        for number, attempt in enumerate(attempts):
            try:
                waiting.register(connector.begin(attempt), selectors.EVENT_WRITE, number)
            except OSError as error:
                if number < needed and is_shortage(error):
                    _close(waiting)
                    raise
                end(number, None, outcome_of(error), error_text(error))
            except ValueError as error:  # a name that no call takes
                end(number, None, Outcome.FAILED, str(error))
        while waiting.get_map() and time.monotonic() - began < timeout:
            for key, _ in waiting.select(max(0.0, timeout - (time.monotonic() - began))):
                sock: socket.socket = key.fileobj  # type: ignore[assignment]
                waiting.unregister(sock)
                code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                if code == 0:
                    end(key.data, sock, Outcome.ANSWERED)
                    continue
                failure = OSError(code, os.strerror(code))
                end(key.data, sock, outcome_of(failure), error_text(failure))
        for key in list(waiting.get_map().values()):
            end(key.data, key.fileobj, Outcome.TIMED_OUT)  # type: ignore[arg-type]
    return [results[number] for number in range(len(attempts))]


def _close(waiting: selectors.BaseSelector) -> None:
    """Closes the sockets that are waited for."""
    for key in waiting.get_map().values():
        key.fileobj.close()  # type: ignore[union-attr]
