"""The certificate that signs the attested document: its dates, its names, and its chain to a root
that this VM trusts.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import List, Optional

from ..facts import (
    LACKING,
    Certificate,
    CertificateChain,
    ChainFault,
    is_distrusting,
    parse_instant,
)
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
ASK_WHO_BANNED = (
    "Ask who put it there: your security team may have meant to, and Group Policy may put it back."
)
DO_NOT_TRUST = (
    "Do not trust it. Look for what answers in place of IMDS or of the certificate hosts."
)
FIND_THUMBPRINT = (
    "Install it only if its thumbprint is in Azure's list: "
    f"{CA_PAGE} If it is not, look for what answers in IMDS's place."
)
LET_OUT = (
    "Allow outbound TCP 80 to these hosts in the VM's firewall, the network security group "
    "and the proxy."
)
ROOT_STORES = ("\\Root", "\\AuthRoot")


def _by_engine(model: Model) -> str:
    """What the system's own engine says."""
    chain = model.answers.chain
    if chain is None:
        return ""
    errors = [short(error.text, 100) for error in model.answers.chain_errors]
    return f"According to {chain.engine.partition(' (')[0]}: {listed(errors, 2)}."


# --- rules ---


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
    document, chain = model.answers.signed_document, model.answers.chain
    if document is None or document.signer is None:
        return None
    when, signer = host_time(model), document.signer
    if _off_dates(signer, when):
        detail = (
            "The certificate that signs the attested document, "
            f"{quoted(common_name(signer.subject))}, {_dates(signer, when)}, by the host's clock "
            f"({when:%Y-%m-%dT%H:%M:%SZ}). {who_cares(model)}"
        )
        return Seen(detail, outside("the platform renews its certificate automatically."))
    for error in model.answers.chain_errors:
        if error.fault is ChainFault.OUTSIDE_DATES and chain is not None:
            return _expired_above(model, chain, error.certificate or 0, when)
    return None


def _expired_above(model: Model, chain: CertificateChain, number: int, when: datetime) -> Seen:
    """The finding that a certificate above the signer is outside its dates.

    :param number: its place in the chain; 0: it is not known which
    """
    if not 0 < number < len(chain.certificates):
        detail = f"A certificate in the chain is expired or not yet valid. {_by_engine(model)}"
        fix = advice(f"Install the current certificates from {CA_PAGE}")
        return Seen(f"{detail} {who_cares(model)}", (fix,))
    own, child = chain.certificates[number], chain.certificates[number - 1]
    name = common_name(own.subject)
    detail = (
        f"{quoted(name)} in the chain of the attested document's certificate {_dates(own, when)}."
    )
    if own.stores:
        detail += f" It is stored in {listed(own.stores)}."
    if own.is_self_issued:
        fixes = [
            advice(
                f"Find the current root in Azure's list: {CA_PAGE} Some expired roots have to stay."
            )
        ]
        fixes += install(model, [])
    else:
        fixes = remedies(model).remove_certificate(own, own.stores)
        fixes += install(model, [Missing(name, child.issuer_urls)])
    return Seen(f"{detail} {who_cares(model)}", tuple(fixes))


def _off_dates(certificate: Certificate, when: datetime) -> bool:
    begin, end = certificate.not_before, certificate.not_after
    if not begin or not end:
        return False
    return not parse_instant(begin) <= when <= parse_instant(end)


def _dates(certificate: Certificate, when: datetime) -> str:
    begin, end = certificate.not_before, certificate.not_after
    if end and parse_instant(end) < when:
        ago = span((when - parse_instant(end)).total_seconds())
        return f"expired {ago} ago, at {end}"
    return f"is valid from {begin} to {end}"


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
    document, instance = model.answers.signed_document, model.answers.instance
    if document is None or document.signer is None or instance is None:
        return None
    domain = DOMAINS.get(instance.az_environment.lower())
    if domain is None:
        return None
    names = document.signer.names or (common_name(document.signer.subject),)
    if any(is_under(name, domain) for name in names):
        return None
    whose = listed([quoted(name) for name in names])
    detail = (
        f"The certificate that signs the attested document is for {whose}, not for {domain}. "
        f"{who_cares(model)}"
    )
    fixes = outside(
        "IMDS's own certificate has the right name.",
        "answers in IMDS's place: a metadata proxy, another cloud's metadata service or a security "
        "product",
    )
    return Seen(detail, fixes)


