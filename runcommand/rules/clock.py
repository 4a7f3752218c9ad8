"""The VM's clock: against the host's, and against the time in the attested document."""

from __future__ import annotations

from datetime import datetime
from typing import Optional

from ..attest import document as attested
from ..attest.document import AGREE_S, is_fresh
from ..facts import parse_instant
from ..fixes.remedies import remedies
from ..model.model import Model
from .finding import Seen, Severity, Verdict, advice, rule


def skew(model: Model) -> Optional[float]:
    """Seconds by which this VM's clock is ahead of the host's Date header (negative: behind); None
    where there is none.
    """
    genuine = model.answers.metadata
    if genuine is None or not genuine.date or not genuine.read_at:
        return None
    return (parse_instant(genuine.read_at) - parse_instant(genuine.date)).total_seconds()


def document_skew(model: Model) -> Optional[float]:
    """Seconds by which it is ahead of the time at which the attested document, made for this
    request, says that it was made.
    """
    imds, document = model.facts.imds, model.answers.document
    if (
        not imds
        or not imds.attested
        or not imds.attested.read_at
        or not document
        or not document.created_on
    ):
        return None
    if not is_fresh(document):
        return None
    return (
        parse_instant(imds.attested.read_at) - parse_instant(document.created_on)
    ).total_seconds()


@rule(Verdict.DEGRADED, after="imds-no-answer", shown_by="clock.skew")
def clock_skew(model: Model) -> Optional[Seen]:
    """The VM's clock is wrong

    The validity of certificates, tokens and the attested document is checked against the VM's
    clock. If the clock is off by more than five minutes, valid ones look expired or not yet valid,
    and Kerberos and managed identity tokens are rejected.

    Recognised by: the Date header of IMDS's own answer, compared with the VM's clock when the
    answer arrived. The attested document, issued for this very request, is a second witness. If it
    agrees with the VM and not with the header, the header is wrong, and this is only a warning; if
    there is no header, the document decides. Dates from other servers are not used.

    Fix: repair the VM's time service, and let it follow the host's clock.
    https://learn.microsoft.com/azure/virtual-machines/linux/time-sync
    """
    by_header, by_document = skew(model), document_skew(model)
    ahead = by_document if by_header is None else by_header
    if ahead is None or abs(ahead) <= AGREE_S:
        return None
    mended = tuple(remedies(model).shift_clock(ahead))
    if by_header is None:
        return Seen(
            f"The VM's clock is {_off(ahead)} the host's, by the attested document that was made for this request.",
            mended,
        )
    detail = f"The VM's clock is {_off(ahead)} the host's (Date header)"
    if by_document is None:
        return Seen(f"{detail}.", mended)
    if abs(by_document) <= AGREE_S:
        return Seen(
            f"{detail}, but it agrees with the time in the attested document, which was made for this request: the host's header "
            "is what is wrong.",
            (
                advice(
                    "Nothing on the VM needs mending. If it stays so, redeploy the VM to another host."
                ),
            ),
            Severity.WARN,
        )
    same = abs(by_document - ahead) <= AGREE_S
    also = (
        "The attested document says the same"
        if same
        else f"By the attested document it is {_off(by_document)} it"
    )
    return Seen(f"{detail}. {also}: the VM's clock is what is wrong.", mended)


def _off(ahead: float) -> str:
    return f"{span(abs(ahead))} {'ahead of' if ahead > 0 else 'behind'}"


def span(seconds: float) -> str:
    """A length of time in words: ``7 minutes``, ``3.0 hours``, ``2.5 days``."""
    minutes, hours, days = seconds / 60, seconds / 3600, seconds / 86400
    return (
        f"{days:.1f} days"
        if days >= 2
        else f"{hours:.1f} hours"
        if hours >= 2
        else f"{minutes:.0f} minutes"
    )


def host_time(model: Model) -> datetime:
    """The time by the host's clock, where IMDS's own answers tell it; else by the VM's."""
    by_answer = attested.host_time(model.facts.imds) if model.facts.imds else None
    return by_answer or parse_instant(
        (model.answers.metadata.date if model.answers.metadata else None)
        or model.facts.collected_at
    )
