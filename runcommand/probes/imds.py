"""Asks IMDS: instance metadata, attested document, managed identity. Never for a token.

The rules of the service:
https://learn.microsoft.com/azure/virtual-machines/instance-metadata-service
"""

from __future__ import annotations

import re
import secrets
import threading
import time
from collections import deque
from dataclasses import replace
from typing import Any, Callable, Deque, Dict, Iterator, List, Optional, Tuple

from ..attest import document as attested_data
from ..facts import (
    UUID,
    Address,
    Body,
    Cidr,
    Connection,
    Exchange,
    Imds,
    ImdsInterface,
    Instance,
    Outcome,
    dict_of,
    if_valid,
    is_transient,
    list_of,
    network,
    parse_address,
    parse_cidr,
    parse_json,
    parse_mac,
    refuses_version,
)
from ..facts.urls import beginning
from ..frozen import dataclass
from ..network import CONNECT_S
from . import http
from .tcp import Attempt, Connector, Endpoint, connect

# The documented versions of the API, newest first.
API_VERSIONS = (
    "2025-04-07", "2024-07-17", "2024-03-15", "2023-11-15", "2023-07-01", "2021-12-13",
    "2021-11-15", "2021-11-01", "2021-10-01", "2021-08-01", "2021-05-01", "2021-03-01",
    "2021-02-01", "2021-01-01", "2020-12-01", "2020-10-01", "2020-09-01", "2020-07-15",
    "2020-06-01", "2019-11-01", "2019-08-15", "2019-08-01", "2019-06-04", "2019-06-01",
    "2019-04-30", "2019-03-11", "2019-02-01", "2018-10-01", "2018-04-02", "2018-02-01",
    "2017-12-01", "2017-10-01", "2017-08-01", "2017-04-02", "2017-03-01",
)  # fmt: skip
RETRY_DELAYS_S = (1.0, 2.0, 4.0)  # after 410, 429 and 5xx
HEADERS = {"Metadata": "true", "User-Agent": "imds-check"}
INSTANCE = "/metadata/instance"
ATTESTED = "/metadata/attested/document"
IDENTITY = "/metadata/identity/info"
VERSIONS = "/metadata/versions"
TEXT_LIMIT = 200  # characters kept of any text that an answer gives


class Pace:
    """Keeps the requests of a run under IMDS's rate limit.

    The limit is 5 a second for the whole VM, and others use it too.
    """

    def __init__(self, per_second: int = 3, in_all: int = 12, window_s: float = 1.2) -> None:
        """``window_s`` is longer than a second: between the right to send and the host lies a
        connect.
        """
        self._per_second, self._in_all, self._window_s = per_second, in_all, window_s
        self._sent: Deque[float] = deque(maxlen=per_second)
        self._lock = threading.Lock()
        self.requests = 0

    def take(self, at_most_s: float) -> bool:
        """Waits until one request may be sent; False when none may, in time or at all."""
        with self._lock:
            now = time.monotonic()
            when = now
            if len(self._sent) == self._per_second:
                when = max(now, self._sent[0] + self._window_s)
            if self.requests >= self._in_all or when - now > at_most_s:
                return False
            self._sent.append(when)
            self.requests += 1
        time.sleep(when - now)
        return True


@dataclass(frozen=True)
class Asking:
    """What one request to IMDS needs besides its path."""

    connector: Connector
    endpoint: Endpoint
    pace: Pace
    remaining: Callable[[float], float]  # Board.remaining

    def get(
        self, path: str, source: Optional[Address] = None, device: Optional[str] = None
    ) -> Tuple[Exchange, Optional[Any]]:
        """One GET, from its connect on: the fact, and the parsed body where it is JSON.

        Raises ``OSError`` where descriptors or memory are short.
        """
        attempt = Attempt(self.endpoint.address, self.endpoint.port, source, device)
        allowed = self.remaining(CONNECT_S)
        ((connection, sock),) = connect(self.connector, [attempt], allowed, needed=1)
        if sock is None:
            return Exchange(
                path, connection, connection.outcome, elapsed_s=connection.elapsed_s
            ), None
        return self.get_over(sock, connection, path)

    def get_over(
        self,
        sock: Any,
        connection: Connection,
        path: str,
        seconds: float = http.EXCHANGE_S,
        to_proxy: bool = False,
    ) -> Tuple[Exchange, Optional[Any]]:
        """The same over a connection that is open already, in at most ``seconds``.

        :param to_proxy: the connection leads to a proxy, which is given the whole address (RFC
        9112, 3.2.2)
        """
        if not self.pace.take(self.remaining(float("inf"))):
            sock.close()
            failed = replace(
                connection, error="no request left under the rate limit or in the time"
            )
            return Exchange(path, failed, Outcome.FAILED), None
        began, allowed = time.monotonic(), self.remaining(seconds)
        target = path
        if to_proxy:
            target = f"http://{self.endpoint.address}{path}"
        answer = http.get(sock, self.endpoint.address, target, HEADERS, allowed)
        exchange, document = exchange_of(path, connection, answer)
        elapsed = connection.elapsed_s + time.monotonic() - began
        return replace(exchange, elapsed_s=round(elapsed, 4), allowed_s=round(allowed, 4)), document


