"""Runs the rules over the facts, ranks what they found, and gives the verdict. Pure: the same facts, the same diagnosis."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Dict, List, Optional, Tuple

from .facts import Exchange, Facts, Instance
from .rules import BY_CAUSE, RULES
from .rules.case import Case
from .rules.checks import CHECKS, Check, Status
from .rules.finding import Finding, Severity, Verdict, short
from .rules.platform import again

# What means "looked everywhere on the VM": only one of them, and only when nothing on the VM explains the failure.
RESIDUAL = ("firewall-unknown", "platform-unreachable", "imds-refused", "imds-no-answer")
CHECKED = ("imds", "wireserver", "adapters", "routes")  # facts without which a check of their own says why
EXIT_CODES = {Verdict.HEALTHY: 0, Verdict.DEGRADED: 1, Verdict.BROKEN: 1, Verdict.INCONCLUSIVE: 3}
_WEIGHT = {Severity.FAIL: 0, Severity.WARN: 1, Severity.INFO: 2}


@dataclass(frozen=True)
class Diagnosis:
    facts: Facts
    case: Case
    verdict: Verdict
    findings: Tuple[Finding, ...]  # in order of weight: the first explains the verdict, unless it is healthy
    checks: Tuple[Check, ...]

    @property
    def cause(self) -> Optional[str]:
        return self.main.cause if self.main else None

    @property
    def main(self) -> Optional[Finding]:
        """The finding that explains the verdict; None when healthy."""
        return self.findings[0] if self.verdict is not Verdict.HEALTHY else None

    @property
    def exit_code(self) -> int:
        return EXIT_CODES[self.verdict]

    @property
    def instance(self) -> Optional[Instance]:
        return self.case.instance

    @property
    def genuine_answer(self) -> Optional[Exchange]:
        """The exchange that brought the instance metadata, to the plain request or to the differential."""
        if self.case.answer and self.case.answer.instance:
            return self.case.answer
        return self.case.proof.exchange if self.case.proof else None


def diagnose(facts: Facts) -> Diagnosis:
    """Facts in, diagnosis out. A rule that fails costs itself: it becomes a ``tool-failed`` finding."""
    case = Case(facts)
    findings: List[Finding] = []
    for rule in RULES:
        try:
            finding = rule(case)
        except Exception as failure:  # a bug, or facts that no rule foresaw
            finding = _failed(f"rule {rule.cause}", failure)
        if finding and not _is_explained(finding, findings):
            findings.append(finding)
    findings.sort(key=_weight)
    verdict = findings[0].verdict if findings and findings[0].verdict else Verdict.HEALTHY
    return Diagnosis(facts, case, verdict, tuple(findings), _check(case, findings))


def _is_explained(finding: Finding, before: List[Finding]) -> bool:
    return finding.cause in RESIDUAL and any(
        other.severity is Severity.FAIL and other.cause != "tool-failed" for other in before
    )


def _weight(finding: Finding) -> Tuple[int, int]:
    """Failures first, each in the order of ``RULES``; a failure of the program itself explains only what nothing else does."""
    order = [rule.cause for rule in RULES]
    place = len(order) if finding.cause == "tool-failed" else order.index(finding.cause)
    return _WEIGHT[finding.severity], place


def _failed(what: str, failure: Exception) -> Finding:
    rule = BY_CAUSE["tool-failed"]
    detail = f"{what} failed: {short(f'{type(failure).__name__}: {failure}', 160)}."
    return Finding(rule.cause, Severity.FAIL, rule.verdict, rule.title, detail, again(), rule.doc)


def _check(case: Case, findings: List[Finding]) -> Tuple[Check, ...]:
    severities: Dict[str, Severity] = {}
    for finding in findings:
        severities.setdefault(finding.cause, finding.severity)
    checks = []
    for kind in CHECKS:
        try:
            checks.append(kind(case, severities))
        except Exception as failure:
            checks.append(Check(kind.id, Status.ERROR, short(f"{type(failure).__name__}: {failure}", 120)))
    for item in case.facts.unavailable:
        if item.fact in CHECKED and getattr(case.facts, item.fact) is None:
            continue  # said by a check of its own
        checks.append(Check(f"facts.{item.fact}", Status.ERROR, short(item.reason, 160)))
    return tuple(checks)
