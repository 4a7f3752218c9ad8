"""The help pages: what each cause means, and the table of all causes and checks."""

from __future__ import annotations

from typing import List, Optional

from ..rules import BY_CAUSE, RULES
from ..rules.checks import CHECKS
from ..rules.finding import Rule
from ..rules.pages import pages_of


def verdict_of(rule: Rule) -> str:
    """What a finding of this cause makes of a run."""
    return " or ".join(verdict.value for verdict in rule.verdicts) or "-"


def causes() -> List[str]:
    """The ids of all causes."""
    return list(BY_CAUSE)


def page(cause: str) -> Optional[str]:
    """A cause's help page; None where there is no such cause."""
    rule = BY_CAUSE.get(cause)
    if rule is None:
        return None
    title = f"{rule.cause}: {rule.title}"
    pages = "\n".join(pages_of(rule.doc))
    return f"{title}\n{'=' * len(title)}\nVerdict: {verdict_of(rule)}\n\n{rule.text}\n\n{pages}\n"


def table() -> str:
    """All causes in order of weight, then all checks."""
    lines = [f"{'CAUSE':28}{'VERDICT':20}"]
    lines += [f"{rule.cause:28}{verdict_of(rule):20}{rule.title}" for rule in RULES]
    lines += ["", f"{'CHECK':28}"]
    lines += [f"{check.id:28}{check.title}" for check in CHECKS]
    return "\n".join([*lines, "", "imds-check explain CAUSE prints a cause's help page.", ""])
