"""The certificate that signs the attested document: its dates, its names, and its chain to a root
that this VM trusts.
"""

from __future__ import annotations

import re
from typing import List, Optional

from ..facts import LACKING, Certificate, ChainFault, is_distrusting, parse_instant
from ..fixes.remedies import remedies
from ..model.model import Model
from ..model.words import host_of, listed, quoted, short
from .attested import outside, who_cares
from .clock import host_time, span
from .finding import Fix, Seen, Severity, Verdict, advice, rule
from .issuers import (
    CA_PAGE,
    ROOTS,
    Missing,
    common_name,
    concerns,
    fetches,
    install,
    is_reached,
    missing,
    what_fetching_brought,
    why_closed,
)

DOMAINS = {  # of azEnvironment, in lower case
    "azurepubliccloud": "metadata.azure.com",
    "azureusgovernmentcloud": "metadata.azure.us",
    "azurechinacloud": "metadata.azure.cn",
    "azuregermancloud": "metadata.microsoftazure.de",
}
FIXED_BUILD = (20348, 2402)  # KB5036909: newer trust lists for Windows Server 2022
ROOT_STORES = ("\\Root", "\\AuthRoot")


def _by_engine(model: Model) -> str:
    """What the system's own engine says."""
    said = listed([short(error.text, 100) for error in model.answers.chain_errors], 2)
    return (
        f"By {model.answers.chain.engine.partition(' (')[0]}: {said}."
        if model.answers.chain
        else ""
    )


# --- rules
# ----------------------------------------------------------------------------------------------------------


@rule(Verdict.DEGRADED, after="attested-document-expired", shown_by="cert.chain")
def cert_expired(model: Model) -> Optional[Seen]:
    """A certificate of the attested document is expired or not yet valid

    The certificate that signs the document, or one above it, has expired or is not yet valid. Every
    verifier will reject the document.

    Recognised by: the certificate's dates, compared with the host's clock (the VM's if the host's
    is not known), so a wrong clock on the VM does not make a valid certificate look expired here.

    Fix: the platform renews the signing certificate. If the expired one is above it and stored on
    the VM, install a newer one.
    https://learn.microsoft.com/azure/security/fundamentals/azure-ca-details
    """
    document = model.answers.readable_document
    if document is None or document.signer is None:
        return None
    when, signer = host_time(model), document.signer
    if _off_dates(signer, model):
        return Seen(
            f"The certificate that signs the attested document, {quoted(common_name(signer.subject))}, "
            f"{_dates(signer, model)}, by the host's clock ({when:%Y-%m-%dT%H:%M:%SZ}). {who_cares(model)}",
            outside("the platform renews its certificate by itself."),
        )
    expired = next(
        (error for error in model.answers.chain_errors if error.fault is ChainFault.OUTSIDE_DATES),
        None,
    )
    if expired is None or model.answers.chain is None:
        return None
    number = expired.certificate or 0
    if not 0 < number < len(model.answers.chain.certificates):
        return Seen(
            f"A certificate of the chain is outside its dates. {_by_engine(model)} {who_cares(model)}",
            (advice(f"Install the current certificates from {CA_PAGE}"),),
        )
    own, child = (
        model.answers.chain.certificates[number],
        model.answers.chain.certificates[number - 1],
    )
    kept = f" It is kept in {listed(own.stores)}." if own.stores else ""
    anew = [] if own.is_self_issued else [Missing(common_name(own.subject), child.issuer_urls)]
    removal = remedies(model).remove_certificate(own, own.stores)
    if own.is_self_issued:
        removal = [
            advice(
                f"Look in Azure's list for the root that is in use now: {CA_PAGE} Some expired roots have to stay."
            )
        ]
    return Seen(
        f"{quoted(common_name(own.subject))} in the chain of the attested document's certificate {_dates(own, model)}.{kept} "
        f"{who_cares(model)}",
        (*removal, *install(model, anew)),
    )


def _off_dates(certificate: Certificate, model: Model) -> bool:
    when = host_time(model)
    begin, end = certificate.not_before, certificate.not_after
    return bool(begin and end) and not parse_instant(begin or "") <= when <= parse_instant(
        end or ""
    )


