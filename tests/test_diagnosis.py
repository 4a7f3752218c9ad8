"""Ranking: of several findings, which one is the cause; and how the primary NIC is known."""

from dataclasses import replace

import pytest

from runcommand.diagnosis import diagnose
from runcommand.facts import Adapter, Expected, LinkState, Neighbour, NeighbourState, Outcome, Trial
from runcommand.model.model import Model
from runcommand.report import text
from runcommand.simulator.scenarios import (
    ETH0,
    ETH1,
    ETHERNET,
    ETHERNET2,
    HOSTS,
    LO,
    LOOPBACK,
    held,
    row,
    rows_of,
)

from .conftest import seeds
from .facts_of import BOTH, LINUX, WINDOWS, connection, imds, metadata, wireserver
from .generate import facts_with, some_facts

ON_BOTH = pytest.mark.parametrize("side", BOTH, ids=("windows", "linux"))


@ON_BOTH
def test_a_local_cause_outranks_what_means_looked_everywhere(side):
    other = ETHERNET2 if side is WINDOWS else ETH1
    facts = side.dark(
        side.other, proof=False, routes=(row(HOSTS[0], "10.1.0.1", other), *side.make().routes[1:])
    )
    facts = replace(facts, wireserver=wireserver(side.ip, Outcome.TIMED_OUT))
    diagnosis = diagnose(facts)
    assert diagnosis.cause == "route-wrong-interface"
    assert not {"imds-no-answer", "platform-unreachable"} & {
        finding.cause for finding in diagnosis.findings
    }


@ON_BOTH
def test_only_one_of_those_that_mean_looked_everywhere_is_named(side):
    facts = replace(side.dark(proof=False), wireserver=wireserver(side.ip, Outcome.TIMED_OUT))
    assert [finding.cause for finding in diagnose(facts).findings] == ["platform-unreachable"]


@ON_BOTH
def test_a_clock_that_is_wrong_comes_before_other_degradations(side):
    facts = replace(side.healthy(), wireserver=wireserver(side.ip, Outcome.TIMED_OUT))
    exchange = replace(facts.imds.attempts[0], read_at="2026-11-24T01:44:05Z")
    diagnosis = diagnose(replace(facts, imds=replace(facts.imds, attempts=(exchange,))))
    assert [finding.cause for finding in diagnosis.findings] == [
        "clock-skew",
        "wireserver-unreachable",
    ]


@ON_BOTH
def test_warnings_and_information_never_decide(side):
    facts = replace(side.healthy(), persistent_routes=())
    primary = facts.adapters[1]
    facts = replace(
        facts, adapters=(facts.adapters[0], replace(primary, dhcp=False), *facts.adapters[2:])
    )
    diagnosis = diagnose(facts)
    assert diagnosis.verdict.value == "healthy" and diagnosis.cause is None and diagnosis.findings


def test_a_rule_that_fails_costs_itself(mocker):
    from runcommand import diagnosis as module

    def explode(model):
        raise ZeroDivisionError("a bug")

    rules = [
        replace(rule, recognise=explode) if rule.cause == "clock-skew" else rule
        for rule in module.RULES
    ]
    mocker.patch.object(module, "RULES", tuple(rules))
    alone = diagnose(LINUX.healthy())
    assert (alone.verdict.value, alone.cause, alone.exit_code) == ("inconclusive", "tool-failed", 3)
    assert "rule clock-skew failed: ZeroDivisionError: a bug" in alone.main.detail
    beside = diagnose(LINUX.dark(proof=False))
    assert (beside.verdict.value, beside.cause) == ("broken", "imds-no-answer")
    assert [finding.cause for finding in beside.findings] == ["imds-no-answer", "tool-failed"]


@pytest.mark.parametrize("seed", seeds(100, 300))
def test_no_rule_and_no_check_fails_on_any_facts(seed):
    nothing_failed(diagnose(some_facts(seed)))


