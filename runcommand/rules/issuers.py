"""What the chain of the attested document's certificate lacks, where that can be had, and which
hosts have it.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple

from ..facts import Certificate, EndpointTrial, IssuerFetch, Outcome
from ..fixes.remedies import remedies
from ..fixes.steps import Wanted
from ..frozen import dataclass
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
    for part in re.split(r"(?<!\\), ", name):  # a comma in a value is escaped
        if part.startswith("CN="):
            return part[3:]
    return name


def missing(model: Model) -> List[Missing]:
    """What the chain lacks, from the bottom up; nothing where it reaches a root that has no other
    face.

    First come those that could be fetched by this program and not by the system, then the one that
    nobody could fetch.
    """
    chain, chains = model.answers.chain, model.facts.certificate_chains or ()
    if not chain or not chain.certificates or not model.answers.chain_errors:
        return []
    if not any(other.fetched for other in chains):
        return []
    held = chain.certificates
    top = held[-1]
    if top.is_self_issued:  # the last word ends at one
        name = common_name(top.subject)
        if name in CROSS:
            return [replace(_cross(name), key_id=top.subject_key_id)]
        return []
    furthest = max((held, *(other.certificates for other in chains)), key=len)
    found = _fetched_above(furthest, len(held))
    if not furthest[-1].is_self_issued:
        found += _above(furthest[-1])
    return found


def _fetched_above(furthest: Sequence[Certificate], held: int) -> List[Missing]:
    """Those of the longest chain that the VM does not have, without a root.

    :param held: how many of its certificates, from the signer on, the VM has
    """
    found: List[Missing] = []
    for number in range(held, len(furthest)):
        below, item = furthest[number - 1], furthest[number]
        if not item.is_self_issued:
            name, issuer = common_name(item.subject), common_name(item.issuer)
            found.append(Missing(name, below.issuer_urls, issuer, item.subject_key_id))
    return found


def _above(last: Certificate) -> List[Missing]:
    """What nobody could fetch: the issuer of the last certificate, and what is as rare above it."""
    name, key_id = common_name(last.issuer), last.authority_key_id
    if name in ROOTS:
        known = ROOTS[name]
        return [Missing(name, (known.url,), None, key_id, known.thumbprint)]
    if name in CROSS:
        return [replace(_cross(name), key_id=key_id)]
    if not ISSUING.fullmatch(name):
        return [Missing(name, last.issuer_urls, None, key_id)]
    above = [_cross(other) for other in CROSS]
    return [Missing(name, last.issuer_urls, above[0].name, key_id), *above]


def _cross(name: str) -> Missing:
    return Missing(name, (CROSS[name].url,), CROSS[name].issuer)


# --- where a certificate can be had ---


class Source(NamedTuple):
    """Where to get a certificate from, and whether this VM can."""

    url: str
    is_reachable: bool
    proxy: Optional[str] = None


def source(model: Model, urls: Sequence[str]) -> Optional[Source]:
    """The best of these addresses and their mirrors: one that was fetched, else one whose host
    answers, else any.
    """
    candidates = _candidates(urls)
    tried = fetches(model)
    for fetch in tried:
        if fetch.certificate and fetch.url in candidates:
            return Source(fetch.url, True, fetch.proxy)
    useless = {(host_of(fetch.url), fetch.proxy) for fetch in tried if not fetch.certificate}
    trials = {trial.host: trial for trial in model.facts.endpoints or ()}
    for url in candidates:
        host = host_of(url)
        trial = trials.get(host)
        if trial is None:
            continue
        if _is_open(trial) and (host, None) not in useless:
            return Source(url, True)
        for proxied in trial.proxies:
            is_useless = (host, proxied.server) in useless
            if proxied.status is not None and proxied.status < 400 and not is_useless:
                return Source(url, True, proxied.server)
    if candidates:
        return Source(candidates[0], False)
    return None


def _candidates(urls: Sequence[str]) -> List[str]:
    """These addresses and their mirrors, each once."""
    found: List[str] = []
    for url in urls:
        found += [url, *_mirrors(url)]
    return [url for url in dict.fromkeys(found) if url.startswith("http://")]


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
    if _is_open(trial):
        return True
    answered = [proxied.status for proxied in trial.proxies if proxied.status is not None]
    return any(status not in DENIED for status in answered)


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
    if trial.connection:
        return in_words(trial.connection.outcome)
    return short(trial.error or "not tried", 60)


def what_fetching_brought(model: Model) -> str:
    """How the tries to fetch ended, each host once."""
    found: Dict[str, str] = {}
    for fetch in fetches(model):
        if fetch.certificate:
            continue
        host = host_of(fetch.url)
        if fetch.proxy:
            host += f" through {fetch.proxy}"
        error = error_in_words(_why_not_fetched(fetch), model.facts.system, 60)
        found.setdefault(host, error)
    return "; ".join(f"{short(host, 60)}: {error}" for host, error in list(found.items())[:4])


def _why_not_fetched(fetch: IssuerFetch) -> str:
    if fetch.is_name_unknown and not fetch.proxy:
        return "no address for its name"
    if fetch.outcome not in (Outcome.HTTP, Outcome.FAILED):
        return in_words(fetch.outcome)
    return fetch.error or fetch.outcome.value


def install(model: Model, items: Sequence[Missing]) -> List[Fix]:
    """The commands that put certificates into the machine's stores, from the top down, and what
    makes it count.
    """
    commands = remedies(model)
    fixes: List[Fix] = []
    if items:
        fixes += commands.certificate_folder()
    for item in reversed(items):
        place = source(model, item.urls)
        if place is None:
            fixes.append(advice(f"Get {quoted(item.name)} from {CA_PAGE} and install it."))
        else:
            wanted = Wanted(item.root, item.key_id)
            fixes += commands.install_certificate(
                place.url, place.is_reachable, place.proxy, wanted
            )
    return fixes + commands.trust_anew()
