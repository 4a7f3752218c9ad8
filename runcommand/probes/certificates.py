"""The chain of the document's signer, and whether the hosts of certificates can be reached.

The chain is built from what is on the VM first, then with fetched issuers.

Fetching is what Windows' own chain engine does: from the addresses in the certificate (RFC 5280,
4.2.2.1), through the machine's proxy too.
https://learn.microsoft.com/azure/security/fundamentals/azure-ca-details
"""

from __future__ import annotations

import time
from dataclasses import replace
from functools import partial
from typing import Dict, FrozenSet, Iterable, List, Optional, Sequence, Tuple
from urllib.parse import urlsplit

from ..attest.der import Malformed, Unsupported
from ..attest.document import host_time
from ..attest.x509 import X509, from_pem, readable
from ..collect import Board, NoFact, now, side_by_side
from ..collect.board import DOCUMENT
from ..collect.system import System
from ..facts import (
    LACKING,
    AttestedDocument,
    Certificate,
    CertificateChain,
    ChainFault,
    EndpointTrial,
    Imds,
    Instant,
    IssuerFetch,
    Outcome,
    Proxy,
    ProxyKind,
    ProxyReach,
    Scope,
    SignatureState,
    Unavailable,
    instant,
)
from ..network import CONNECT_S, error_text
from . import web
from .tcp import Attempt, Connector, connect

FETCH_S = CONNECT_S  # for one step up the chain, whatever the number of addresses and proxies
CHAIN_S = 2 * FETCH_S  # for all fetching
ENGINE_FETCH_S = 1.5  # what the system's own engine is given for each address
PROXIES_S = 1.0  # how long the settings are waited for
FAIR_S = 1.0  # with less, nothing is proven by silence
EXCHANGE_S = 2.0
# where a certificate was found, beside the machine's stores
IN_DOCUMENT, FETCHED = ("the document",), ("fetched",)
STEPS = 4  # up the chain
URLS, PROXIES = 4, 2  # that are asked for one issuer
HOSTS = 24  # that are tried
REPORT_S = 0.3  # kept back of the time-out of the hosts
# The chains of a run: without fetching, with issuers fetched here, by the engine's own fetching.
AT_HAND, FETCHED_HERE, BY_ENGINE = "at hand", "fetched", "by itself"
# The documented hosts (azure-ca-details, "Certificate downloads and revocation lists"; the IMDS
# certificate article).
ENDPOINTS: Dict[str, Tuple[str, ...]] = {
    "caissuers.microsoft.com": ("AIA",),
    "www.microsoft.com": ("AIA", "CRL"),
    "cacerts.digicert.com": ("AIA",),
    "cacerts.geotrust.com": ("AIA",),
    "cacerts.digicert.cn": ("AIA",),
    "crl3.digicert.com": ("CRL",),
    "crl4.digicert.com": ("CRL",),
    "crl.digicert.cn": ("CRL",),
    "ocsp.digicert.com": ("OCSP",),
    "ocsp.digicert.cn": ("OCSP",),
    "oneocsp.microsoft.com": ("OCSP",),
}


