"""CONTRIBUTING keeps its word: what it names is there, and its examples work on the real code."""

from __future__ import annotations
import __future__

import ast
import dataclasses
import importlib
import json
import os
import re
import shutil
import subprocess
import sys

import pytest

import runcommand.collect
from runcommand.collect import RunOptions
from runcommand.facts import Connection, Facts, Outcome, decoding, run, to_json
from runcommand.facts.decoding import facts_from_json
from runcommand.frozen import dataclass
from runcommand.probes.tcp import Connector, Endpoint
from runcommand.simulator.host import Host
from runcommand.simulator.scenarios import LINUX_VM
from runcommand.simulator.world import simulate

from .command import ROOT
from .facts_of import WINDOWS

TEXT = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
SECTIONS = dict(re.findall(r"^## (.+)\n((?:(?!## ).*\n)*)", TEXT, re.MULTILINE))
BLOCKS = {  # the examples, by the file that each is meant for
    (where, place): code
    for where, place, code in re.findall(
        r"^```python\n# ([\w/.]+)(?:, in (\w+))?\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL
    )
}
REFERENCES = sorted(set(re.findall(r"`([\w/]+\.py): ([\w.]+)`", TEXT)))
TREE = re.search(r"^```\n(runcommand/ .*?)^```$", TEXT, re.MULTILINE | re.DOTALL).group(1)


def run_in(path, code):
    """The names of a module after an example's code; the module itself stays as it is."""
    name = path[:-3].replace("/", ".")
    namespace = (
        dict(vars(importlib.import_module(name))) if (ROOT / path).exists() else {"__name__": name}
    )
    flags = __future__.annotations.compiler_flag
    exec(compile(code, path, "exec", flags), namespace)
    return namespace


# --- what it names ---


def test_every_example_is_meant_for_a_file():
    assert len(BLOCKS) == TEXT.count("\n```python\n") == 8


def test_every_path_that_it_names_is_there():
    new = {path for path, _ in BLOCKS if not (ROOT / path).exists()}
    assert new == {"runcommand/probes/resolver.py"}  # the example's own
    named = set(re.findall(r"`((?:runcommand|tests|samples)/[\w/.-]+)`", TEXT)) | {
        path for path, _ in REFERENCES
    }
    assert len(named) > 20
    for path in named - new:
        assert (ROOT / path).exists(), path


def defined(path):
    """The functions, classes and methods of a file, as ``Class.method``."""
    tree = ast.parse((ROOT / path).read_text("utf-8"))
    kinds = (ast.FunctionDef, ast.ClassDef)
    top = [node for node in tree.body if isinstance(node, kinds)]
    inner = [
        f"{node.name}.{item.name}" for node in top for item in node.body if isinstance(item, kinds)
    ]
    return {node.name for node in top} | set(inner)


@pytest.mark.parametrize("path, name", REFERENCES)
def test_every_function_that_it_names_is_there(path, name):
    assert name in defined(path)


@pytest.mark.parametrize(
    "path, name",
    [
        ("runcommand/simulator/world.py", "PROBED"),
        ("runcommand/redaction/__init__.py", "REWRITES"),
    ],
)
def test_every_table_that_it_names_is_there(path, name):
    assert f"`{name}`" in TEXT and path in TEXT
    module = path[: -len(".py")].replace("/", ".").replace(".__init__", "")
    assert hasattr(importlib.import_module(module), name)


