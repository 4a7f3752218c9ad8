"""Each cause on facts alone: recognised, not recognised, and mended in the words of the system the
facts came from.
"""

from dataclasses import replace

import pytest

from runcommand.diagnosis import diagnose
from runcommand.facts import (
    Body,
    Expected,
    Firewall,
    FirewallChain,
    FirewallMatch,
    FirewallPlace,
    FirewallRule,
    LinkState,
    Listener,
    Machine,
    MatchField,
    Neighbour,
    NeighbourState,
    Outcome,
    PersistentRoute,
    ProcessConnection,
    Proxy,
    ProxyKind,
    ProxyTrial,
    Route,
    RouteKind,
    RoutingRule,
    RuleAction,
    RuleVerdict,
    Scope,
    Service,
    ServiceState,
    Trial,
    Unavailable,
)
from runcommand.model.azure import AZURE_ARP_MAC
from runcommand.report import recorded as recorded_report
from runcommand.rules.catalogue import RULES
from runcommand.rules.finding import Shell
from runcommand.simulator.scenarios import (
    BY_NAME,
    ETH0,
    ETH1,
    ETHERNET,
    ETHERNET2,
    HOSTS,
    LO,
    LOOPBACK,
    chained,
    held,
    linux_firewall,
    managed,
    row,
    rows_of,
)

from .facts_of import BOTH, LINUX, WINDOWS, connection, http, imds, metadata, no_answer, wireserver
from .snapshots import FOLDER

IDS = ("windows", "linux")
ON_BOTH = pytest.mark.parametrize("side", BOTH, ids=IDS)
IMDS32, WIRESERVER32 = HOSTS


def commands(diagnosis):
    return [fix.text for fix in diagnosis.main.fix if fix.kind.value == "command"]


def causes(diagnosis):
    return {finding.cause: finding.severity.value for finding in diagnosis.findings}


def judged(facts, verdict, cause):
    diagnosis = diagnose(facts)
    assert (diagnosis.verdict.value, diagnosis.cause) == (verdict, cause), causes(diagnosis)
    return diagnosis


# --- the NIC ---


def test_a_disabled_primary_nic_is_named_and_enabled_again_on_linux():
    down = replace(managed(ETH0), state=LinkState.DOWN)
    facts = LINUX.dark(
        None,
        Outcome.UNREACHABLE,
        proof=False,
        adapters=(LO, down, ETH1),
        routes=rows_of(ETH1, None, 200, False),
    )
    assert commands(judged(facts, "broken", "nic-down")) == [
        "networkctl up eth0",
        "ip link set dev eth0 up",
        "networkctl reconfigure eth0",
        "ip route replace default via 10.0.0.1 dev eth0",
        "ip route replace 169.254.169.254/32 via 10.0.0.1 dev eth0",
        "ip route replace 168.63.129.16/32 via 10.0.0.1 dev eth0",
    ]


def test_a_disabled_primary_nic_is_enabled_by_its_index_on_windows():
    down = replace(ETHERNET, state=LinkState.DOWN)
    facts = WINDOWS.dark(
        None,
        Outcome.UNREACHABLE,
        proof=False,
        adapters=(LOOPBACK, down, ETHERNET2),
        routes=rows_of(ETHERNET2, None, 11, False),
    )
    assert (
        commands(judged(facts, "broken", "nic-down"))[0]
        == "Get-NetAdapter -InterfaceIndex 7 | Enable-NetAdapter -Confirm:0"
    )


def test_a_missing_medium_has_no_command():
    facts = LINUX.dark(
        None,
        Outcome.UNREACHABLE,
        proof=False,
        adapters=(LO, replace(ETH0, state=LinkState.NO_CARRIER)),
        routes=(),
    )
    assert commands(judged(facts, "broken", "nic-down")) == []


@ON_BOTH
def test_a_mac_that_azure_does_not_know_is_broken_when_imds_is_dark(side):
    facts = side.silent(expected=Expected(mac="00-0D-3A-00-00-99"))
    facts = replace(facts, adapters=facts.adapters[:2])
    diagnosis = judged(facts, "broken", "nic-mac-mismatch")
    assert (
        "Azure expects MAC 00-0D-3A-00-00-99 (--expected-mac); the guest has"
        in diagnosis.main.detail
    )
    assert diagnosis.main.fix[0].text.startswith("Before you change anything, check the value")
    (line,) = commands(diagnosis)
    if side is WINDOWS:  # the override goes; the NIC then has the MAC that Azure gave to it
        assert "Remove-NetAdapterAdvancedProperty -RegistryKeyword NetworkAddress" in line
    else:
        assert "00:0d:3a:00:00:99; ip link set dev eth0 up; }" in line


@ON_BOTH
def test_no_mac_of_those_that_imds_reports(side):
    facts = side.healthy()
    strangers = tuple(
        replace(a, mac=a.mac and f"00-0D-3A-99-99-{a.index:02d}") for a in facts.adapters
    )
    judged(replace(facts, adapters=strangers), "degraded", "nic-mac-mismatch")


@ON_BOTH
def test_an_address_that_azure_does_not_know(side):
    primary = ETHERNET if side is WINDOWS else ETH0
    expected = Expected(primary.mac, "10.0.0.77")
    diagnosis = judged(side.silent(expected=expected), "broken", "nic-ip-mismatch")
    assert "Azure expects address 10.0.0.77 (--expected-ip); the guest has" in diagnosis.main.detail
    assert diagnosis.main.fix[0].text.startswith("Before you change anything, check the value")
    renewed = 'ipconfig /renew "Ethernet"'  # DHCP is on: netsh would only say so
    assert (renewed if side is WINDOWS else "ip addr replace 10.0.0.77/24 dev eth0") in commands(
        diagnosis
    )[-1]


def test_an_address_set_by_hand_is_given_back_to_dhcp_on_windows():
    by_hand = replace(
        ETHERNET, dhcp=False, dhcp_server=None, lease_address=None, lease_gateway=None
    )
    expected = Expected(ETHERNET.mac, "10.0.0.77")
    facts = WINDOWS.silent(expected=expected, adapters=(LOOPBACK, by_hand, ETHERNET2))
    diagnosis = judged(facts, "broken", "nic-ip-mismatch")
    assert "netsh interface ipv4 set address name=7 source=dhcp" in commands(diagnosis)


def test_a_primary_address_that_is_skipped_as_source_is_used_again():
    skipped = replace(held("172.16.69.7"), skip_as_source=True)
    nic = replace(ETHERNET, addresses=(skipped, held("172.16.69.8")))
    facts = WINDOWS.dark(
        "172.16.69.8", adapters=(LOOPBACK, nic, ETHERNET2), expected=Expected(ip="172.16.69.7")
    )
    diagnosis = judged(facts, "broken", "source-not-primary-ip")
    assert [line for line in commands(diagnosis) if "SkipAsSource" in line] == [
        "Set-NetIPAddress -IPAddress 172.16.69.7 -SkipAsSource 0",
        "Set-NetIPAddress -IPAddress 172.16.69.8 -SkipAsSource 1",
    ]


def test_a_dead_twin_of_the_next_hop_on_another_link_says_nothing():
    facts = WINDOWS.dark(proof=False)
    twin = Neighbour("172.16.69.1", "Ethernet 2", 9, None, NeighbourState.FAILED)
    own = Neighbour("172.16.69.1", "Ethernet", 7, AZURE_ARP_MAC, NeighbourState.REACHABLE)
    same_link = replace(own, mac=None, state=NeighbourState.FAILED)
    for neighbours in ((twin, own), (own, twin), (same_link, own), (own, same_link)):
        judged(replace(facts, neighbours=neighbours), "broken", "imds-no-answer")


@ON_BOTH
def test_an_address_other_than_those_that_imds_reports_for_the_primary_nic(side):
    facts = side.healthy()
    primary = facts.adapters[1]
    moved = replace(primary, addresses=(held("10.0.0.99"),))
    facts = replace(
        facts,
        adapters=(facts.adapters[0], moved, *facts.adapters[2:]),
        imds=imds(metadata("10.0.0.99", side.vm)),
    )
    judged(facts, "degraded", "nic-ip-mismatch")


