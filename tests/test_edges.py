"""Edges that small mutations of the rules and of the commands have shown to be unguarded: what lies
just beside a fault, and the order of what is believed.
"""

from dataclasses import replace
from datetime import timedelta

import pytest

from runcommand.attest.document import host_time
from runcommand.diagnosis import diagnose
from runcommand.facts import (
    Body,
    Expected,
    Firewall,
    FirewallChain,
    FirewallMatch,
    FirewallPlace,
    FirewallProfile,
    FirewallRule,
    LinkState,
    Listener,
    MatchField,
    Note,
    Outcome,
    PacFile,
    PersistentRoute,
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
    Unavailable,
    instant,
    parse_instant,
)
from runcommand.firewall.verdict import Match
from runcommand.fixes.elsewhere import AdviceOnly
from runcommand.fixes.steps import Wanted, bare_proxy
from runcommand.simulator.scenarios import (
    ETH0,
    ETH1,
    ETHERNET,
    ETHERNET2,
    HOSTS,
    LO,
    SCENARIOS,
    held,
    row,
    rows_of,
    with_lookups,
)

from .facts_of import BOTH, LINUX, NOW, WINDOWS, http, no_answer, wireserver
from .test_attested_rules import document

ON_BOTH = pytest.mark.parametrize("side", BOTH, ids=("windows", "linux"))
IMDS32, WIRESERVER32 = HOSTS
NETWORKS = rows_of(ETH0, None, 100, False) + rows_of(ETH1, None, 200, False)


def commands(diagnosis):
    return [fix.text for fix in diagnosis.main.fix if fix.kind.value == "command"]


def severities(diagnosis):
    return {finding.cause: finding.severity.value for finding in diagnosis.findings}


def check_of(diagnosis, id):
    return next(check for check in diagnosis.checks if check.id == id)


def judged(facts, verdict, cause):
    diagnosis = diagnose(facts)
    assert (diagnosis.verdict.value, diagnosis.cause) == (verdict, cause), severities(diagnosis)
    return diagnosis


def without_lease(adapter, **more):
    bare = replace(adapter, dhcp=None, dhcp_server=None, lease_address=None, lease_gateway=None)
    return replace(bare, **more)


def with_wireserver(facts, source, outcome):
    return replace(facts, wireserver=wireserver(source, outcome))


def platform_silent(side, **more):
    return with_wireserver(side.dark(proof=False, **more), side.ip, Outcome.TIMED_OUT)


# --- dead routes ---


def test_a_dead_default_route_does_not_make_its_nic_the_primary_one():
    eth0, eth1 = without_lease(ETH0), without_lease(ETH1)
    alive = row("0.0.0.0/0", "10.0.0.1", eth0, 100)
    dead = replace(row("0.0.0.0/0", "10.0.1.1", eth1, 5), dead=True)
    facts = platform_silent(LINUX, adapters=(LO, eth0, eth1), routes=(*NETWORKS, dead, alive))
    judged(facts, "broken", "platform-unreachable")


def test_a_dead_route_leads_nowhere_where_the_system_was_not_asked():
    dead = replace(row(IMDS32, "10.0.1.1", ETH1), dead=True)
    facts = LINUX.dark(proof=False, routes=(dead, *rows_of(ETH0, "10.0.0.1", 100, True)))
    judged(replace(facts, lookups=None), "broken", "imds-no-answer")


def denied_by_rule(*routes):
    rules = (
        RoutingRule(0, table="local"),
        RoutingRule(100, destination=IMDS32, action=RuleAction.PROHIBIT),
        RoutingRule(32766, table="main"),
    )
    facts = LINUX.dark(None, Outcome.FORBIDDEN, routes=(*NETWORKS, *routes), routing_rules=rules)
    denied = replace(facts.lookups[0], route=None, source=None, error="EACCES")
    return replace(facts, lookups=(denied, facts.lookups[1]))


ADDED = "ip route replace 169.254.169.254/32 via 10.0.0.1 dev eth0"


def test_once_a_denying_rule_is_gone_a_live_route_is_enough():
    alive = row("0.0.0.0/0", "10.0.0.1", ETH0, 100)
    assert ADDED not in commands(judged(denied_by_rule(alive), "broken", "route-missing"))


def test_once_a_denying_rule_is_gone_a_dead_route_is_not_enough():
    dead = replace(row(IMDS32, "10.0.0.1", ETH0), dead=True)
    assert ADDED in commands(judged(denied_by_rule(dead), "broken", "route-missing"))


