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

HOUR_S, DAY_S = 3600, 86400
HEADER_IS_WRONG = (
    "Nothing on the VM needs fixing. If the problem persists, redeploy the VM to another host."
)


def skew(model: Model) -> Optional[float]:
    """Seconds by which this VM's clock is ahead of the host's Date header (negative: behind); None
    where there is none.
    """
    metadata = model.answers.metadata
    if metadata is None or not metadata.date or not metadata.read_at:
        return None
    return (parse_instant(metadata.read_at) - parse_instant(metadata.date)).total_seconds()


def document_skew(model: Model) -> Optional[float]:
    """Seconds by which it is ahead of the time at which the attested document, made for this
    request, says that it was made.
    """
    imds, document = model.facts.imds, model.answers.document
    read_at = None
    if imds and imds.attested:
        read_at = imds.attested.read_at
    if not read_at or not document or not document.created_on or not is_fresh(document):
        return None
    return (parse_instant(read_at) - parse_instant(document.created_on)).total_seconds()


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
    ahead = by_header
    if by_header is None:
        ahead = by_document
    if ahead is None or abs(ahead) <= AGREE_S:
        return None
    fixes = tuple(remedies(model).shift_clock(ahead))
    detail = f"The VM's clock is {_off(ahead)} the host's"
    if by_header is None:
        witness = "according to the attested document issued for this request"
        return Seen(f"{detail}, {witness}.", fixes)
    detail += " (Date header)"
    if by_document is None:
        return Seen(f"{detail}.", fixes)
    if abs(by_document) <= AGREE_S:
        detail += (
            ", but it agrees with the time in the attested document, which was issued for this "
            "request: the host's header is wrong."
        )
        return Seen(detail, (advice(HEADER_IS_WRONG),), Severity.WARN)
    also = f"It is {_off(by_document)} the attested document's time"
    if abs(by_document - ahead) <= AGREE_S:
        also = "The attested document says the same"
    return Seen(f"{detail}. {also}: the VM's clock is wrong.", fixes)


def _off(ahead: float) -> str:
    return f"{span(abs(ahead))} {'ahead of' if ahead > 0 else 'behind'}"


def span(seconds: float) -> str:
    """A length of time in words: ``7 minutes``, ``3.0 hours``, ``2.5 days``."""
    if seconds >= 2 * DAY_S:
        return f"{seconds / DAY_S:.1f} days"
    if seconds >= 2 * HOUR_S:
        return f"{seconds / HOUR_S:.1f} hours"
    return f"{seconds / 60:.0f} minutes"


def host_time(model: Model) -> datetime:
    """The time by the host's clock, where IMDS's own answers tell it; else by the VM's."""
    by_answer = None
    if model.facts.imds:
        by_answer = attested.host_time(model.facts.imds)
    if by_answer:
        return by_answer
    metadata = model.answers.metadata
    date = None
    if metadata:
        date = metadata.date
    return parse_instant(date or model.facts.collected_at)