@pytest.mark.parametrize("side", BOTH, ids=["windows", "linux"])
def test_no_rule_fails_on_any_document_and_any_certificates(side, is_exhaustive):
    for seed in range(1500 if is_exhaustive else 150):
        facts = facts_with(
            side.healthy(),
            seed,
            "imds.document",
            "certificate_chains",
            "endpoints",
            "machine",
            "activation",
        )
        diagnosis = diagnose(facts)
        nothing_failed(diagnosis)
        report = text.portal(diagnosis)
        assert report.isascii() and len(report) + report.count("\n") <= 3900
        assert len(text.full(diagnosis)) > len(report) / 2


def nothing_failed(diagnosis):
    assert not any(
        " failed: " in finding.detail and finding.cause == "tool-failed"
        for finding in diagnosis.findings
    ), diagnosis.findings
    assert not any(
        "Error: " in check.summary and not check.id.startswith("facts.")
        for check in diagnosis.checks
        if check.status.value == "error"
    ), diagnosis.checks


@pytest.mark.parametrize("seed", range(100))
def test_the_same_facts_give_the_same_diagnosis(seed):
    one, other = diagnose(some_facts(seed)), diagnose(some_facts(seed))
    assert (one.verdict, one.findings, one.checks) == (other.verdict, other.findings, other.checks)


# --- the primary NIC ---


def known(facts):
    primary = Model(facts).primary_nic
    return (primary.adapter.name, primary.ip, primary.known_from.value) if primary else None


def bare(facts):
    """Without anything that DHCP says."""
    adapters = tuple(
        replace(a, dhcp_server=None, lease_gateway=None, lease_address=None) for a in facts.adapters
    )
    return replace(facts, adapters=adapters)


SECOND_NIC = (Expected(mac=ETH1.mac), Expected(ip="10.0.1.5"), Expected(ETH1.mac, "10.0.1.5"))


@pytest.mark.parametrize("expected", [Expected(), *SECOND_NIC])
def test_the_address_from_which_imds_answered_comes_first(expected):
    assert known(LINUX.healthy(expected=expected)) == ("eth0", "10.0.0.4", "imds-answer")
    assert known(LINUX.dark("10.0.1.5", expected=expected)) == ("eth0", "10.0.0.4", "imds-answer")


@pytest.mark.parametrize("expected", SECOND_NIC)
def test_the_operators_word_comes_next(expected):
    assert known(LINUX.silent(expected=expected)) == ("eth1", "10.0.1.5", "expected")
    facts = replace(LINUX.dark(proof=False, expected=expected), wireserver=wireserver("10.0.1.5"))
    assert known(facts) == ("eth1", "10.0.1.5", "expected")


@pytest.mark.parametrize("expected", SECOND_NIC)
def test_but_not_against_an_answer_of_the_wireserver_to_another_nic(expected):
    assert known(LINUX.dark(proof=False, expected=expected)) == (
        "eth0",
        "10.0.0.4",
        "wireserver-answer",
    )


def test_the_address_from_which_the_wireserver_answered_comes_next():
    facts = replace(LINUX.dark(proof=False), wireserver=wireserver("10.0.1.5"))
    assert known(facts) == ("eth1", "10.0.1.5", "wireserver-answer")


def test_the_lease_with_a_gateway_comes_next():
    facts = replace(LINUX.dark(proof=False), wireserver=wireserver("10.0.0.4", Outcome.TIMED_OUT))
    assert known(facts) == ("eth0", "10.0.0.4", "dhcp-lease")


def test_the_only_default_route_comes_next():
    facts = bare(
        replace(LINUX.dark(proof=False), wireserver=wireserver("10.0.0.4", Outcome.TIMED_OUT))
    )
    assert known(facts) == ("eth0", "10.0.0.4", "default-route")


def test_of_two_default_routes_the_lowest_metric_is_a_guess():
    facts = LINUX.dark(
        proof=False,
        routes=rows_of(ETH0, "10.0.0.1", 1, False) + rows_of(ETH1, "10.0.1.1", 2, False),
    )
    facts = bare(replace(facts, wireserver=wireserver("10.0.0.4", Outcome.TIMED_OUT)))
    assert known(facts) == ("eth0", "10.0.0.4", "lowest-metric")