def ask(
    connector: Connector, system: System, board: Board, is_true: bool
) -> Optional[Tuple[CertificateChain, ...]]:
    """The chain from what is on the VM.

    Where that is not trusted: also with fetched issuers, and by the system's own fetching.

    None where there is no document with a signature that could be right. Without a chain of which
    ``fetched`` is True, fetching did not come to its end.
    """
    imds: Optional[Imds] = board.wait("imds")
    certificates: Optional[Tuple[bytes, ...]] = board.wait(DOCUMENT, 0.0)
    if imds is None:
        raise NoFact("IMDS's answer is not known")
    if not certificates or not could_be_right(imds.document):
        return None
    if not is_true:
        raise NoFact("not judged: the probes are pointed elsewhere")
    at = time_to_judge_by(imds, now())
    found: Dict[str, CertificateChain] = {}

    def judge() -> None:
        found[AT_HAND] = system.judge_chain(certificates, at, False, FETCH_S)

    def fetch() -> None:
        found[FETCHED_HERE] = _fetch_up(connector, system, board, certificates, found[AT_HAND], at)

    def let_fetch() -> None:
        found[BY_ENGINE] = system.judge_chain(certificates, at, True, ENGINE_FETCH_S)

    (reason,) = side_by_side.run([judge], board.remaining(FETCH_S))
    first = found.get(AT_HAND)
    if first is None:
        raise NoFact(reason or "")
    board.draft("certificate_chains", (placed(first, certificates),))
    if first.trusted is not False or not lacking(first):
        return (placed(first, certificates),)
    works = [fetch]
    if system.fetches_itself and _may_be_followed(certificates):
        works.append(let_fetch)
    reasons = side_by_side.run(works, board.remaining(CHAIN_S + 1.0))
    chains = dict(found)  # what comes later comes too late
    _note_failures(board, first.engine, reasons)
    if let_fetch in works and BY_ENGINE not in chains:
        chains[BY_ENGINE] = CertificateChain(True, first.engine, judged_at=at)
    in_order = [chains[kind] for kind in (AT_HAND, FETCHED_HERE, BY_ENGINE) if kind in chains]
    return tuple(placed(chain, certificates) for chain in in_order)


def _note_failures(board: Board, engine: str, reasons: Sequence[Optional[str]]) -> None:
    for who, why in zip(("imds-check", engine), reasons):
        if why:
            board.note("certificate_chains", f"fetching by {who}: {why}")


def time_to_judge_by(imds: Imds, own: Instant) -> Instant:
    """The host's clock, or this machine's own where the host's is not known."""
    by_host = host_time(imds)
    if by_host is None:
        return own
    return instant(by_host.replace(microsecond=0))


def could_be_right(document: Optional[AttestedDocument]) -> bool:
    if document is None:
        return False
    return document.signature not in (SignatureState.INVALID, SignatureState.MALFORMED)


def _may_be_followed(certificates: Sequence[bytes]) -> bool:
    """Whether the system may fetch from the addresses in these certificates.

    It asks every address that they name.
    """
    try:
        urls = [url for item in readable(certificates) for url in item.fact.issuer_urls]
    except (Malformed, Unsupported):
        return False
    return all(web.names_a_host(url) for url in urls if url.lower().startswith("http"))


def placed(chain: CertificateChain, at_hand: Sequence[bytes]) -> CertificateChain:
    """The chain, with where each certificate was found.

    The document and fetching are added to the stores of a certificate.
    """
    more = {item.certificate.thumbprint: FETCHED for item in chain.fetches if item.certificate}
    more.update({item.thumbprint: IN_DOCUMENT for item in readable(at_hand)})
    placed = (
        replace(item, stores=(*item.stores, *more.get(item.thumbprint, ())))
        for item in chain.certificates
    )
    return replace(chain, certificates=tuple(placed))


def in_document(chain: CertificateChain, thumbprints: FrozenSet[str]) -> CertificateChain:
    """The chain, with the document added to the stores of further certificates."""
    found: List[Certificate] = []
    for item in chain.certificates:
        if item.thumbprint in thumbprints:
            item = replace(item, stores=(*item.stores, *IN_DOCUMENT))
        found.append(item)
    return replace(chain, certificates=tuple(found))


def _fetch_up(
    connector: Connector,
    system: System,
    board: Board,
    certificates: Sequence[bytes],
    first: CertificateChain,
    at: Instant,
) -> CertificateChain:
    """Fetches issuer after issuer until the system trusts the chain, without its own fetching.

    Raises ``NoFact`` when the run has too little time left: a fetch cut short proves nothing.
    """
    end = time.monotonic() + board.remaining(CHAIN_S)
    proxies = _proxies(board.wait("proxies", PROXIES_S) or ())
    issuers: List[bytes] = []
    fetches: List[IssuerFetch] = []
    chain = first
    for _ in range(STEPS):
        child = lacking(chain)
        if child is None:
            break
        left = min(FETCH_S, end - time.monotonic())
        found, tried = _fetch(connector, child, proxies, max(0.0, left))
        fetches += tried
        if found is None and left < FAIR_S:
            raise NoFact("no time was left to fetch issuers")
        if found is None or found in issuers or found in certificates:
            break
        issuers.append(found)
        chain = system.judge_chain([*certificates, *issuers], at, False, FETCH_S)
        if chain.trusted:
            break
    return replace(chain, fetched=True, fetches=tuple(fetches))


