"""Runs one scenario of the lab: break, diagnose, execute the printed fix, diagnose again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Dict, Optional

from .scenarios import Broken

SIDE_BY_SIDE = 6  # labs at a time: a run mostly waits


@dataclass(frozen=True)
class Result:
    verdict: str
    cause: Optional[str]
    seconds: float
    report: Dict[str, Any]
    after: Optional[str] = None  # the verdict once the printed commands were executed
    executed: int = 0
    right: bool = False


def run(scenario: Broken) -> Result:
    with scenario.lab() as lab:
        scenario.prepare(lab)
        report, seconds = lab.diagnose(*scenario.arguments)
        right = (report["verdict"], report["cause"]) == (scenario.verdict, scenario.cause)
        after, executed = None, 0
        if scenario.heals:
            executed = len(lab.apply(report)) if report["findings"] else 0
            healed, _ = lab.diagnose(*scenario.arguments)
            after = healed["verdict"] if healed["verdict"] == "healthy" else f"{healed['verdict']}: {healed['cause']}"
            right = right and after == "healthy" and executed > 0
        return Result(report["verdict"], report["cause"], seconds, report, after, executed, right)
