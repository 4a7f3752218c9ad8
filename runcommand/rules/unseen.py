"""What a run could not look at, and what it takes to look at it: said before anything is concluded without it."""

from __future__ import annotations

from dataclasses import replace
from typing import List

from ..facts import Unavailable
from .case import Case
from .finding import DETAIL_LIMIT, Finding, Fix, Verdict, advice, short

# The facts that may explain why IMDS does not answer, as they are called in a sentence.
EXPLAINING = {
    "adapters": "NICs",
    "routes": "routes",
    "neighbours": "neighbours",
    "firewall": "firewall",
    "services": "services",
    "proxies": "proxies",
}
ABSENT = "not found"  # a program that is not on the VM: running again would not bring it


def failed_to_read(case: Case, *facts: str) -> List[Unavailable]:
    """Those of these facts that another run may bring: one with more time, memory or rights."""
    return [
        item
        for item in case.facts.unavailable
        if item.fact in facts and getattr(case.facts, item.fact) is None and not item.reason.endswith(ABSENT)
    ]


def is_unprivileged(case: Case) -> bool:
    """Whether the run is known to have had no root's or administrator's rights."""
    machine = case.facts.machine
    return machine is not None and machine.elevated is False


def unseen(case: Case) -> bool:
    """Whether the reason for IMDS's silence may be where this run could not look."""
    return is_unprivileged(case) or bool(failed_to_read(case, *EXPLAINING))


def qualified(case: Case, finding: Finding, is_residual: bool) -> Finding:
    """The finding that explains the verdict, with what could not be looked at.

    It stands first, and the fix begins with looking there, where the finding rests on nothing having been found. A cause that is
    shown by what was read has a note at its end.

    :param is_residual: the finding says that nothing on the VM explains the failure
    """
    rights = _rights(case) if is_unprivileged(case) else ""
    if not is_residual and finding.verdict is not Verdict.INCONCLUSIVE:
        return replace(finding, detail=short(f"{finding.detail} {rights}".strip(), DETAIL_LIMIT))
    missing = failed_to_read(case, *EXPLAINING) if is_residual else []
    said = " ".join(text for text in (rights, _could_not(missing)) if text)
    detail = short(f"{said} {finding.detail}".strip(), DETAIL_LIMIT)
    return replace(finding, detail=detail, fix=(*_first_steps(case, missing), *finding.fix))


def _rights(case: Case) -> str:
    who, whom = "root", "root"
    if case.facts.system == "windows":
        who, whom = "an administrator", "administrators"
    return f"This was not run as {who}: what only {whom} can read was not looked at."


def _could_not(missing: List[Unavailable]) -> str:
    """``Could not look at: routes, firewall (not finished when the time was up).`` CHECKS has the other reasons."""
    if not missing:
        return ""
    names = ", ".join(EXPLAINING[item.fact] for item in missing)
    reasons = {item.reason for item in missing}
    first = "" if len(reasons) == 1 else f"{EXPLAINING[missing[0].fact]}: "
    return f"Could not look at: {names} ({first}{short(missing[0].reason, 120)})."


def _first_steps(case: Case, missing: List[Unavailable]) -> List[Fix]:
    is_windows = case.facts.system == "windows"
    steps: List[Fix] = []
    if is_unprivileged(case):
        how = "in an elevated prompt (Run as administrator)" if is_windows else "as root, with sudo"
        steps.append(advice(f"Run this again {how}."))
    elif missing:
        limits = "" if is_windows else ", and without limits on memory, processes and open files (ulimit -a shows them)"
        steps.append(advice(f"Run this again with --deadline 60{limits}: the reason may be where it could not look."))
    return steps
