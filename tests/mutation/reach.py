"""Which test reaches which line, and how long it takes: found out by one run of the quick tests."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, List, Set

import coverage

QUICK = (
    "edges",
    "rules",
    "not_faults",
    "unseen",
    "windows_firewall",
    "packet_filter",
    "bypass",
    "operators_word",
    "proxies",
    "snapshots",
    "attested_rules",
    "commands",
    "wfp",
    "firewall_engine",
    "model",
    "explain",
    "diagnosis",
    "attested",
)
# They show that nothing fails on thousands of odd facts, or need the tools of a real system.
TOO_LONG = (
    "hostile",
    "twenty_thousand",
    "set_that_many",
    "what_can_be_ignored",
    "iptables",
    "legacy",
    "program_that_fails",
    "every_template",
    "forms_cover",
    "no_word_of_the_operator",
    "gets_advice_and_no_command",
)


@dataclass(frozen=True)
class Reach:
    """What the quick tests reach. A test is a function, with all of its parameters."""

    tests: Dict[str, Dict[int, Set[str]]]  # by path and line
    seconds: Dict[str, float]  # by test

    def for_line(self, path: str, line: int) -> List[str]:
        """The tests that reach a line, the fastest first; where none does, as for a line that runs
        when the module is imported, all that reach the module.
        """
        lines = self.tests.get(path, {})
        found = lines.get(line) or set().union(*lines.values())
        return sorted(found & self.seconds.keys(), key=lambda test: self.seconds[test])


class _Watch:
    """A plugin of pytest that tells Coverage which test runs, and adds up how long each takes."""

    def __init__(self, measured: coverage.Coverage) -> None:
        self.seconds: Dict[str, float] = defaultdict(float)
        self.failing: Set[str] = set()  # without any mutant: they would kill each of them
        self._measured = measured

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self._measured.switch_context(_function(nodeid))

    def pytest_runtest_logreport(self, report: Any) -> None:
        self.seconds[_function(report.nodeid)] += report.duration
        if report.failed:
            self.failing.add(_function(report.nodeid))


def _function(nodeid: str) -> str:
    return nodeid.partition("[")[0]


def record(root: Path) -> Reach:
    """Runs the quick tests once, in a process of their own, and reads what they reached."""
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "reach"
        subprocess.run(
            [sys.executable, "-m", "tests.mutation.reach", str(target)], cwd=root, check=True
        )
        seconds = json.loads(target.with_suffix(".json").read_text())
        data = coverage.CoverageData(str(target))
        data.read()
        return Reach(_by_line(data, root), seconds)


def _by_line(data: coverage.CoverageData, root: Path) -> Dict[str, Dict[int, Set[str]]]:
    found: Dict[str, Dict[int, Set[str]]] = {}
    for file in data.measured_files():
        by_line = data.contexts_by_lineno(file).items()
        # The context without a name is what runs before the first test: imports.
        found[os.path.relpath(file, root)] = {line: {*tests} - {""} for line, tests in by_line}
    return found


def main(target: str) -> int:
    measured = coverage.Coverage(data_file=target, source=["runcommand"], messages=False)
    measured.start()
    import pytest  # here: what the tests import is measured from its first line

    watch = _Watch(measured)
    files = [f"tests/test_{name}.py" for name in QUICK if Path(f"tests/test_{name}.py").exists()]
    chosen = " and ".join(f"not {word}" for word in TOO_LONG)
    code = pytest.main(
        [*files, "-k", chosen, "-q", "-n0", "-p", "no:cacheprovider", "--tb=line", "--no-header"],
        plugins=[watch],
    )
    measured.stop()
    measured.save()
    seconds = {test: took for test, took in watch.seconds.items() if test not in watch.failing}
    Path(target).with_suffix(".json").write_text(json.dumps(seconds))
    return int(code) if code not in (0, 1) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
