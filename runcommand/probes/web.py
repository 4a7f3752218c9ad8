"""One bounded GET of an http:// address, directly or through a proxy.

Never of the platform's own addresses.
"""

from __future__ import annotations

import re
from typing import List, Optional
from urllib.parse import SplitResult, urlsplit

from ..facts import (
    LINK_LOCAL,
    LOOPBACK,
    WIRESERVER_ADDRESS,
    Address,
    Cidr,
    Connection,
    Outcome,
    contains,
    if_valid,
    parse_address,
)
from ..frozen import dataclass
from ..network import CONNECT_S, error_text
from . import http
from .tcp import Attempt, Connector, connect

HEADERS = {"User-Agent": "imds-check"}
HOST_NAME = re.compile(r"([A-Za-z0-9-]{1,63}\.)+[A-Za-z][A-Za-z0-9-]{0,62}(:80)?")
THIS_HOST = Cidr("0.0.0.0/8")  # RFC 1122, 3.2.1.3
UNASKABLE = re.compile(r"[^!-~]")  # of an address: what is not plain ASCII


@dataclass(frozen=True)
class Fetched:
    """How it ended. Without an answer, ``connection`` and ``error`` tell how far it came."""

    outcome: Outcome
    connection: Optional[Connection] = None
    answer: Optional[http.Answer] = None
    error: Optional[str] = None
    is_name_unknown: bool = False

    @property
    def body(self) -> Optional[bytes]:
        """What came, where it is whole and the status is 200."""
        answer = self.answer
        if answer and answer.status == 200 and answer.complete:
            return answer.body
        return None

    @property
    def status(self) -> Optional[int]:
        """The HTTP status of the answer."""
        if self.answer is None:
            return None
        return self.answer.status


def may_be_asked(host: str, is_true: bool) -> bool:
    """Whether a host may be asked at all.

    Where the probes are pointed elsewhere (tests), only loopback may be.
    """
    address = if_valid(parse_address, host)
    return is_true or host == "localhost" or (address is not None and contains(LOOPBACK, address))


def names_a_host(url: str) -> bool:
    """Whether an address is http on port 80 of a host with a name.

    A number in any notation and a name without a dot do not count.
    """
    try:
        parts = urlsplit(url)
        return (
            parts.scheme.lower() == "http"
            and parts.port in (None, 80)
            and bool(HOST_NAME.fullmatch(parts.netloc))
        )
    except ValueError:
        return False


def get(
    connector: Connector,
    url: str,
    seconds: float,
    is_true: bool,
    proxy: Optional[str] = None,
    only_names: bool = False,
) -> Fetched:
    """One GET; whatever the address is, and whatever comes back, it is an outcome.

    :param seconds: for request and answer, after the connect; resolving a name may take as long as
        it likes
    :param is_true: the probes ask the platform's true addresses
    :param proxy: ``host:port`` of the proxy to ask through
    :param only_names: the address comes from strangers: only hosts with names, elsewhere than on
    this machine
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port or 80
    except ValueError:
        return Fetched(Outcome.FAILED, error="its address cannot be read")
    if parts.scheme.lower() != "http" or not host:
        return Fetched(Outcome.FAILED, error="not fetched: only http addresses are")
    if UNASKABLE.search(url) or parts.netloc.endswith(":"):
        return Fetched(Outcome.FAILED, error="its address is none that can be asked for")
    if only_names and not names_a_host(url):
        return Fetched(Outcome.FAILED, error="not fetched: it names no host by name on port 80")
    asked = host
    if proxy:
        asked = proxy.rpartition(":")[0]
    if not may_be_asked(asked, is_true):
        return Fetched(Outcome.FAILED, error="not fetched: the probes are pointed elsewhere")
    if is_platform(host):  # also not through a proxy
        return Fetched(Outcome.FAILED, error="not fetched: it names an address of the platform")
    try:
        addresses: List[Address] = connector.resolve(asked)
    except OSError as error:
        return Fetched(
            Outcome.FAILED, error=f"the name {asked}: {error_text(error)}", is_name_unknown=True
        )
    is_closed = is_own if only_names else is_platform
    if proxy:
        port = int(proxy.rpartition(":")[2])
    elif any(map(is_closed, addresses)):
        return Fetched(
            Outcome.FAILED, error="not fetched: its name leads to the platform or to this machine"
        )
    return _over(connector, Attempt(addresses[0], port), parts, seconds, bool(proxy))


def is_platform(host: str) -> bool:
    """Whether a host is an address that must not be asked for a file.

    Those are IMDS, the WireServer and other link-local addresses.
    """
    address = if_valid(parse_address, host)
    return address is not None and (address == WIRESERVER_ADDRESS or contains(LINK_LOCAL, address))


def is_own(address: str) -> bool:
    """Whether an address is the platform's or this machine's own."""
    return is_platform(address) or contains(LOOPBACK, address) or contains(THIS_HOST, address)


def _over(
    connector: Connector, attempt: Attempt, parts: SplitResult, seconds: float, to_proxy: bool
) -> Fetched:
    ((connection, sock),) = connect(connector, [attempt], CONNECT_S)
    if sock is None:
        return Fetched(connection.outcome, connection, error=connection.error)
    target = parts.path or "/"
    if parts.query:
        target += f"?{parts.query}"
    host = parts.netloc.rpartition("@")[2]
    if to_proxy:
        target = f"http://{host}{target}"
    answer = http.get(sock, host, target, HEADERS, seconds)
    return Fetched(answer.outcome, connection, answer, answer.error)