def _dates(certificate: Certificate, model: Model) -> str:
    when = host_time(model)
    if certificate.not_after and parse_instant(certificate.not_after) < when:
        ago = span((when - parse_instant(certificate.not_after)).total_seconds())
        return f"expired {ago} ago, at {certificate.not_after}"
    return f"is valid from {certificate.not_before} to {certificate.not_after}"


@rule(Verdict.DEGRADED, after="cert-expired", shown_by="cert.chain")
def cert_san_mismatch(model: Model) -> Optional[Seen]:
    """The attested document is signed with a certificate for another name

    Verifiers of the document also check that its certificate belongs to the metadata service: it
    must name metadata.azure.com or a name below it (in other clouds metadata.azure.us,
    metadata.azure.cn or metadata.microsoftazure.de).

    Recognised by: the certificate's names (subject alternative name), compared with the domain of
    the cloud that IMDS reports for the VM.

    Fix: remove from the path whatever answers in IMDS's place. If there is no such thing, the fault
    is on the host.
    https://learn.microsoft.com/azure/virtual-machines/instance-metadata-service#attested-data
    """
    document, instance = model.answers.readable_document, model.answers.instance
    domain = DOMAINS.get(instance.az_environment.lower()) if instance else None
    if document is None or document.signer is None or domain is None:
        return None
    names = document.signer.names or (common_name(document.signer.subject),)
    if any(is_under(name, domain) for name in names):
        return None
    return Seen(
        f"The certificate that signs the attested document is for {listed([quoted(name) for name in names])}, not for {domain}. "
        f"{who_cares(model)}",
        outside(
            "IMDS's own certificate has the right name.",
            "answers in IMDS's place: a metadata proxy, another cloud's stand-in, a security product",
        ),
    )


def is_under(name: str, domain: str) -> bool:
    """Whether a DNS name is a domain or below it."""
    plain = name.lower()
    return bool(re.fullmatch(r"[a-z0-9.*_-]{1,253}", plain)) and (
        plain == domain or plain.endswith(f".{domain}")
    )


@rule(Verdict.DEGRADED, after="cert-san-mismatch", shown_by="cert.chain")
def cert_chain_rejected(model: Model) -> Optional[Seen]:
    """This VM rejects the attested document's certificate chain

    The root and the issuers are present, but the system does not accept one of them: it is
    explicitly distrusted (in the Disallowed store), revoked, or violates one of the system's rules.

    Recognised by: what the system's certificate engine says about the chain, and which stores hold
    its certificates.

    Fix: remove the certificate from the Disallowed store, after asking who put it there.
    https://learn.microsoft.com/azure/security/fundamentals/azure-ca-details
    """
    faults = {error.fault for error in model.answers.chain_errors}
    if model.answers.chain is None or not faults & {ChainFault.DISTRUSTED, ChainFault.OTHER}:
        return None
    if ChainFault.DISTRUSTED not in faults and faults & LACKING:
        return None
    banned = {
        item: [place for place in item.stores if is_distrusting(place)]
        for item in model.answers.chain.certificates
    }
    where = "".join(
        f" {quoted(common_name(item.subject))} is in {listed(places)}."
        for item, places in banned.items()
        if places
    )
    fixes = [
        advice(
            "Ask who put it there: it may be a decision of your security team, and Group Policy may put it back."
        )
    ]
    for item, places in banned.items():
        fixes += remedies(model).remove_certificate(item, places) if places else []
    return Seen(
        f"The chain of the attested document's certificate is complete, and rejected. {_by_engine(model)}{where} {who_cares(model)}",
        (*fixes, *remedies(model).trust_anew())
        if where
        else (advice(f"Compare the chain in EVIDENCE with {CA_PAGE}"),),
    )