def is_under(name: str, domain: str) -> bool:
    """Whether a DNS name is a domain or below it."""
    plain = name.lower()
    if not re.fullmatch(r"[a-z0-9.*_-]{1,253}", plain):
        return False
    return plain == domain or plain.endswith(f".{domain}")


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
    chain = model.answers.chain
    faults = {error.fault for error in model.answers.chain_errors}
    if chain is None or not faults & {ChainFault.DISTRUSTED, ChainFault.OTHER}:
        return None
    if ChainFault.DISTRUSTED not in faults and faults & LACKING:
        return None
    commands = remedies(model)
    where = ""
    fixes = [advice(ASK_WHO_BANNED)]
    for item in chain.certificates:
        places = [place for place in item.stores if is_distrusting(place)]
        if places:
            where += f" {quoted(common_name(item.subject))} is in {listed(places)}."
            fixes += commands.remove_certificate(item, places)
    fixes += commands.trust_anew()
    if not where:
        fixes = [advice(f"Compare the chain in EVIDENCE with {CA_PAGE}")]
    detail = (
        "The attested document's certificate chain is complete, but this VM rejects it. "
        f"{_by_engine(model)}{where} {who_cares(model)}"
    )
    return Seen(detail, tuple(fixes))


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
    chain = model.answers.chain
    errors = model.answers.chain_errors
    untrusted = any(error.fault is ChainFault.ROOT_UNTRUSTED for error in errors)
    if chain is None or not chain.certificates or not untrusted or missing(model):
        return None
    root = chain.certificates[-1]
    name = common_name(root.subject)
    which = f"{quoted(name)} (thumbprint {root.thumbprint})"
    if len(chain.certificates) == 1:
        detail = (
            f"The certificate that signs the attested document, {which}, is self-signed: it is "
            f"not Azure's. {who_cares(model)}"
        )
        return Seen(detail, (advice(DO_NOT_TRUST),))
    detail = (
        f"The attested document's certificate chain ends at {which}, which this VM does not "
        f"trust.{_only_for_users(root)}"
    )
    known = ROOTS.get(name)
    if known and known.thumbprint != root.thumbprint:
        right = f"the root of that name that Azure uses (thumbprint {known.thumbprint})"
        detail += f" It is not {right}. {who_cares(model)}"
        return Seen(detail, (advice(DO_NOT_TRUST),))
    detail += f" {_by_engine(model)} {who_cares(model)}"
    if known is None:  # whoever answers in IMDS's place brings a root of his own
        return Seen(detail, (advice(FIND_THUMBPRINT),))
    fixes = install(model, [Missing(name, (known.url,), root=known.thumbprint)])
    return Seen(detail, tuple(fixes))


def _only_for_users(root: Certificate) -> str:
    """A sentence on the users' stores that hold a root that the machine does not trust."""
    places = [place for place in root.stores if place.startswith("S-1-")]
    if not places:
        return ""
    return f" It is only in {listed(places)}: services do not use a user's store."


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
    which = quoted(first.name)
    if first.issuer:
        which += f", issued by {first.issuer}"
    elif first.root:
        which += ", a root"
    if first.key_id:
        which += f", key identifier {short(first.key_id, 40)}"
    how = _why_not_at_hand(model, first)
    detail = (
        f"No chain to a trusted root: {which} is missing on this VM, and {how}. "
        f"{_by_engine(model)} "
        f"{who_cares(model)}"
    )
    fixes: List[Fix] = []
    hosts = _closed_hosts(model)
    if hosts:
        named = listed([short(host, 60) for host in hosts], 4)
        let_out = (
            f"Permanent fix: allow outbound TCP 80 to {named} (firewall, NSG, proxy). "
            "Immediate fix:"
        )
        fixes.append(advice(let_out))
    fixes += install(model, lacking)
    fixes += _old_build(model)
    return Seen(detail, tuple(fixes))


