"""One bounded HTTP GET.

It uses no proxy, follows no redirect, reads at most 1 MiB of body, and its whole time is bounded.
"""

from __future__ import annotations

import email.utils
import http.client
import io
import socket
import time
from datetime import datetime, timezone
from typing import Any, Dict, Optional

from ..facts import Instant, Outcome, instant
from ..frozen import dataclass
from ..network import outcome_of

BODY_LIMIT = 1024 * 1024
EXCHANGE_S = 5.0  # one request and its whole answer, after the connect
CHUNK = 65536


@dataclass(frozen=True)
class Answer:
    """What came back.

    ``head`` has lower-case names; ``complete`` says whether the whole body came within the limits.
    """

    outcome: Outcome
    error: Optional[str] = None
    status: Optional[int] = None
    head: Optional[Dict[str, str]] = None
    read_at: Optional[Instant] = None
    body: bytes = b""
    complete: bool = False
    cut: bool = False  # the other side ended the connection before the announced end

    def header(self, name: str) -> Optional[str]:
        return (self.head or {}).get(name)


def get(
    sock: socket.socket, host: str, path: str, headers: Dict[str, str], seconds: float
) -> Answer:
    """Sends one GET over a connected socket, reads the answer and closes the socket.

    :param host: for the Host header
    :param seconds: for everything, from the first byte sent to the last byte read
    """
    stream = _Bounded(sock, seconds)
    try:
        lines = [
            f"GET {path} HTTP/1.1",
            f"Host: {host}",
            *(f"{name}: {value}" for name, value in headers.items()),
        ]
        stream.send(
            "\r\n".join([*lines, "Accept-Encoding: identity", "Connection: close", "", ""]).encode(
                "ascii"
            )
        )
        return read(stream)
    except (OSError, http.client.HTTPException, ValueError) as failure:
        return _failed(stream, failure)
    finally:
        sock.close()


def read(stream: Any) -> Answer:
    """The answer in a stream that ``makefile`` opens. Raises ``OSError``, ``ValueError`` and
    ``HTTPException`` where it has no whole head.
    """
    response = http.client.HTTPResponse(stream, method="GET")
    try:
        response.begin()
        read_at = instant(datetime.now(timezone.utc))
        head = {name.lower(): value for name, value in response.getheaders()}
        body = bytearray()
        complete = cut = False
        try:
            while len(body) <= BODY_LIMIT:
                piece = response.read(CHUNK)
                body += piece
                if not piece:
                    complete = True
                    break
            cut = complete and bool(response.length)
        except (OSError, http.client.HTTPException, ValueError) as failure:
            cut = not isinstance(failure, socket.timeout)
            body += getattr(failure, "partial", b"")
        return Answer(
            Outcome.HTTP,
            None,
            response.status,
            head,
            read_at,
            bytes(body[:BODY_LIMIT]),
            complete and not cut,
            cut,
        )
    finally:
        response.close()


def _failed(stream: _Bounded, failure: Exception) -> Answer:
    """No whole HTTP head came: what that is called depends on whether anything came at all."""
    if stream.received:
        return Answer(
            Outcome.GARBLED, f"no HTTP head in {stream.received} bytes ({type(failure).__name__})"
        )
    if isinstance(failure, http.client.RemoteDisconnected):
        return Answer(Outcome.RESET, "the connection was closed without an answer")
    if not isinstance(failure, OSError):
        return Answer(Outcome.FAILED, str(failure))
    outcome = outcome_of(failure)
    if outcome is Outcome.TIMED_OUT:
        return Answer(outcome, "no answer to the request")
    return Answer(outcome, str(failure))


class _Bounded(io.RawIOBase):
    """A socket as a stream whose reads and writes all share one end of time."""

    def __init__(self, sock: socket.socket, seconds: float) -> None:
        self._sock = sock
        self._end = time.monotonic() + seconds
        self.received = 0

    def _arm(self) -> None:
        left = self._end - time.monotonic()
        if left <= 0:
            raise socket.timeout("timed out")
        self._sock.settimeout(left)

    def send(self, data: bytes) -> None:
        self._arm()
        self._sock.sendall(data)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:  # type: ignore[no-untyped-def]
        self._arm()
        count = self._sock.recv_into(buffer)
        self.received += count
        return count

    def makefile(self, mode: str) -> io.BufferedReader:
        """What ``HTTPResponse`` asks its socket for."""
        return io.BufferedReader(self, CHUNK)


def http_date(text: Optional[str]) -> Optional[Instant]:
    """A Date header (RFC 9110, 5.6.7) as an instant; None when it is none."""
    try:
        when = email.utils.parsedate_to_datetime(text or "")
        return instant(when.replace(tzinfo=when.tzinfo or timezone.utc))
    except (TypeError, ValueError, IndexError, OverflowError):
        return None