@rule(Verdict.DEGRADED, after="cert-chain-rejected", shown_by="cert.chain")
def cert_root_untrusted(model: Model) -> Optional[Seen]:
    """This VM does not trust the root of the attested document's certificate

    The chain is complete up to a self-signed root, but this machine does not trust that root. A
    root in one user's store does not count for services.

    Recognised by: the system's certificate engine (crypt32, openssl verify), and the stores that
    hold the root. Microsoft TLS RSA Root G2 is a different case: what is missing there is its
    cross-certificate (cert-intermediate-missing).

    Fix: install the root in the machine's trusted store, after comparing its thumbprint with
    Azure's list.
    https://learn.microsoft.com/azure/security/fundamentals/azure-ca-details
    """
    untrusted = any(
        error.fault is ChainFault.ROOT_UNTRUSTED for error in model.answers.chain_errors
    )
    if (
        model.answers.chain is None
        or not model.answers.chain.certificates
        or not untrusted
        or missing(model)
    ):
        return None
    root = model.answers.chain.certificates[-1]
    name = common_name(root.subject)
    stranger = (
        advice(
            "Do not trust it. Look for what answers in IMDS's place, or in that of the certificates' hosts."
        ),
    )
    if len(model.answers.chain.certificates) == 1:
        return Seen(
            f"The certificate that signs the attested document, {quoted(name)} (thumbprint {root.thumbprint}), is signed by itself: "
            f"it is not Azure's. {who_cares(model)}",
            stranger,
        )
    places = [place for place in root.stores if place.startswith("S-1-")]
    only = (
        f" It is only in {listed(places)}: a user's store does not count for services."
        if places
        else ""
    )
    detail = (
        f"The chain of the attested document's certificate ends at {quoted(name)} (thumbprint {root.thumbprint}), which this VM "
        f"does not trust.{only} "
    )
    known = ROOTS.get(name)
    if known and known.thumbprint != root.thumbprint:
        wrong = f"It is not the root of that name that Azure uses (thumbprint {known.thumbprint}). {who_cares(model)}"
        return Seen(detail + wrong, stranger)
    detail = f"{detail}{_by_engine(model)} {who_cares(model)}"
    if known is None:  # whoever answers in IMDS's place brings a root of his own
        return Seen(
            detail,
            (
                advice(
                    f"Do not install it before you have found its thumbprint in Azure's list: {CA_PAGE} If it is not there, look "
                    "for what answers in IMDS's place."
                ),
            ),
        )
    return Seen(detail, tuple(install(model, [Missing(name, (known.url,), root=known.thumbprint)])))


@rule(Verdict.DEGRADED, after="cert-root-untrusted", shown_by="cert.chain")
def cert_intermediate_missing(model: Model) -> Optional[Seen]:
    """An issuer of the attested document's certificate is missing

    IMDS's document contains only the signing certificate. Those between it and the root must be on
    the VM, or be fetched. Since 2026 there are two: "Microsoft TLS G2 RSA CA OCSP NN", and
    Microsoft TLS RSA Root G2, which most VMs trust only through its cross-certificate, signed by
    DigiCert Global Root G2. Without them, Azure Edition loses its activation and Extended Security
    Updates do not install, although IMDS answers perfectly.

    Recognised by: no chain to a trusted root can be built, neither from certificates on the VM nor
    by fetching issuers from the addresses in the certificates, directly and through the machine's
    proxies.

    Fix: install the missing certificates in the store for intermediates (CA, never Root), or allow
    TCP port 80 to the hosts that serve them.
    https://learn.microsoft.com/azure/security/fundamentals/azure-ca-details
    """
    lacking = missing(model)
    faults = {error.fault for error in model.answers.chain_errors}
    if not lacking or not faults & LACKING:
        return None
    first = lacking[0]
    by = f", issued by {first.issuer}" if first.issuer else ", a root" if first.root else ""
    key = f", key identifier {short(first.key_id, 40)}" if first.key_id else ""
    brought = what_fetching_brought(model)
    brought_by_us = {
        common_name(item.certificate.subject) for item in fetches(model) if item.certificate
    }
    if first.name in brought_by_us:
        how = "Windows does not fetch it, although imds-check could"
    else:
        how = f"fetching fails ({brought})" if brought else "no address says where it is"
    detail = f"No chain to a trusted root: {quoted(first.name)}{by}{key} is not on this VM, and {how}. {_by_engine(model)} {who_cares(model)}"
    hosts = [
        trial.host
        for trial in model.facts.endpoints or ()
        if "AIA" in trial.purposes and concerns(model, trial) and not is_reached(trial)
    ]
    allow = (
        [
            advice(
                f"For good: let TCP 80 out to {listed([short(h, 60) for h in hosts], 4)} (firewall, NSG, proxy). At once:"
            )
        ]
        if hosts
        else []
    )
    return Seen(detail, (*allow, *install(model, lacking), *_old_build(model)))


