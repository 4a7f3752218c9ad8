"""The model of one run: what follows from the facts, in parts that are made once."""

from __future__ import annotations

from dataclasses import replace

import pytest

from runcommand.facts import Facts, to_json
from runcommand.facts.decoding import facts_from_json
from runcommand.model.adapters import Adapters
from runcommand.model.answers import Answers
from runcommand.model.coverage import is_incomplete
from runcommand.model.evidence import what_was_checked
from runcommand.model.filtering import PlatformFiltering
from runcommand.model.model import Model
from runcommand.model.primary_nic import Detection, KnownFrom
from runcommand.model.route_table import RouteTable
from runcommand.model.routing import Routing
from runcommand.model.services import Services
from runcommand.simulator.scenarios import BY_NAME, SCENARIOS

from .facts_of import LINUX, WINDOWS

NOTHING = Facts("linux", "vm", "2026-11-23T01:44:05Z")
PARTS = {
    "adapters": Adapters,
    "services": Services,
    "answers": Answers,
    "route_table": RouteTable,
    "detection": Detection,
    "routing": Routing,
    "filtering": PlatformFiltering,
}


def values(model):
    """Everything that the parts of a model say without being asked about something."""
    found = {}
    for name, kind in PARTS.items():
        part = getattr(model, name)
        assert type(part) is kind
        for attribute in vars(kind):
            if not attribute.startswith("_"):
                value = getattr(part, attribute)
                if not callable(value):
                    found[f"{name}.{attribute}"] = value
    return found


def test_each_part_is_made_once():
    model = Model(WINDOWS.healthy())
    assert all(getattr(model, name) is getattr(model, name) for name in PARTS)
    assert model.primary_nic is model.detection.primary_nic is not None


def test_a_run_that_collected_nothing_has_a_model_that_claims_nothing():
    found = values(Model(NOTHING))
    assert len(found) > 30
    claims = {name for name, value in found.items() if value}
    assert claims == {
        "detection.expected",  # what the operator said: here without a value
        "routing.to_imds",  # a lookup of which nothing is known
        "routing.to_wireserver",
        "filtering.to_wireserver",  # both ports
    }
    assert not Model(NOTHING).routing.to_imds.known
    assert set(found["filtering.to_wireserver"].values()) == {None}


def test_a_run_that_collected_nothing_says_that_nothing_was_checked():
    said = what_was_checked(Model(NOTHING))
    assert said.endswith(": route, source address, next hop, NIC, firewall.")
    assert said.count(".") == 1


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_the_same_facts_give_the_same_model(scenario):
    again = facts_from_json(to_json(scenario.facts))
    assert values(Model(again)) == values(Model(scenario.facts))


def test_the_source_is_the_one_that_the_connect_used_whatever_the_lookup_says():
    facts = LINUX.healthy()
    used = Model(facts).answers.imds.connection.local_address
    lookups = tuple(replace(lookup, source="10.9.9.9") for lookup in facts.lookups)
    changed = Model(replace(facts, lookups=lookups))
    assert changed.routing.to_imds.source == used != "10.9.9.9"
    unasked = Model(replace(facts, lookups=lookups, imds=None))
    assert unasked.routing.to_imds.source == "10.9.9.9"


def test_the_primary_nic_is_the_one_that_imds_answered_before_any_lease():
    assert Model(LINUX.healthy()).primary_nic.known_from is KnownFrom.IMDS_ANSWER
    without = replace(LINUX.healthy(), imds=None, wireserver=None, differential=None)
    assert Model(without).primary_nic.known_from is KnownFrom.DHCP_LEASE


def test_packets_leave_by_the_wrong_nic_where_the_route_does():
    model = Model(BY_NAME["route-wrong-interface"].facts)
    assert not model.routing.leaves_by_primary_nic
    assert model.routing.egress.name == "Ethernet 2"
    assert model.primary_nic.adapter.name == "Ethernet"


def test_an_ordinary_user_may_have_missed_the_reason():
    facts = WINDOWS.healthy()
    assert not is_incomplete(Model(facts))
    user = replace(facts.machine, elevated=False)
    assert is_incomplete(Model(replace(facts, machine=user)))