def test_two_default_routes_of_one_metric_decide_nothing():
    facts = LINUX.dark(
        proof=False,
        routes=rows_of(ETH0, "10.0.0.1", 1, False) + rows_of(ETH1, "10.0.1.1", 1, False),
    )
    facts = bare(replace(facts, wireserver=wireserver("10.0.0.4", Outcome.TIMED_OUT)))
    assert known(facts) is None


def test_a_default_route_of_a_policy_table_is_none():
    facts = LINUX.dark(
        proof=False,
        routes=(
            *rows_of(ETH0, "10.0.0.1", 1, False),
            row("0.0.0.0/0", "10.0.1.1", ETH1, table="101"),
        ),
    )
    facts = bare(replace(facts, wireserver=wireserver("10.0.0.4", Outcome.TIMED_OUT)))
    assert known(facts) == ("eth0", "10.0.0.4", "default-route")


def test_a_tunnel_is_never_the_primary_nic():
    tun0 = Adapter(8, "tun0", kind="tun", state=LinkState.UP, addresses=(held("10.8.0.2"),))
    facts = LINUX.dark(
        proof=False,
        adapters=(LO, ETH0, tun0),
        routes=(row("0.0.0.0/0", "10.8.0.1", tun0), row("10.0.0.0/24", None, ETH0)),
    )
    facts = bare(replace(facts, wireserver=wireserver("10.0.0.4", Outcome.TIMED_OUT)))
    assert known(facts) == ("eth0", "10.0.0.4", "only-nic")
    assert diagnose(facts).cause == "route-wrong-interface"


def test_the_only_nic_comes_last():
    facts = LINUX.dark(proof=False, adapters=(LO, ETH0), routes=())
    facts = bare(replace(facts, wireserver=None))
    assert known(facts) == ("eth0", "10.0.0.4", "only-nic")


def test_a_loopback_source_says_nothing_of_the_nic():
    facts = replace(LINUX.healthy(), imds=imds(metadata("127.0.0.1", LINUX.vm)), wireserver=None)
    assert known(facts) == ("eth0", "10.0.0.4", "dhcp-lease")


def test_the_primary_address_is_the_one_that_was_answered():
    two = replace(
        ETHERNET,
        addresses=(*ETHERNET.addresses, replace(ETHERNET.addresses[0], address="172.16.69.8")),
        lease_address=None,
    )
    facts = WINDOWS.dark(adapters=(LOOPBACK, two, ETHERNET2))
    trials = (Trial(connection(source="172.16.69.8"), metadata("172.16.69.8", WINDOWS.vm)),)
    assert known(replace(facts, differential=trials)) == ("Ethernet", "172.16.69.8", "imds-answer")


# --- partial facts ---


def test_without_a_lookup_the_table_tells_which_route_wins():
    routes = (row(HOSTS[0], "10.0.1.1", ETH1, 0), *rows_of(ETH0, "10.0.0.1", 100, True))
    facts = replace(LINUX.dark("10.0.1.5", routes=routes), lookups=None)
    assert diagnose(facts).cause == "route-wrong-interface"


def test_without_routes_no_route_is_blamed():
    facts = replace(LINUX.dark(proof=False), routes=None, lookups=None)
    diagnosis = diagnose(facts)
    assert diagnosis.cause == "imds-no-answer" and "Not checked: route" in diagnosis.main.detail


def test_without_adapters_the_way_still_tells_that_there_is_none():
    facts = LINUX.dark(None, Outcome.UNREACHABLE, proof=False, routes=rows_of(ETH0, None, 1, False))
    assert diagnose(replace(facts, adapters=None)).cause == "route-missing"


def test_an_arp_entry_of_another_interface_is_not_the_next_hops():
    dead = Neighbour("10.0.0.1", "eth1", 3, None, NeighbourState.FAILED)
    assert diagnose(LINUX.dark(proof=False, neighbours=(dead,))).cause == "imds-no-answer"


def test_a_down_second_nic_is_not_the_fault():
    facts = LINUX.dark(proof=False, adapters=(LO, ETH0, replace(ETH1, state=LinkState.DOWN)))
    assert diagnose(facts).cause == "imds-no-answer"