@ON_BOTH
def test_dhcp_that_is_off_is_information_while_imds_answers_and_a_warning_otherwise(side):
    def without_dhcp(facts):
        return replace(
            facts,
            adapters=tuple(replace(a, dhcp=False) if a.physical else a for a in facts.adapters),
        )

    assert causes(judged(without_dhcp(side.healthy()), "healthy", None)) == {
        "nic-dhcp-disabled": "info"
    }
    assert causes(diagnose(without_dhcp(side.dark(proof=False))))["nic-dhcp-disabled"] == "warn"


# --- the way ---


@ON_BOTH
def test_no_route_at_all(side):
    primary, other = (ETHERNET, ETHERNET2) if side is WINDOWS else (ETH0, ETH1)
    routes = rows_of(primary, None, 100, False) + rows_of(other, None, 100, False)
    diagnosis = judged(
        side.dark(None, Outcome.UNREACHABLE, routes=routes), "broken", "route-missing"
    )
    gateway = primary.lease_gateway
    expected = (
        f"route -p add 169.254.169.254 mask 255.255.255.255 {gateway} if 7"
        if side is WINDOWS
        else f"ip route replace 169.254.169.254/32 via {gateway} dev eth0"
    )
    assert expected in commands(diagnosis)


@pytest.mark.parametrize(
    "kind, error",
    [("unreachable", "EHOSTUNREACH"), ("blackhole", "EINVAL"), ("prohibit", "EACCES")],
)
def test_a_row_that_denies_is_deleted_in_full(kind, error):
    deny = Route(IMDS32, kind=RouteKind(kind), metric=5)
    facts = LINUX.dark(
        None, Outcome.UNREACHABLE, routes=(deny, *rows_of(ETH0, "10.0.0.1", 100, False))
    )
    diagnosis = judged(facts, "broken", "route-missing")
    assert kind in diagnosis.main.detail
    assert commands(diagnosis)[0] == f"ip route del {kind} 169.254.169.254/32 metric 5"


def test_a_policy_rule_that_denies_is_deleted_by_its_priority():
    facts = LINUX.dark(None, Outcome.FORBIDDEN)
    lookup = replace(facts.lookups[0], route=None, source=None, error="EACCES")
    rules = (*facts.routing_rules, RoutingRule(100, destination=IMDS32, action=RuleAction.PROHIBIT))
    diagnosis = judged(
        replace(facts, lookups=(lookup, facts.lookups[1]), routing_rules=rules),
        "broken",
        "route-missing",
    )
    assert commands(diagnosis) == ["ip rule del pref 100 from all to 169.254.169.254/32 prohibit"]


@ON_BOTH
def test_an_on_link_link_local_route_is_named_before_the_wrong_interface(side):
    primary, other = (ETHERNET, ETHERNET2) if side is WINDOWS else (ETH0, ETH1)
    routes = (
        row("169.254.0.0/16", None, other, 5),
        *rows_of(primary, primary.lease_gateway, 100, False),
    )
    diagnosis = judged(side.dark(side.other, routes=routes), "broken", "route-link-local-shadow")
    assert "169.254.0.0/16" in diagnosis.main.detail


def test_a_link_local_route_on_the_primary_nic_that_azure_answers_is_not_the_fault():
    routes = (row("169.254.0.0/16", None, ETH0, 1000), *rows_of(ETH0, "10.0.0.1", 100, False))
    facts = LINUX.dark(
        proof=False,
        routes=routes,
        neighbours=(
            Neighbour("169.254.169.254", "eth0", 2, "12-34-56-78-9A-BC", NeighbourState.REACHABLE),
        ),
    )
    assert diagnose(facts).cause == "imds-no-answer"


def test_a_link_local_route_on_the_primary_nic_that_nobody_answers_is():
    routes = (row("169.254.0.0/16", None, ETH0, 1000), *rows_of(ETH0, "10.0.0.1", 100, False))
    facts = LINUX.dark(
        proof=False,
        routes=routes,
        neighbours=(Neighbour("169.254.169.254", "eth0", 2, None, NeighbourState.FAILED),),
    )
    judged(facts, "broken", "route-link-local-shadow")


@ON_BOTH
def test_a_route_by_the_second_nic(side):
    primary, other = (ETHERNET, ETHERNET2) if side is WINDOWS else (managed(ETH0), ETH1)
    specific = row(IMDS32, "10.1.0.1", other, 11)
    routes = (
        specific,
        *(r for r in rows_of(primary, primary.lease_gateway, 11, True) if r.destination != IMDS32),
    )
    adapters = (LOOPBACK, primary, other) if side is WINDOWS else (LO, primary, other)
    diagnosis = judged(
        side.dark(side.other, adapters=adapters, routes=routes), "broken", "route-wrong-interface"
    )
    assert side.ip in diagnosis.main.detail and side.other in diagnosis.main.detail
    assert commands(diagnosis) == (
        [
            'ipconfig /renew "Ethernet"',
            "route delete 169.254.169.254",
            "route -p add 169.254.169.254 mask 255.255.255.255 172.16.69.1 if 7",
        ]
        if side is WINDOWS
        else [
            "networkctl reconfigure eth0",
            "ip route del 169.254.169.254/32 via 10.1.0.1 dev eth1 metric 11",
            "ip route replace 169.254.169.254/32 via 10.0.0.1 dev eth0",
        ]
    )


def test_a_managers_command_is_given_only_where_the_manager_runs():
    routes = (row(IMDS32, "10.1.0.1", ETH1, 11), *rows_of(ETH0, "10.0.0.1", 100, False))
    facts = LINUX.dark(
        LINUX.other,
        adapters=(LO, managed(ETH0), ETH1),
        routes=routes,
        services=(Service("systemd-networkd", ServiceState.STOPPED),),
    )
    diagnosis = judged(facts, "broken", "route-wrong-interface")
    assert diagnosis.main.fix[0].kind.value == "advice"
    assert not any(text.startswith("networkctl") for text in commands(diagnosis))


def test_networkmanager_is_asked_in_its_own_words():
    eth0 = replace(ETH0, managed_by="NetworkManager")
    routes = (row(IMDS32, "10.1.0.1", ETH1, 11), *rows_of(eth0, "10.0.0.1", 100, False))
    facts = LINUX.dark(
        LINUX.other,
        adapters=(LO, eth0, ETH1),
        routes=routes,
        services=(Service("NetworkManager", ServiceState.RUNNING),),
    )
    assert commands(diagnose(facts))[0] == "nmcli device reapply eth0"


def test_a_route_in_a_policy_table_is_mended_in_that_table():
    route = row("0.0.0.0/0", "10.0.1.1", ETH1, table="100")
    facts = LINUX.dark(LINUX.other)
    lookup = replace(facts.lookups[0], source=LINUX.other, route=route)
    facts = replace(facts, lookups=(lookup, facts.lookups[1]), routes=(*facts.routes, route))
    assert "ip route replace 169.254.169.254/32 via 10.0.0.1 dev eth0 table 100" in commands(
        judged(facts, "broken", "route-wrong-interface")
    )


@ON_BOTH
def test_a_next_hop_that_is_not_the_gateway(side):
    primary = ETHERNET if side is WINDOWS else ETH0
    routes = (
        row(IMDS32, "10.0.0.99", primary, 11),
        *rows_of(primary, primary.lease_gateway, 100, False),
    )
    diagnosis = judged(side.dark(proof=False, routes=routes), "broken", "route-wrong-gateway")
    assert "10.0.0.99" in diagnosis.main.detail and primary.lease_gateway in diagnosis.main.detail


@ON_BOTH
def test_a_next_hop_that_is_the_gateway_and_answers_no_arp(side):
    primary = ETHERNET if side is WINDOWS else ETH0
    dead = Neighbour(
        primary.lease_gateway, primary.name, primary.index, None, NeighbourState.INCOMPLETE
    )
    diagnosis = judged(side.dark(proof=False, neighbours=(dead,)), "broken", "route-wrong-gateway")
    assert "does not answer ARP (incomplete)" in diagnosis.main.detail
    assert any("Redeploy" in fix.text for fix in diagnosis.main.fix)


def test_without_a_lease_the_subnets_first_address_counts_as_the_gateway():
    eth0 = replace(ETH0, dhcp_server=None, lease_gateway=None, lease_address=None, dhcp=None)
    facts = LINUX.dark(proof=False, adapters=(LO, eth0), routes=rows_of(eth0, "10.0.0.1", 0, True))
    assert diagnose(facts).cause == "imds-no-answer"


