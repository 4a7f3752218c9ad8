"""Facts: to JSON and back without loss, and what is refused on the way in."""

import ast
import dataclasses
import json
from dataclasses import replace
from typing import get_type_hints

import pytest

from runcommand.diagnosis import diagnose
from runcommand.facts import (
    Adapter,
    Address,
    Cidr,
    Instant,
    Mac,
    Machine,
    NextHop,
    PrefixLength,
    Route,
    RoutingRule,
    parse_address,
    parse_instant,
    parse_json,
    parse_mac,
    to_json,
)
from runcommand.facts.decoding import FactsError, facts_from_json
from runcommand.facts.kinds import JSON_ONLY
from runcommand.report import text
from runcommand.simulator.scenarios import SCENARIOS

from . import customer
from .command import ROOT
from .generate import some_facts
from .test_redaction import FACTS_CLASSES, leaf


@pytest.mark.parametrize("seed", range(60))
def test_any_facts_survive_json_without_loss(seed):
    facts = some_facts(seed)
    assert facts_from_json(parse_json(json.dumps(to_json(facts)))) == facts


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_the_facts_of_every_scenario_survive_json(scenario):
    assert facts_from_json(parse_json(json.dumps(to_json(scenario.facts)))) == scenario.facts


def document():
    return to_json(
        next(scenario for scenario in SCENARIOS if scenario.name == "healthy-linux").facts
    )


def changed(path, value):
    """The document with one place changed; a value of ``KeyError`` takes the key away."""
    made = document()
    place = made
    for step in path[:-1]:
        place = place[step]
    if value is KeyError:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    return made


@pytest.mark.parametrize(
    "path, value, message",
    [
        (("routes", 3, "metric"), "11", "facts.routes[3].metric: expected int, got str"),
        (("routes", 3, "metric"), True, "facts.routes[3].metric: expected int, got bool"),
        (("routes", 3, "metric"), 1.5, "facts.routes[3].metric: expected int, got float"),
        (("routes", 3, "metric"), 2**70, "facts.routes[3].metric: int out of range"),
        (("routes", 3), None, "facts.routes[3]: expected object, got null"),
        (("routes",), {}, "facts.routes: expected list, got object"),
        (
            ("routes", 0, "destination"),
            "10.0.0.0/33",
            "facts.routes[0].destination: expected IPv4 network, got '10.0.0.0/33'",
        ),
        (
            ("routes", 0, "destination"),
            "10.0.0",
            "facts.routes[0].destination: expected IPv4 network, got '10.0.0'",
        ),
        (
            ("routes", 0, "destination"),
            "010.0.0.0/8",
            "facts.routes[0].destination: expected IPv4 network, got '010.0.0.0/8'",
        ),
        (
            ("routes", 1, "gateway"),
            "fe80::1%;reboot;",
            "facts.routes[1].gateway: expected IP address, got 'fe80::1%;reboot;'",
        ),
        (
            ("routing_rules", 0, "destination"),
            "169.254.169.254/99",
            "facts.routing_rules[0].destination: expected IPv4 network, got '169.254.169.254/99'",
        ),
        (("routes", 1, "gateway"), "gw", "facts.routes[1].gateway: expected IP address, got 'gw'"),
        (
            ("adapters", 1, "mac"),
            "00:0d:3a:00:00:01",
            "facts.adapters[1].mac: expected MAC address, got '00:0d:3a:00:00:01'",
        ),
        (
            ("adapters", 1, "state"),
            "sideways",
            "facts.adapters[1].state: expected one of up, down, no-carrier, unknown, got "
            "'sideways'",
        ),
        (
            ("adapters", 1, "state"),
            [],
            "facts.adapters[1].state: expected one of up, down, no-carrier, unknown, got list",
        ),
        (
            ("adapters", 1, "addresses", 0, "address"),
            "10.0.0.256",
            "facts.adapters[1].addresses[0].address: expected IPv4 address, got '10.0.0.256'",
        ),
        (
            ("adapters", 1, "addresses", 0, "prefix"),
            33,
            "facts.adapters[1].addresses[0].prefix: expected prefix length, got 33",
        ),
        (
            ("collected_at",),
            "2026-13-45T00:00:00Z",
            "facts.collected_at: expected UTC time, got '2026-13-45T00:00:00Z'",
        ),
        (("elapsed_s",), float("inf"), "facts.elapsed_s: float out of range"),
        (("host",), 7, "facts.host: expected str, got int"),
        (("host",), KeyError, "facts.host: missing"),
        (("expected",), None, "facts.expected: expected object, got null"),
    ],
)
def test_a_wrong_type_is_refused_by_its_path(path, value, message):
    with pytest.raises(FactsError) as error:
        facts_from_json(changed(path, value))
    assert str(error.value) == message


def test_unknown_keys_of_a_newer_version_are_passed_over():
    made = changed(("adapters", 0, "colour"), "blue")
    made["quantum"] = {"entangled": True}
    assert facts_from_json(made) == facts_from_json(document())


def test_a_missing_optional_key_takes_its_default():
    facts = facts_from_json(changed(("routes",), KeyError))
    assert facts.routes is None


def test_whole_numbers_count_as_durations():
    assert facts_from_json(changed(("elapsed_s",), 3)) == replace(
        facts_from_json(document()), elapsed_s=3.0
    )


@pytest.mark.parametrize(
    "text",
    ["NaN", "Infinity", "[" * 100000, "9" * 5000, "", "{", '{"a": 1,}'],
    ids=["nan", "infinity", "deep", "long", "empty", "open", "comma"],
)
def test_what_is_not_json_is_a_value_error(text):
    with pytest.raises(ValueError):
        parse_json(text)


