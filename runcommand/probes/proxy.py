"""Proves what a proxy does by sending the same requests through it.

PAC files are fetched and searched, never evaluated.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Callable, Dict, List, Optional, Sequence, Tuple

from ..collect import Board, NoFact, side_by_side
from ..collect.board import PAC_URLS
from ..facts import (
    IMDS_ADDRESS,
    PLATFORM_ADDRESSES,
    WIRESERVER_ADDRESS,
    Exchange,
    Outcome,
    PacFile,
    Proxy,
    ProxyTrial,
    Scope,
)
from ..facts.urls import without_query
from ..network import CONNECT_S, error_text
from ..proxy.bypass import through
from . import http, web, wireserver as wire_protocol
from .imds import API_VERSIONS, INSTANCE, Asking
from .tcp import Attempt, Connector, Endpoint, connect

SETTINGS_S = 6.0  # how long the settings are waited for
PROOF_S = 4.8  # for everything: the name of the proxy, the connect, request and answer
EXCHANGE_S = 2.0
PROXIES = 4  # that are tried, the machine's before the users'
PACS = 4
FILE_URL = re.compile(r"file:/{0,3}([A-Za-z]:[\\/][^?#]*)", re.IGNORECASE)
MENTIONS = (IMDS_ADDRESS, WIRESERVER_ADDRESS, "169.254.")
URL_LIMIT = 300  # characters


@dataclass
class _Job:
    """One request through one proxy, in its own thread.

    The thread is needed because name resolution cannot be bounded otherwise.
    """

    server: str
    address: str  # of the platform's service that is asked for
    stage: str = "not begun"
    exchange: Optional[Exchange] = None
    error: Optional[str] = None
    is_nowhere: bool = False


def _settings(board: Board) -> Sequence[Proxy]:
    """The proxy settings, which the requests wait for. Raises ``NoFact``."""
    proxies: Optional[Sequence[Proxy]] = board.wait("proxies", SETTINGS_S)
    if proxies is None:
        raise NoFact("the proxy settings are not known")
    return proxies


def _side_by_side(works: Sequence[Callable[[], None]], board: Board) -> List[Optional[str]]:
    """Runs them until the common end; for each, why it has not finished, or None."""
    return side_by_side.run(
        works, min(board.started + PROOF_S - time.monotonic(), board.remaining())
    )


def wanted_of(proxies: Sequence[Proxy]) -> Dict[str, List[str]]:
    """Each proxy that some client uses for the platform, the machine's first, and the addresses
    that are asked for through it.
    """
    wanted: Dict[str, List[str]] = {}
    for proxy in sorted(proxies, key=lambda proxy: proxy.scope is Scope.USER):
        for address in PLATFORM_ADDRESSES:
            if through(proxy, address) and address not in wanted.setdefault(str(proxy.server), []):
                wanted[str(proxy.server)].append(address)
    return {server: addresses for server, addresses in wanted.items() if addresses}


def ask(asking: Asking, wire: Endpoint, board: Board) -> Tuple[ProxyTrial, ...]:
    """Requests to IMDS and the WireServer through every proxy that a client uses for them.

    All run side by side.

    :param wire: the WireServer
    """
    wanted = wanted_of(_settings(board))
    servers = list(wanted)
    jobs: Dict[str, List[_Job]] = {
        server: [_Job(server, a) for a in wanted[server]] for server in servers[:PROXIES]
    }
    all_jobs = [job for own in jobs.values() for job in own]
    reasons = _side_by_side([partial(_try, job, asking, wire, board) for job in all_jobs], board)
    for job, reason in zip(all_jobs, reasons):
        if reason:
            job.error = f"{reason} ({job.stage})"
    found = []
    for server in servers:
        if server not in jobs:
            found.append(ProxyTrial(server, error=f"not tried: {PROXIES} others were"))
            continue
        exchanges = {job.address: job.exchange for job in jobs[server]}
        imds, wireserver = map(exchanges.get, PLATFORM_ADDRESSES)
        error = next((job.error for job in jobs[server] if job.error), None)
        is_nowhere = any(job.is_nowhere for job in jobs[server])
        found.append(ProxyTrial(server, imds, wireserver, error, is_nowhere))
    return tuple(found)


def _try(job: _Job, asking: Asking, wire: Endpoint, board: Board) -> None:
    try:
        job.exchange = _through(job, asking, wire, board)
    except OSError as error:
        job.error = f"{job.stage}: {error_text(error)}"
    except Exception as error:  # whatever it is, it costs this trial
        job.error = f"{job.stage}: {type(error).__name__}: {error}"


def _through(job: _Job, asking: Asking, wire: Endpoint, board: Board) -> Optional[Exchange]:
    if "://" in job.server:
        job.error = f"not tried: {job.server.partition(':')[0]} is not asked in plain HTTP"
        return None
    host, _, port = job.server.rpartition(":")
    if not web.may_be_asked(host, asking.endpoint.true_address):
        job.error = "not tried: the probes are pointed elsewhere"
        return None
    path = wire_protocol.VERSIONS
    if job.address == IMDS_ADDRESS:
        path = f"{INSTANCE}?api-version={API_VERSIONS[0]}"
    job.stage = f"the name {host}"
    try:
        addresses = asking.connector.resolve(host)
    except OSError:
        job.is_nowhere = True
        raise
    job.stage = f"connecting to {addresses[0]}"
    attempt = Attempt(addresses[0], int(port))
    allowed = board.remaining(CONNECT_S)
    ((connection, sock),) = connect(asking.connector, [attempt], allowed, needed=1)
    if sock is None:
        return Exchange(path, connection, connection.outcome, elapsed_s=connection.elapsed_s)
    job.stage = "waiting for its answer"
    if job.address == IMDS_ADDRESS:
        return asking.get_over(sock, connection, path, EXCHANGE_S, to_proxy=True)[0]
    return wire_protocol.ask_over(
        sock, connection, wire, board.remaining(EXCHANGE_S), to_proxy=True
    )


# --- PAC ---


def fetch_pacs(connector: Connector, board: Board, is_true: bool) -> Tuple[PacFile, ...]:
    """Fetches every PAC file that is set, at most ``PACS``.

    It reads http addresses, and files where an ordinary user cannot have named them.

    :param is_true: the probes ask the platform's true addresses
    """
    proxies = _settings(board)
    named = board.wait(PAC_URLS, 0.0)
    if named is None:
        named = [(proxy.scope, proxy.pac_url) for proxy in proxies if proxy.pac_url]
    urls: Dict[str, bool] = {}  # may a file be read?
    for scope, url in named:
        urls[url] = urls.get(url, False) or scope is not Scope.USER
    made: Dict[str, PacFile] = {}

    def work(url: str, trusted: bool) -> None:
        try:
            made[url] = _fetch(url, trusted, connector, board, is_true)
        except OSError as error:
            made[url] = PacFile(_shown(url), Outcome.FAILED, error_text(error)[:URL_LIMIT])
        except Exception:  # an address that is none; what it says may hold a password
            made[url] = PacFile(_shown(url), Outcome.FAILED, "its address cannot be read")

    tried = list(urls.items())[:PACS]
    _side_by_side([partial(work, url, trusted) for url, trusted in tried], board)
    late = "not fetched in time"
    return tuple(made.get(url, PacFile(_shown(url), Outcome.TIMED_OUT, late)) for url, _ in tried)


def _shown(url: str) -> str:
    return without_query(url)[:URL_LIMIT]


def _fetch(url: str, trusted: bool, connector: Connector, board: Board, is_true: bool) -> PacFile:
    file = FILE_URL.fullmatch(url)
    if file and trusted:
        path = Path(file.group(1))
        if not path.is_file():
            return PacFile(_shown(url), Outcome.FAILED, "no such file")
        with path.open("rb") as opened:
            return _searched(url, opened.read(http.BODY_LIMIT + 1))
    fetched = web.get(connector, url, EXCHANGE_S, is_true)
    answer = fetched.answer
    if answer is None or answer.outcome is not Outcome.HTTP:
        return PacFile(_shown(url), fetched.outcome, (fetched.error or "")[:URL_LIMIT] or None)
    if answer.status != 200:
        return PacFile(_shown(url), Outcome.HTTP, f"HTTP {answer.status}", len(answer.body))
    found = _searched(url, answer.body)
    if not answer.complete:
        return PacFile(found.url, found.outcome, "not read to its end", found.size, found.mentions)
    return found


def _searched(url: str, body: bytes) -> PacFile:
    text = body[: http.BODY_LIMIT].decode("latin-1")
    mentions = tuple(word for word in MENTIONS if word in text)
    error = None
    if len(body) > http.BODY_LIMIT:
        error = "not read to its end"
    return PacFile(_shown(url), Outcome.HTTP, error, min(len(body), http.BODY_LIMIT), mentions)