@ON_BOTH
def test_the_address_on_an_adapter_of_this_machine(side):
    lo = replace(
        LO if side is LINUX else LOOPBACK,
        addresses=(held("127.0.0.1", 8), held("169.254.169.254", 32)),
    )
    others = (ETH0, ETH1) if side is LINUX else (ETHERNET, ETHERNET2)
    diagnosis = judged(
        side.dark(None, Outcome.REFUSED, adapters=(lo, *others)),
        "broken",
        "address-claimed-locally",
    )
    assert commands(diagnosis) == (
        ["ip addr del 169.254.169.254/32 dev lo"]
        if side is LINUX
        else ["netsh interface ipv4 delete address name=1 address=169.254.169.254"]
    )


def test_a_secondary_address_as_source_is_named_on_linux():
    eth0 = replace(
        ETH0, addresses=(held("10.0.0.4", dynamic=True), held("10.0.0.5", secondary=True))
    )
    facts = LINUX.dark("10.0.0.5", adapters=(LO, eth0, ETH1), source="10.0.0.5")
    assert "ip route replace 169.254.169.254/32 via 10.0.0.1 dev eth0 src 10.0.0.4" in commands(
        judged(facts, "broken", "source-not-primary-ip")
    )


def test_a_secondary_address_as_source_is_named_on_windows():
    ethernet = replace(ETHERNET, addresses=(held("172.16.69.7", dynamic=True), held("172.16.69.8")))
    facts = WINDOWS.dark("172.16.69.8", adapters=(LOOPBACK, ethernet, ETHERNET2))
    lookups = tuple(replace(lookup, source="172.16.69.8") for lookup in facts.lookups)
    assert commands(judged(replace(facts, lookups=lookups), "broken", "source-not-primary-ip")) == [
        "Set-NetIPAddress -IPAddress 172.16.69.8 -SkipAsSource 1"
    ]


def test_a_stored_route_through_a_gateway_that_is_gone():
    facts = WINDOWS.healthy(
        persistent_routes=(
            PersistentRoute(IMDS32, "192.168.77.1"),
            PersistentRoute("10.9.0.0/16", "172.16.69.1"),
        )
    )
    diagnosis = judged(facts, "healthy", None)
    assert causes(diagnosis) == {"route-stale-persistent": "warn"}
    assert [fix.text for fix in diagnosis.findings[0].fix] == [
        "route -p delete 169.254.169.254 mask 255.255.255.255 192.168.77.1"
    ]


# --- what came back ---


@ON_BOTH
@pytest.mark.parametrize(
    "status, verdict, cause",
    [
        (400, "broken", "imds-rejects-request"),
        (401, "broken", "imds-access-denied"),
        (403, "broken", "imds-access-denied"),
        (404, "broken", "imds-not-imds"),
        (407, "broken", "imds-not-imds"),
        (410, "broken", "imds-unavailable"),
        (429, "degraded", "imds-throttled"),
        (500, "broken", "imds-unavailable"),
        (503, "broken", "imds-unavailable"),
    ],
)
def test_an_error_status_has_its_cause(side, status, verdict, cause):
    judged(side.answers(http(side.ip, status)), verdict, cause)


@ON_BOTH
@pytest.mark.parametrize("status", [200, 302, 400, 401, 403, 404])
def test_a_page_for_people_is_not_imds(side, status):
    judged(side.answers(http(side.ip, status, Body.HTML)), "broken", "imds-not-imds")


@ON_BOTH
@pytest.mark.parametrize("status", [410, 429, 503])
def test_a_transient_status_from_a_proxy_is_not_imds(side, status):
    judged(
        side.answers(http(side.ip, status, Body.HTML, via="1.1 proxy")), "broken", "imds-not-imds"
    )


@ON_BOTH
def test_a_body_that_never_ends_is_not_imds_whatever_the_status(side):
    judged(side.answers(http(side.ip, 503, Body.ENDLESS)), "broken", "imds-not-imds")


@ON_BOTH
def test_waiting_comes_first_after_410(side):
    fixes = judged(side.answers(http(side.ip, 410)), "broken", "imds-unavailable").main.fix
    assert fixes[0].text.startswith("Wait 70 seconds")


def test_who_asks_too_often_is_named_where_it_is_known():
    facts = WINDOWS.answers(
        http(WINDOWS.ip, 429),
        connections=(ProcessConnection("greedy.exe", 4711, 50000, "ESTABLISHED"),),
    )
    assert "greedy.exe" in judged(facts, "degraded", "imds-throttled").main.detail


@ON_BOTH
def test_forbidden_without_an_explanation_is_an_unknown_firewall(side):
    judged(side.dark(None, Outcome.FORBIDDEN, proof=False), "broken", "firewall-unknown")


@ON_BOTH
def test_refused_with_a_wireserver_that_answers(side):
    judged(side.dark(None, Outcome.REFUSED, proof=False), "broken", "imds-refused")


@ON_BOTH
@pytest.mark.parametrize("outcome", [Outcome.TIMED_OUT, Outcome.UNREACHABLE])
def test_no_answer_that_nothing_on_the_vm_explains(side, outcome):
    diagnosis = judged(side.dark(outcome=outcome, proof=False), "broken", "imds-no-answer")
    assert any("support request" in fix.text for fix in diagnosis.main.fix)


@ON_BOTH
@pytest.mark.parametrize("outcome", [Outcome.TIMED_OUT, Outcome.REFUSED])
def test_both_services_silent(side, outcome):
    facts = replace(
        side.dark(outcome=outcome, proof=False), wireserver=wireserver(side.ip, Outcome.TIMED_OUT)
    )
    judged(facts, "broken", "platform-unreachable")


def test_an_ordinary_users_silent_wireserver_says_nothing_of_the_platform():
    facts = replace(LINUX.dark(proof=False), wireserver=wireserver(LINUX.ip, Outcome.TIMED_OUT))
    facts = replace(facts, machine=replace(facts.machine, elevated=False))
    judged(facts, "broken", "imds-no-answer")


PROXY_AGENT = {"windows": "GuestProxyAgent", "linux": "azure-proxy-agent"}


@ON_BOTH
@pytest.mark.parametrize("state", ["stopped", "failed"])
def test_a_guest_proxy_agent_that_is_down(side, state):
    agent = Service(PROXY_AGENT[side.system], ServiceState(state), "auto")
    diagnosis = judged(
        side.dark(None, Outcome.REFUSED, proof=False, services=(agent,)),
        "broken",
        "guest-proxy-agent-failing",
    )
    assert commands(diagnosis)[0] == (
        "Restart-Service GuestProxyAgent -Force"
        if side is WINDOWS
        else "systemctl restart azure-proxy-agent"
    )


@ON_BOTH
def test_a_guest_proxy_agent_that_runs_and_does_not_listen(side):
    agent = Service(PROXY_AGENT[side.system], ServiceState.RUNNING, "auto")
    judged(
        side.dark(None, Outcome.REFUSED, proof=False, services=(agent,), listeners=()),
        "broken",
        "guest-proxy-agent-failing",
    )


@ON_BOTH
@pytest.mark.parametrize("status", [421, 502, 503])
def test_a_guest_proxy_agent_that_answers_itself(side, status):
    agent = Service(PROXY_AGENT[side.system], ServiceState.RUNNING, "auto")
    judged(
        side.answers(
            http(side.ip, status), services=(agent,), listeners=(Listener("127.0.0.1", 3080),)
        ),
        "broken",
        "guest-proxy-agent-failing",
    )


@ON_BOTH
def test_a_guest_proxy_agent_that_works_is_not_blamed_for_a_refusal(side):
    agent = Service(PROXY_AGENT[side.system], ServiceState.RUNNING, "auto")
    judged(
        side.dark(
            None,
            Outcome.REFUSED,
            proof=False,
            services=(agent,),
            listeners=(Listener("127.0.0.1", 3080),),
        ),
        "broken",
        "imds-refused",
    )


# --- the platform ---


