"""What looks like a fault and is none: each line of the design's "Not faults" that this version can
see stays healthy.
"""

from dataclasses import replace

import pytest

from runcommand.diagnosis import diagnose
from runcommand.facts import (
    Adapter,
    Expected,
    ImdsInterface,
    LinkState,
    Neighbour,
    NeighbourState,
    Outcome,
)
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

from .facts_of import BOTH, LINUX, WINDOWS, imds, metadata, wireserver

ON_BOTH = pytest.mark.parametrize("side", BOTH, ids=("windows", "linux"))
PRIMARY = {"windows": ETHERNET, "linux": ETH0}
OTHER = {"windows": ETHERNET2, "linux": ETH1}
LOOP = {"windows": LOOPBACK, "linux": LO}


def is_healthy(facts, allowed=()):
    diagnosis = diagnose(facts)
    found = {finding.cause for finding in diagnosis.findings}
    assert (
        diagnosis.verdict.value == "healthy" and diagnosis.cause is None and found <= set(allowed)
    ), diagnosis.findings


@ON_BOTH
def test_a_second_nic(side):
    is_healthy(side.healthy())


@ON_BOTH
def test_a_second_nic_with_a_default_route_of_its_own(side):
    primary, other = PRIMARY[side.system], OTHER[side.system]
    is_healthy(
        side.healthy(
            routes=rows_of(primary, primary.lease_gateway, 10, True)
            + rows_of(other, "10.1.0.1", 500, False)
        )
    )


@ON_BOTH
def test_a_second_nic_that_the_guest_has_not_configured(side):
    primary, other = PRIMARY[side.system], OTHER[side.system]
    bare = replace(other, addresses=(), state=LinkState.DOWN)
    is_healthy(
        side.healthy(
            adapters=(LOOP[side.system], primary, bare),
            routes=rows_of(primary, primary.lease_gateway, 10, True),
        )
    )


@ON_BOTH
def test_several_ip_configurations(side):
    primary = replace(
        PRIMARY[side.system],
        addresses=(held(side.ip, dynamic=True), held(side.ip[:-1] + "8", secondary=side is LINUX)),
    )
    is_healthy(side.healthy(adapters=(LOOP[side.system], primary, OTHER[side.system])))


@ON_BOTH
def test_a_default_route_only(side):
    primary = PRIMARY[side.system]
    is_healthy(
        side.healthy(routes=rows_of(primary, primary.lease_gateway, 10, False)),
        allowed=("route-not-specific",),
    )


@ON_BOTH
def test_an_on_link_host_route_as_failover_clusters_set_it(side):
    primary = PRIMARY[side.system]
    routes = (row(HOSTS[0], None, primary, 1), *rows_of(primary, primary.lease_gateway, 10, False))
    is_healthy(side.healthy(routes=routes))


@ON_BOTH
def test_azures_own_arp_answer_for_every_next_hop(side):
    primary = PRIMARY[side.system]
    arp = [
        Neighbour(hop, primary.name, primary.index, "12-34-56-78-9A-BC", NeighbourState.STALE)
        for hop in (primary.lease_gateway, "169.254.169.254")
    ]
    is_healthy(side.healthy(neighbours=tuple(arp)))


def test_a_virtual_function_and_its_synthetic_nic():
    vf = Adapter(
        9,
        "enP1s1",
        kind="ethernet",
        physical=True,
        mac=ETH0.mac,
        state=LinkState.UP,
        driver="mlx5_core",
        master="eth0",
    )
    is_healthy(LINUX.healthy(adapters=(LO, vf, ETH0, ETH1)))
    is_healthy(
        LINUX.healthy(adapters=(LO, ETH0, vf, ETH1), expected=Expected(mac=ETH0.mac, ip="10.0.0.4"))
    )


def test_a_virtual_function_that_is_down_beside_its_synthetic_nic():
    vf = Adapter(
        9,
        "enP1s1",
        kind="ethernet",
        physical=True,
        mac=ETH0.mac,
        state=LinkState.NO_CARRIER,
        master="eth0",
    )
    is_healthy(LINUX.healthy(adapters=(LO, vf, ETH0, ETH1), expected=Expected(mac=ETH0.mac)))


def test_an_external_vswitch_and_its_nic():
    switch = replace(
        ETHERNET,
        index=20,
        name="vEthernet (External)",
        description="Hyper-V Virtual Ethernet Adapter",
    )
    member = replace(
        ETHERNET, addresses=(), dhcp=None, dhcp_server=None, lease_address=None, lease_gateway=None
    )
    is_healthy(
        WINDOWS.healthy(
            adapters=(LOOPBACK, member, switch, ETHERNET2),
            routes=rows_of(switch, "172.16.69.1", 11, True),
        )
    )


