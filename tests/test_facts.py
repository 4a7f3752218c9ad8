"""Facts: to JSON and back without loss, and what is refused on the way in."""

import json
from dataclasses import replace

import pytest

from runcommand.facts import (
    FactsError,
    facts_from_json,
    parse_address,
    parse_instant,
    parse_json,
    parse_mac,
    to_json,
)
from runcommand.simulator.scenarios import SCENARIOS

from .generate import some_facts


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
        (("routes", 0, "destination"), "10.0.0.0/33", "facts.routes[0].destination: expected IPv4 network, got '10.0.0.0/33'"),
        (("routes", 0, "destination"), "10.0.0", "facts.routes[0].destination: expected IPv4 network, got '10.0.0'"),
        (("routes", 0, "destination"), "010.0.0.0/8", "facts.routes[0].destination: expected IPv4 network, got '010.0.0.0/8'"),
        (("routes", 1, "gateway"), "fe80::1%;reboot;", "facts.routes[1].gateway: expected IP address, got 'fe80::1%;reboot;'"),
        (("routing_rules", 0, "destination"), "169.254.169.254/99", "facts.routing_rules[0].destination: expected IPv4 network, got '169.254.169.254/99'"),
        (("routes", 1, "gateway"), "gw", "facts.routes[1].gateway: expected IP address, got 'gw'"),
        (("adapters", 1, "mac"), "00:0d:3a:00:00:01", "facts.adapters[1].mac: expected MAC address, got '00:0d:3a:00:00:01'"),
        (("adapters", 1, "state"), "sideways", "facts.adapters[1].state: expected one of up, down, no-carrier, unknown, got 'sideways'"),
        (("adapters", 1, "state"), [], "facts.adapters[1].state: expected one of up, down, no-carrier, unknown, got list"),
        (("adapters", 1, "addresses", 0, "address"), "10.0.0.256", "facts.adapters[1].addresses[0].address: expected IPv4 address, got '10.0.0.256'"),
        (("adapters", 1, "addresses", 0, "prefix"), 33, "facts.adapters[1].addresses[0].prefix: expected prefix length, got 33"),
        (("collected_at",), "2026-13-45T00:00:00Z", "facts.collected_at: expected UTC time, got '2026-13-45T00:00:00Z'"),
        (("elapsed_s",), float("inf"), "facts.elapsed_s: float out of range"),
        (("host",), 7, "facts.host: expected str, got int"),
        (("host",), KeyError, "facts.host: missing"),
        (("expected",), None, "facts.expected: expected object, got null"),
    ],
)  # fmt: skip
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