def lacking(chain: CertificateChain) -> Optional[Certificate]:
    """The certificate whose issuer is to be fetched; None where fetching is no help.

    It is the last one, or the one below an untrusted root or below an issuer outside its dates.
    """
    held, faults = chain.certificates, {error.fault for error in chain.errors}
    stale = [error.certificate for error in chain.errors if error.fault is ChainFault.OUTSIDE_DATES]
    if faults & LACKING and held:
        below_root = held
        if held[-1].is_self_issued:
            below_root = held[:-1]
        return next(reversed(below_root), None)
    return next((held[number - 1] for number in stale if number and number < len(held)), None)


def _proxies(settings: Iterable[Proxy]) -> List[str]:
    """The machine's proxies that can be asked in plain HTTP."""
    found = [
        proxy.server
        for proxy in settings
        if proxy.server
        and "://" not in proxy.server
        and proxy.scope is not Scope.USER
        and proxy.kind is not ProxyKind.GUEST_AGENT
    ]
    return list(dict.fromkeys(found))[:PROXIES]


def _fetch(
    connector: Connector, child: Certificate, proxies: Sequence[str], seconds: float
) -> Tuple[Optional[bytes], List[IssuerFetch]]:
    """The issuer of a certificate, from the addresses that the certificate names.

    All are asked side by side, directly and through the proxies; the first answer wins.
    """
    tries = [
        (url, proxy)
        for url in dict.fromkeys(child.issuer_urls[:URLS])
        for proxy in (None, *proxies)
    ]
    done: Dict[int, IssuerFetch] = {}
    found: List[bytes] = []

    def work(number: int, url: str, proxy: Optional[str]) -> None:
        done[number], issuer = _read(
            child,
            url,
            proxy,
            web.get(connector, url, EXCHANGE_S, is_true=True, proxy=proxy, only_names=True),
        )
        if issuer:
            found.append(issuer)

    works = [partial(work, number, url, proxy) for number, (url, proxy) in enumerate(tries)]
    reasons = side_by_side.run(works, seconds, lambda: bool(found))
    fetches: List[IssuerFetch] = []
    for number, (url, proxy) in enumerate(tries):
        fetch = done.get(number)
        if fetch is None and not found:
            reason = reasons[number]
            if reason == side_by_side.LATE:
                reason = None
            fetch = IssuerFetch(url, Outcome.TIMED_OUT, proxy, error=reason)
        if fetch:
            fetches.append(fetch)
    if not found:
        return None, fetches
    return found[0], fetches


def _read(
    child: Certificate, url: str, proxy: Optional[str], fetched: web.Fetched
) -> Tuple[IssuerFetch, Optional[bytes]]:
    status = fetched.status
    base = IssuerFetch(url, fetched.outcome, proxy, status, fetched.error, fetched.is_name_unknown)
    if fetched.body is None:
        if status == 200:
            return replace(base, error="what came is not whole"), None
        if status is not None:
            return replace(base, error=f"HTTP {status}"), None
        return base, None
    encoded = next(from_pem(fetched.body, 1), fetched.body)
    try:
        fact = X509.read(encoded).fact
    except (Malformed, Unsupported):
        return replace(base, error="what came is no certificate"), None
    keys = {fact.subject_key_id, child.authority_key_id} - {None}
    if fact.subject != child.issuer or len(keys) == 2:
        return replace(base, error="what came is another certificate"), None
    return replace(base, certificate=fact), encoded


# --- hosts ---