def _old_build(model: Model) -> List[Fix]:
    """Windows Server 2022 before the update that brought newer trust lists."""
    build = re.fullmatch(
        r"(\d+)\.(\d+)", (model.facts.machine.build if model.facts.machine else None) or ""
    )
    if not build or int(build.group(1)) != FIXED_BUILD[0] or int(build.group(2)) >= FIXED_BUILD[1]:
        return []
    return [
        advice(
            f"Install KB5036909 or later: this build, {build.group()}, is older than 20348.2402, whose trust lists are newer."
        )
    ]


@rule(after="proxy-pac-present", shown_by="cert.endpoints")
def cert_endpoints_blocked(model: Model) -> Optional[Seen]:
    """Certificate hosts cannot be reached

    Issuers, revocation lists and OCSP answers are fetched over plain HTTP (TCP port 80) from a few
    Microsoft and DigiCert hosts. If those are blocked, a chain that is not complete on the VM
    fails, now or at the next rotation.

    Recognised by: TCP connections to those hosts, and requests through the machine's proxies, all
    in parallel. They are tried only if a certificate problem makes them matter, or with
    --endpoints.

    Fix: allow outbound TCP port 80 to them, or install the certificates.
    https://learn.microsoft.com/azure/security/fundamentals/azure-ca-details#certificate-downloads-and-revocation-lists
    """
    trials = [trial for trial in model.facts.endpoints or () if concerns(model, trial)]
    closed = [trial for trial in trials if not is_reached(trial)]
    if not closed:
        return None
    named = listed(
        [
            f"{short(trial.host, 60)} ({', '.join(trial.purposes)}): {why_closed(trial)}"
            for trial in closed
        ],
        4,
    )
    names = sum(trial.is_name_unknown for trial in closed)
    fixes = [
        advice(
            "Let TCP 80 out to these hosts, in the VM's firewall, the network security group and the proxy."
        )
    ]
    if names:
        fixes.insert(0, advice(f"Look at DNS first: {names} of the names have no address."))
    return Seen(
        f"{len(closed)} of {len(trials)} hosts of certificates cannot be reached: {named}.",
        tuple(fixes),
        Severity.WARN,
    )


@rule(after="cert-endpoints-blocked", shown_by="cert.chain")
def cert_fetched_from_aia(model: Model) -> Optional[Seen]:
    """The attested document's certificate chain depends on the network

    The issuers are not on the VM; they were fetched from the addresses in the certificates. Windows
    does this by itself, and it works as long as those hosts can be reached. On Linux most programs
    do not fetch: they need the issuers installed.

    Recognised by: the chain is trusted with fetching, but not without. Information only.

    Fix: none is needed. Installing the issuers makes the VM independent of those hosts.
    https://learn.microsoft.com/azure/security/fundamentals/azure-ca-details
    """
    chains = model.facts.certificate_chains or ()
    if (
        model.answers.chain is None
        or not model.answers.chain.trusted
        or not model.answers.chain.fetched
    ):
        return None
    at_hand = {item.thumbprint for item in chains[0].certificates}
    fetched = [
        common_name(item.subject)
        for item in model.answers.chain.certificates
        if item.thumbprint not in at_hand and "fetched" in (item.stores or ("fetched",))
    ]
    hosts = sorted({host_of(item.url) for item in fetches(model) if item.certificate})
    proxies = sorted({item.proxy for item in fetches(model) if item.certificate and item.proxy})
    origin = f" from {listed(hosts)}" if hosts else ""
    origin += f" through {listed([short(proxy, 60) for proxy in proxies])}" if proxies else ""
    return Seen(
        f"{listed([quoted(name) for name in fetched]) or 'An issuer'} had to be fetched{origin}: without the network the chain fails.",
        (advice(f"To be independent of the network, install the issuers: {CA_PAGE}"),),
        Severity.INFO,
    )


def misplaced(model: Model) -> List[str]:
    """Certificates of the chain in stores where they do not belong."""
    found = []
    for item in model.answers.chain.certificates if model.answers.chain else ():
        name, places = (
            quoted(common_name(item.subject)),
            [place for place in item.stores if "\\" in place],
        )
        roots = [place for place in places if place.endswith(ROOT_STORES)]
        if roots and not item.is_self_issued:
            found.append(f"{name}, an intermediate, is in {listed(roots)}")
        if roots and item.is_self_issued and all(place.startswith("S-1-") for place in roots):
            found.append(f"{name}, the root, is only in a user's store ({listed(roots)})")
    return found