def test_once_a_denying_rule_is_gone_a_route_by_another_nic_is_not_enough():
    other = row("0.0.0.0/0", "10.0.0.1", ETH1, 100)
    assert ADDED in commands(judged(denied_by_rule(other), "broken", "route-missing"))


def test_once_a_denying_rule_is_gone_a_route_to_another_next_hop_is_not_enough():
    other = row("0.0.0.0/0", "10.0.0.9", ETH0, 100)
    assert ADDED in commands(judged(denied_by_rule(other), "broken", "route-missing"))


# --- the primary address: an answer, the operator, the lease, DHCP's, a plain one ---


def sent_from_static(*addresses, **of_nic):
    eth0 = replace(ETH0, addresses=addresses, **of_nic)
    facts = LINUX.dark("10.0.0.9", proof=False, adapters=(LO, eth0, ETH1), source="10.0.0.9")
    return with_wireserver(facts, "10.0.0.9", Outcome.TIMED_OUT)


def test_the_address_of_the_lease_is_believed_before_one_set_by_hand():
    facts = sent_from_static(held("10.0.0.9"), held("10.0.0.4"), lease_address="10.0.0.4")
    diagnosis = judged(facts, "broken", "source-not-primary-ip")
    assert "The primary address is 10.0.0.4" in diagnosis.main.detail


def test_the_address_of_the_lease_is_believed_before_another_dynamic_one():
    facts = sent_from_static(held("10.0.0.9", dynamic=True), held("10.0.0.4"))
    diagnosis = judged(facts, "broken", "source-not-primary-ip")
    assert "The primary address is 10.0.0.4" in diagnosis.main.detail


def test_a_dynamic_address_is_believed_before_one_set_by_hand():
    dynamic = held("10.0.0.4", dynamic=True)
    facts = sent_from_static(held("10.0.0.9"), dynamic, lease_address=None)
    diagnosis = judged(facts, "broken", "source-not-primary-ip")
    assert "The primary address is 10.0.0.4" in diagnosis.main.detail


def test_a_plain_address_is_believed_before_a_secondary_one():
    secondary = held("10.0.0.9", secondary=True)
    facts = sent_from_static(secondary, held("10.0.0.4"), lease_address=None)
    diagnosis = judged(facts, "broken", "source-not-primary-ip")
    assert "The primary address is 10.0.0.4" in diagnosis.main.detail


# --- the on-link route that hides IMDS ---


@ON_BOTH
def test_an_on_link_host_route_by_another_nic_is_no_shadow(side):
    primary, other = (ETHERNET, ETHERNET2) if side is WINDOWS else (ETH0, ETH1)
    routes = (row(IMDS32, None, other, 5), *rows_of(primary, primary.lease_gateway, 100, False))
    judged(side.dark(side.other, routes=routes), "broken", "route-wrong-interface")


@ON_BOTH
@pytest.mark.parametrize("length", [16, 17, 24, 31])
def test_an_on_link_route_within_the_link_local_network_is_a_shadow(side, length):
    primary, other = (ETHERNET, ETHERNET2) if side is WINDOWS else (ETH0, ETH1)
    first = {16: "169.254.0.0", 17: "169.254.128.0", 24: "169.254.169.0", 31: "169.254.169.254"}
    shadow = row(f"{first[length]}/{length}", None, other, 5)
    routes = (shadow, *rows_of(primary, primary.lease_gateway, 100, False))
    judged(side.dark(side.other, routes=routes), "broken", "route-link-local-shadow")


@ON_BOTH
@pytest.mark.parametrize("destination", ["169.254.0.0/15", "168.0.0.0/5", "0.0.0.0/0"])
def test_a_broader_on_link_route_is_no_shadow(side, destination):
    primary, other = (ETHERNET, ETHERNET2) if side is WINDOWS else (ETH0, ETH1)
    routes = (row(destination, None, other, 5), *rows_of(primary, None, 100, False))
    judged(side.dark(side.other, routes=routes), "broken", "route-wrong-interface")


def test_a_link_local_route_through_a_gateway_is_no_shadow():
    routes = (row("169.254.0.0/16", "10.0.1.1", ETH1, 5), *rows_of(ETH0, "10.0.0.1", 100, False))
    judged(LINUX.dark(LINUX.other, routes=routes), "broken", "route-wrong-interface")


def test_a_local_route_is_no_shadow():
    local = Route("169.254.0.0/16", kind=RouteKind.LOCAL, table="local")
    routes = (local, *rows_of(ETH0, "10.0.0.1", 100, False))
    diagnosis = judged(LINUX.dark(routes=routes), "broken", "address-claimed-locally")
    assert "route-link-local-shadow" not in severities(diagnosis)