def ask(
    asking: Asking,
    so_far: Callable[[Imds], None],
    certificates: Callable[[Tuple[bytes, ...]], None] = lambda found: None,
) -> Imds:
    """The plain requests of a run.

    :param so_far: receives what is known after each request, from the very first one on
    :param certificates: receives those in the attested document (in DER, the signer's first), where
    there is one
    """
    version = API_VERSIONS[0]
    attempts: List[Exchange] = []
    versions: Optional[Exchange] = None

    def known() -> Imds:
        return Imds(tuple(attempts), version, versions, requests=asking.pace.requests)

    while True:
        for exchange, _ in _tries(asking, f"{INSTANCE}?api-version={version}"):
            attempts.append(exchange)
            so_far(known())
        if not refuses_version(exchange) or versions:
            break
        offered = exchange.versions
        if not set(offered) & set(API_VERSIONS):
            versions, _ = asking.get(VERSIONS)
            offered = versions.versions
        common = [known for known in API_VERSIONS if known in offered and known != version]
        if not common or any(f"={common[0]}" in attempt.path for attempt in attempts):
            break
        version = common[0]
    if not exchange.instance:
        return known()
    nonce = "".join(secrets.choice("0123456789") for _ in range(10))
    *_, (attested, answered) = _tries(asking, f"{ATTESTED}?api-version={version}&nonce={nonce}")
    document = None
    if attested.status == 200 and answered is not None and is_attested(answered):
        read = attested_data.read(answered["encoding"], answered["signature"], nonce)
        document = read.document
        certificates(read.certificates)
    identity, answer = asking.get(f"{IDENTITY}?api-version={version}")
    return replace(
        known(),
        attested=attested,
        attested_document=document is not None,
        document=document,
        identity=identity,
        identity_present=is_identity(identity, answer),
    )


def _tries(asking: Asking, path: str) -> Iterator[Tuple[Exchange, Optional[Any]]]:
    """One request, and again as long as the answer is one to retry, inside the deadline."""
    for delay in (*RETRY_DELAYS_S, None):
        exchange, document = asking.get(path)
        yield exchange, document
        if (
            delay is None
            or not is_transient(exchange)
            or asking.remaining(delay + 1.0) < delay + 1.0
        ):
            return
        time.sleep(delay)


def exchange_of(
    path: str, connection: Connection, answer: http.Answer
) -> Tuple[Exchange, Optional[Any]]:
    """The fact of an answer, and the parsed body where it is JSON."""
    if answer.error:
        connection = replace(connection, error=answer.error)
    exchange = Exchange(
        path,
        connection,
        answer.outcome,
        answer.status,
        _text(answer.header("server")),
        _text(
            answer.header("via") or answer.header("x-squid-error") or answer.header("proxy-agent")
        ),
        _text(answer.header("content-type")),
        _text(answer.header("location")),
        http.http_date(answer.header("date")),
        answer.read_at,
        body_bytes=len(answer.body),
    )
    if answer.outcome is not Outcome.HTTP:
        return exchange, None
    body, document = read_body(answer, (exchange.content_type or "").lower())
    exchange = replace(exchange, body=body)
    if body is Body.HTML:
        return replace(exchange, says=_title(answer.body)), None
    if not isinstance(document, dict):
        return exchange, document
    if path.startswith(INSTANCE) and answer.status == 200:
        try:
            return replace(exchange, instance=read_instance(document)), document
        except NotImds as reason:
            return replace(exchange, says=str(reason)), document
    error = document.get("error")
    if isinstance(error, dict):
        error = error.get("message")
    says = document.get("error_description") or error
    if not isinstance(says, str):
        says = None
    named = list_of(str, document.get("newest-versions") or document.get("apiVersions"))
    dated = [version for version in named if re.fullmatch(r"\d{4}-\d\d-\d\d", version, re.ASCII)]
    return replace(exchange, says=_text(says), versions=tuple(dated[:100])), document