@ON_BOTH
@pytest.mark.parametrize(
    "web, plugin", [(Outcome.TIMED_OUT, Outcome.TIMED_OUT), (Outcome.ANSWERED, Outcome.REFUSED)]
)
def test_a_wireserver_that_does_not_answer(side, web, plugin):
    facts = replace(side.healthy(), wireserver=wireserver(side.ip, web, plugin))
    judged(facts, "degraded", "wireserver-unreachable")


def test_a_wireserver_route_that_goes_astray_is_mended():
    routes = (
        row(WIRESERVER32, "10.0.1.1", ETH1, 5),
        *(r for r in rows_of(ETH0, "10.0.0.1", 100, True) if r.destination != WIRESERVER32),
    )
    facts = replace(
        LINUX.healthy(routes=routes), wireserver=wireserver(LINUX.other, Outcome.TIMED_OUT)
    )
    diagnosis = judged(facts, "degraded", "wireserver-unreachable")
    assert commands(diagnosis) == [
        "ip route del 168.63.129.16/32 via 10.0.1.1 dev eth1 metric 5",
        "ip route replace 168.63.129.16/32 via 10.0.0.1 dev eth0",
    ]


@ON_BOTH
def test_no_attested_document(side):
    facts = side.healthy()
    judged(
        replace(
            facts, imds=replace(facts.imds, attested=http(side.ip, 500), attested_document=False)
        ),
        "degraded",
        "attested-unavailable",
    )
    judged(
        replace(
            facts, imds=replace(facts.imds, attested=http(side.ip, 200), attested_document=False)
        ),
        "degraded",
        "attested-unavailable",
    )


@ON_BOTH
@pytest.mark.parametrize(
    "read_at, word", [("2026-11-23T01:50:06Z", "ahead of"), ("2026-11-22T22:44:05Z", "behind")]
)
def test_a_clock_that_is_wrong(side, read_at, word):
    facts = side.healthy()
    exchange = replace(facts.imds.attempts[0], read_at=read_at)
    diagnosis = judged(
        replace(facts, imds=replace(facts.imds, attempts=(exchange,))), "degraded", "clock-skew"
    )
    assert word in diagnosis.main.detail


@ON_BOTH
@pytest.mark.parametrize("read_at", ["2026-11-23T01:49:04Z", "2026-11-23T01:39:06Z"])
def test_a_clock_within_five_minutes(side, read_at):
    facts = side.healthy()
    exchange = replace(facts.imds.attempts[0], read_at=read_at)
    judged(replace(facts, imds=replace(facts.imds, attempts=(exchange,))), "healthy", None)


@ON_BOTH
def test_the_date_of_a_stranger_is_not_believed(side):
    stranger = http(side.ip, 200, Body.HTML)
    assert "clock-skew" not in causes(
        diagnose(side.answers(replace(stranger, date="2020-01-01T00:00:00Z")))
    )


def test_the_clock_is_shifted_by_what_was_measured():
    facts = LINUX.healthy(services=())
    exchange = replace(facts.imds.attempts[0], read_at="2026-11-23T02:44:05Z")
    diagnosis = judged(
        replace(facts, imds=replace(facts.imds, attempts=(exchange,))), "degraded", "clock-skew"
    )
    assert commands(diagnosis) == ['date -u -s "@$(( $(date +%s) - 3600 ))"']


# --- is it Azure? ---


def elsewhere(side, **more):
    """Facts with no sign of Azure at all."""
    facts = side.dark(proof=False)
    adapters = tuple(
        replace(a, mac=a.mac and "52-54-00-12-34-56", dhcp_server=None) for a in facts.adapters
    )
    routes = tuple(route for route in facts.routes if route.destination not in HOSTS)
    facts = replace(
        facts,
        adapters=adapters,
        routes=routes,
        services=(),
        machine=Machine(asset_tag=None),
        wireserver=wireserver(side.ip, Outcome.TIMED_OUT),
    )
    return replace(facts, **more)


@ON_BOTH
def test_nothing_says_azure(side):
    judged(elsewhere(side), "inconclusive", "not-azure")


@ON_BOTH
@pytest.mark.parametrize(
    "sign",
    ["tag", "lease", "route", "agent", "mac", "answer"],
)
def test_any_one_sign_of_azure_is_enough_to_go_on(side, sign):
    facts = elsewhere(side)
    facts = {
        "tag": lambda: replace(
            facts, machine=Machine(asset_tag="7783-7084-3265-9085-8269-3286-77")
        ),
        "lease": lambda: replace(
            facts,
            adapters=(*facts.adapters[:1], replace(facts.adapters[1], dhcp_server="168.63.129.16")),
        ),
        "route": lambda: replace(
            facts, routes=(*facts.routes, row(IMDS32, "10.0.0.1", facts.adapters[1]))
        ),
        "agent": lambda: replace(facts, services=(Service("walinuxagent", ServiceState.RUNNING),)),
        "mac": lambda: replace(
            facts,
            adapters=(*facts.adapters[:1], replace(facts.adapters[1], mac="7C-1E-52-00-00-01")),
        ),
        "answer": lambda: replace(facts, imds=imds(http(side.ip, 200, Body.HTML))),
    }[sign]()
    assert diagnose(facts).cause != "not-azure"


@ON_BOTH
def test_another_clouds_asset_tag_settles_it_whatever_else_is_there(side):
    facts = side.dark(proof=False)
    facts = replace(
        facts,
        machine=Machine(asset_tag="Amazon EC2"),
        wireserver=wireserver(side.ip, Outcome.TIMED_OUT),
        imds=imds(http(side.ip, 401, Body.TEXT)),
    )
    judged(facts, "inconclusive", "not-azure")


@ON_BOTH
def test_an_answer_that_only_azure_gives_outweighs_a_foreign_tag(side):
    judged(
        replace(side.healthy(), machine=Machine(asset_tag="Amazon EC2", elevated=True)),
        "healthy",
        None,
    )
    judged(
        replace(side.dark(proof=False), machine=Machine(asset_tag="Amazon EC2", elevated=True)),
        "broken",
        "imds-no-answer",
    )


@pytest.mark.parametrize(
    "tag", ["", "No Asset Tag", "Not Specified", "Default string", "To Be Filled By O.E.M."]
)
def test_a_placeholder_is_no_asset_tag(tag):
    facts = LINUX.dark(proof=False)
    assert diagnose(replace(facts, machine=Machine(asset_tag=tag))).cause == "imds-no-answer"


def test_an_azure_arc_machine_is_called_one():
    facts = elsewhere(LINUX, services=(Service("himdsd", ServiceState.RUNNING),))
    assert "Azure Arc-enabled server" in judged(facts, "inconclusive", "not-azure").main.detail


# --- the program itself ---


@ON_BOTH
def test_a_probe_that_failed_makes_the_run_inconclusive_and_says_where(side):
    facts = replace(
        side.make(), unavailable=(Unavailable("imds", "RuntimeError: boom at tcp.py:7"),)
    )
    assert "boom at tcp.py:7" in judged(facts, "inconclusive", "tool-failed").main.detail


@ON_BOTH
def test_an_interrupted_run_is_inconclusive(side):
    assert (
        "interrupted"
        in judged(replace(side.make(), interrupted=True), "inconclusive", "tool-failed").main.detail
    )


# --- safety of commands ---

EVIL = (
    'eth0"; reboot #',
    "a'b",
    "$(id)",
    "e`x`",
    "eth0;id",
    "eth 0",
    "\u00e4th0",
    "-rf",
    "e\nx",
    "100%",
    "e&x",
    "e|x",
    "e>x",
    "e<x",
    "e^x",
    "e!x",
)


@pytest.mark.parametrize("name", EVIL)
def test_a_name_that_a_shell_would_read_never_goes_into_a_command(name):
    for side, primary, other in ((LINUX, ETH0, ETH1), (WINDOWS, ETHERNET, ETHERNET2)):
        bad = replace(primary, name=name, managed_by="systemd-networkd")
        worse = replace(other, name=name + "2")
        routes = (
            row(IMDS32, "10.1.0.1", worse, 11),
            *rows_of(bad, primary.lease_gateway, 100, False),
        )
        facts = side.dark(side.other, adapters=(bad, worse), routes=routes)
        for finding in diagnose(facts).findings:
            for fix in finding.fix:
                quoted = (
                    side is WINDOWS and f'"{name}"' in fix.text and name == "eth 0"
                )  # a space is safe between quotes
                assert fix.kind.value != "command" or name not in fix.text or quoted, fix
                assert fix.text.isascii() and fix.text.isprintable()


