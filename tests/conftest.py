"""How the tests run: side by side, file by file, the long files first.

``--exhaustive`` also runs the cases that repeat what another case has shown.
"""

from __future__ import annotations

import compileall
import os
from pathlib import Path
from typing import List

import pytest

PACKAGE = Path(__file__).parent.parent / "runcommand"
# In this order they are handed out, before all others: what takes long must not begin last.
LONG_FILES = (
    "test_exe.py",
    "test_powershell.py",
    "test_lab.py",
    "test_script.py",
    "test_azure.py",
    "test_growth.py",
)
# A file stays with one worker, as its tests share fixtures. Of these files each function may go to
# another one: what they share is made quickly.
SHARED_OUT = ("test_script.py", "test_growth.py")
# The tests that read a table of many VMs, which is made once: a part of their file that goes to a
# worker of its own.
TABLES = {
    "test_exe.py": (
        "test_verdict_and_cause",
        "test_fixes_are_commands_of_windows_with_this_vms_adapters",
    ),
    "test_powershell.py": (
        "test_scenario",
        "test_nothing_is_left_of_a_download_that_failed",
        "test_the_short_report_has_checks_and_evidence_in_every_case",
    ),
}
WORKERS_A_CORE = 3  # most tests of the network wait


# A case that repeats what another one shows. It runs with ``--exhaustive``.
exhaustive = pytest.mark.exhaustive


def seeds(usual: int, exhaustively: int) -> List[object]:
    """Seeds of random cases, as parameters: so many in each run, so many in an exhaustive one."""
    more = [pytest.param(seed, marks=exhaustive) for seed in range(usual, exhaustively)]
    return [*range(usual), *more]


@pytest.fixture
def is_exhaustive(request: pytest.FixtureRequest) -> bool:
    return bool(request.config.getoption("--exhaustive"))


def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        # The tests start the program some thousand times, and mostly may not write byte code.
        compileall.compile_dir(str(PACKAGE), quiet=2)
    config.addinivalue_line("markers", "exhaustive: repeats what another case shows")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--exhaustive",
        action="store_true",
        help="also run the cases that repeat what another case has shown",
    )


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Several workers a core; none for one file."""
    named = {Path(argument.partition("::")[0]) for argument in config.args}
    if len(named) == 1 and next(iter(named)).suffix == ".py":
        return 0
    return WORKERS_A_CORE * cores()


def cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def pytest_collection_modifyitems(config: pytest.Config, items: List[pytest.Item]) -> None:
    """Leaves out what only an exhaustive run has, and puts the long files first. (The order within
    a file stays.)
    """
    if not config.getoption("--exhaustive"):
        left_out = [item for item in items if item.get_closest_marker("exhaustive")]
        items[:] = [item for item in items if not item.get_closest_marker("exhaustive")]
        config.hook.pytest_deselected(items=left_out)
    ranks = {name: rank for rank, name in enumerate(LONG_FILES)}
    items.sort(key=lambda item: ranks.get(item.path.name, len(ranks)))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> object:
    """Hands out the files in the order of the collection."""
    from xdist.scheduler import LoadScopeScheduling

    class ByFile(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file, _, test = nodeid.partition("::")
            name, function = file.rpartition("/")[2], test.partition("[")[0]
            if name in SHARED_OUT:
                return f"{file}::{function}"
            if function in TABLES.get(name, ()):
                return f"{file}::table"
            return file

    config.option.loadscopereorder = False
    return ByFile(config, log)
