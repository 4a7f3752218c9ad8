"""How a rule reports a fault between the client and the host, and fixes for the primary NIC."""

from __future__ import annotations

from typing import Iterable, Tuple

from ..fixes.commands import Fix, advice
from ..model.evidence import differential_answer
from ..model.model import Model
from ..model.primary_nic import WHERE_AZURE_SAYS
from ..model.sentences import nic
from .finding import Seen, Severity


def local_fault(model: Model, detail: str, fixes: Iterable[Fix], works: bool = False) -> Seen:
    """A fault between the client and the host: a failure, unless IMDS answers all the same.

    What works needs no fix.

    :param works: packets reach IMDS for another reason
    """
    if model.answers.imds_gives_metadata or works:
        return Seen(detail, (), Severity.WARN)
    return Seen(detail + differential_answer(model), tuple(fixes))


def check_first(model: Model, fixes: Iterable[Fix]) -> Tuple[Fix, ...]:
    """These fixes, which go by the primary NIC; before them a check, where only the operator names
    it.
    """
    found = tuple(fixes)
    primary = model.primary_nic
    if not found or primary is None or not model.detection.rests_on_operator:
        return found
    named = nic(primary.adapter, primary.ip)
    reason = f"only --expected-mac or --expected-ip says that the primary NIC is {named}"
    check = advice(f"Before you change anything, check the value: {reason} ({WHERE_AZURE_SAYS}).")
    return (check, *found)