def test_windows_adapters_are_named_by_index_wherever_the_command_allows():
    odd = replace(ETHERNET, name="Ethern\u00e9t")
    facts = WINDOWS.dark(
        WINDOWS.other,
        adapters=(LOOPBACK, odd, ETHERNET2),
        routes=(row(IMDS32, "10.1.0.1", ETHERNET2), *rows_of(odd, "172.16.69.1", 11, False)),
    )
    assert commands(diagnose(facts)) == [
        "ipconfig /renew",
        "route delete 169.254.169.254",
        "route -p add 169.254.169.254 mask 255.255.255.255 172.16.69.1 if 7",
    ]


def powershell_commands():
    """Every PowerShell command that the recorded runs get, what their probes found included."""
    found = []
    for name in sorted(BY_NAME):
        recorded = (FOLDER / f"{name}.json").read_bytes()
        for finding in diagnose(recorded_report.facts_of_report(recorded)).findings:
            texts = [fix.text for fix in finding.fix if fix.shell is Shell.POWERSHELL]
            found += [(name, text) for text in texts]
    return found


def test_powershell_commands_can_be_passed_through_either_shell():
    found = powershell_commands()
    for name, text in found:
        assert not set(text) & set('"$`'), name
    assert {name for name, _ in found} >= {
        "guest-proxy-agent-failing",
        "imds-throttled",
        "nic-down-windows",
        "nic-mac-mismatch",
        "source-not-primary-ip",
    }


# --- the catalogue of rules ---


def test_every_rule_has_a_help_page_and_a_microsoft_page():
    for rule in RULES:
        assert rule.title and "Recognised by:" in rule.text and "\nFix: " in rule.text
        assert rule.doc.startswith("https://learn.microsoft.com/")


def test_no_two_rules_share_a_cause():
    assert len({rule.cause for rule in RULES}) == len(RULES)


@pytest.mark.parametrize("side", BOTH, ids=IDS)
def test_no_rule_fails_on_facts_that_know_nothing(side):
    from runcommand.facts import Facts

    diagnosis = diagnose(Facts(side.system, "h", "2026-11-23T01:44:05Z"))
    assert causes(diagnosis) == {"tool-failed": "fail"}
    assert not any("failed" in finding.detail for finding in diagnosis.findings)


def test_a_gateway_that_is_on_no_subnet_of_the_nic_is_said_to_be_on_link():
    eth0 = replace(ETH0, addresses=(held("10.0.0.4", 32, dynamic=True),))
    routes = (row(IMDS32, "10.0.1.1", ETH1), row("0.0.0.0/0", "10.0.0.1", eth0))
    facts = LINUX.dark(LINUX.other, adapters=(LO, eth0, ETH1), routes=routes)
    assert "ip route replace 169.254.169.254/32 via 10.0.0.1 onlink dev eth0" in commands(
        judged(facts, "broken", "route-wrong-interface")
    )


def test_an_ipv6_next_hop_is_said_to_be_one():
    eth0 = replace(ETH0, lease_gateway=None)
    routes = (row(IMDS32, "fe80::9", ETH1), row("0.0.0.0/0", "fe80::1", eth0))
    facts = LINUX.dark(LINUX.other, proof=False, adapters=(LO, eth0, ETH1), routes=routes)
    diagnosis = judged(facts, "broken", "route-wrong-interface")
    assert "ip route del 169.254.169.254/32 via inet6 fe80::9 dev eth1" in commands(diagnosis)
    assert "ip route replace 169.254.169.254/32 via inet6 fe80::1 dev eth0" in commands(diagnosis)


@ON_BOTH
def test_an_arp_entry_set_by_hand_is_deleted(side):
    primary = ETHERNET if side is WINDOWS else ETH0
    forged = Neighbour(
        primary.lease_gateway,
        primary.name,
        primary.index,
        "02-00-00-00-00-99",
        NeighbourState.PERMANENT,
    )
    diagnosis = judged(
        side.dark(proof=False, neighbours=(forged,)), "broken", "route-wrong-gateway"
    )
    assert commands(diagnosis) == (
        ["netsh interface ipv4 delete neighbors 7 172.16.69.1"]
        if side is WINDOWS
        else ["ip neigh del 10.0.0.1 dev eth0"]
    )


def test_azures_own_arp_entry_may_be_permanent():
    azures = Neighbour("10.0.0.1", "eth0", 2, "12-34-56-78-9A-BC", NeighbourState.PERMANENT)
    judged(LINUX.dark(proof=False, neighbours=(azures,)), "broken", "imds-no-answer")


def test_a_static_configuration_is_mended_where_it_is_kept():
    static = replace(
        ETH0,
        dhcp=False,
        dhcp_server=None,
        managed_by="systemd-networkd",
        profile="/run/systemd/network/10-netplan-eth0.network",
    )
    facts = LINUX.healthy(adapters=(LO, static, ETH1))
    diagnosis = diagnose(facts)
    assert causes(diagnosis) == {"nic-dhcp-disabled": "info"}
    assert "/etc/netplan" in diagnosis.findings[0].fix[0].text


# --- policy routing ---


def policy(*rules, routes=(), **more):
    """A dark Linux VM with these rules before the usual ones, and no word of the system's own
    choice.
    """
    facts = LINUX.dark(LINUX.ip, proof=False, **more)
    return replace(
        facts,
        routing_rules=(*rules, *facts.routing_rules),
        routes=(*facts.routes, *routes),
        lookups=None,
    )


def test_a_rule_by_source_address_leads_astray():
    route = row("0.0.0.0/0", "10.0.1.1", ETH1, table="101")
    facts = policy(RoutingRule(100, source="10.0.0.4/32", table="101"), routes=(route,))
    diagnosis = judged(facts, "broken", "route-wrong-interface")
    assert "ip route replace 169.254.169.254/32 via 10.0.0.1 dev eth0 table 101" in commands(
        diagnosis
    )


def test_a_rule_of_another_source_address_does_not():
    route = row("0.0.0.0/0", "10.0.1.1", ETH1, table="101")
    judged(
        policy(RoutingRule(100, source="10.0.1.5/32", table="101"), routes=(route,)),
        "broken",
        "imds-no-answer",
    )


def test_a_rule_for_tcp_port_80_leads_astray():
    route = row("0.0.0.0/0", "10.0.1.1", ETH1, table="200")
    judged(
        policy(RoutingRule(100, ipproto="tcp", dport="80", table="200"), routes=(route,)),
        "broken",
        "route-wrong-interface",
    )


@pytest.mark.parametrize(
    "rule",
    [
        RoutingRule(100, ipproto="udp", table="200"),
        RoutingRule(100, dport="443", table="200"),
        RoutingRule(100, fwmark="0x1", table="200"),
        RoutingRule(100, oif="eth1", table="200"),
        RoutingRule(100, iif="eth1", table="200"),
        RoutingRule(100, uid_start=1000, uid_end=2000, table="200"),
        RoutingRule(100, inverted=True, table="200"),
        RoutingRule(100, table="200", suppress_prefix_length=0),
        RoutingRule(100, table="empty"),
        RoutingRule(40000, table="200"),
    ],
)
def test_a_rule_that_does_not_match_a_request_of_root(rule):
    judged(
        policy(rule, routes=(row("0.0.0.0/0", "10.0.1.1", ETH1, table="200"),)),
        "broken",
        "imds-no-answer",
    )


def test_wireguards_rules_are_followed():
    wg0 = replace(ETH1, index=9, name="wg0", kind="wireguard", physical=False, mac=None)
    rules = (
        RoutingRule(32764, table="main", suppress_prefix_length=0),
        RoutingRule(32765, inverted=True, fwmark="0xca6c", table="51820"),
    )
    facts = policy(
        *rules, routes=(row("0.0.0.0/0", None, wg0, table="51820"),), adapters=(LO, ETH0, ETH1, wg0)
    )
    judged(facts, "broken", "imds-no-answer")  # the /32 routes of the main table are used first
    without = replace(
        facts, routes=tuple(route for route in facts.routes if route.destination not in HOSTS)
    )
    judged(without, "broken", "route-wrong-interface")