def _why_not_at_hand(model: Model, lacking: Missing) -> str:
    """Why a certificate did not come by fetching."""
    for fetch in fetches(model):
        if fetch.certificate and common_name(fetch.certificate.subject) == lacking.name:
            return "Windows does not fetch it, although imds-check could"
    brought = what_fetching_brought(model)
    if brought:
        return f"fetching it fails ({brought})"
    return "no certificate says where to fetch it"


def _closed_hosts(model: Model) -> List[str]:
    """The hosts that serve issuers and cannot be reached."""
    return [
        trial.host
        for trial in model.facts.endpoints or ()
        if "AIA" in trial.purposes and concerns(model, trial) and not is_reached(trial)
    ]


def _old_build(model: Model) -> List[Fix]:
    """Windows Server 2022 before the update that brought newer trust lists."""
    machine = model.facts.machine
    build = None
    if machine:
        build = machine.build
    found = re.fullmatch(r"(\d+)\.(\d+)", build or "")
    if found is None:
        return []
    release, revision = int(found.group(1)), int(found.group(2))
    if release != FIXED_BUILD[0] or revision >= FIXED_BUILD[1]:
        return []
    return [
        advice(
            f"Install KB5036909 or later: this build, {build}, is older than 20348.2402, whose "
            "trust lists are newer."
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
    named: List[str] = []
    for trial in closed:
        purposes = ", ".join(trial.purposes)
        named.append(f"{short(trial.host, 60)} ({purposes}): {why_closed(trial)}")
    fixes: List[Fix] = []
    names = sum(trial.is_name_unknown for trial in closed)
    if names:
        fixes.append(advice(f"Check DNS first: {names} of the names have no address."))
    fixes.append(advice(LET_OUT))
    count = f"{len(closed)} of {len(trials)}"
    detail = f"{count} certificate hosts cannot be reached: {listed(named, 4)}."
    return Seen(detail, tuple(fixes), Severity.WARN)


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
    chain, chains = model.answers.chain, model.facts.certificate_chains or ()
    if chain is None or not chain.trusted or not chain.fetched:
        return None
    at_hand = {item.thumbprint for item in chains[0].certificates}
    fetched: List[str] = []
    for item in chain.certificates:
        is_in_store = bool(item.stores) and "fetched" not in item.stores
        if item.thumbprint not in at_hand and not is_in_store:
            fetched.append(quoted(common_name(item.subject)))
    what = listed(fetched) or "An issuer"
    detail = (
        f"{what} had to be fetched{_fetched_from(model)}: without network access the chain fails."
    )
    fix = advice(f"To be independent of the network, install the issuers: {CA_PAGE}")
    return Seen(detail, (fix,), Severity.INFO)


def _fetched_from(model: Model) -> str:
    """The hosts that issuers came from, and the proxies that they came through."""
    brought = [item for item in fetches(model) if item.certificate]
    hosts = sorted({host_of(item.url) for item in brought})
    proxies = sorted({item.proxy for item in brought if item.proxy})
    origin = ""
    if hosts:
        origin += f" from {listed(hosts)}"
    if proxies:
        origin += f" through {listed([short(proxy, 60) for proxy in proxies])}"
    return origin


def misplaced(model: Model) -> List[str]:
    """Certificates of the chain in stores where they do not belong."""
    chain = model.answers.chain
    found: List[str] = []
    for item in chain.certificates if chain else ():
        name = quoted(common_name(item.subject))
        roots = [place for place in item.stores if place.endswith(ROOT_STORES)]
        if not roots:
            continue
        if not item.is_self_issued:
            found.append(f"{name}, an intermediate, is in {listed(roots)}")
        elif all(place.startswith("S-1-") for place in roots):
            found.append(f"{name}, the root, is only in a user's store ({listed(roots)})")
    return found