def test_a_bridge_over_the_nic():
    bridge = replace(ETH0, index=12, name="br0", kind="bridge", physical=False)
    member = replace(ETH0, addresses=(), master="br0", dhcp_server=None, lease_gateway=None)
    is_healthy(
        LINUX.healthy(
            adapters=(LO, member, bridge, ETH1), routes=rows_of(bridge, "10.0.0.1", 100, True)
        )
    )


@pytest.mark.parametrize(
    "name, kind, address",
    [
        ("docker0", "bridge", "172.17.0.1"),
        ("cni0", "bridge", "10.244.0.1"),
        ("tun0", "tun", "10.8.0.2"),
        ("virbr0", "bridge", "192.168.122.1"),
    ],
)
def test_internal_bridges_and_vpn_adapters_on_linux(name, kind, address):
    extra = Adapter(
        30,
        name,
        kind=kind,
        mac=None if kind == "tun" else "02-42-AC-11-00-01",
        state=LinkState.UP,
        addresses=(held(address, 16),),
    )
    routes = (
        *rows_of(ETH0, "10.0.0.1", 100, True),
        row("0.0.0.0/1", None, extra),
        row("128.0.0.0/1", None, extra),
    )
    is_healthy(LINUX.healthy(adapters=(LO, ETH0, ETH1, extra), routes=routes))


def test_an_internal_vswitch_on_windows():
    nat = Adapter(
        25,
        "vEthernet (nat)",
        "Hyper-V Virtual Ethernet Adapter",
        mac="00-15-5D-11-22-33",
        state=LinkState.UP,
        addresses=(held("172.28.0.1", 20),),
    )
    is_healthy(WINDOWS.healthy(adapters=(LOOPBACK, ETHERNET, ETHERNET2, nat)))


@ON_BOTH
def test_a_link_local_adapter_beside_a_specific_route(side):
    primary = PRIMARY[side.system]
    apipa = Adapter(
        21,
        "Local Area Connection* 1",
        mac="02-11-22-33-44-55",
        state=LinkState.UP,
        addresses=(held("169.254.1.156", 16),),
    )
    routes = (
        *rows_of(primary, primary.lease_gateway, 11, True),
        row("169.254.0.0/16", None, apipa, 1),
    )
    is_healthy(
        side.healthy(
            adapters=(LOOP[side.system], primary, OTHER[side.system], apipa), routes=routes
        )
    )


@ON_BOTH
def test_addresses_that_imds_reports_and_the_guest_does_not_carry(side):
    exchange = metadata(side.ip, side.vm)
    first, *rest = (i for i in exchange.instance.interfaces if i.mac != PRIMARY[side.system].mac)
    pods = tuple(f"10.0.0.{number}" for number in range(10, 40))
    aks = (ImdsInterface(PRIMARY[side.system].mac, (*pods, side.ip)), first, *rest)
    exchange = replace(exchange, instance=replace(exchange.instance, interfaces=aks))
    is_healthy(replace(side.healthy(), imds=imds(exchange)))


def test_waagents_rule_that_keeps_the_wireserver_to_root():
    facts = replace(LINUX.healthy(), wireserver=wireserver(LINUX.ip, Outcome.TIMED_OUT))
    is_healthy(replace(facts, machine=replace(facts.machine, elevated=False)))


@ON_BOTH
@pytest.mark.parametrize("environment", ["AzureStack", "AZURESTACK", "AzureStackCloud"])
def test_azure_stack_hub_without_attested_data(side, environment):
    facts = side.healthy()
    exchange = facts.imds.attempts[0]
    exchange = replace(exchange, instance=replace(exchange.instance, az_environment=environment))
    is_healthy(
        replace(facts, imds=replace(facts.imds, attempts=(exchange,), attested_document=False))
    )


@ON_BOTH
def test_what_works_is_not_broken_whatever_the_routes_say(side):
    """The table leads out by the second NIC, and IMDS answers: a warning at the most."""
    other = OTHER[side.system]
    facts = side.healthy(
        routes=(
            row(HOSTS[0], "10.1.0.1", other),
            *rows_of(PRIMARY[side.system], PRIMARY[side.system].lease_gateway, 11, True),
        )
    )
    diagnosis = diagnose(facts)
    assert diagnosis.verdict.value == "healthy"
    assert all(finding.severity.value != "fail" for finding in diagnosis.findings)