@pytest.mark.parametrize(
    "rule, fix",
    [
        (
            RoutingRule(100, source="10.0.0.4/32", action=RuleAction.PROHIBIT),
            "ip rule add pref 99 to 169.254.169.254 lookup main",
        ),
        (
            RoutingRule(1, action=RuleAction.UNREACHABLE),
            "ip rule add pref 0 to 169.254.169.254 lookup main",
        ),
        (RoutingRule(0, action=RuleAction.UNREACHABLE), "ip rule del pref 0 from all unreachable"),
        (
            RoutingRule(100, destination=IMDS32, iif="lo", action=RuleAction.BLACKHOLE),
            "ip rule del pref 100 from all to 169.254.169.254/32 iif lo blackhole",
        ),
    ],
)
def test_a_rule_that_denies_is_passed_by_or_deleted_in_full(rule, fix):
    facts = policy(rule)
    facts = replace(facts, imds=imds(no_answer(LINUX.ip, Outcome.UNREACHABLE)))
    if rule.priority == 0:
        facts = replace(facts, routing_rules=(rule, *facts.routing_rules[1:]))
    assert commands(judged(facts, "broken", "route-missing"))[0] == fix


def test_a_row_that_denies_in_a_policy_table_is_mended_there():
    deny = Route("0.0.0.0/0", kind=RouteKind.UNREACHABLE, table="101")
    facts = policy(RoutingRule(100, source="10.0.0.4/32", table="101"), routes=(deny,))
    assert "ip route replace 169.254.169.254/32 via 10.0.0.1 dev eth0 table 101" in commands(
        judged(facts, "broken", "route-missing")
    )


# --- what only seems to be so ---


@pytest.mark.parametrize("error", ["EPERM", "EACCES", "EINVAL"])
def test_a_filter_is_not_a_missing_route(error):
    facts = LINUX.dark(None, Outcome.FORBIDDEN, proof=False)
    lookup = replace(facts.lookups[0], route=None, source=None, error=error)
    judged(replace(facts, lookups=(lookup, facts.lookups[1])), "broken", "firewall-unknown")


def test_the_connects_own_source_address_is_believed_before_the_lookups():
    two = replace(
        ETH0, addresses=(held("10.0.0.4", dynamic=True), held("10.0.0.5", secondary=True))
    )
    judged(
        LINUX.dark("10.0.0.5", proof=False, adapters=(LO, two, ETH1)),
        "broken",
        "source-not-primary-ip",
    )


@pytest.mark.parametrize("source", ["10.0.1.5", "10.99.99.99"])
def test_a_source_address_of_something_else_is_named(source):
    facts = LINUX.dark(source, proof=False)
    assert source in judged(facts, "broken", "source-not-primary-ip").main.detail


@ON_BOTH
@pytest.mark.parametrize("outcome", [Outcome.TIMED_OUT, Outcome.REFUSED])
def test_with_proof_that_imds_works_nothing_is_redeployed(side, outcome):
    diagnosis = diagnose(side.dark(outcome=outcome))
    assert diagnosis.cause in ("imds-no-answer", "imds-refused")
    assert (
        "IMDS itself works" in diagnosis.main.detail
        and "No local address" not in diagnosis.main.detail
    )
    assert not any("Redeploy the VM" in fix.text for fix in diagnosis.main.fix)


@ON_BOTH
def test_what_was_not_looked_at_is_said(side):
    detail = diagnose(replace(side.dark(proof=False), neighbours=None, firewall=None)).main.detail
    assert "Not checked: next hop, firewall." in detail


@ON_BOTH
def test_without_proof_of_the_primary_nic_the_operator_is_asked_first(side):
    facts = replace(side.dark(proof=False), wireserver=wireserver(side.ip, Outcome.TIMED_OUT))
    fixes = [fix.text for fix in judged(facts, "broken", "platform-unreachable").main.fix]
    assert "--expected-mac" in fixes[0] and any("AzurePlatformIMDS" in text for text in fixes)
    assert [number for number, text in enumerate(fixes) if "Redeploy" in text] > [0]


@ON_BOTH
@pytest.mark.parametrize("status", [400, 403, 404, 410, 500, 503])
def test_an_error_from_a_local_claimant_is_not_imdss(side, status):
    lo = replace(
        LO if side is LINUX else LOOPBACK,
        addresses=(held("127.0.0.1", 8), held("169.254.169.254", 32)),
    )
    others = (ETH0, ETH1) if side is LINUX else (ETHERNET, ETHERNET2)
    facts = side.answers(http("169.254.169.254", status), adapters=(lo, *others))
    assert list(causes(judged(facts, "broken", "address-claimed-locally"))) == [
        "address-claimed-locally"
    ]


@ON_BOTH
@pytest.mark.parametrize("status", [403, 503])
def test_an_error_that_comes_by_the_wrong_nic_is_not_imdss(side, status):
    primary, other = (ETHERNET, ETHERNET2) if side is WINDOWS else (ETH0, ETH1)
    routes = (row(IMDS32, "10.1.0.1", other), *rows_of(primary, primary.lease_gateway, 100, False))
    judged(side.answers(http(side.other, status), routes=routes), "broken", "route-wrong-interface")


def test_a_400_that_refuses_every_api_version_is_said_to_be_that():
    exchange = http(
        LINUX.ip, 400, says="Bad request. api-version is invalid", versions=("2031-01-01",)
    )
    diagnosis = judged(LINUX.answers(exchange), "broken", "imds-rejects-request")
    assert "2031-01-01" in diagnosis.main.detail and "on the way" not in diagnosis.main.detail


@ON_BOTH
def test_a_request_that_this_program_could_not_send_is_its_own_failure(side):
    exchange = no_answer(None, Outcome.FAILED, error="EMFILE (too many open files)")
    diagnosis = judged(
        replace(side.dark(proof=False), imds=imds(exchange)), "inconclusive", "tool-failed"
    )
    assert "too many open files" in diagnosis.main.detail


def test_an_interrupt_after_the_answer_is_inconclusive_and_keeps_the_answer():
    facts = LINUX.healthy()
    facts = replace(
        facts, interrupted=True, imds=replace(facts.imds, attested=None, attested_document=None)
    )
    assert "interrupted" in judged(facts, "inconclusive", "tool-failed").main.detail


@pytest.mark.parametrize("allowed, cause", [(0.9, None), (5.0, "attested-unavailable")])
def test_an_attested_answer_that_our_own_deadline_cut_off_is_no_fault(allowed, cause):
    facts = LINUX.healthy()
    slow = replace(no_answer(LINUX.ip), connection=connection(source=LINUX.ip), allowed_s=allowed)
    diagnosis = diagnose(
        replace(facts, imds=replace(facts.imds, attested=slow, attested_document=False))
    )
    assert diagnosis.cause == cause
    status = next(check.status.value for check in diagnosis.checks if check.id == "imds.attested")
    assert status == ("fail" if cause else "error")


@ON_BOTH
@pytest.mark.parametrize("outcome", [Outcome.TIMED_OUT, Outcome.RESET])
def test_a_proxy_agent_that_takes_the_connection_over_and_is_silent(side, outcome):
    agent = Service(PROXY_AGENT[side.system], ServiceState.RUNNING, "auto")
    facts = side.dark(proof=False, services=(agent,), listeners=(Listener("127.0.0.1", 3080),))
    exchange = replace(no_answer("127.0.0.1", outcome), connection=connection(source="127.0.0.1"))
    judged(replace(facts, imds=imds(exchange)), "broken", "guest-proxy-agent-failing")


@ON_BOTH
def test_something_else_at_the_wireservers_address_is_not_it(side):
    server = wireserver(side.ip)
    html = replace(server, http=replace(server.http, versions=(), status=403))
    assert (
        "not the WireServer's answer"
        in judged(
            replace(side.healthy(), wireserver=html), "degraded", "wireserver-unreachable"
        ).main.detail
    )


def test_a_wireserver_whose_route_is_not_known_is_not_said_to_have_a_right_one():
    facts = replace(
        LINUX.healthy(),
        routes=None,
        lookups=None,
        wireserver=wireserver(LINUX.ip, Outcome.TIMED_OUT),
    )
    assert "could not be checked" in diagnose(facts).main.detail


