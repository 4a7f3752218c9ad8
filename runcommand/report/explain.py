"""The help pages of causes and checks, and the table of all of them."""

from __future__ import annotations

from dataclasses import fields
from textwrap import wrap
from typing import List, Optional

from ..facts import Facts
from ..fixes.pages import pages_of
from ..rules.catalogue import BY_CAUSE, EXPLAINS, RESIDUAL, RULES
from ..rules.checks import CHECKS, CheckKind
from ..rules.finding import Rule

COLUMN = 29  # characters of an id in the table
WIDTH = 100  # characters of a line
BY_ID = {check.id: check for check in CHECKS}
A_CHECK = "A line of CHECKS in the report. Facts are named as in report.json."
FACT = "facts."  # begins the ids of the lines that ``diagnosis`` adds for facts without a check


def verdict_of(rule: Rule) -> str:
    """The verdict that this cause leads to; ``-`` for one that is only a warning or information."""
    return " or ".join(verdict.value for verdict in rule.verdicts) or "-"


def names() -> List[str]:
    """The ids that have a help page: all causes, then all checks."""
    return [*BY_CAUSE, *BY_ID]


def page(name: str) -> Optional[str]:
    """The help page of a cause or a check; None if nothing has this id."""
    if name in BY_CAUSE:
        return _cause_page(BY_CAUSE[name])
    if name in BY_ID:
        return _check_page(BY_ID[name])
    if name.startswith(FACT):
        return _fact_page(name)
    return None


def _cause_page(rule: Rule) -> str:
    lines = [*_heading(rule.cause, rule.title), f"Verdict: {verdict_of(rule)}"]
    if rule.shown_by:
        lines.append(f"Check: {rule.shown_by}")
    explained = [other.cause for other in RULES if other.cause in EXPLAINS.get(rule.cause, ())]
    if explained:
        text = f"Explains: {', '.join(explained)}"
        lines += wrap(text, WIDTH, subsequent_indent="  ", break_on_hyphens=False)
    if rule.cause in RESIDUAL:
        lines.append("Explained by: any failure before it in the table of causes")
    return "\n".join([*lines, "", rule.text, "", *pages_of(rule.doc), ""])


def _check_page(check: CheckKind) -> str:
    lines = [
        *_heading(check.id, check.title),
        A_CHECK,
        "",
        check.text,
    ]
    if check.causes:
        lines += ["", "Causes that it shows:"]
        width = max(map(len, check.causes)) + 4
        for cause in check.causes:
            name = f"  {cause}".ljust(width)
            lines += wrap(
                BY_CAUSE[cause].title, WIDTH, initial_indent=name, subsequent_indent=" " * width
            )
    return "\n".join([*lines, ""])


def _fact_page(name: str) -> Optional[str]:
    fact = name[len(FACT) :]
    if fact not in [field.name for field in fields(Facts)]:
        return None
    text = (
        "This line appears only if the fact could not be collected (error), or only in part or in\n"
        "another way than usual (warn), and says why."
    )
    return "\n".join([*_heading(name, "Was this fact collected?"), A_CHECK, "", text, ""])


def _heading(name: str, title: str) -> List[str]:
    heading = f"{name}: {title}"
    return [heading, "=" * len(heading)]


def table() -> str:
    """All causes in order of weight, then all checks."""
    lines = [f"{'CAUSE':{COLUMN}}{'VERDICT':20}MEANING"]
    lines += [f"{rule.cause:{COLUMN}}{verdict_of(rule):20}{rule.title}" for rule in RULES]
    lines += ["", f"{'CHECK':{COLUMN}}QUESTION"]
    lines += [f"{check.id:{COLUMN}}{check.title}" for check in CHECKS]
    lines += [
        "",
        "A cause without a verdict is a warning, or information, next to another one.",
        "imds-check explain ID prints the help page of a cause or a check.",
    ]
    return "\n".join([*lines, ""])