# --- policy tables ---


@pytest.mark.parametrize("asked", [True, False], ids=["asked", "not asked"])
def test_a_throw_route_sends_the_packet_on_to_the_next_table(asked):
    throw = Route(IMDS32, kind=RouteKind.THROW, table="100")
    rules = (
        RoutingRule(0, table="local"),
        RoutingRule(100, table="100"),
        RoutingRule(32766, table="main"),
    )
    routes = (throw, *rows_of(ETH0, "10.0.0.1", 100, True))
    facts = LINUX.dark(proof=False, routes=routes, routing_rules=rules)
    diagnosis = judged(facts if asked else replace(facts, lookups=None), "broken", "imds-no-answer")
    summary = check_of(diagnosis, "route.imds").summary
    assert "10.0.0.1" in summary and "eth0" in summary and "policy rule" not in summary


def test_a_throw_route_in_the_last_table_means_that_no_route_leads_there():
    throw = Route(IMDS32, kind=RouteKind.THROW)
    facts = LINUX.dark(None, Outcome.UNREACHABLE, routes=(throw, *NETWORKS), proof=False)
    assert facts.lookups[0].error == "ENETUNREACH"
    judged(replace(facts, lookups=None), "broken", "route-missing")


def as_the_system(scenario):
    """The routes alone, so that the product has to work out what the system would do."""
    return diagnose(replace(with_lookups(scenario.facts), lookups=None)).model


@pytest.mark.parametrize("scenario", SCENARIOS, ids=[scenario.name for scenario in SCENARIOS])
def test_routes_alone_lead_where_the_simulated_system_goes(scenario):
    asked = with_lookups(replace(scenario.facts, imds=None, wireserver=None))
    model = as_the_system(scenario)
    for lookup, worked_out in zip(
        asked.lookups, (model.routing.to_imds, model.routing.to_wireserver)
    ):
        assert (worked_out.error, None if worked_out.error else worked_out.route) == (
            lookup.error,
            lookup.route,
        )


# --- addresses of Linux: what goes, and what comes back ---


def test_deleting_an_address_puts_back_the_secondary_ones_that_go_with_it():
    eth0 = replace(
        ETH0,
        addresses=(
            held("10.0.0.4", dynamic=True),
            held("10.0.0.5", secondary=True),
            held("169.254.169.254", 24),
            held("169.254.169.7", 24, secondary=True),
            held("169.254.169.8", 24),
            held("169.254.169.9", 25, secondary=True),
            held("169.254.7.7", 24, secondary=True),
        ),
    )
    facts = LINUX.dark(None, Outcome.REFUSED, proof=False, adapters=(LO, eth0, ETH1))
    assert commands(judged(facts, "broken", "address-claimed-locally")) == [
        "ip addr del 169.254.169.254/24 dev eth0 && ip addr replace 169.254.169.7/24 dev eth0"
    ]


def test_deleting_a_secondary_address_leaves_the_others():
    claimed = held("169.254.169.254", 24, secondary=True)
    eth0 = replace(ETH0, addresses=(*ETH0.addresses, held("169.254.169.7", 24), claimed))
    facts = LINUX.dark(None, Outcome.REFUSED, proof=False, adapters=(LO, eth0, ETH1))
    (line,) = commands(judged(facts, "broken", "address-claimed-locally"))
    assert line == "ip addr del 169.254.169.254/24 dev eth0"


def test_a_new_address_stands_beside_the_old_ones():
    addresses = (held("10.0.0.98"), held("10.0.0.99", secondary=True))
    eth0 = replace(ETH0, addresses=addresses)
    expected = Expected(mac=ETH0.mac, ip="10.0.0.4")
    facts = LINUX.silent(adapters=(LO, eth0, ETH1), expected=expected)
    assert commands(judged(facts, "broken", "nic-ip-mismatch")) == [
        "ip addr replace 10.0.0.4/24 dev eth0 && "
        "ip route replace 169.254.169.254/32 via 10.0.0.1 dev eth0 src 10.0.0.4 && "
        "ip route replace 168.63.129.16/32 via 10.0.0.1 dev eth0 src 10.0.0.4"
    ]


# --- does the way to the WireServer go astray? ---


def wireserver_by(*rows, **more):
    """IMDS answers, the WireServer does not; these rows lead to it."""
    routes = (
        *rows,
        *(r for r in rows_of(ETH0, "10.0.0.1", 100, True) if r.destination != WIRESERVER32),
    )
    facts = LINUX.healthy(routes=(*routes, *more.pop("others", ())), **more)
    return with_wireserver(facts, LINUX.ip, Outcome.TIMED_OUT)