def test_macs_that_are_not_known_are_no_mismatch():
    facts = LINUX.healthy()
    for adapters in ((), tuple(replace(a, mac=None) for a in facts.adapters)):
        assert diagnose(replace(facts, adapters=adapters)).cause is None


# --- DHCP that fails, leases that are stale ---


@ON_BOTH
def test_an_automatic_address_has_no_gateway(side):
    primary = replace(
        ETHERNET if side is WINDOWS else ETH0,
        addresses=(held("169.254.33.7", 16),),
        dhcp_server=None,
        lease_address=None,
        lease_gateway=None,
    )
    adapters = (LOOPBACK, primary) if side is WINDOWS else (LO, primary)
    facts = side.dark(
        "169.254.33.7",
        proof=False,
        adapters=adapters,
        routes=(row("169.254.0.0/16", None, primary),),
        neighbours=(),
    )
    diagnosis = judged(
        replace(facts, wireserver=wireserver(None, Outcome.UNREACHABLE)),
        "broken",
        "route-link-local-shadow",
    )
    assert "DHCP gave it none" in diagnosis.main.detail
    assert not any("169.254.0.1" in fix.text for fix in diagnosis.main.fix)


@ON_BOTH
def test_a_nic_without_an_address_is_told_to_renew_its_lease(side):
    primary = replace(
        ETHERNET if side is WINDOWS else managed(ETH0),
        addresses=(),
        dhcp_server=None,
        lease_address=None,
        lease_gateway=None,
    )
    adapters = (LOOPBACK, primary) if side is WINDOWS else (LO, primary)
    facts = side.dark(
        None,
        Outcome.UNREACHABLE,
        proof=False,
        adapters=adapters,
        routes=(),
        expected=Expected(mac=primary.mac),
    )
    diagnosis = judged(
        replace(facts, wireserver=wireserver(None, Outcome.UNREACHABLE)), "broken", "route-missing"
    )
    assert commands(diagnosis) == (
        ['ipconfig /renew "Ethernet"'] if side is WINDOWS else ["networkctl reconfigure eth0"]
    )
    assert not any("run again with --expected-mac" in fix.text for fix in diagnosis.main.fix)


def test_a_running_lease_of_another_address_is_azures_word():
    eth0 = replace(ETH0, addresses=(held("10.0.0.99"),))
    facts = LINUX.dark("10.0.0.99", proof=False, adapters=(LO, eth0, ETH1))
    diagnosis = judged(
        replace(facts, wireserver=wireserver("10.0.0.99", Outcome.TIMED_OUT)),
        "broken",
        "nic-ip-mismatch",
    )
    assert "its DHCP lease" in diagnosis.main.detail and commands(diagnosis)[-1].startswith(
        "ip addr replace 10.0.0.4/24 dev eth0 && ip route replace 169.254.169.254/32 via 10.0.0.1 "
        "dev eth0 src 10.0.0.4"
    )


def test_the_subnet_that_imds_reports_is_believed_before_the_lease():
    stale = replace(ETH0, lease_gateway="10.0.0.77")
    routes = (row(IMDS32, "10.0.1.1", ETH1), *rows_of(ETH0, "10.0.0.1", 100, False))
    diagnosis = judged(
        LINUX.dark(LINUX.other, adapters=(LO, stale, ETH1), routes=routes),
        "broken",
        "route-wrong-interface",
    )
    assert "ip route replace 169.254.169.254/32 via 10.0.0.1 dev eth0" in commands(diagnosis)


# --- several NICs, one of them down ---


def two_nics(first_state, **more):
    """Nothing answers; the second NIC has a lease and a default route of its own, the first one
    nothing.
    """
    first = replace(
        ETH0, state=first_state, dhcp_server=None, lease_address=None, lease_gateway=None, dhcp=None
    )
    second = replace(ETH1, lease_gateway="10.0.1.1")
    facts = LINUX.dark(
        "10.0.1.5",
        proof=False,
        adapters=(LO, first, second),
        routes=rows_of(second, "10.0.1.1", 200, True),
        **more,
    )
    return replace(facts, wireserver=wireserver("10.0.1.5", Outcome.TIMED_OUT))


def test_a_first_nic_that_is_down_is_not_passed_over_for_the_second():
    diagnosis = judged(two_nics(LinkState.DOWN), "broken", "nic-down")
    assert (
        '"eth0"' in diagnosis.main.detail and "it comes before the others" in diagnosis.main.detail
    )


def test_unless_the_leases_of_both_say_that_the_second_is_the_primary_one():
    facts = two_nics(LinkState.DOWN)
    lo, first, second = facts.adapters
    leased = replace(first, dhcp=True, dhcp_server="168.63.129.16", lease_address="10.0.0.4")
    assert diagnose(replace(facts, adapters=(lo, leased, second))).cause == "platform-unreachable"


def test_unless_the_second_is_proven_to_be_the_primary_one():
    facts = two_nics(LinkState.DOWN, expected=Expected(mac=ETH1.mac))
    assert diagnose(facts).cause == "platform-unreachable"


def test_another_nics_default_route_is_left_alone():
    tun0 = replace(
        ETH1,
        index=8,
        name="tun0",
        kind="tun",
        physical=False,
        mac=None,
        addresses=(held("10.8.0.2"),),
    )
    facts = LINUX.dark(
        None,
        Outcome.UNREACHABLE,
        proof=False,
        adapters=(LO, replace(ETH0, state=LinkState.DOWN), tun0),
        routes=(row("0.0.0.0/0", "10.8.0.1", tun0),),
    )
    facts = replace(facts, wireserver=wireserver(None, Outcome.UNREACHABLE))
    texts = commands(judged(facts, "broken", "nic-down"))
    assert "ip route replace 169.254.169.254/32 via 10.0.0.1 dev eth0" in texts and not any(
        "default" in text for text in texts
    )


# --- size and safety ---


def test_a_static_nic_of_windows_is_never_given_to_dhcp_by_a_route_cause():
    static = replace(
        ETHERNET,
        dhcp=False,
        addresses=tuple(held(f"172.16.69.{n}") for n in (7, 8, 9)),
        dhcp_server=None,
    )
    routes = (row(IMDS32, "10.1.0.1", ETHERNET2), *rows_of(static, "172.16.69.1", 11, False))
    for facts in (
        WINDOWS.dark(WINDOWS.other, adapters=(LOOPBACK, static, ETHERNET2), routes=routes),
        WINDOWS.healthy(adapters=(LOOPBACK, static, ETHERNET2)),
    ):
        for finding in diagnose(facts).findings:
            assert not any("dhcp" in fix.text for fix in finding.fix if fix.kind.value == "command")


def test_every_secondary_address_of_windows_is_skipped_as_source():
    many = replace(ETHERNET, addresses=tuple(held(f"172.16.69.{n}") for n in (7, 8, 9)))
    facts = WINDOWS.dark("172.16.69.8", adapters=(LOOPBACK, many, ETHERNET2))
    assert commands(judged(facts, "broken", "source-not-primary-ip")) == [
        "Set-NetIPAddress -IPAddress 172.16.69.8 -SkipAsSource 1",
        "Set-NetIPAddress -IPAddress 172.16.69.9 -SkipAsSource 1",
    ]
    crowd = replace(ETHERNET, addresses=tuple(held(f"172.16.69.{n}") for n in range(7, 200)))
    (one,) = commands(
        judged(
            WINDOWS.dark("172.16.69.8", adapters=(LOOPBACK, crowd, ETHERNET2)),
            "broken",
            "source-not-primary-ip",
        )
    )
    assert "-InterfaceIndex 7" in one and "172.16.69.7" in one


# --- what a verdict says of its evidence ---


DENIED = http(WINDOWS.ip, 403)
PROFILE = "az sig in-vm-access-control-profile-version"


def test_denied_access_gives_the_operators_commands_that_show_and_change_the_profile():
    main = judged(WINDOWS.answers(DENIED), "broken", "imds-access-denied").main
    assert [fix.text for fix in main.fix if fix.kind.value == "command"] == [
        "az vm show -g GROUP -n VM --query securityProfile.proxyAgentSettings.imds",
        f"{PROFILE} show --ids PROFILE",
        f"{PROFILE} update --ids PROFILE --mode Audit",
        "az vm update -g GROUP -n VM --imds-mode Audit",
    ]
    assert {fix.run_on.value for fix in main.fix if fix.kind.value == "command"} == {"operator"}
    assert "GROUP and VM stand for" in main.fix[0].text