def try_endpoints(
    connector: Connector, board: Board, is_wanted: bool, is_true: bool
) -> Optional[Tuple[EndpointTrial, ...]]:
    """Tries every host of certificates, revocation lists and OCSP on TCP 80.

    All are tried side by side within one time-out.

    None where no certificate problem makes them matter, unless ``is_wanted``.
    """
    chains: Optional[Tuple[CertificateChain, ...]] = board.wait("certificate_chains")
    unknown = board.found("certificate_chains")
    if not is_wanted and isinstance(unknown, Unavailable):
        raise NoFact(f"whether they matter is not known: {unknown.reason}")
    if not is_wanted and (not chains or chains[-1].trusted or not lacking(chains[0])):
        return None
    if not is_true:
        raise NoFact("not tried: the probes are pointed elsewhere")
    hosts = _hosts(chains or ())
    proxies = _proxies(board.wait("proxies", 0.0) or ())
    resolving = "no answer of the resolver in time"
    made = {
        host: EndpointTrial(host, own, error=resolving, is_name_unknown=True)
        for host, (own, _) in hosts.items()
    }
    reached: Dict[Tuple[str, str], ProxyReach] = {}
    end = time.monotonic() + board.remaining(CONNECT_S)
    works = [
        partial(_try_host, connector, host, purposes, made, end)
        for host, (purposes, _) in hosts.items()
    ]
    tries = [(host, path, proxy) for host, (_, path) in hosts.items() for proxy in proxies]
    works += [
        partial(_try_through, connector, host, path, proxy, reached) for host, path, proxy in tries
    ]
    reasons = side_by_side.run(works, board.remaining(CONNECT_S))
    trials = []
    for host, reason in zip(hosts, reasons):
        trial = made[host]
        if reason and reason != side_by_side.LATE:
            trial = replace(trial, error=reason, is_name_unknown=False)
        through = [
            reached.get((host, p)) or ProxyReach(p, Outcome.TIMED_OUT, error=side_by_side.LATE)
            for p in proxies
        ]
        trials.append(replace(trial, proxies=tuple(through)))
    return tuple(trials)


def _hosts(chains: Sequence[CertificateChain]) -> Dict[str, Tuple[Tuple[str, ...], str]]:
    """The hosts to try, with what each is for and a path to request.

    Those in the certificates come first, then the documented ones.
    """
    purposes: Dict[str, List[str]] = {}
    paths: Dict[str, str] = {}
    for certificate in (certificate for chain in chains for certificate in chain.certificates):
        for purpose, urls in (
            ("AIA", certificate.issuer_urls),
            ("CRL", certificate.crl_urls),
            ("OCSP", certificate.ocsp_urls),
        ):
            for url in urls:
                host, path = _split(url)
                if host and purpose not in purposes.setdefault(host, []):
                    purposes[host].append(purpose)
                    paths.setdefault(host, path)
    for host, documented in ENDPOINTS.items():
        own = purposes.setdefault(host, [])
        own += [purpose for purpose in documented if purpose not in own]
    return {
        host: (tuple(own), paths.get(host, "/")) for host, own in list(purposes.items())[:HOSTS]
    }


def _split(url: str) -> Tuple[Optional[str], str]:
    """The host and the path of an http address on port 80; no host where it is none."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return None, "/"
    path = parts.path or "/"
    if web.names_a_host(url):
        return parts.hostname, path
    return None, path


def _try_host(
    connector: Connector,
    host: str,
    purposes: Tuple[str, ...],
    made: Dict[str, EndpointTrial],
    end: float,
) -> None:
    """:param end: of the connect; it leaves time to record the outcome"""
    try:
        addresses = connector.resolve(host)
    except OSError as error:
        made[host] = EndpointTrial(host, purposes, error=error_text(error), is_name_unknown=True)
        return
    if any(map(web.is_own, addresses)):
        made[host] = EndpointTrial(
            host, purposes, error="not tried: its name leads to the platform or to this machine"
        )
        return
    made[host] = EndpointTrial(host, purposes, error="not connected in time")
    ((connection, sock),) = connect(
        connector, [Attempt(addresses[0], 80)], max(0.1, end - time.monotonic() - REPORT_S)
    )
    if sock:
        sock.close()
    made[host] = EndpointTrial(host, purposes, connection)


def _try_through(
    connector: Connector,
    host: str,
    path: str,
    proxy: str,
    reached: Dict[Tuple[str, str], ProxyReach],
) -> None:
    fetched = web.get(connector, f"http://{host}{path}", EXCHANGE_S, is_true=True, proxy=proxy)
    reached[host, proxy] = ProxyReach(proxy, fetched.outcome, fetched.status, fetched.error)
