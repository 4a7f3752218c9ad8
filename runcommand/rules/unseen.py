"""What a run could not look at, and what it takes to look at it: said before anything is concluded
without it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import List

from ..facts import Unavailable
from ..model.coverage import EXPLAINING, is_unprivileged, not_read
from ..model.model import Model
from ..model.words import short
from .finding import DETAIL_LIMIT, Finding, Fix, advice

NOT_LOOKED = "the cause may be in what could not be checked"
LIMITS = ", and without limits on memory, processes and open files (ulimit -a shows them)"


def qualified(model: Model, finding: Finding, is_residual: bool) -> Finding:
    """The finding that explains the verdict, with what could not be looked at.

    It stands first, and the fix begins with looking there. A cause that is shown by what was read
    stays, whatever else was not: of it only a want of rights is said.

    :param is_residual: the finding says that nothing on the VM explains the failure
    """
    missing = []
    if is_residual:
        missing = not_read(model)
    sentences = [without_rights(model), _could_not(model, missing), finding.detail]
    detail = short(" ".join(filter(None, sentences)), DETAIL_LIMIT)
    return replace(finding, detail=detail, fix=(*_first_steps(model, missing), *finding.fix))


def without_rights(model: Model) -> str:
    """A sentence on the rights that the run is known to have lacked; empty where it had them."""
    if not is_unprivileged(model):
        return ""
    if model.facts.system == "windows":
        who, whom = "an administrator", "administrators"
    else:
        who, whom = "root", "root"
    return f"This was not run as {who}, so what only {whom} can read was not checked."


def _could_not(model: Model, missing: List[Unavailable]) -> str:
    """``Could not check: routes, firewall (not finished when the time was up).`` CHECKS has the
    other reasons.
    """
    if not missing:
        return ""
    names = [EXPLAINING[item.fact] for item in missing]
    if model.filtering.left_out:
        names[-1] = "all of the firewall"
    reason = short(missing[0].reason, 120)
    if len({item.reason for item in missing}) > 1:
        reason = f"{names[0]}: {reason}"
    return f"Could not check: {', '.join(names)} ({reason})."


def _first_steps(model: Model, missing: List[Unavailable]) -> List[Fix]:
    is_windows = model.facts.system == "windows"
    if is_unprivileged(model):
        how = "as root, with sudo"
        if is_windows:
            how = "in an elevated prompt (Run as administrator)"
        return [advice(f"Run this again {how}.")]
    if not missing:
        return []
    if model.facts.interrupted:
        return [advice(f"Run this again and let it finish: {NOT_LOOKED}.")]
    again = "Run this again with --deadline 60"
    if not is_windows:
        again += LIMITS
    return [advice(f"{again}: {NOT_LOOKED}.")]
