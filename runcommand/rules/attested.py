"""The attested document: is there one, is it signed, is it ours."""

from __future__ import annotations

from typing import List, Optional, Tuple

from ..facts import Body, ChainError, ChainFault, Outcome, SignatureState, parse_instant
from ..fixes.remedies import REDEPLOY_WARNING
from ..model.azure import is_azure_edition
from ..model.model import Model
from ..model.sentences import says
from ..model.words import quoted, short
from .clock import host_time, span
from .finding import Fix, Seen, Severity, Verdict, advice, rule

FAIR_S = 3.0  # an answer that had less time than this was cut off by this program's own deadline
ESU_RELEASES = (
    "Windows 10",
    "Windows Server 2012",
    "Windows Server 2016",
)  # out of support, or soon


def who_cares(model: Model) -> str:
    """Whether this VM's activation or updates depend on the attested document, as a sentence."""
    machine = model.facts.machine
    if model.facts.system != "windows" or machine is None:
        return (
            "On Linux, node attestation and other programs that verify the attested document "
            "depend on it."
        )
    state = ""
    if model.facts.activation:
        state = f" (Windows reports: {model.facts.activation})"
    if is_azure_edition(machine):
        return (
            f"This VM runs Azure Edition, whose activation{state} depends on the attested document."
        )
    name = machine.os_name or "Windows"
    if name.startswith(ESU_RELEASES):
        return (
            f"Extended Security Updates for {short(name)} depend on the attested document; its "
            f"activation{state} does not."
        )
    return (
        f"This edition's activation{state} does not depend on the attested document; node "
        "attestation does."
    )


def attested_had_time(model: Model) -> bool:
    """Whether the answer failed by itself, and not because this program's own time or requests were
    used up.
    """
    answer = None
    if model.facts.imds:
        answer = model.facts.imds.attested
    if answer is None or answer.outcome is Outcome.FAILED:
        return False
    if answer.outcome is Outcome.HTTP and answer.body not in (None, Body.ENDLESS):
        return True
    allowed_s = (answer.allowed_s or FAIR_S, answer.connection.allowed_s or FAIR_S)
    return min(allowed_s) >= FAIR_S


KEEPER = "caches answers from 169.254.169.254: a caching proxy or a container metadata proxy"


def outside(again: str, culprit: str = "") -> Tuple[Fix, ...]:
    """What is left where the fault is not on the VM itself.

    :param again: what may be better the next time
    :param culprit: what to look for before: "changes the answers: a security product"
    """
    fixes: List[Fix] = []
    if culprit:
        fixes.append(advice(f"Look for what {culprit}."))
    return (
        *fixes,
        advice(f"Run again in a minute: {again}"),
        advice(f"If the problem persists, redeploy the VM to another host. {REDEPLOY_WARNING}"),
        advice("If that does not help, open a support request with this report."),
    )


@rule(Verdict.DEGRADED, after="wireserver-unreachable", shown_by="imds.attested")
def attested_unavailable(model: Model) -> Optional[Seen]:
    """IMDS answers, but provides no attested document

    Windows activation (Azure Edition), Extended Security Updates and node attestors need the signed
    document at /metadata/attested/document. IMDS serves the instance metadata, but not this
    document.

    Recognised by: /metadata/instance answers, but /metadata/attested/document returns no document,
    even after retries. Azure Stack Hub has no such document, so there this is not a fault.

    Fix: wait and run this again. If that does not help, redeploy the VM.
    https://learn.microsoft.com/azure/virtual-machines/instance-metadata-service#attested-data
    """
    imds, instance = model.facts.imds, model.answers.instance
    if imds is None or imds.attested is None or not model.answers.imds_gives_metadata:
        return None
    if imds.attested_document or not attested_had_time(model):
        return None
    if instance and instance.az_environment.lower().replace(" ", "").startswith("azurestack"):
        return None
    detail = (
        "/metadata/instance answers, but /metadata/attested/document fails: "
        f"{model.answers.in_words(imds.attested)}.{says(imds.attested)}"
    )
    if imds.attested.status == 200:
        detail += " The answer contains no signed document."
    detail += " Azure Edition activation, Extended Security Updates and node attestation need it."
    fix = advice(
        "Wait a minute and run again. If the problem persists, redeploy the VM to another host. "
        f"{REDEPLOY_WARNING}"
    )
    return Seen(detail, (fix,))


@rule(Verdict.DEGRADED, after="attested-unavailable", shown_by="imds.attested")
def attested_signature_invalid(model: Model) -> Optional[Seen]:
    """The attested document's signature is invalid

    IMDS signs the document, and everyone who relies on it verifies the signature. An invalid
    signature means that the document was changed on its way, or never came from IMDS.

    Recognised by: the signature (CMS SignedData, RSA PKCS #1 v1.5), verified with the key of the
    certificate in the document, and the signatures of the certificates above it. The rest of such a
    document is not checked.

    Fix: remove from the path whatever answers in IMDS's place or changes its answers. If there is
    no such thing, the fault is on the host.
    https://learn.microsoft.com/azure/virtual-machines/instance-metadata-service#attested-data
    """
    document = model.answers.document
    if document is None:
        return None
    reason = short(document.reason or "", 160)
    forged = _forged(model)
    if document.signature is SignatureState.INVALID:
        what = f"does not verify: {reason}"
    elif document.signature is SignatureState.MALFORMED:
        what = f"cannot be read: {reason}"
    elif forged:
        what = f"verifies, but a certificate in its chain does not: {short(forged.text, 160)}"
    else:
        return None
    fixes = outside(
        "a document that was truncated or altered once may be intact then.",
        "changes answers from 169.254.169.254: a security product or a container metadata proxy",
    )
    rejected = f"Every verifier will reject it. {who_cares(model)}"
    return Seen(f"IMDS's attested document {what}. {rejected}", fixes)


