"""The signer's chain, from what is on the VM first, then by fetching issuers; and whether the hosts of certificates can be reached.

Fetching is what Windows' own chain engine does: from the addresses in the certificate (RFC 5280, 4.2.2.1), through the machine's
proxy too. https://learn.microsoft.com/azure/security/fundamentals/azure-ca-details
"""

from __future__ import annotations

import time
from dataclasses import replace
from functools import partial
from typing import Dict, Iterable, List, Optional, Sequence, Tuple
from urllib.parse import urlsplit

from ..chain import IN_DOCUMENT
from ..collect import Board, NoFact, now
from ..der import Malformed, Unsupported
from ..facts import (
    LACKING,
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
)
from ..system import System
from ..x509 import X509, from_pem
from . import side_by_side, web
from .tcp import CONNECT_S, Attempt, Connector, connect, error_text

DOCUMENT = "attested certificates"  # what the board holds them under: in DER, the signer's first
FETCH_S = CONNECT_S  # for one step up the chain, whatever the number of addresses and proxies
CHAIN_S = 2 * FETCH_S  # for all fetching
EXCHANGE_S = 2.0
STEPS = 4  # up the chain
URLS, PROXIES = 4, 2  # that are asked for one issuer
HOSTS = 24  # that are tried
TELL_S = 0.3  # kept back of the time-out of the hosts
# The documented hosts (azure-ca-details, "Certificate downloads and revocation lists"; the IMDS certificate article).
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


def ask(connector: Connector, system: System, board: Board, is_true: bool) -> Optional[Tuple[CertificateChain, ...]]:
    """The chain from what is on the VM; where that is not trusted, with fetched issuers too, and by the engine's own fetching.

    None where there is no document with a signature that could be right.
    """
    imds: Optional[Imds] = board.wait("imds")
    certificates: Optional[Tuple[bytes, ...]] = board.wait(DOCUMENT, 0.0)
    if imds is None:
        raise NoFact("IMDS's answer is not known")
    document = imds.document
    if not certificates or not document or document.signature in (SignatureState.INVALID, SignatureState.MALFORMED):
        return None
    if not is_true:
        raise NoFact("not judged: the probes are pointed elsewhere")
    at = imds.attested.date if imds.attested and imds.attested.date else now()
    found: Dict[str, CertificateChain] = {}

    def judge() -> None:
        found["at hand"] = system.judge_chain(certificates, at, False, FETCH_S)

    def fetch() -> None:
        found["fetched"] = _fetch_up(connector, system, board, certificates, found["at hand"], at)

    def let_fetch() -> None:
        found["by itself"] = system.judge_chain(certificates, at, True, FETCH_S)

    (reason,) = side_by_side.run([judge], board.remaining(FETCH_S))
    first = found.get("at hand")
    if first is None:
        raise NoFact(reason or "")
    board.draft("certificate_chains", (first,))
    if not first.trusted and _lacking(first):
        works = [fetch, let_fetch] if system.fetches_itself else [fetch]
        reasons = side_by_side.run(works, board.remaining(CHAIN_S + 1.0))
        for who, why in zip(("imds-check", first.engine), reasons):
            if why:
                board.note("certificate_chains", f"fetching by {who}: {why}")
    return tuple(found[way] for way in ("at hand", "fetched", "by itself") if way in found)


def _fetch_up(
    connector: Connector,
    system: System,
    board: Board,
    certificates: Sequence[bytes],
    first: CertificateChain,
    at: Instant,
) -> CertificateChain:
    """Fetches issuer after issuer until the engine is content, with no network of its own."""
    proxies = _proxies(board.wait("proxies", FETCH_S) or ())
    known, chain = list(certificates), first
    fetches: List[IssuerFetch] = []
    end = time.monotonic() + board.remaining(CHAIN_S)
    for _ in range(STEPS):
        child = _lacking(chain)
        left = min(FETCH_S, end - time.monotonic())
        if child is None or left <= 0:
            break
        found, tried = _fetch(connector, child, proxies, left)
        fetches += tried
        if found is None or found in known:
            break
        known.append(found)
        chain = system.judge_chain(known, at, False, FETCH_S)
        if chain.trusted:
            break
    fetched = {item.certificate.thumbprint: item.url for item in fetches if item.certificate}
    shown = tuple(
        replace(item, stores=(*(s for s in item.stores if s != IN_DOCUMENT), "fetched"))
        if item.thumbprint in fetched
        else item
        for item in chain.certificates
    )
    return replace(chain, fetched=True, certificates=shown, fetches=tuple(fetches))


def _lacking(chain: CertificateChain) -> Optional[Certificate]:
    """The certificate whose issuer is to be fetched: the last one, or the one below a root that is not trusted or below an issuer
    that is outside its dates; None where fetching is no help."""
    held, faults = chain.certificates, {error.fault for error in chain.errors}
    stale = [error.certificate for error in chain.errors if error.fault is ChainFault.OUTSIDE_DATES]
    if faults & LACKING and held:
        top = len(held) - (1 if held[-1].subject != held[-1].issuer else 2)
        return held[top] if top >= 0 else None
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
    """The issuer of a certificate from its addresses, directly and through the proxies, side by side: the first that comes."""
    ways = [(url, proxy) for url in dict.fromkeys(child.issuer_urls[:URLS]) for proxy in (None, *proxies)]
    done: Dict[int, IssuerFetch] = {}
    found: List[bytes] = []

    def work(number: int, url: str, proxy: Optional[str]) -> None:
        done[number] = _read(child, url, proxy, web.get(connector, url, EXCHANGE_S, True, proxy), found)

    works = [partial(work, number, url, proxy) for number, (url, proxy) in enumerate(ways)]
    reasons = side_by_side.run(works, seconds, lambda: bool(found))
    tried = [
        done.get(number) or IssuerFetch(url, Outcome.TIMED_OUT, proxy, error=reasons[number])
        for number, (url, proxy) in enumerate(ways)
        if number in done or not found
    ]
    return (found[0] if found else None), tried


