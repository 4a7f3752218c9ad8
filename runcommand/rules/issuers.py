"""What the chain of the attested document's certificate lacks, where that can be had, and which hosts have it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple

from ..facts import EndpointTrial, IssuerFetch, Outcome
from .case import Case, in_words
from .finding import Fix, advice, host_of, quoted, short
from .remedies import remedies

CA_PAGE = "https://learn.microsoft.com/azure/security/fundamentals/azure-ca-details"
ISSUING = re.compile(r"Microsoft TLS G2 RSA CA OCSP \d\d")
MIRRORS = ("caissuers.microsoft.com", "www.microsoft.com")  # serve the same files below /pkiops/
DENIED = (403, 407, 502, 503, 504)  # what a proxy says where it does not let through


class Known(NamedTuple):
    """A certificate of Azure's hierarchy, as Azure documents it (``CA_PAGE``)."""

    url: str
    issuer: str
    thumbprint: str


# "Root" or not: most VMs know it only as signed by DigiCert's.
CROSS = {
    "Microsoft TLS RSA Root G2": Known(
        "http://caissuers.microsoft.com/pkiops/certs/Microsoft%20TLS%20RSA%20Root%20G2%20-%20xsign.crt",
        "DigiCert Global Root G2",
        "B5EE89E77326AB2BF1775BD99C19A28947FF8184",
    )
}
ROOTS = {
    "DigiCert Global Root G2": Known(
        "http://cacerts.digicert.com/DigiCertGlobalRootG2.crt",
        "DigiCert Global Root G2",
        "DF3C24F9BFD666761B268073FE06D1CC8D4F82A4",
    )
}


@dataclass(frozen=True)
class Missing:
    """A certificate that the chain lacks."""

    name: str  # its common name
    urls: Tuple[str, ...]  # where it can be had
    issuer: Optional[str] = None
    key_id: Optional[str] = None
    is_root: bool = False


def common_name(name: str) -> str:
    """Of a name as facts have it, the part that people know it by."""
    parts = [part[3:] for part in name.split(", ") if part.startswith("CN=")]
    return parts[0] if parts else name


def missing(case: Case) -> List[Missing]:
    """What the chain lacks, from the bottom up; nothing where it reaches a root that has no other face."""
    failed = [chain.certificates for chain in case.facts.certificate_chains or () if not chain.trusted]
    furthest = max(failed, key=len, default=())
    if not furthest or not case.chain_errors:
        return []
    last = furthest[-1]
    if last.subject != last.issuer:
        name = common_name(last.issuer)
        known = CROSS.get(name) or ROOTS.get(name)
        urls = (*last.issuer_urls, *((known.url,) if known else ()))
        above = [_cross(other, ()) for other in CROSS] if ISSUING.fullmatch(name) else []  # as rarely on a VM
        issuer = known.issuer if known else above[0].name if above else None
        return [Missing(name, urls, issuer, last.authority_key_id, name in ROOTS), *above]
    below = furthest[-2] if len(furthest) > 1 else None
    name = common_name(last.subject)
    return [_cross(name, below.issuer_urls if below else ())] if name in CROSS else []


def _cross(name: str, urls: Sequence[str]) -> Missing:
    known = CROSS[name]
    return Missing(name, tuple(dict.fromkeys((*(url for url in urls if "xsign" in url), known.url))), known.issuer)


# --- where a certificate can be had ---------------------------------------------------------------------------------


class Source(NamedTuple):
    """Where to get a certificate from, and whether this VM can."""

    url: str
    is_reachable: bool
    proxy: Optional[str] = None


def source(case: Case, urls: Sequence[str]) -> Optional[Source]:
    """The best of these addresses and their mirrors: one that was fetched, else one whose host answers, else any."""
    candidates = [
        url
        for url in dict.fromkeys(item for url in urls for item in (url, *_mirrors(url)))
        if url.startswith("http://")
    ]
    tried = fetches(case)
    for fetch in tried:
        if fetch.certificate and fetch.url in candidates:
            return Source(fetch.url, True, fetch.proxy)
    useless = {(host_of(fetch.url), fetch.proxy) for fetch in tried if not fetch.certificate}
    trials = {trial.host: trial for trial in case.facts.endpoints or ()}
    for url in candidates:
        host = host_of(url)
        trial = trials.get(host)
        if trial and _is_open(trial) and (host, None) not in useless:
            return Source(url, True)
        for way in trial.proxies if trial else ():
            if way.status is not None and way.status < 400 and (host, way.server) not in useless:
                return Source(url, True, way.server)
    return Source(candidates[0], False) if candidates else None


def _mirrors(url: str) -> Iterator[str]:
    host = host_of(url)
    if host in MIRRORS and "/pkiops/" in url:
        yield from (url.replace(host, mirror, 1) for mirror in MIRRORS if mirror != host)


def fetches(case: Case) -> List[IssuerFetch]:
    """All tries to fetch an issuer."""
    return [item for chain in case.facts.certificate_chains or () for item in chain.fetches]


def _is_open(trial: EndpointTrial) -> bool:
    return trial.connection is not None and trial.connection.outcome is Outcome.ANSWERED


def is_reached(trial: EndpointTrial) -> bool:
    """Whether a host of certificates can be reached at all, directly or through a proxy of the machine."""
    return _is_open(trial) or any(way.status is not None and way.status not in DENIED for way in trial.proxies)


def concerns(case: Case, trial: EndpointTrial) -> bool:
    """Whether a host matters in this cloud: those in China matter there only."""
    china = bool(case.instance and case.instance.az_environment.lower() == "azurechinacloud")
    return china or not trial.host.endswith(".cn")


def why_closed(trial: EndpointTrial) -> str:
    """Why a host cannot be reached: ``no address for its name``, ``timed out``."""
    if trial.is_name_unknown:
        return "no address for its name"
    return in_words(trial.connection.outcome) if trial.connection else short(trial.error or "not tried", 60)


def what_fetching_brought(case: Case) -> str:
    """How the tries to fetch ended, each host once."""
    found: Dict[str, str] = {}
    for fetch in fetches(case):
        if not fetch.certificate:
            host = host_of(fetch.url) + (f" through {fetch.proxy}" if fetch.proxy else "")
            unknown = "no address for its name" if fetch.is_name_unknown else None
            error = unknown or (
                in_words(fetch.outcome) if fetch.outcome not in (Outcome.HTTP, Outcome.FAILED) else fetch.error
            )
            found.setdefault(host, short(error or fetch.outcome.value, 60))
    return "; ".join(f"{short(host, 60)}: {error}" for host, error in list(found.items())[:4])


def install(case: Case, items: Sequence[Missing]) -> List[Fix]:
    """The commands that put certificates into the machine's stores, and what makes it count."""
    commands = remedies(case)
    fixes: List[Fix] = []
    for item in items:
        place = source(case, item.urls)
        if place is None:
            fixes.append(advice(f"Get {quoted(item.name)} from {CA_PAGE} and install it."))
        else:
            fixes += commands.install_certificate(place.url, place.is_reachable, place.proxy, item.is_root)
    return fixes + commands.trust_anew()