@pytest.mark.parametrize(
    "text", ["00-0D-3A-E5-1C-C0", "00:0d:3a:e5:1c:c0", "000D3AE51CC0", "000d.3ae5.1cc0"]
)
def test_a_mac_is_taken_in_any_usual_notation(text):
    assert parse_mac(text) == "00-0D-3A-E5-1C-C0"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "00-0D-3A-E5-1C",
        "00-0D-3A-E5-1C-C0-11",
        "00-0D:3A-E5-1C-C0",
        "00-0G-3A-E5-1C-C0",
        "000D3AE51CC",
        "0-0D-3A-E5-1C-C0",
        "\u0660\u0660-0D-3A-E5-1C-C0",
    ],
)
def test_what_is_no_mac_is_refused(text):
    with pytest.raises(ValueError):
        parse_mac(text)


@pytest.mark.parametrize(
    "text", ["", "10.0.0", "10.0.0.256", "10.0.0.4.5", "fe80::1", "10.0.0.4/24", " 10.0.0.4", "ten"]
)
def test_what_is_no_ipv4_address_is_refused(text):
    with pytest.raises(ValueError):
        parse_address(text)


def test_an_instant_keeps_its_fraction():
    assert parse_instant("2026-11-23T01:44:05.5Z").microsecond == 500000


# --- what a field says of itself ---


def another(old, kind):
    """A value of the same kind that is not the old one."""
    if kind in OTHERS:
        return OTHERS[kind]
    kind = getattr(kind, "__supertype__", kind)
    if kind is bool:
        return not old
    if kind in (int, float):
        return kind((old or 0) + 7777)
    if kind is str:
        return "zyxtron"
    members = list(kind)
    if old not in members:
        return members[-1]
    return members[(members.index(old) + 1) % len(members)]


def planted(value, cls, name, kind):
    """The same facts with another value in each field of that name of the class."""
    if isinstance(value, tuple):
        return tuple(planted(item, cls, name, kind) for item in value)
    if not dataclasses.is_dataclass(value):
        return value
    new = {}
    for field in dataclasses.fields(value):
        old = getattr(value, field.name)
        if type(value) is not cls or field.name != name:
            new[field.name] = planted(old, cls, name, kind)
        elif "Tuple" in field.type:
            new[field.name] = (another(None, kind),)
        else:
            new[field.name] = another(old, kind)
    return replace(value, **new)


OTHERS = {
    Address: "10.9.8.7",
    NextHop: "10.9.8.7",
    Cidr: "10.77.0.0/16",
    Mac: "00-0D-3A-77-77-77",
    Instant: "2026-11-23T05:05:05Z",
    PrefixLength: 17,
}
POOL = [*customer.FACTS.values(), *(scenario.facts for scenario in SCENARIOS)]
JUDGES = ("rules", "model", "report", "firewall", "proxy", "fixes")


@pytest.fixture(scope="module")
def reports():
    return [text.full(diagnose(facts)) for facts in POOL]


@pytest.fixture(scope="module")
def read_by_judges():
    """All names of attributes that rules, fixes and reports read."""
    folders = [ROOT / "runcommand" / folder for folder in JUDGES]
    paths = [path for folder in folders for path in folder.rglob("*.py")]
    paths.append(ROOT / "runcommand" / "diagnosis.py")
    trees = [ast.parse(path.read_text("utf-8")) for path in paths]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    labelled = [node.value for node in nodes if isinstance(node, ast.Constant)]  # report's tables
    return {node.attr for node in nodes if isinstance(node, ast.Attribute)} | {
        word for word in labelled if isinstance(word, str)
    }


def is_shown(cls, name, kind, reports):
    """Whether another value of the field changes the full report of any VM in the pool."""
    for facts, report in zip(POOL, reports):
        changed_facts = planted(facts, cls, name, kind)
        if changed_facts != facts and text.full(diagnose(changed_facts)) != report:
            return True
    return False


@pytest.mark.parametrize("cls", FACTS_CLASSES, ids=lambda cls: cls.__name__)
def test_a_field_says_whether_it_is_shown(cls, reports, read_by_judges):
    """``JSON_ONLY``: no text report changes with it. Any other: one does, or (where no VM of the
    pool is in such a state) whoever judges reads it.
    """
    hints = get_type_hints(cls)
    for field in dataclasses.fields(cls):
        kind = leaf(hints[field.name])
        if dataclasses.is_dataclass(kind):
            continue
        shown = is_shown(cls, field.name, kind, reports)
        if field.metadata == JSON_ONLY:
            assert not shown, f"{cls.__name__}.{field.name} is in the full report"
        else:
            assert shown or field.name in read_by_judges, f"{field.name} should say JSON_ONLY"


def test_the_pool_shows_most_fields(reports):
    """Or the test above would rest on names alone."""
    said = [
        is_shown(cls, field.name, leaf(get_type_hints(cls)[field.name]), reports)
        for cls in (Adapter, Route, RoutingRule, Machine)
        for field in dataclasses.fields(cls)
        if not dataclasses.is_dataclass(leaf(get_type_hints(cls)[field.name]))
    ]
    assert sum(said) / len(said) > 0.9


def test_json_only_marks_what_it_says():
    marked = [
        f"{cls.__name__}.{field.name}"
        for cls in FACTS_CLASSES
        for field in dataclasses.fields(cls)
        if field.metadata
    ]
    assert "Instance.vm_size" in marked and "Instance.vm_id" not in marked
