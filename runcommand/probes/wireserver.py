"""Asks the WireServer (168.63.129.16).

It asks for the protocol versions on port 80, and whether port 32526 connects.

https://learn.microsoft.com/azure/virtual-network/what-is-ip-address-168-63-129-16
"""

from __future__ import annotations

import re
import socket
import time
from typing import Callable, List, Optional

from ..facts import HOST_PLUGIN_PORT, Body, Connection, Exchange, Outcome, WireServer
from ..network import CONNECT_S
from . import http
from .imds import read_body
from .tcp import Attempt, Connector, Endpoint, connect

VERSIONS = "/?comp=versions"
VERSION = re.compile(r"<Version>(\d{4}-\d\d-\d\d)</Version>", re.ASCII)


def ask(
    connector: Connector, endpoint: Endpoint, remaining: Callable[[float], float]
) -> WireServer:
    """Both ports side by side. Raises ``OSError`` where descriptors or memory are short.

    Pointed elsewhere (tests, simulator), both are the endpoint's own port.
    """
    plugin_port = endpoint.port
    if endpoint.true_address:
        plugin_port = HOST_PLUGIN_PORT
    attempts = [Attempt(endpoint.address, endpoint.port), Attempt(endpoint.address, plugin_port)]
    (web, sock), (plugin, plugin_sock) = connect(
        connector, attempts, remaining(CONNECT_S), needed=len(attempts)
    )
    if plugin_sock:
        plugin_sock.close()
    if sock is None:
        return WireServer(Exchange(VERSIONS, web, web.outcome, elapsed_s=web.elapsed_s), plugin)
    return WireServer(ask_over(sock, web, endpoint, remaining(http.EXCHANGE_S)), plugin)


def _body(answer: http.Answer, is_versions: bool) -> Optional[Body]:
    if answer.outcome is not Outcome.HTTP:
        return None
    if is_versions:
        return Body.TEXT
    return read_body(answer, (answer.header("content-type") or "").lower())[0]


def ask_over(
    sock: socket.socket,
    connection: Connection,
    endpoint: Endpoint,
    seconds: float,
    to_proxy: bool = False,
) -> Exchange:
    """One request for the versions over a connection that is open already, in at most ``seconds``.

    :param to_proxy: the connection leads to a proxy, which is given the whole address
    """
    began = time.monotonic()
    target = VERSIONS
    if to_proxy:
        target = f"http://{endpoint.address}{VERSIONS}"
    answer = http.get(sock, endpoint.address, target, {"User-Agent": "imds-check"}, seconds)
    elapsed = round(connection.elapsed_s + time.monotonic() - began, 4)
    return exchange_of(connection, answer, elapsed)


def exchange_of(connection: Connection, answer: http.Answer, elapsed_s: float) -> Exchange:
    """The fact of an answer."""
    beginning = answer.body[:4096].decode("latin-1")
    is_versions = answer.status == 200 and "<Versions" in beginning
    versions: List[str] = []
    if is_versions:
        versions = VERSION.findall(beginning)
    return Exchange(
        VERSIONS,
        connection,
        answer.outcome,
        answer.status,
        date=http.http_date(answer.header("date")),
        read_at=answer.read_at,
        body=_body(answer, is_versions),
        body_bytes=len(answer.body),
        versions=tuple(versions),
        elapsed_s=elapsed_s,
    )