def tree_paths():
    """The paths in the drawn tree."""
    found, folders = [], []
    for line in TREE.splitlines():
        indent, name = re.match(r"( *)(\S+)", line).groups()
        del folders[len(indent) // 2 :]
        found.append("/".join([*folders, name.rstrip("/")]))
        if name.endswith("/"):
            folders.append(name.rstrip("/"))
    return found


def test_the_tree_is_the_one_that_is_there():
    drawn = tree_paths()
    assert len(drawn) == len(set(drawn))
    for path in drawn:
        assert (ROOT / path).exists(), path
    modules = {f"runcommand/{path.name}" for path in (ROOT / "runcommand").glob("*.py")} - {
        "runcommand/__init__.py"
    }
    folders = {
        path.parent for top in ("runcommand", "tests") for path in (ROOT / top).rglob("*.py")
    }
    packages = {folder.relative_to(ROOT).as_posix() for folder in folders}
    assert (modules | packages) - set(drawn) == set()


# --- the walk of a route row ---


def test_the_walk_leads_downwards_only():
    """Each step begins where the one before it ended, or nearer to the report."""
    level = {
        "system": 0,
        "collect": 1,
        "diagnosis": 2,
        "rules": 2,
        "fixes": 2,
        "report": 3,
        "output": 4,
    }
    steps = re.split(r"^\d+\. ", SECTIONS["The walk of one route row"], flags=re.MULTILINE)[1:]
    levels = [level[re.search(r"`runcommand/(\w+)", step).group(1)] for step in steps]
    assert levels == sorted(levels) and set(levels) == set(level.values())


def test_the_row_that_walks_is_in_the_report_and_in_its_last_line():
    """The demo's wrong route, from the row of the table to the END line."""
    from runcommand.report import text
    from runcommand.simulator.scenarios import BY_NAME
    from runcommand.system.windows.iphlpapi import ForwardRow
    from runcommand.system.windows.routes import parse_row

    facts = BY_NAME["route-wrong-interface"].facts
    wrong = next(route for route in facts.routes if route.destination == "169.254.169.254/32")
    row = ForwardRow(
        "169.254.169.254",
        "255.255.255.255",
        wrong.gateway,
        wrong.interface_index,
        4,
        3,
        wrong.metric,
    )
    made = dataclasses.replace(
        parse_row(row, {}), interface=wrong.interface, protocol=wrong.protocol
    )
    assert made == wrong
    report = text.portal(simulate(BY_NAME["route-wrong-interface"]))
    assert re.search(
        r"^> 169\.254\.169\.254 +255\.255\.255\.255 +10\.1\.0\.1 .* Ethernet 2$",
        report,
        re.MULTILINE,
    )
    assert report.splitlines()[-1].startswith(
        "END IMDS-CHECK verdict=broken cause=route-wrong-interface "
    )


# --- how to add a cause ---


CAUSE = "guest-agent-stopped"
OWN_TEST = "test_a_guest_agent_that_does_not_run_is_a_warning"
RECORD = f"""
from pathlib import Path
from runcommand.report import json_report, text
from runcommand.simulator.scenarios import BY_NAME
from tests.snapshots import FILES, FOLDER, record
diagnosis = record(BY_NAME["{CAUSE}"])
(FOLDER / "{CAUSE}.json").write_text(json_report.as_json(diagnosis), "ascii")
(FOLDER / "{CAUSE}.txt").write_text(text.portal(diagnosis, FILES), "ascii")
"""
CAUSE_BLOCKS = {
    ("runcommand/rules/azure.py", ""),
    ("runcommand/simulator/scenarios.py", "_catalogue"),
    ("tests/lab/scenarios.py", "SCENARIOS"),
    ("tests/test_rules.py", ""),
}


def insert(path, place, code):
    """Adds an example to a file: at its end, or at the end of the list with the name ``place`` or
    that the function of this name returns.
    """
    lines = path.read_text("utf-8").splitlines(keepends=True)
    if not place:
        path.write_text("".join([*lines, "\n\n", code]), "utf-8")
        return
    for node in ast.parse("".join(lines)).body:
        if isinstance(node, ast.AnnAssign) and node.target.id == place:
            found = node.value
        if isinstance(node, ast.FunctionDef) and node.name == place:
            (found,) = [item.value for item in node.body if isinstance(item, ast.Return)]
    assert isinstance(found, ast.List)
    lines.insert(found.end_lineno - 1, code)
    path.write_text("".join(lines), "utf-8")


PYTEST = ("-m", "pytest", "-v", "-p", "no:cacheprovider", "-o", "addopts=")


def run_there(folder, *arguments):
    """Runs Python in a copy of the project; gives what it printed."""
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-30000:]
    return done.stdout