def read_body(answer: http.Answer, content_type: str) -> Tuple[Body, Optional[Any]]:
    """What a body turned out to be, and the document where it is JSON.

    :param content_type: in lower case
    """
    start = answer.body[:512].lstrip().lower()
    if answer.cut:
        return Body.CUT, None
    if not answer.complete:
        return Body.ENDLESS, None
    if not start:
        return Body.EMPTY, None
    if start.startswith(b"<") or "html" in content_type:
        return Body.HTML, None
    if start[:1] in b"{[" or "json" in content_type:
        try:
            return Body.JSON, parse_json(answer.body.decode("utf-8"))
        except ValueError:
            return Body.BROKEN, None
    return Body.TEXT, None


def _title(body: bytes) -> Optional[str]:
    match = re.search(rb"<title[^>]{0,100}>([^<]{1,400})", body[:20000], re.IGNORECASE)
    if not match:
        return None
    return _text(" ".join(match.group(1).decode("utf-8", "replace").split()))


def _text(value: Optional[str]) -> Optional[str]:
    """A text of the answer, without secrets."""
    if not value:
        return None
    from ..facts.confidential import without_secrets  # here: a healthy run needs none of it

    return without_secrets(beginning(value, 4096))[:TEXT_LIMIT]


def is_attested(document: Any) -> bool:
    return isinstance(document, dict) and all(
        isinstance(document.get(key), str) and document[key] for key in ("encoding", "signature")
    )


def is_identity(exchange: Exchange, answer: Any) -> Optional[bool]:
    """IMDS names the tenant where there is an identity, and answers 400 or 404 elsewhere."""
    if not isinstance(answer, dict):
        return None
    if exchange.status == 200:
        return isinstance(answer.get("tenantId"), str)
    if exchange.status in (400, 404) and not exchange.versions:
        return False
    return None


# --- /metadata/instance ---


class NotImds(ValueError):
    """The document is JSON, and not IMDS's; the message says what gives it away."""


_COMPUTE = {
    "vm_id": "vmId",
    "az_environment": "azEnvironment",
    "location": "location",
    "name": "name",
    "offer": "offer",
    "sku": "sku",
    "publisher": "publisher",
    "version": "version",
    "license_type": "licenseType",
    "is_host_compatibility_layer_vm": "isHostCompatibilityLayerVm",
    "os_type": "osType",
    "vm_size": "vmSize",
    "zone": "zone",
    "subscription_id": "subscriptionId",
    "resource_group_name": "resourceGroupName",
    "resource_id": "resourceId",
}


def read_instance(document: Dict[str, Any]) -> Instance:
    """The metadata of ``/metadata/instance`` that a report may hold. Raises ``NotImds``."""
    compute = document.get("compute")
    if not isinstance(compute, dict):
        raise NotImds("the JSON has no compute object")
    values = {field: _value(compute, key) for field, key in _COMPUTE.items()}
    if not UUID.fullmatch(values["vm_id"]):
        raise NotImds("the JSON has no vmId that is a UUID")
    return Instance(interfaces=_interfaces(document.get("network")), **values)


def _value(compute: Dict[str, Any], key: str) -> str:
    value = compute.get(key)
    if isinstance(value, bool):
        return str(value).lower()
    if not isinstance(value, str):
        return ""
    if any(ord(character) < 32 or 127 <= ord(character) < 160 for character in value):
        raise NotImds(f"{key} holds control characters")
    return value[:512]


def _interfaces(net: Any) -> Tuple[ImdsInterface, ...]:
    return tuple(_interface(item) for item in list_of(dict, dict_of(net).get("interface"))[:256])


def _interface(item: Dict[str, Any]) -> ImdsInterface:
    ipv4 = dict_of(item.get("ipv4"))
    addresses = [
        if_valid(parse_address, entry.get("privateIpAddress"))
        for entry in list_of(dict, ipv4.get("ipAddress"))[:512]
    ]
    subnets = [
        if_valid(_subnet, f"{entry.get('address')}/{entry.get('prefix')}")
        for entry in list_of(dict, ipv4.get("subnet"))
    ]
    return ImdsInterface(
        if_valid(parse_mac, item.get("macAddress")),
        tuple(address for address in addresses if address),
        next((subnet for subnet in subnets if subnet), None),
    )


def _subnet(text: str) -> Cidr:
    return Cidr(str(network(parse_cidr(text))))