def test_an_on_link_route_by_the_primary_nic_does_not_go_astray():
    diagnosis = judged(
        wireserver_by(row(WIRESERVER32, None, ETH0)), "degraded", "wireserver-unreachable"
    )
    assert "Its route is correct." in diagnosis.main.detail and not commands(diagnosis)
    assert check_of(diagnosis, "route.wireserver").status.value == "ok"


def test_another_face_of_the_primary_nic_does_not_go_astray():
    vf = replace(ETH0, index=9, name="enP1s1", addresses=(), master="eth0")
    facts = wireserver_by(row(WIRESERVER32, "10.0.0.1", vf), adapters=(LO, ETH0, ETH1, vf))
    diagnosis = judged(facts, "degraded", "wireserver-unreachable")
    assert "Its route is correct." in diagnosis.main.detail


def test_another_nic_goes_astray_even_on_link():
    facts = wireserver_by(row(WIRESERVER32, None, ETH1))
    assert "Packets to it do not leave through the primary NIC" in diagnose(facts).main.detail


def test_another_next_hop_goes_astray():
    facts = wireserver_by(row(WIRESERVER32, "10.0.0.99", ETH0))
    diagnosis = judged(facts, "degraded", "wireserver-unreachable")
    assert commands(diagnosis) == [
        "ip route del 168.63.129.16/32 via 10.0.0.99 dev eth0",
        "ip route replace 168.63.129.16/32 via 10.0.0.1 dev eth0",
    ]
    assert check_of(diagnosis, "route.wireserver").status.value == "warn"


def test_a_route_that_denies_goes_astray():
    facts = wireserver_by(Route(WIRESERVER32, kind=RouteKind.UNREACHABLE))
    assert commands(judged(facts, "degraded", "wireserver-unreachable")) == [
        "ip route del unreachable 168.63.129.16/32",
        "ip route replace 168.63.129.16/32 via 10.0.0.1 dev eth0",
    ]


def test_without_any_route_that_was_read_the_way_is_not_called_wrong():
    facts = replace(wireserver_by(), routes=None, lookups=None)
    assert "Its route could not be checked." in diagnose(facts).main.detail


# --- the routes that go away with a link ---


def test_a_nic_that_is_not_the_primary_one_gets_its_own_gateway():
    first = without_lease(ETH0, state=LinkState.DOWN)
    second = replace(ETH1, lease_gateway="10.0.1.1")
    routes = rows_of(second, "10.0.1.1", 200, True)
    facts = LINUX.dark(LINUX.other, proof=False, adapters=(LO, first, second), routes=routes)
    facts = with_wireserver(facts, LINUX.other, Outcome.TIMED_OUT)
    assert commands(judged(facts, "broken", "nic-down")) == [
        "ip link set dev eth0 up",
        "ip route replace 169.254.169.254/32 via 10.0.0.1 dev eth0",
        "ip route replace 168.63.129.16/32 via 10.0.0.1 dev eth0",
    ]


def test_the_primary_nic_gets_the_gateway_of_its_lease():
    down = replace(ETH0, state=LinkState.DOWN, lease_gateway="10.0.0.7")
    routes = rows_of(ETH1, None, 200, False)
    facts = LINUX.dark(
        None, Outcome.UNREACHABLE, proof=False, adapters=(LO, down, ETH1), routes=routes
    )
    assert commands(judged(facts, "broken", "nic-down")) == [
        "ip link set dev eth0 up",
        "ip route replace default via 10.0.0.7 dev eth0",
        "ip route replace 169.254.169.254/32 via 10.0.0.7 dev eth0",
        "ip route replace 168.63.129.16/32 via 10.0.0.7 dev eth0",
    ]


@pytest.mark.parametrize("interface", ["eth0", "ppp9"])
def test_a_default_route_of_the_nic_itself_or_of_no_nic_is_no_other_way_out(interface):
    down = replace(ETH0, state=LinkState.DOWN)
    own = Route("0.0.0.0/0", "10.0.0.1", interface, None, 100)
    facts = LINUX.dark(
        None,
        Outcome.UNREACHABLE,
        proof=False,
        adapters=(LO, down, ETH1),
        routes=(own, *rows_of(ETH1, None, 200, False)),
    )
    facts = replace(facts, lookups=None)
    assert "ip route replace default via 10.0.0.1 dev eth0" in commands(
        judged(facts, "broken", "nic-down")
    )


