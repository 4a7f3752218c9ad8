"""What the chain of the attested document's certificate lacks, where that can be had, and which
hosts have it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple

from ..facts import EndpointTrial, IssuerFetch, Outcome
from ..fixes.remedies import remedies
from ..fixes.steps import Wanted
from ..model.errors import error_in_words
from ..model.model import Model
from ..model.sentences import in_words
from ..model.words import host_of, quoted, short
from .finding import Fix, advice

CA_PAGE = "https://learn.microsoft.com/azure/security/fundamentals/azure-ca-details"
ISSUING = re.compile(r"Microsoft TLS G2 RSA CA OCSP \d\d")
MIRRORS = ("caissuers.microsoft.com", "www.microsoft.com")  # serve the same files below /pkiops/
DENIED = (403, 407, 502, 503, 504)  # what a proxy says where it does not let through


class CrossSigned(NamedTuple):
    """A certificate that signs itself under one name, and under the same name is signed by a root
    that VMs trust.
    """

    url: str  # of the second form
    issuer: str


class Root(NamedTuple):
    url: str
    thumbprint: str


# Of Azure's hierarchy, as Azure documents it (``CA_PAGE``). "Root" or not: most VMs know the first
# only as signed by the second.
CROSS = {
    "Microsoft TLS RSA Root G2": CrossSigned(
        "http://caissuers.microsoft.com/pkiops/certs/Microsoft%20TLS%20RSA%20Root%20G2%20-%20xsign.crt",
        "DigiCert Global Root G2",
    )
}
ROOTS = {
    "DigiCert Global Root G2": Root(
        "http://cacerts.digicert.com/DigiCertGlobalRootG2.crt",
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
    root: Optional[str] = None  # of a root: the thumbprint that it must have


def common_name(name: str) -> str:
    """Of a name as facts have it, the part that people know it by."""
    # a comma in a value is escaped
    parts = [part[3:] for part in re.split(r"(?<!\\), ", name) if part.startswith("CN=")]
    return parts[0] if parts else name


def missing(model: Model) -> List[Missing]:
    """What the chain lacks, from the bottom up; nothing where it reaches a root that has no other
    face.

    First come those that could be fetched by this program and not by the system, then the one that
    nobody could fetch.
    """
    chains = model.facts.certificate_chains or ()
    if (
        not model.answers.chain
        or not model.answers.chain.certificates
        or not model.answers.chain_errors
        or not any(c.fetched for c in chains)
    ):
        return []
    held = model.answers.chain.certificates
    furthest = max((held, *(chain.certificates for chain in chains)), key=len)
    top = common_name(held[-1].subject)
    if held[-1].is_self_issued:  # the last word ends at one
        return [replace(_cross(top), key_id=held[-1].subject_key_id)] if top in CROSS else []
    found = [
        Missing(
            common_name(item.subject),
            below.issuer_urls,
            common_name(item.issuer),
            item.subject_key_id,
        )
        for below, item in zip(furthest[len(held) - 1 :], furthest[len(held) :])
        if not item.is_self_issued
    ]
    last = furthest[-1]
    if last.is_self_issued:
        return found
    name = common_name(last.issuer)
    if name in ROOTS:
        known = ROOTS[name]
        return [*found, Missing(name, (known.url,), None, last.authority_key_id, known.thumbprint)]
    if name in CROSS:
        return [*found, replace(_cross(name), key_id=last.authority_key_id)]
    above = (
        [_cross(other) for other in CROSS] if ISSUING.fullmatch(name) else []
    )  # as rarely on a VM
    issuer = above[0].name if above else None
    return [*found, Missing(name, last.issuer_urls, issuer, last.authority_key_id), *above]


def _cross(name: str) -> Missing:
    return Missing(name, (CROSS[name].url,), CROSS[name].issuer)


# --- where a certificate can be had
# ---------------------------------------------------------------------------------


class Source(NamedTuple):
    """Where to get a certificate from, and whether this VM can."""

    url: str
    is_reachable: bool
    proxy: Optional[str] = None


def source(model: Model, urls: Sequence[str]) -> Optional[Source]:
    """The best of these addresses and their mirrors: one that was fetched, else one whose host
    answers, else any.
    """
    candidates = [
        url
        for url in dict.fromkeys(item for url in urls for item in (url, *_mirrors(url)))
        if url.startswith("http://")
    ]
    tried = fetches(model)
    for fetch in tried:
        if fetch.certificate and fetch.url in candidates:
            return Source(fetch.url, True, fetch.proxy)
    useless = {(host_of(fetch.url), fetch.proxy) for fetch in tried if not fetch.certificate}
    trials = {trial.host: trial for trial in model.facts.endpoints or ()}
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


def fetches(model: Model) -> List[IssuerFetch]:
    """All tries to fetch an issuer."""
    return [item for chain in model.facts.certificate_chains or () for item in chain.fetches]


def _is_open(trial: EndpointTrial) -> bool:
    return trial.connection is not None and trial.connection.outcome is Outcome.ANSWERED


def is_reached(trial: EndpointTrial) -> bool:
    """Whether a host of certificates can be reached at all, directly or through a proxy of the
    machine.
    """
    return _is_open(trial) or any(
        way.status is not None and way.status not in DENIED for way in trial.proxies
    )


def concerns(model: Model, trial: EndpointTrial) -> bool:
    """Whether a host matters in this cloud: those in China matter there only."""
    china = bool(
        model.answers.instance
        and model.answers.instance.az_environment.lower() == "azurechinacloud"
    )
    return china or not trial.host.endswith(".cn")


def why_closed(trial: EndpointTrial) -> str:
    """Why a host cannot be reached: ``no address for its name``, ``timed out``."""
    if trial.is_name_unknown:
        return "no address for its name"
    return (
        in_words(trial.connection.outcome)
        if trial.connection
        else short(trial.error or "not tried", 60)
    )


def what_fetching_brought(model: Model) -> str:
    """How the tries to fetch ended, each host once."""
    found: Dict[str, str] = {}
    for fetch in fetches(model):
        if not fetch.certificate:
            host = host_of(fetch.url) + (f" through {fetch.proxy}" if fetch.proxy else "")
            unknown = (
                "no address for its name" if fetch.is_name_unknown and not fetch.proxy else None
            )
            error = unknown or (
                in_words(fetch.outcome)
                if fetch.outcome not in (Outcome.HTTP, Outcome.FAILED)
                else fetch.error
            )
            found.setdefault(
                host, error_in_words(error or fetch.outcome.value, model.facts.system, 60)
            )
    return "; ".join(f"{short(host, 60)}: {error}" for host, error in list(found.items())[:4])


def install(model: Model, items: Sequence[Missing]) -> List[Fix]:
    """The commands that put certificates into the machine's stores, from the top down, and what
    makes it count.
    """
    commands = remedies(model)
    fixes = commands.certificate_folder() if items else []
    for item in reversed(items):
        place = source(model, item.urls)
        if place is None:
            fixes.append(advice(f"Get {quoted(item.name)} from {CA_PAGE} and install it."))
        else:
            fixes += commands.install_certificate(
                place.url, place.is_reachable, place.proxy, Wanted(item.root, item.key_id)
            )
    return fixes + commands.trust_anew()
