"""Runs the rules over the facts, ranks what they found, and gives the verdict.

Pure: the same facts, the same diagnosis.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Dict, List, Optional, Set, Tuple

from .facts import Facts
from .fixes.pages import page_for
from .frozen import dataclass
from .model.model import Model
from .model.words import short
from .rules.azure import failure
from .rules.catalogue import EXPLAINS, RESIDUAL, RULES
from .rules.checks import CHECKS, Check, Status
from .rules.finding import Finding, Severity, Verdict
from .rules.unseen import qualified

EXIT_CODES = {Verdict.HEALTHY: 0, Verdict.DEGRADED: 1, Verdict.BROKEN: 1, Verdict.INCONCLUSIVE: 3}
_WEIGHT = {Severity.FAIL: 0, Severity.WARN: 1, Severity.INFO: 2}


@dataclass(frozen=True)
class Diagnosis:
    facts: Facts
    model: Model
    verdict: Verdict
    # In order of weight: the first explains the verdict, unless it is healthy.
    findings: Tuple[Finding, ...]
    checks: Tuple[Check, ...]

    @property
    def cause(self) -> Optional[str]:
        if self.main:
            return self.main.cause
        return None

    @property
    def main(self) -> Optional[Finding]:
        """The finding that explains the verdict; None when healthy."""
        if self.verdict is Verdict.HEALTHY:
            return None
        return self.findings[0]

    @property
    def exit_code(self) -> int:
        return EXIT_CODES[self.verdict]


def diagnose(facts: Facts) -> Diagnosis:
    """Facts in, diagnosis out.

    A rule that fails costs itself: it becomes a ``tool-failed`` finding.
    """
    model = Model(facts)
    findings: List[Finding] = []
    for rule in RULES:
        try:
            finding = rule(model)
        except Exception as error:  # a bug, or facts that no rule foresaw
            finding = failure(f"rule {rule.cause}", error)
        if finding:
            findings.append(_with_page(finding, facts.system))
    findings = _unexplained(sorted(findings, key=_weight))
    verdict = Verdict.HEALTHY
    if findings and findings[0].severity is Severity.FAIL:
        main = findings[0]
        findings[0] = qualified(model, main, main.cause in RESIDUAL)
        verdict = main.verdict or Verdict.HEALTHY
    return Diagnosis(facts, model, verdict, tuple(findings), _check(model, findings))


def failed(facts: Facts, what: str, error: Exception) -> Diagnosis:
    """The diagnosis of a run that the program itself could not bring to its end: what is known, and
    the reason.
    """
    finding = _with_page(failure(what, error), facts.system)
    return Diagnosis(facts, Model(facts), Verdict.INCONCLUSIVE, (finding,), ())


def _with_page(finding: Finding, system: str) -> Finding:
    """The finding with the page for the system that the facts came from."""
    if finding.doc:
        return replace(finding, doc=page_for(finding.doc, system))
    return finding


def _weight(finding: Finding) -> Tuple[int, int]:
    """Failures first, each in the order of ``RULES``; a failure of the program itself explains only
    what nothing else does.
    """
    place = len(RULES)
    if finding.cause != "tool-failed":
        place = [rule.cause for rule in RULES].index(finding.cause)
    return _WEIGHT[finding.severity], place


def _unexplained(findings: List[Finding]) -> List[Finding]:
    """The findings that no weightier one explains, in the same order."""
    return [
        finding
        for number, finding in enumerate(findings)
        if not _is_explained(finding, findings[:number])
    ]


def _is_explained(finding: Finding, before: List[Finding]) -> bool:
    failures = [
        other.cause
        for other in before
        if other.severity is Severity.FAIL and other.cause != "tool-failed"
    ]
    if finding.cause in RESIDUAL:
        return bool(failures)
    return any(finding.cause in EXPLAINS.get(cause, ()) for cause in failures)


def _check(model: Model, findings: List[Finding]) -> Tuple[Check, ...]:
    severities: Dict[str, Severity] = {}
    for finding in findings:
        severities.setdefault(finding.cause, finding.severity)
    checks: List[Check] = []
    spoken_for: Set[str] = set()
    for kind in CHECKS:
        spoken_for.update(kind.facts)
        try:
            checks.append(kind(model, severities))
        except Exception as error:
            reason = short(f"{type(error).__name__}: {error}", 120)
            checks.append(Check(kind.id, Status.ERROR, reason))
    for missing in model.facts.unavailable:
        if missing.fact not in spoken_for:
            checks.append(Check(f"facts.{missing.fact}", Status.ERROR, short(missing.reason, 160)))
    for note in model.facts.notes:
        checks.append(Check(f"facts.{note.fact}", Status.WARN, short(note.text, 160)))
    return tuple(checks)