# --- a dead proxy ---


PROXY = Proxy("WinHTTP", ProxyKind.WINHTTP, Scope.MACHINE, server="10.1.2.3:3128")


def dead_proxy(facts, outcome):
    place = dict(address="10.1.2.3", port=3128)
    tried = no_answer("10.0.0.4", outcome, **place)
    return replace(facts, proxies=(PROXY,), proxy_trials=(ProxyTrial(PROXY.server, tried, tried),))


@ON_BOTH
@pytest.mark.parametrize("outcome", [Outcome.TIMED_OUT, Outcome.REFUSED])
def test_a_dead_proxy_does_not_explain_a_dead_imds(side, outcome):
    facts = dead_proxy(side.dark(proof=False), outcome)
    diagnosis = judged(facts, "broken", "imds-no-answer")
    assert severities(diagnosis)["proxy-intercepts-imds"] == "warn"


@ON_BOTH
@pytest.mark.parametrize("outcome", [Outcome.TIMED_OUT, Outcome.REFUSED])
def test_a_dead_proxy_before_an_imds_that_answers_is_the_fault(side, outcome):
    judged(dead_proxy(side.healthy(), outcome), "degraded", "proxy-intercepts-imds")


# --- a NIC with two faces ---


VF = replace(
    without_lease(ETH0), index=1, name="enP1s1", addresses=(), master="eth0", driver="mlx5_core"
)
UP_FIRST = replace(LO, index=5)


def test_a_mac_is_set_on_the_face_that_has_the_addresses():
    expected = Expected(mac="00-0D-3A-00-00-99")
    facts = LINUX.silent(adapters=(UP_FIRST, VF, ETH0), expected=expected)
    (line,) = commands(judged(facts, "broken", "nic-mac-mismatch"))
    assert line.startswith("ip link set dev eth0 down")


def test_a_mac_is_set_on_the_face_that_has_the_addresses_where_no_nic_is_the_primary_one():
    other = without_lease(ETH0)
    facts = LINUX.silent(adapters=(UP_FIRST, VF, other), expected=Expected(mac="00-0D-3A-00-00-99"))
    facts = replace(facts, routes=NETWORKS[:1], lookups=None)
    (line,) = commands(judged(facts, "broken", "nic-mac-mismatch"))
    assert "dev eth0 down" in line and "enP1s1" not in line


def test_an_address_is_set_on_the_face_that_has_the_addresses():
    expected = Expected(mac=ETH0.mac, ip="10.0.0.77")
    facts = LINUX.silent(adapters=(UP_FIRST, VF, ETH0), expected=expected)
    (line,) = commands(judged(facts, "broken", "nic-ip-mismatch"))
    assert line.startswith("ip addr replace 10.0.0.77/24 dev eth0")


def test_of_two_faces_with_an_address_each_the_upper_one_counts():
    bridge = replace(ETH0, index=12, name="br0", kind="bridge", addresses=(held("10.0.0.6"),))
    member = replace(without_lease(ETH0), master="br0", addresses=(held("10.0.0.5"),))
    expected = Expected(mac=ETH0.mac, ip="10.0.0.77")
    facts = LINUX.silent(adapters=(LO, member, bridge), expected=expected)
    facts = replace(facts, lookups=None, routes=rows_of(bridge, "10.0.0.1", 0, True))
    (line,) = commands(judged(facts, "broken", "nic-ip-mismatch"))
    assert line.startswith("ip addr replace 10.0.0.77/24 dev br0")


def test_the_primary_address_is_that_of_the_face_which_has_one():
    bridge = without_lease(ETH0, index=12, name="br0", kind="bridge")
    member = replace(ETH0, master="br0", addresses=())
    routes = rows_of(bridge, "10.0.0.1", 0, True)
    facts = platform_silent(LINUX, adapters=(LO, member, bridge), routes=routes)
    diagnosis = judged(facts, "broken", "platform-unreachable")
    assert "primary NIC 00-0D-3A-7F-20-04 10.0.0.4" in diagnosis.main.fix[-1].text


def test_a_face_without_an_address_does_not_stand_in_for_the_nic_that_is_down():
    down = replace(ETH0, state=LinkState.DOWN)
    routes = rows_of(ETH1, None, 200, False)
    facts = LINUX.dark(
        None, Outcome.UNREACHABLE, proof=False, adapters=(UP_FIRST, VF, down, ETH1), routes=routes
    )
    judged(facts, "broken", "nic-down")


# --- what the guest proxy agent is blamed for ---


