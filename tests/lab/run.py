"""Runs scenarios of the lab: break, diagnose, execute the printed fix, diagnose again; several side
by side.
"""

from __future__ import annotations

import os
import subprocess
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, Callable, Dict, Iterator, Optional, Sequence

from .namespace import Lab
from .scenarios import Broken

# Labs at a time: a run mostly waits. Fewer where other test files run beside this one.
IS_BESIDE_OTHERS = "PYTEST_XDIST_WORKER" in os.environ
SIDE_BY_SIDE = 3 if IS_BESIDE_OTHERS else 6


@dataclass(frozen=True)
class Result:
    verdict: str
    cause: Optional[str]
    seconds: float
    report: Dict[str, Any]
    after: Optional[str] = None  # the verdict once the printed commands were executed
    executed: int = 0
    right: bool = False


def run_all(scenarios: Sequence[Broken], make: Callable[..., Lab] = Lab) -> Iterator[Result]:
    """The results in the order of the scenarios. One that is wrong while the machine was shared
    with other test files counts only if it is wrong alone too: a busy machine costs a time-out, and
    that is another finding.

    :param make: makes each VM: ``Lab``, or a ``WindowsLab`` with its exe
    """
    with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
        results = pool.map(partial(run, make=make), scenarios)
        if not IS_BESIDE_OTHERS:
            yield from results
            return
        first = list(results)
    for scenario, result in zip(scenarios, first):
        yield result if result.right else run(scenario, make)


def run(scenario: Broken, make: Callable[..., Lab]) -> Result:
    """One scenario. Wine hangs now and then: a VM in which a run does not end is given up once for
    a new one.
    """
    try:
        return _run(scenario, make)
    except subprocess.TimeoutExpired:
        return _run(scenario, make)


def _run(scenario: Broken, make: Callable[..., Lab]) -> Result:
    with make(scenario.behaviour, scenario.not_listening, scenario.environment) as lab:
        scenario.prepare(lab)
        lab.warm_up()
        report, seconds = lab.diagnose(*scenario.arguments, environment=scenario.variables)
        right = scenario.is_right(report)
        after, executed = None, 0
        if scenario.heals and lab.mends(report):
            executed = len(lab.apply(report)) if report["findings"] else 0
            healed, _ = lab.diagnose(*scenario.arguments, environment=scenario.variables)
            after = (
                healed["verdict"]
                if healed["verdict"] == "healthy"
                else f"{healed['verdict']}: {healed['cause']}"
            )
            right = right and after == "healthy" and executed > 0
        return Result(report["verdict"], report["cause"], seconds, report, after, executed, right)