def _read(child: Certificate, url: str, proxy: Optional[str], fetched: web.Fetched, found: List[bytes]) -> IssuerFetch:
    status = fetched.answer.status if fetched.answer else None
    base = IssuerFetch(url, fetched.outcome, proxy, status, fetched.error, fetched.is_name_unknown)
    if fetched.body is None:
        if status is None:
            return base
        return replace(base, error=f"HTTP {status}" if status != 200 else "what came is not whole")
    encoded = next(from_pem(fetched.body, 1), fetched.body)
    try:
        fact = X509.read(encoded).fact
    except (Malformed, Unsupported):
        return replace(base, error="what came is no certificate")
    keys = {fact.subject_key_id, child.authority_key_id} - {None}
    if fact.subject != child.issuer or len(keys) == 2:
        return replace(base, error="what came is another certificate")
    found.append(encoded)
    return replace(base, certificate=fact)


# --- hosts ----------------------------------------------------------------------------------------------------------


def try_endpoints(
    connector: Connector, board: Board, is_wanted: bool, is_true: bool
) -> Optional[Tuple[EndpointTrial, ...]]:
    """Every host of certificates, revocation lists and OCSP on TCP 80, all side by side inside one time-out.

    None where no certificate problem makes them matter, unless ``is_wanted``.
    """
    chains: Optional[Tuple[CertificateChain, ...]] = board.wait("certificate_chains")
    if not is_wanted and not (chains and LACKING & {error.fault for error in chains[-1].errors}):
        return None
    if not is_true:
        raise NoFact("not tried: the probes are pointed elsewhere")
    hosts = _hosts(chains or ())
    proxies = _proxies(board.wait("proxies", 0.0) or ())
    made: Dict[str, EndpointTrial] = {}
    reached: Dict[Tuple[str, str], ProxyReach] = {}
    end = time.monotonic() + board.remaining(CONNECT_S)
    works = [partial(_try_host, connector, host, purposes, made, end) for host, (purposes, _) in hosts.items()]
    ways = [(host, path, proxy) for host, (_, path) in hosts.items() for proxy in proxies]
    works += [partial(_try_through, connector, host, path, proxy, reached) for host, path, proxy in ways]
    reasons = side_by_side.run(works, board.remaining(CONNECT_S))
    trials = []
    for (host, (purposes, _)), reason in zip(hosts.items(), reasons):
        is_late = reason == side_by_side.LATE  # nothing else takes as long as it likes
        error = "no answer of the resolver" if is_late else reason
        trial = made.get(host) or EndpointTrial(host, purposes, error=error, is_name_unknown=is_late)
        through = [reached.get((host, p)) or ProxyReach(p, Outcome.TIMED_OUT, error=side_by_side.LATE) for p in proxies]
        trials.append(replace(trial, proxies=tuple(through)))
    return tuple(trials)


def _hosts(chains: Sequence[CertificateChain]) -> Dict[str, Tuple[Tuple[str, ...], str]]:
    """The hosts to try: those in the certificates, then the documented ones; for what each is, and a path to ask for."""
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
    return {host: (tuple(own), paths.get(host, "/")) for host, own in list(purposes.items())[:HOSTS]}


def _split(url: str) -> Tuple[Optional[str], str]:
    """The host and the path of an http address on port 80; no host where it is none."""
    try:
        parts = urlsplit(url)
        usable = parts.scheme.lower() == "http" and parts.port in (None, 80) and not web.UNASKABLE.search(url)
    except ValueError:
        return None, "/"
    return (parts.hostname if usable else None), parts.path or "/"


def _try_host(
    connector: Connector, host: str, purposes: Tuple[str, ...], made: Dict[str, EndpointTrial], end: float
) -> None:
    """:param end: of the connect, so that it is told before all are left behind"""
    if web.is_platform(host):
        made[host] = EndpointTrial(host, purposes, error="not tried: it is an address of the platform")
        return
    try:
        addresses = connector.resolve(host)
    except OSError as error:
        made[host] = EndpointTrial(host, purposes, error=error_text(error), is_name_unknown=True)
        return
    if any(map(web.is_platform, addresses)):
        made[host] = EndpointTrial(host, purposes, error="not tried: its name leads to an address of the platform")
        return
    ((connection, sock),) = connect(connector, [Attempt(addresses[0], 80)], max(0.1, end - time.monotonic() - TELL_S))
    if sock:
        sock.close()
    made[host] = EndpointTrial(host, purposes, connection)


def _try_through(
    connector: Connector, host: str, path: str, proxy: str, reached: Dict[Tuple[str, str], ProxyReach]
) -> None:
    fetched = web.get(connector, f"http://{host}{path}", EXCHANGE_S, True, proxy)
    status = fetched.answer.status if fetched.answer else None
    reached[host, proxy] = ProxyReach(proxy, fetched.outcome, status, fetched.error)