AGENT = {"windows": "GuestProxyAgent", "linux": "azure-proxy-agent"}


@ON_BOTH
@pytest.mark.parametrize("status", [500, 504, 410])
def test_an_error_of_imds_itself_is_not_its_agents(side, status):
    agent = Service(AGENT[side.system], ServiceState.RUNNING, "auto")
    facts = side.answers(
        http(side.ip, status, Body.JSON, server="IMDS/150.870.65.1854"),
        services=(agent,),
        listeners=(Listener("127.0.0.1", 3080),),
    )
    judged(facts, "broken", "imds-unavailable")


# --- jumps of the firewall ---


def jumping(*links, last=RuleVerdict.DROP, how=RuleVerdict.JUMP):
    """An output chain that leads through others; the last of them has the rule that counts."""
    names = ["output", *links]
    chains = [FirewallChain("inet filter output", FirewallPlace.NFTABLES, "output")]
    chains += [FirewallChain(f"inet filter {name}", FirewallPlace.NFTABLES) for name in links]
    rules = [
        FirewallRule(
            str(number),
            FirewallPlace.NFTABLES,
            how,
            chain=f"inet filter {here}",
            target=f"inet filter {there}",
            packets=0,
        )
        for number, (here, there) in enumerate(zip(names, links), 1)
    ]
    to_imds = (FirewallMatch(MatchField.DESTINATION, ("169.254.169.254",)),)
    rules.append(
        FirewallRule(
            "99", FirewallPlace.NFTABLES, last, chain=f"inet filter {names[-1]}", matches=to_imds
        )
    )
    return Firewall(tuple(rules), tuple(chains), sources=("nftables",), rules_read=len(rules))


DEEP = tuple(f"c{number}" for number in range(15))


@pytest.mark.parametrize("links", [(), ("a",), ("a", "b"), ("a", "b", "c"), DEEP])
@pytest.mark.parametrize("how", [RuleVerdict.JUMP, RuleVerdict.GOTO])
def test_a_rule_at_the_end_of_jumps_is_named(links, how):
    facts = LINUX.dark(proof=False, firewall=jumping(*links, how=how))
    diagnosis = judged(facts, "broken", "firewall-blocks-imds")
    assert f'"inet filter {links[-1] if links else "output"}"' in diagnosis.main.detail


@pytest.mark.parametrize("links", [("a",), ("a", "b")])
@pytest.mark.parametrize(
    "how, cause",
    [(RuleVerdict.JUMP, "firewall-blocks-imds"), (RuleVerdict.GOTO, "imds-no-answer")],
)
def test_what_falls_out_of_a_jump_goes_on_after_it_and_out_of_a_goto_does_not(links, how, cause):
    wall = jumping(*links, last=RuleVerdict.RETURN, how=how)
    drop = replace(wall.rules[-1], id="100", action=RuleVerdict.DROP, chain=wall.chains[0].id)
    facts = LINUX.dark(proof=False, firewall=replace(wall, rules=(*wall.rules, drop)))
    judged(facts, "broken", cause)


@pytest.mark.parametrize("links", [("a",), ("a", "b")])
def test_what_is_accepted_at_the_end_of_jumps_is_not_dropped_after_them(links):
    wall = jumping(*links, last=RuleVerdict.ACCEPT)
    drop = replace(wall.rules[-1], id="100", action=RuleVerdict.DROP, chain=wall.chains[0].id)
    facts = LINUX.dark(proof=False, firewall=replace(wall, rules=(*wall.rules, drop)))
    judged(facts, "broken", "imds-no-answer")


# --- the clock: five minutes are within, and a second more is not ---


def later(seconds):
    return instant(parse_instant(NOW) + timedelta(seconds=seconds))


def with_clock(side, ahead, made=None):
    """A VM whose clock is so many seconds ahead of the Date header, and of the document's time.

    :param made: None: there is no document
    """
    facts = side.healthy()
    answer = replace(facts.imds.attempts[0], date=NOW, read_at=later(ahead))
    found = replace(facts.imds, attempts=(answer,), document=None)
    if made is not None:
        attested = replace(found.attested, date=None, read_at=later(ahead))
        found = replace(found, attested=attested, document=document(side, at=later(ahead - made)))
    return replace(facts, imds=found)


@ON_BOTH
@pytest.mark.parametrize("sign", [1, -1])
def test_the_clock_may_be_300_seconds_off_and_not_301(side, sign):
    judged(with_clock(side, sign * 300), "healthy", None)
    judged(with_clock(side, sign * 301), "degraded", "clock-skew")