@pytest.fixture(scope="module")
def extended(tmp_path_factory):
    """A copy of the project with the example's cause in it, as the page says."""
    folder = tmp_path_factory.mktemp("extended")
    for name in ("runcommand", "tests", "samples"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("build.py", "pyproject.toml"):
        shutil.copy(ROOT / name, folder / name)
    for path, place in CAUSE_BLOCKS:
        insert(folder / path, place, BLOCKS[path, place])
    run_there(folder, "-c", RECORD)
    return folder


def test_a_cause_touches_two_files_of_the_program(extended):
    changed = {
        path.relative_to(extended).as_posix()
        for path in (extended / "runcommand").rglob("*")
        if path.is_file() and path.read_bytes() != (ROOT / path.relative_to(extended)).read_bytes()
    }
    assert changed == {"runcommand/rules/azure.py", "runcommand/simulator/scenarios.py"}


def test_the_example_of_a_cause_passes_its_own_test_and_is_counted_whole(extended):
    tests = ["tests/test_catalogue.py", f"tests/test_rules.py::{OWN_TEST}"]
    said = run_there(extended, *PYTEST, *tests)
    counted = re.findall(rf"test_catalogue\.py::(\w+)\[{CAUSE}\] PASSED", said)
    assert len(counted) == 5, counted
    assert f"{OWN_TEST} PASSED" in said


def test_the_example_of_a_cause_has_a_help_page(extended):
    page = run_there(extended, "-m", "runcommand", "explain", CAUSE)
    assert page.startswith(f"{CAUSE}: The Azure guest agent is not running\n")
    assert "Verdict: -\nCheck: agent.guest\n" in page
    assert f"  {CAUSE}  The Azure" in run_there(
        extended, "-m", "runcommand", "explain", "agent.guest"
    )
    table = run_there(extended, "-m", "runcommand", "explain")
    assert re.search(rf"^attested-unverifiable .*\n{CAUSE} .*\n\nCHECK", table, re.MULTILINE)


def test_the_example_of_a_cause_is_in_the_recorded_report(extended):
    report = json.loads((extended / "samples" / "reports" / f"{CAUSE}.json").read_text("ascii"))
    assert (report["verdict"], [item["cause"] for item in report["findings"]]) == (
        "healthy",
        [CAUSE],
    )
    assert {item["id"]: item["status"] for item in report["checks"]}["agent.guest"] == "warn"


def test_the_example_of_a_cause_without_its_simulated_vm_is_found_out(extended, tmp_path):
    """What the page asks for is counted: with less, ``tests/test_catalogue.py`` fails."""
    folder = shutil.copytree(extended, tmp_path / "lacking")
    for place in ("runcommand/simulator/scenarios.py", "tests/lab/scenarios.py"):
        shutil.copy(ROOT / place, folder / place)
    with pytest.raises(AssertionError) as error:
        run_there(folder, *PYTEST, "tests/test_catalogue.py")
    failed = set(
        re.findall(rf"FAILED tests/test_catalogue\.py::(\w+)\[{CAUSE}\]", str(error.value))
    )
    assert failed == {
        "test_every_rule_has_a_scenario_of_its_name_or_a_named_one",
        "test_the_check_of_every_rule_turns_with_it",
        "test_every_rule_has_a_lab_vm_or_says_why_not",
    }


def test_its_own_test_fails_without_the_rule():
    own = run_in("tests/test_rules.py", BLOCKS["tests/test_rules.py", ""])
    with pytest.raises(ValueError, match="not enough values"):
        own[OWN_TEST]()


# --- how to add a fact ---


def with_field(monkeypatch, line):
    """``Facts`` with one more field, in the place of the real one wherever the example is used."""
    name, annotation = re.match(r"(\w+): ([\w\[\], ]+) = None", line).groups()
    monkeypatch.setattr(run, "Connection", Connection, raising=False)  # its import
    made = {"__annotations__": {name: annotation}, name: None, "__module__": run.__name__}
    wider = dataclass(frozen=True)(type("Facts", (Facts,), made))
    monkeypatch.setattr(runcommand.collect.run, "Facts", wider)
    monkeypatch.setattr(decoding, "Facts", wider)
    return wider


@pytest.mark.skipif(sys.platform != "linux", reason="/proc/uptime")
def test_the_example_of_a_fact_is_collected_written_and_read_again(monkeypatch):
    with_field(monkeypatch, BLOCKS["runcommand/facts/run.py", "Facts"])
    collector = run_in(
        "runcommand/system/linux/machine.py", BLOCKS["runcommand/system/linux/machine.py", ""]
    )
    found = runcommand.collect.collect(
        RunOptions("linux", "here"), {"uptime_s": collector["collect_uptime"]}
    )
    assert found.uptime_s > 0 and not found.unavailable
    assert facts_from_json(json.loads(json.dumps(to_json(found)))) == found


def test_an_older_report_is_read_without_the_new_fact(monkeypatch):
    older = to_json(WINDOWS.healthy())
    with_field(monkeypatch, BLOCKS["runcommand/facts/run.py", "Facts"])
    assert "uptime_s" not in older and facts_from_json(older).uptime_s is None


def test_the_example_of_a_fact_that_cannot_be_had_says_why(monkeypatch):
    with_field(monkeypatch, BLOCKS["runcommand/facts/run.py", "Facts"])
    collector = run_in(
        "runcommand/system/linux/machine.py", BLOCKS["runcommand/system/linux/machine.py", ""]
    )
    monkeypatch.setitem(collector, "read", lambda path: None)
    found = runcommand.collect.collect(
        RunOptions("linux", "here"), {"uptime_s": collector["collect_uptime"]}
    )
    assert found.uptime_s is None
    assert [(item.fact, item.reason) for item in found.unavailable] == [
        ("uptime_s", "/proc/uptime cannot be read")
    ]


def test_the_example_for_windows_asks_for_milliseconds():
    asked = []

    def function(*declared):
        asked.append(declared)
        return lambda: 90_500

    collector = run_in(
        "runcommand/system/windows/machine.py", BLOCKS["runcommand/system/windows/machine.py", ""]
    )
    collector["function"] = function
    assert collector["collect_uptime"](None) == 90.5
    assert asked[0][:2] == ("kernel32", "GetTickCount64")


# --- how to add a probe ---


def asked(endpoint):
    probe = run_in("runcommand/probes/resolver.py", BLOCKS["runcommand/probes/resolver.py", ""])
    return probe["ask"](Connector(), endpoint, lambda at_most: at_most)


def test_the_example_of_a_probe_connects_and_says_so():
    host = Host(LINUX_VM)
    address, port = host.listen()
    try:
        connection = asked(Endpoint(address, port, true_address=False))
    finally:
        host.close()
    assert (connection.outcome, connection.address, connection.port) == (
        Outcome.ANSWERED,
        address,
        port,
    )


def test_the_example_of_a_probe_says_that_nothing_answers():
    host = Host(LINUX_VM)
    address, port = host.listen()
    host.close()
    assert asked(Endpoint(address, port, true_address=False)).outcome is Outcome.REFUSED


def test_the_example_of_a_probe_is_a_collector_like_those_of_a_run(monkeypatch):
    assert "`resolver: Optional[Connection] = None`" in TEXT
    with_field(monkeypatch, "resolver: Optional[Connection] = None")
    host = Host(LINUX_VM)
    endpoint = Endpoint(*host.listen(), true_address=False)
    try:
        found = runcommand.collect.collect(
            RunOptions("linux", "here"), {"resolver": lambda board: asked(endpoint)}
        )
    finally:
        host.close()
    assert found.resolver.outcome is Outcome.ANSWERED
    assert facts_from_json(json.loads(json.dumps(to_json(found)))) == found
