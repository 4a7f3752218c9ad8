"""CONTRIBUTING keeps its word: what it names is there, and its examples work on the real code."""

from __future__ import annotations
import __future__

import ast
import dataclasses
import importlib
import json
import re
import sys

import pytest

import runcommand.collect
import runcommand.diagnosis
from runcommand import facts as facts_module
from runcommand.collect import RunOptions
from runcommand.facts import Facts, Outcome, facts_from_json, to_json
from runcommand.probes.tcp import Connector, Endpoint
from runcommand.report import json_report
from runcommand.rules.catalogue import RULES
from runcommand.rules.checks import CHECKS
from runcommand.rules.finding import Rule
from runcommand.simulator.host import Host
from runcommand.simulator.scenarios import LINUX_VM
from runcommand.simulator.world import simulate

from . import test_rules
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
    assert len(BLOCKS) == TEXT.count("\n```python\n") == 6


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
        ("runcommand/rules/catalogue.py", "RULES"),
        ("runcommand/simulator/world.py", "PROBED"),
        ("runcommand/redaction/__init__.py", "WAYS"),
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
        "cli": 4,
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


@pytest.fixture
def cause(monkeypatch):
    """The example's rule, registered as the page says."""
    rule = run_in("runcommand/rules/azure.py", BLOCKS["runcommand/rules/azure.py", ""])[
        "guest_agent_stopped"
    ]
    kinds = tuple(
        dataclasses.replace(kind, causes=(*kind.causes, rule.cause))
        if kind.id == "agent.guest"
        else kind
        for kind in CHECKS
    )
    monkeypatch.setattr(runcommand.diagnosis, "RULES", (*RULES, rule))
    monkeypatch.setattr(runcommand.diagnosis, "CHECKS", kinds)
    return rule


def test_the_example_of_a_cause_is_a_rule_with_a_help_page(cause):
    assert isinstance(cause, Rule) and cause.cause == "guest-agent-stopped"
    assert cause.title == "The Azure guest agent is not running"
    assert "Recognised by:" in cause.text and "\nFix: " in cause.text
    assert cause.doc.startswith("https://learn.microsoft.com/")
    assert '@check("agent.guest", "guest-agent-stopped", ...)' in TEXT
    assert "agent.guest" in [kind.id for kind in CHECKS]


def test_the_example_of_a_cause_does_what_its_own_test_says(cause):
    own = run_in("tests/test_rules.py", BLOCKS["tests/test_rules.py", ""])
    own["test_a_guest_agent_that_does_not_run_is_a_warning"]()


def test_the_example_of_a_cause_reaches_the_reports(cause):
    stopped = test_rules.Service("WindowsAzureGuestAgent", test_rules.ServiceState.STOPPED)
    diagnosis = runcommand.diagnosis.diagnose(
        dataclasses.replace(WINDOWS.healthy(), services=(stopped,))
    )
    report = json_report.as_object(diagnosis)
    assert [item["cause"] for item in report["findings"]].count("guest-agent-stopped") == 1
    assert {item["id"]: item["status"] for item in report["checks"]}["agent.guest"] == "warn"


def test_its_own_test_fails_without_the_rule():
    own = run_in("tests/test_rules.py", BLOCKS["tests/test_rules.py", ""])
    with pytest.raises(ValueError, match="not enough values"):
        own["test_a_guest_agent_that_does_not_run_is_a_warning"]()


# --- how to add a fact ---


def with_field(monkeypatch, line):
    """``Facts`` with one more field, in the place of the real one wherever the example is used."""
    name, annotation = re.match(r"(\w+): ([\w\[\], ]+) = None", line).groups()
    kind = eval(annotation, vars(facts_module))
    field = (name, kind, dataclasses.field(default=None))
    wider = dataclasses.make_dataclass("Facts", [field], bases=(Facts,), frozen=True)
    wider.__module__ = facts_module.__name__
    monkeypatch.setattr(runcommand.collect.run, "Facts", wider)
    monkeypatch.setattr(facts_module, "Facts", wider)
    return wider


@pytest.mark.skipif(sys.platform != "linux", reason="/proc/uptime")
def test_the_example_of_a_fact_is_collected_written_and_read_again(monkeypatch):
    with_field(monkeypatch, BLOCKS["runcommand/facts/__init__.py", "Facts"])
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
    with_field(monkeypatch, BLOCKS["runcommand/facts/__init__.py", "Facts"])
    assert "uptime_s" not in older and facts_from_json(older).uptime_s is None


def test_the_example_of_a_fact_that_cannot_be_had_says_why(monkeypatch):
    with_field(monkeypatch, BLOCKS["runcommand/facts/__init__.py", "Facts"])
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