@ON_BOTH
@pytest.mark.parametrize("sign", [1, -1])
def test_a_document_300_seconds_off_still_contradicts_the_header_and_one_301_off_does_not(
    side, sign
):
    contradicted = diagnose(with_clock(side, sign * 7200, sign * 300))
    assert severities(contradicted)["clock-skew"] == "warn"
    assert severities(diagnose(with_clock(side, sign * 7200, sign * 301)))["clock-skew"] == "fail"


@ON_BOTH
@pytest.mark.parametrize("apart, same", [(300, True), (301, False), (-300, True), (-301, False)])
def test_the_document_says_the_same_within_300_seconds(side, apart, same):
    diagnosis = diagnose(with_clock(side, 7200, 7200 + apart))
    assert ("The attested document says the same" in diagnosis.findings[0].detail) is same
    summary = check_of(diagnosis, "clock.skew").summary
    assert ("the attested document's time" not in summary) is same


# --- an ordinary user and the WireServer ---


def as_user(facts, elevated):
    return replace(facts, machine=replace(facts.machine, elevated=elevated))


@ON_BOTH
def test_to_an_ordinary_user_a_silent_wireserver_is_no_fault(side):
    facts = as_user(with_wireserver(side.healthy(), side.ip, Outcome.TIMED_OUT), False)
    diagnosis = judged(facts, "healthy", None)
    check = check_of(diagnosis, "wireserver.reachable")
    assert check.status.value == "skip" and "proves nothing for an ordinary user" in check.summary


@ON_BOTH
@pytest.mark.parametrize("elevated", [True, None])
def test_to_anybody_else_it_is_one(side, elevated):
    facts = as_user(with_wireserver(side.healthy(), side.ip, Outcome.TIMED_OUT), elevated)
    diagnosis = judged(facts, "degraded", "wireserver-unreachable")
    assert check_of(diagnosis, "wireserver.reachable").status.value == "fail"
    silent = as_user(side.silent(), elevated)
    judged(silent, "broken", "platform-unreachable")


@ON_BOTH
def test_an_answer_counts_for_an_ordinary_user_too(side):
    check = check_of(diagnose(as_user(side.healthy(), False)), "wireserver.reachable")
    assert check.status.value == "ok"


def test_a_rule_that_keeps_the_wireserver_to_root_is_no_warning_to_an_ordinary_user():
    wall = jumping("a")
    to_host = (FirewallMatch(MatchField.DESTINATION, ("168.63.129.16",)),)
    rules = (wall.rules[0], replace(wall.rules[1], matches=to_host))
    facts = LINUX.healthy(firewall=replace(wall, rules=rules))
    facts = with_wireserver(facts, LINUX.ip, Outcome.TIMED_OUT)
    for elevated, status in ((True, "warn"), (False, "ok")):
        check = check_of(diagnose(as_user(facts, elevated)), "firewall.wireserver")
        assert check.status.value == status


# --- the host's time: its header, unless the document and the VM agree against it ---


@pytest.mark.parametrize(
    "header, read, believed",
    [
        (300, 0, "header"),
        (301, 0, "read"),
        (-301, 0, "read"),
        (7200, 300, "read"),
        (7200, -300, "read"),
        (7200, 301, "header"),
        (7200, -301, "header"),
    ],
)
def test_a_header_is_believed_unless_document_and_clock_agree_against_it(header, read, believed):
    made = document(WINDOWS, at=NOW)
    answer = replace(http(WINDOWS.ip, 200), date=later(header), read_at=later(read))
    found = replace(WINDOWS.healthy().imds, attested=answer, document=made)
    assert host_time(found) == parse_instant(
        {"header": answer.date, "read": answer.read_at}[believed]
    )


# --- what the mutation tests found unguarded ---


@ON_BOTH
def test_of_several_missing_facts_the_firewall_that_was_read_in_part_stands_last(side):
    facts = replace(
        side.dark(proof=False),
        routes=None,
        lookups=None,
        unavailable=(Unavailable("routes", "not finished when the time was up"),),
        notes=(Note("firewall", "7 rules were left out"),),
    )
    detail = judged(facts, "broken", "imds-no-answer").main.detail
    assert detail.startswith("Could not check: routes, all of the firewall (")


def test_the_default_of_a_group_policy_is_in_its_place():
    profile = FirewallProfile("public", default_place=FirewallPlace.GROUP_POLICY)
    assert Match(profile=profile).place is FirewallPlace.GROUP_POLICY
    assert Match().place is FirewallPlace.LOCAL


