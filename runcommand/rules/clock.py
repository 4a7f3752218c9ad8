"""The VM's clock: against the host's, and against the time in the attested document."""

from __future__ import annotations

from datetime import datetime
from typing import Optional

from ..facts import SignatureState, parse_instant
from .case import Case
from .finding import Seen, Severity, Verdict, advice, rule
from .remedies import remedies

SKEW_LIMIT_S = 300.0


def skew(case: Case) -> Optional[float]:
    """Seconds by which this VM's clock is ahead of the host's (negative: behind); None where the host's is not known."""
    genuine = case.genuine
    if genuine is None or not genuine.date or not genuine.read_at:
        return None
    return (parse_instant(genuine.read_at) - parse_instant(genuine.date)).total_seconds()


def document_skew(case: Case) -> Optional[float]:
    """Seconds by which this VM's clock is ahead of the time at which the attested document says that it was made."""
    imds, document = case.facts.imds, case.document
    if not imds or not imds.attested or not imds.attested.read_at or not document or not document.created_on:
        return None
    if document.signature is not SignatureState.VALID or document.nonce != document.asked_nonce:
        return None  # not proven to be made just now
    return (parse_instant(imds.attested.read_at) - parse_instant(document.created_on)).total_seconds()


@rule(Verdict.DEGRADED)
def clock_skew(case: Case) -> Optional[Seen]:
    """The VM's clock is wrong

    Certificates, tokens and the attested document's dates are judged by the VM's clock. More than five minutes off, valid
    ones seem expired or not yet valid, and Kerberos and managed identity tokens are refused.

    Recognised by: the Date header of IMDS's own answer against the VM's clock at the moment when it was read. The attested
    document, made for this very request, tells the time once more: where it agrees with the VM and not with the header, the
    header is what is wrong, and this is a warning. Other servers' dates are not used.

    Mended by: the VM's time service, which should take the host's clock.
    https://learn.microsoft.com/azure/virtual-machines/linux/time-sync
    """
    ahead, by_document = skew(case), document_skew(case)
    if ahead is None or abs(ahead) <= SKEW_LIMIT_S:
        return None
    detail = f"The VM's clock is {_off(ahead)} the host's (Date header)"
    if by_document is None:
        return Seen(f"{detail}.", tuple(remedies(case).shift_clock(ahead)))
    if abs(by_document) <= SKEW_LIMIT_S:
        return Seen(
            f"{detail}, but it agrees with the time in the attested document, which was made for this request: the host's header "
            "is what is wrong.",
            (advice("Nothing on the VM needs mending. If it stays so, redeploy the VM to another host."),),
            Severity.WARN,
        )
    same = abs(by_document - ahead) <= SKEW_LIMIT_S
    also = "The attested document says the same" if same else f"By the attested document it is {_off(by_document)} it"
    return Seen(f"{detail}. {also}: the VM's clock is what is wrong.", tuple(remedies(case).shift_clock(ahead)))


def _off(ahead: float) -> str:
    return f"{span(abs(ahead))} {'ahead of' if ahead > 0 else 'behind'}"


def span(seconds: float) -> str:
    """A length of time in words: ``7 minutes``, ``3.0 hours``, ``2.5 days``."""
    minutes, hours, days = seconds / 60, seconds / 3600, seconds / 86400
    return f"{days:.1f} days" if days >= 2 else f"{hours:.1f} hours" if hours >= 2 else f"{minutes:.0f} minutes"


def host_time(case: Case) -> datetime:
    """The time by the host's clock, where IMDS's own answer tells it; else by the VM's."""
    attested = case.facts.imds.attested if case.facts.imds else None
    date = (attested.date if attested else None) or (case.genuine.date if case.genuine else None)
    return parse_instant(date or case.facts.collected_at)
