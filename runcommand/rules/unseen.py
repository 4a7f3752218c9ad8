"""What a run could not look at, and what it takes to look at it: said before anything is concluded
without it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import List

from ..facts import ABSENT, Unavailable
from ..model.case import Case
from ..model.words import short
from .finding import DETAIL_LIMIT, Finding, Fix, advice

# The facts that may explain why IMDS does not answer, as they are called in a sentence.
EXPLAINING = {
    "adapters": "NICs",
    "routes": "routes",
    "neighbours": "neighbours",
    "firewall": "firewall",
    "services": "services",
    "proxies": "proxies",
}


def failed_to_read(case: Case, *facts: str) -> List[Unavailable]:
    """Those of these facts that another run may bring: one with more time, memory or rights. (No
    other run brings a program that is not on the VM.)
    """
    return [
        item
        for item in case.facts.unavailable
        if item.fact in facts
        and getattr(case.facts, item.fact) is None
        and not ABSENT.fullmatch(item.reason)
    ]


def is_unprivileged(case: Case) -> bool:
    """Whether the run is known to have had no root's or administrator's rights."""
    machine = case.facts.machine
    return machine is not None and machine.elevated is False


def unseen(case: Case) -> bool:
    """Whether the reason for IMDS's silence may be where this run could not look."""
    return is_unprivileged(case) or bool(_missing(case))


def _missing(case: Case) -> List[Unavailable]:
    """What could not be looked at, or not at all of it, of all that may explain it."""
    missing = failed_to_read(case, *EXPLAINING)
    if case.firewall_left_out:
        missing.append(Unavailable("firewall", case.firewall_left_out))
    return missing


def qualified(case: Case, finding: Finding, is_residual: bool) -> Finding:
    """The finding that explains the verdict, with what could not be looked at.

    It stands first, and the fix begins with looking there. A cause that is shown by what was read
    stays, whatever else was not: of it only a want of rights is said.

    :param is_residual: the finding says that nothing on the VM explains the failure
    """
    missing = _missing(case) if is_residual else []
    said = " ".join(text for text in (without_rights(case), _could_not(case, missing)) if text)
    detail = short(f"{said} {finding.detail}".strip(), DETAIL_LIMIT)
    return replace(finding, detail=detail, fix=(*_first_steps(case, missing), *finding.fix))


def without_rights(case: Case) -> str:
    """A sentence on the rights that the run is known to have lacked; empty where it had them."""
    if not is_unprivileged(case):
        return ""
    who, whom = "root", "root"
    if case.facts.system == "windows":
        who, whom = "an administrator", "administrators"
    return f"This was not run as {who}: what only {whom} can read was not looked at."


def _could_not(case: Case, missing: List[Unavailable]) -> str:
    """``Could not look at: routes, firewall (not finished when the time was up).`` CHECKS has the
    other reasons.
    """
    if not missing:
        return ""
    names = [EXPLAINING[item.fact] for item in missing]
    if case.firewall_left_out:
        names[-1] = "all of the firewall"
    reasons = {item.reason for item in missing}
    first = "" if len(reasons) == 1 else f"{names[0]}: "
    return f"Could not look at: {', '.join(names)} ({first}{short(missing[0].reason, 120)})."


def _first_steps(case: Case, missing: List[Unavailable]) -> List[Fix]:
    is_windows = case.facts.system == "windows"
    steps: List[Fix] = []
    if is_unprivileged(case):
        how = "in an elevated prompt (Run as administrator)" if is_windows else "as root, with sudo"
        steps.append(advice(f"Run this again {how}."))
    elif missing and case.facts.interrupted:
        steps.append(
            advice("Run this again, and let it finish: the reason may be where it could not look.")
        )
    elif missing:
        limits = (
            ""
            if is_windows
            else ", and without limits on memory, processes and open files (ulimit -a shows them)"
        )
        steps.append(
            advice(
                f"Run this again with --deadline 60{limits}: the reason may be where it could not look."
            )
        )
    return steps