def denied_and_known(**instance):
    """Denied to the plain request, and answered to another one, so that IMDS has named the VM."""
    answer = metadata(LINUX.ip, LINUX.vm)
    known = replace(answer, instance=replace(answer.instance, **instance))
    return replace(
        LINUX.answers(http(LINUX.ip, 403)),
        differential=(Trial(connection(source=LINUX.ip), known),),
    )


def of_denied(facts):
    return [
        text
        for text in commands(judged(facts, "broken", "imds-access-denied"))
        if text.startswith("az vm ")
    ]


def test_the_names_that_imds_gave_stand_in_the_commands():
    main = of_denied(
        denied_and_known(
            resource_group_name="rg_1-a.b", name="testlx", resource_id="/x/virtualMachines/testlx"
        )
    )
    assert main == [
        "az vm show -g rg_1-a.b -n testlx --query securityProfile.proxyAgentSettings.imds",
        "az vm update -g rg_1-a.b -n testlx --imds-mode Audit",
    ]


HOSTILE = (
    "",
    "a b",
    "rg(1)",
    "$(calc)",
    "`calc`",
    "%PATH%",
    "a&calc",
    "a;b",
    "--debug",
    "-x",
    "a\nb",
    "\u00e4",
    "a" * 91,
    'a"b',
)


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("field", ["resource_group_name", "name"])
def test_a_name_that_is_no_plain_word_stands_in_no_command(field, name):
    for text in of_denied(denied_and_known(**{field: name})):
        assert text.startswith(("az vm show -g GROUP -n VM ", "az vm update -g GROUP -n VM "))


def test_an_instance_of_a_scale_set_is_no_vm_to_the_commands():
    uniform = (
        "/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute"
        "/virtualMachineScaleSets/ss/virtualMachines/0"
    )
    assert all(
        "-g GROUP -n VM" in text for text in of_denied(denied_and_known(resource_id=uniform))
    )


@ON_BOTH
def test_a_claimed_address_says_who_listens_there(side):
    adapters = tuple(
        replace(adapter, addresses=(*adapter.addresses, held("169.254.169.254", 32)))
        if adapter.kind == "loopback"
        else adapter
        for adapter in side.healthy().adapters
    )
    listeners = (
        Listener("0.0.0.0", 80, "nginx", 812),
        Listener("127.0.0.1", 80, "other", 813),
        Listener("0.0.0.0", 3080, "another", 814),
    )
    facts = side.dark(None, Outcome.REFUSED, proof=False, adapters=adapters, listeners=listeners)
    diagnosis = judged(facts, "broken", "address-claimed-locally")
    assert diagnosis.main.detail.endswith(
        " requests to IMDS end on this VM. Listening there: nginx (pid 812)."
    )


def check_of(diagnosis, id):
    return next(check for check in diagnosis.checks if check.id == id)


@ON_BOTH
def test_where_the_address_is_the_vms_own_its_firewall_is_not_what_fails(side):
    adapters = tuple(
        replace(adapter, addresses=(*adapter.addresses, held("169.254.169.254", 32)))
        if adapter.kind == "loopback"
        else adapter
        for adapter in side.healthy().adapters
    )
    diagnosis = judged(
        side.dark(None, Outcome.REFUSED, proof=False, adapters=adapters),
        "broken",
        "address-claimed-locally",
    )
    route, firewall = check_of(diagnosis, "route.imds"), check_of(diagnosis, "firewall.imds")
    assert (route.status.value, firewall.status.value) == ("fail", "skip")
    assert "is an address of" in route.summary and "nothing blocks it" not in firewall.summary
    assert "the requests do not leave this VM" in firewall.summary


NAT = FirewallChain("ip nat output", FirewallPlace.NFTABLES, "output", "nat", -100)


def test_where_a_rule_redirects_the_route_is_not_what_fails():
    rule = FirewallRule(
        "7",
        FirewallPlace.NFTABLES,
        RuleVerdict.REDIRECT,
        chain=NAT.id,
        target="127.0.0.1",
        matches=(FirewallMatch(MatchField.DESTINATION, ("169.254.169.254",)),),
    )
    facts = LINUX.dark(
        None,
        Outcome.REFUSED,
        proof=False,
        firewall=Firewall((rule,), (NAT,), sources=("nftables",)),
    )
    diagnosis = judged(facts, "broken", "address-claimed-locally")
    assert check_of(diagnosis, "route.imds").status.value == "ok"
    firewall = check_of(diagnosis, "firewall.imds")
    assert firewall.status.value == "fail" and "redirects" in firewall.summary


@ON_BOTH
def test_a_proxy_and_a_direct_request_that_both_fail_stand_in_the_verdict(side):
    proxy = Proxy("WinHTTP", ProxyKind.WINHTTP, Scope.MACHINE, server="10.1.2.3:3128")
    through = http("10.1.0.9", 403, Body.HTML)
    facts = side.dark(proof=False, proxies=(proxy,))
    facts = replace(facts, proxy_trials=(ProxyTrial("10.1.2.3:3128", through, through),))
    detail = judged(facts, "broken", "proxy-intercepts-imds").main.detail
    assert f"The direct request failed too: timed out after 3.0 s from {side.ip}." in detail


def test_the_policy_rule_that_chooses_the_route_stands_in_the_verdict_and_the_check():
    facts = LINUX.dark(LINUX.other)
    wrong = row("0.0.0.0/0", "10.0.1.1", ETH1, table="100")
    rules = (
        RoutingRule(0, table="local"),
        RoutingRule(100, destination=IMDS32, table="100"),
        RoutingRule(32766, table="main"),
    )
    lookup = replace(facts.lookups[0], source=LINUX.other, route=wrong)
    facts = replace(
        facts,
        routes=(*facts.routes, wrong),
        routing_rules=rules,
        lookups=(lookup, facts.lookups[1]),
    )
    diagnosis = judged(facts, "broken", "route-wrong-interface")
    words = "100: from all to 169.254.169.254 lookup 100"
    assert f'The policy rule "{words}" selects that route.' in diagnosis.main.detail
    assert check_of(diagnosis, "route.imds").summary.endswith(f"; policy rule {words}")
    assert "policy rule" not in check_of(diagnosis, "route.wireserver").summary


def test_a_rule_that_leads_elsewhere_than_the_system_went_is_not_named():
    facts = LINUX.dark(LINUX.other)
    wrong = row(IMDS32, "10.0.1.1", ETH1)
    rules = (RoutingRule(100, destination=IMDS32, table="100"), RoutingRule(32766, table="main"))
    stray = row("0.0.0.0/0", "10.0.1.1", ETH1, table="100")
    lookup = replace(facts.lookups[0], source=LINUX.other, route=wrong)
    facts = replace(
        facts,
        routes=(*facts.routes, wrong, stray),
        routing_rules=rules,
        lookups=(lookup, facts.lookups[1]),
    )
    assert "policy rule" not in judged(facts, "broken", "route-wrong-interface").main.detail


def test_who_asks_too_often_is_named_with_its_number():
    many = tuple(ProcessConnection("greedy.exe", 4711, 50000 + n, "established") for n in range(5))
    facts = WINDOWS.answers(
        http(WINDOWS.ip, 429), connections=(*many, ProcessConnection("-", 12, 50010, "established"))
    )
    detail = judged(facts, "degraded", "imds-throttled").main.detail
    assert detail.endswith(
        " Connected to it now: an unknown program (pid 12), greedy.exe (pid 4711)."
    )


def test_the_rule_before_the_wireserver_shows_what_it_has_met():
    rule = chained(
        "9", RuleVerdict.DROP, FirewallMatch(MatchField.DESTINATION, ("168.63.129.16",)), packets=6
    )
    facts = replace(
        LINUX.healthy(firewall=linux_firewall(rule)),
        wireserver=wireserver(LINUX.ip, Outcome.TIMED_OUT),
    )
    diagnosis = judged(facts, "degraded", "wireserver-unreachable")
    finding = next(
        finding for finding in diagnosis.findings if finding.cause == "firewall-blocks-wireserver"
    )
    assert finding.detail.endswith(
        "drops 168.63.129.16 port 80 and 32526 (packets matched so far: 6)."
    )