@pytest.mark.parametrize(
    "wanted, kind", [(Wanted(root="AB" * 20), "a trusted root"), (Wanted(), "an intermediate")]
)
def test_an_unknown_system_is_told_what_kind_of_certificate_to_install(wanted, kind):
    remedies = AdviceOnly()
    (fix,) = remedies.install_certificate("http://contoso.com/a.crt", True, None, wanted)
    assert fix.text == f"Install the certificate of http://contoso.com/a.crt as {kind}."


@pytest.mark.parametrize("proxy", ["http://10.0.0.9:3128", "10.0.0.9:3128"])
def test_a_proxy_in_a_command_has_no_scheme(proxy):
    assert bare_proxy(proxy).text == "10.0.0.9:3128"


NO_DOCUMENT = {"document": None, "attested_document": False}


def unsigned(side, body, status):
    facts = side.healthy()
    answer = replace(facts.imds.attested, status=status, body=body)
    return replace(facts, imds=replace(facts.imds, attested=answer, **NO_DOCUMENT))


@ON_BOTH
@pytest.mark.parametrize("status, is_said", [(200, True), (404, False)])
def test_only_a_good_answer_can_lack_its_document(side, status, is_said):
    diagnosis = judged(unsigned(side, Body.JSON, status), "degraded", "attested-unavailable")
    assert ("contains no signed document" in diagnosis.main.detail) is is_said


PAC = "proxy-pac-present"


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_two_pac_files_are_named_and_the_others_counted(count):
    proxies = tuple(
        Proxy(ProxyKind.WINHTTP, f"place {n}", Scope.MACHINE, pac_url=f"http://p{n}/proxy.pac")
        for n in range(count)
    )
    diagnosis = diagnose(WINDOWS.healthy(proxies=proxies))
    (finding,) = [item for item in diagnosis.findings if item.cause == PAC]
    named = [n for n in range(count) if f"http://p{n}/" in finding.detail]
    assert named == [0, 1][:count]
    assert finding.detail.endswith(
        {3: " 1 more is set.", 4: " 2 more are set."}.get(count, "here.")
    )


@pytest.mark.parametrize(
    "file, said",
    [
        (PacFile("http://p/a.pac", Outcome.HTTP, "cut", size=70_000), "70000 bytes (cut)"),
        (PacFile("http://p/a.pac", Outcome.HTTP, "HTTP 404"), "not fetched: HTTP 404"),
        (PacFile("http://p/a.pac", Outcome.TIMED_OUT), "not fetched: timed-out"),
    ],
)
def test_a_pac_file_of_which_a_part_came_was_fetched(file, said):
    proxy = Proxy(ProxyKind.WINHTTP, "a place", Scope.MACHINE, pac_url="http://p/a.pac")
    diagnosis = diagnose(WINDOWS.healthy(proxies=(proxy,), pac_files=(file,)))
    (finding,) = [item for item in diagnosis.findings if item.cause == PAC]
    assert f": {said}" in finding.detail


@pytest.mark.parametrize("known_from", ["lease", "adapter"])
def test_a_stored_route_is_kept_where_its_gateway_may_come_back(known_from):
    gone = "192.168.77.1"
    nic = replace(ETHERNET2, lease_gateway=gone)
    if known_from == "adapter":
        nic = replace(ETHERNET2, gateways=(gone,), lease_gateway=None)
    stored = (PersistentRoute(IMDS32, gone),)
    facts = WINDOWS.healthy(persistent_routes=stored, adapters=(ETHERNET, nic))
    (finding,) = [item for item in diagnose(facts).findings if "stale" in item.cause]
    assert finding.fix == ()


def undecided_rule():
    """A rule that blocks all, if its condition holds: nobody can say."""
    condition = FirewallMatch(MatchField.OTHER, ("Platform=x",))
    return FirewallRule("a", FirewallPlace.LOCAL, RuleVerdict.BLOCK, "A", matches=(condition,))


def test_a_rule_that_may_block_is_not_contradicted_by_how_the_request_ended():
    facts = WINDOWS.dark(proof=False, firewall=Firewall(rules=(undecided_rule(),), rules_read=1))
    (finding,) = [item for item in diagnose(facts).findings if "firewall" in item.cause]
    assert "may block" in finding.detail and "ended differently" not in finding.detail


def test_where_no_store_has_a_rule_none_is_named():
    facts = WINDOWS.healthy(firewall=Firewall(rules_read=0))
    assert "rules read: 0" in check_of(diagnose(facts), "firewall.imds").summary
    assert "()" not in check_of(diagnose(facts), "firewall.imds").summary