def _forged(model: Model) -> Optional[ChainError]:
    """The first certificate of the chain whose signature fails."""
    for error in model.answers.chain_errors:
        if error.fault is ChainFault.SIGNATURE:
            return error
    return None


@rule(after="cert-fetched-from-aia", shown_by="imds.attested")
def attested_unverifiable(model: Model) -> Optional[Seen]:
    """The attested document's signature is of a type that imds-check cannot verify

    imds-check verifies RSA signatures of 2048 to 4096 bits with SHA-256, SHA-384 or SHA-512, which
    is what Azure uses. This document is signed in another way, which other programs may well
    verify.

    Recognised by: the algorithms that the document specifies. Information only: the signature may
    be perfectly valid.

    Fix: none is needed. If in doubt, verify the document with another program.
    https://learn.microsoft.com/azure/virtual-machines/instance-metadata-service#attested-data
    """
    document = model.answers.document
    if document is None or document.signature is not SignatureState.UNVERIFIABLE:
        return None
    reason = short(document.reason or "", 160)
    detail = f"The attested document's signature was not verified here: {reason}."
    return Seen(detail, (), Severity.INFO)


@rule(Verdict.DEGRADED, after="attested-signature-invalid", shown_by="imds.attested")
def attested_nonce_mismatch(model: Model) -> Optional[Seen]:
    """The attested document does not answer our request

    A request for the document carries a nonce, which IMDS signs along with the rest, so that nobody
    can pass off an old document as new.

    Recognised by: the nonce in the signed document is not the one that was sent.

    Fix: remove from the path whatever answers in IMDS's place with a stored document.
    https://learn.microsoft.com/azure/virtual-machines/instance-metadata-service#attested-data
    """
    document = model.answers.readable_document
    if document is None or document.nonce == document.asked_nonce:
        return None
    got = "no nonce"
    if document.nonce is not None:
        got = f"the nonce {quoted(document.nonce)}"
    detail = (
        f"The attested document carries {got}, but {quoted(document.asked_nonce)} was sent: it "
        "belongs to another request. Verifiers that check the nonce will reject it. "
        f"{who_cares(model)}"
    )
    return Seen(detail, outside("the next document should carry the right nonce.", KEEPER))


@rule(Verdict.DEGRADED, after="attested-vm-mismatch", shown_by="imds.attested")
def attested_document_expired(model: Model) -> Optional[Seen]:
    """The attested document has expired

    A document is valid for six hours from when it was issued. Every verifier will reject an expired
    one.

    Recognised by: expiresOn in the signed document, compared with the host's clock (its Date
    header), or with the VM's clock if the host's is not known.

    Fix: remove from the path whatever caches old answers. If there is no such thing, the fault is
    on the host.
    https://learn.microsoft.com/azure/virtual-machines/instance-metadata-service#attested-data
    """
    document = model.answers.readable_document
    if document is None or document.expires_on is None:
        return None
    late_s = (host_time(model) - parse_instant(document.expires_on)).total_seconds()
    if late_s <= 0:
        return None
    detail = (
        f"The attested document expired {span(late_s)} ago, at {document.expires_on} (issued at "
        f"{document.created_on or '?'}), although it was requested just now. {who_cares(model)}"
    )
    return Seen(detail, outside("every request gets a new document.", KEEPER))


@rule(Verdict.DEGRADED, after="attested-nonce-mismatch", shown_by="imds.attested")
def attested_vm_mismatch(model: Model) -> Optional[Seen]:
    """The attested document belongs to another VM

    Both the document and /metadata/instance identify the VM by its vmId. If the two differ, one of
    the answers belongs to another VM.

    Recognised by: the vmId in each. A different SKU or subscription alone is shown under CHECKS,
    and is not a fault.

    Fix: remove from the path whatever answers for another VM (a metadata proxy, a nested VM's
    host). If there is no such thing, the fault is on the host.
    https://learn.microsoft.com/azure/virtual-machines/instance-metadata-service#attested-data
    """
    document, instance = model.answers.readable_document, model.answers.instance
    if document is None or instance is None:
        return None
    if (document.vm_id or "").lower() == instance.vm_id.lower():
        return None
    detail = (
        f"The attested document names vmId {short(document.vm_id or 'none')}, but "
        f"/metadata/instance names {instance.vm_id}. {who_cares(model)}"
    )
    fixes = outside(
        "both answers should then name the same VM.",
        "answers in IMDS's place for another VM: a metadata proxy or a nested VM's host",
    )
    return Seen(detail, fixes)


def differences(model: Model) -> List[str]:
    """In what else the document differs from ``/metadata/instance``: details, not causes."""
    document, instance = model.answers.readable_document, model.answers.instance
    if document is None or instance is None:
        return []
    pairs = {
        "sku": (document.sku, instance.sku),
        "subscription": (document.subscription_id, instance.subscription_id),
    }
    found: List[str] = []
    for name, (signed, reported) in pairs.items():
        if signed and reported and signed.lower() != reported.lower():
            found.append(f"{name} {short(signed)} instead of {short(reported)}")
    return found
