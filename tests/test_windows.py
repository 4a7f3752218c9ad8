"""What Windows' tables say, read: rows, SMBIOS, leases and stored routes, whatever is in them.
(tests/test_exe.py has the calls.)
"""

import struct
import time
import uuid
from dataclasses import replace
from functools import partial

import pytest

from runcommand.collect import Board, NoFact, RunOptions, collect
from runcommand.facts import LinkState, NeighbourState
from runcommand.simulator import scenarios
from runcommand.system.windows import (
    LIVE,
    adapters,
    firmware,
    iphlpapi,
    machine,
    registry,
    routes,
    source,
)
from runcommand.system.windows.iphlpapi import (
    AdapterRow,
    BestRoute,
    ForwardRow,
    InterfaceRow,
    NeighbourRow,
    UnicastAddress,
)

GUID = "{4D36E972-E325-11CE-BFC1-08002BE10318}"
MAC = bytes.fromhex("000d3ae51cc0")
IMDS = "169.254.169.254"


# --- routes ---


def forward(destination="0.0.0.0", mask="0.0.0.0", next_hop="172.16.69.1", kind=4, metric=11):
    return ForwardRow(destination, mask, next_hop, 7, kind, 10006, metric)


def test_a_row_of_the_forward_table():
    route = routes.parse_row(forward(IMDS, "255.255.255.255"), {7: adapter_row()})
    assert (
        route.destination,
        route.gateway,
        route.interface,
        route.interface_index,
        route.metric,
        route.protocol,
    ) == (
        f"{IMDS}/32",
        "172.16.69.1",
        "Ethernet",
        7,
        11,
        "static",
    )


@pytest.mark.parametrize(
    "next_hop, kind", [("0.0.0.0", 3), ("172.16.69.9", 3), ("0.0.0.0", 4), ("172.16.69.7", 4)]
)
def test_an_on_link_row_has_no_gateway(next_hop, kind):
    row = forward("172.16.69.0", "255.255.255.0", next_hop, kind)
    assert routes.parse_row(row, {7: adapter_row()}).gateway is None


@pytest.mark.parametrize("mask", ["255.0.255.0", "0.0.0.255", "0.255.255.255"])
def test_a_mask_that_is_none_of_a_prefix_costs_the_row(mask):
    assert routes.parse_row(forward("10.0.0.0", mask), {}) is None


def test_rows_left_out_are_told(mocker):
    mocker.patch.object(iphlpapi, "adapters", return_value=[])
    mocker.patch.object(
        iphlpapi, "forward_table", return_value=[forward(), forward(mask="255.0.255.0")]
    )
    board = Board(5)
    assert [route.destination for route in routes.collect(LIVE, board)] == ["0.0.0.0/0"]
    assert "1 rows left out" in board.notes()[0].text


@pytest.mark.parametrize(
    "name, expected",
    [
        ("169.254.169.254,255.255.255.255,172.16.69.1,1", ("169.254.169.254/32", "172.16.69.1", 1)),
        ("10.0.0.7,255.0.0.0,10.0.0.1", ("10.0.0.0/8", "10.0.0.1", 0)),
        ("10.0.0.0,255.0.0.0,10.0.0.1,99999999999999", ("10.0.0.0/8", "10.0.0.1", 0)),
        ("nonsense", None),
        (",,,", None),
        ("10.0.0.0,255.0.255.0,10.0.0.1,1", None),
        ("10.0.0.0,0.255.255.255,10.0.0.1,1", None),
        ("10.0.0.0,255.0.0.0,fe80::1,1", None),
    ],
)
def test_a_stored_route_is_the_name_of_a_value(name, expected):
    stored = routes.parse_stored(name)
    assert (stored and (stored.destination, stored.gateway, stored.metric)) == expected


def test_a_garbled_stored_route_does_not_cost_the_others(mocker):
    names = dict.fromkeys(
        (
            "nonsense",
            "169.254.169.254,255.255.255.255,10.0.0.1,1",
            "10.0.0.0,0.255.255.255,10.0.0.1,1",
        ),
        "",
    )
    mocker.patch.object(registry, "values", return_value=names)
    board = Board(5)
    assert [route.destination for route in routes.collect_persistent_routes(LIVE, board)] == [
        "169.254.169.254/32"
    ]
    assert [note.text for note in board.notes()] == ["2 of 3 cannot be read, and are left out"]


def test_no_key_of_stored_routes_means_none_and_one_that_may_not_be_read_is_not_known(mocker):
    mocker.patch.object(registry, "values", side_effect=registry.NoKey("HKLM\\x: no such key"))
    assert routes.collect_persistent_routes(LIVE, Board(5)) == ()
    mocker.patch.object(registry, "values", side_effect=NoFact("HKLM\\x: Access is denied"))
    with pytest.raises(NoFact):
        routes.collect_persistent_routes(LIVE, Board(5))


@pytest.mark.parametrize(
    "row, state",
    [
        (NeighbourRow(7, "10.0.0.1", MAC, 3), NeighbourState.REACHABLE),
        (NeighbourRow(7, "10.0.0.1", bytes(6), 3), NeighbourState.INCOMPLETE),
        (NeighbourRow(7, "10.0.0.1", b"", 2), NeighbourState.FAILED),
        (NeighbourRow(7, "10.0.0.1", MAC, 4), NeighbourState.PERMANENT),
        (NeighbourRow(7, "10.0.0.1", MAC, 1), NeighbourState.UNKNOWN),
        (NeighbourRow(7, "10.0.0.1", MAC, 77), NeighbourState.UNKNOWN),
    ],
)
def test_the_state_of_a_neighbour(row, state):
    assert routes.neighbour_state(row) is state


# --- Windows' own choice ---


@pytest.fixture
def table():
    """Two rows to IMDS that differ in the metric."""
    rows = [forward(IMDS, "255.255.255.255", metric=metric) for metric in (266, 11)]
    return [routes.parse_row(row, ADAPTERS) for row in rows]


def test_the_best_route_is_the_row_of_the_table_with_its_whole_metric(mocker, table):
    best = BestRoute(
        IMDS, 32, "172.16.69.1", 7, 1, "172.16.69.7"
    )  # the metric without the interface's
    mocker.patch.object(iphlpapi, "best_route2", return_value=best)
    lookup = routes.look_up(LIVE, IMDS, table, ADAPTERS, Board(5))
    assert (lookup.source, lookup.error, lookup.route) == ("172.16.69.7", None, table[1])


def test_a_best_route_that_the_table_does_not_have_is_told_as_it_is(mocker, table):
    mocker.patch.object(
        iphlpapi, "best_route2", return_value=BestRoute("0.0.0.0", 0, "10.8.0.1", 9, 5, "10.8.0.2")
    )
    route = routes.look_up(LIVE, IMDS, table, ADAPTERS, Board(5)).route
    assert (route.destination, route.gateway, route.interface_index, route.metric) == (
        "0.0.0.0/0",
        "10.8.0.1",
        9,
        5,
    )


def without_best_route2(mocker, address, error=None):
    mocker.patch.object(iphlpapi, "best_route2", side_effect=NoFact("GetBestRoute2: error 50"))
    mocker.patch.object(
        iphlpapi, "best_route", return_value=BestRoute(IMDS, 32, "172.16.69.1", 7, 11)
    )
    mocker.patch.object(source, "udp_source", return_value=(address, error))


def test_without_the_newer_function_the_older_one_and_a_socket_tell(mocker, table):
    without_best_route2(mocker, "172.16.69.7")
    lookup = routes.look_up(LIVE, IMDS, table, ADAPTERS, Board(5))
    assert (lookup.source, lookup.route) == ("172.16.69.7", table[1])


def test_where_they_disagree_the_socket_decides_and_that_is_told(mocker, table):
    without_best_route2(mocker, "10.1.0.5")
    board = Board(5)
    lookup = routes.look_up(LIVE, IMDS, table, ADAPTERS, board)
    assert (lookup.source, lookup.route) == ("10.1.0.5", None)
    assert "disagrees" in board.notes()[0].text


def test_an_error_of_the_socket_stands_without_a_route(mocker, table):
    without_best_route2(mocker, None, "ENETUNREACH")
    lookup = routes.look_up(LIVE, IMDS, table, ADAPTERS, Board(5))
    assert (lookup.source, lookup.error, lookup.route) == (None, "ENETUNREACH", None)


# --- adapters ---


def adapter_row(**more):
    base = dict(
        index=7,
        guid=GUID,
        name="Ethernet",
        description="Microsoft Hyper-V Network Adapter",
        mac=MAC,
        type=6,
        oper_status=1,
        metric=10,
        dhcp=True,
        dhcp_server="168.63.129.16",
        addresses=(
            UnicastAddress("172.16.69.7", 24, 3, 4),
            UnicastAddress("172.16.69.8", 24, 1, 4),
        ),
        gateways=("172.16.69.1",) * 2,
    )
    return AdapterRow(**{**base, **more})


def interface_row(**more):
    base = dict(
        index=7,
        guid=GUID,
        name="Ethernet",
        description="Microsoft Hyper-V Network Adapter",
        mac=MAC,
        type=6,
        hardware=True,
        filter=False,
        oper_status=1,
        admin_status=1,
        media_connect_state=1,
    )
    return InterfaceRow(**{**base, **more})


ADAPTERS = {7: adapter_row()}
LEASE = {
    "EnableDHCP": 1,
    "DhcpIPAddress": "172.16.69.7",
    "DhcpServer": "168.63.129.16",
    "DhcpDefaultGateway": ["172.16.69.1"],
}


def test_an_adapter_with_its_lease():
    found = adapters.adapter(
        adapter_row(), interface_row(), [(7, "172.16.69.8"), (9, "172.16.69.7")], LEASE
    )
    assert (found.name, found.mac, found.kind, found.physical, found.state) == (
        "Ethernet",
        "00-0D-3A-E5-1C-C0",
        "ethernet",
        True,
        LinkState.UP,
    )
    assert [(held.address, held.skip_as_source, held.dynamic) for held in found.addresses] == [
        ("172.16.69.7", False, True),
        ("172.16.69.8", True, False),
    ]
    assert found.gateways == ("172.16.69.1",)
    assert (found.dhcp, found.dhcp_server, found.lease_address, found.lease_gateway) == (
        True,
        "168.63.129.16",
        "172.16.69.7",
        "172.16.69.1",
    )


def test_values_of_an_old_lease_do_not_count_when_dhcp_is_off():
    found = adapters.adapter(adapter_row(dhcp=False), None, [], {**LEASE, "EnableDHCP": 0})
    assert (found.dhcp, found.dhcp_server, found.lease_address, found.lease_gateway) == (
        False,
        None,
        None,
        None,
    )


@pytest.mark.parametrize(
    "lease",
    [
        {},
        {"DhcpIPAddress": "0.0.0.0", "DhcpServer": "255.255.255.255", "DhcpDefaultGateway": []},
        {"DhcpIPAddress": 7, "DhcpServer": b"\0", "DhcpDefaultGateway": 7},
        {
            "DhcpIPAddress": ["x"],
            "DhcpServer": "fe80::1",
            "DhcpDefaultGateway": ["", "nonsense", "0.0.0.0"],
        },
    ],
)
def test_no_lease_and_values_of_the_wrong_type_are_none(lease):
    found = adapters.adapter(adapter_row(dhcp_server=None), None, [], lease)
    assert (found.dhcp, found.dhcp_server, found.lease_address, found.lease_gateway) == (
        True,
        None,
        None,
        None,
    )


@pytest.mark.parametrize(
    "oper_status, interface, state",
    [
        (1, None, LinkState.UP),
        (2, None, LinkState.DOWN),
        (2, interface_row(media_connect_state=2), LinkState.NO_CARRIER),
        (2, interface_row(), LinkState.NO_CARRIER),
        (7, interface_row(), LinkState.NO_CARRIER),
        (5, interface_row(), LinkState.UNKNOWN),
        (2, interface_row(admin_status=2, media_connect_state=2), LinkState.DOWN),
    ],
)
def test_the_state_of_an_adapter(oper_status, interface, state):
    assert adapters.adapter(adapter_row(oper_status=oper_status), interface, [], {}).state is state


OFF = interface_row(index=9, admin_status=2, oper_status=2)
NO_MAC = interface_row(index=9, admin_status=2, oper_status=6, mac=b"")


def test_a_disabled_nic_keeps_its_lease():
    found = adapters.disabled(OFF, LEASE)
    assert (found.state, found.physical, found.mac) == (LinkState.DOWN, True, "00-0D-3A-E5-1C-C0")
    assert (found.dhcp_server, found.lease_gateway) == ("168.63.129.16", "172.16.69.1")
    assert adapters.disabled(OFF, {}).dhcp is None


@pytest.mark.parametrize(
    "row, lease, device_is_disabled, expected",
    [
        (OFF, {}, True, True),
        (OFF, {}, None, True),
        (NO_MAC, LEASE, True, True),  # disabled, and started again since
        (NO_MAC, {}, True, False),
        (NO_MAC, LEASE, None, False),
        (OFF, LEASE, False, False),  # a NIC that is no longer there
        (interface_row(index=9, admin_status=2, oper_status=6), LEASE, None, False),
        (interface_row(index=9, admin_status=1, oper_status=2), {}, None, False),
        (interface_row(index=9, filter=True), LEASE, True, False),
        (interface_row(index=9, hardware=False), LEASE, True, False),
        (interface_row(index=9, type=131), LEASE, True, False),
    ],
)
def test_which_interface_is_a_disabled_nic(row, lease, device_is_disabled, expected):
    assert adapters.is_disabled(row, lease, device_is_disabled) is expected


@pytest.mark.parametrize(
    "flags, expected",
    [(0, "absent"), (1, "Ethernet 2"), (0x401, "Ethernet 2"), ("x", "Ethernet 2")],
)
def test_the_registry_tells_a_disabled_device_from_one_that_is_gone(mocker, flags, expected):
    def values(key, root):
        if key.endswith("\\Connection"):
            return {"PnpInstanceID": "VMBUS\\{f8615163}"}
        return {"ConfigFlags": flags} if "\\Enum\\" in key else LEASE

    mocker.patch.object(registry, "values", side_effect=values)
    mocker.patch.object(iphlpapi, "adapters", return_value=[adapter_row()])
    mocker.patch.object(
        iphlpapi, "interfaces", return_value=[interface_row(), replace(OFF, name="Ethernet 2")]
    )
    mocker.patch.object(iphlpapi, "addresses_to_skip", return_value=[])
    names = [adapter.name for adapter in adapters.collect(LIVE, Board(5))]
    assert names == ["Ethernet"] + ([expected] if expected != "absent" else [])


def test_an_address_that_another_machine_has_too_is_not_one_of_the_adapters(mocker):
    twice = (UnicastAddress("172.16.69.7", 24, 1, 2), UnicastAddress("169.254.3.4", 16, 4, 4))
    mocker.patch.object(iphlpapi, "adapters", return_value=[adapter_row(addresses=twice)])
    mocker.patch.object(iphlpapi, "interfaces", return_value=[])
    mocker.patch.object(iphlpapi, "addresses_to_skip", return_value=[])
    mocker.patch.object(registry, "values", return_value={})
    board = Board(5)
    (found,) = adapters.collect(LIVE, board)
    assert [held.address for held in found.addresses] == ["169.254.3.4"]
    assert "172.16.69.7 is not used" in board.notes()[0].text


def test_a_driver_that_hangs_costs_its_detail_only(mocker):
    mocker.patch.object(iphlpapi, "adapters", return_value=[adapter_row()])
    mocker.patch.object(iphlpapi, "interfaces", side_effect=lambda: time.sleep(5))
    mocker.patch.object(registry, "values", return_value=LEASE)
    facts = collect(
        RunOptions("windows", "testWs", 1.0), {"adapters": partial(adapters.collect, LIVE)}
    )
    assert [(adapter.name, adapter.lease_gateway) for adapter in facts.adapters] == [
        ("Ethernet", "172.16.69.1")
    ]


def test_what_the_system_does_not_have_costs_its_detail_only(mocker):
    mocker.patch.object(iphlpapi, "adapters", return_value=[adapter_row()])
    mocker.patch.object(
        iphlpapi, "interfaces", side_effect=NoFact("iphlpapi has no GetIfTable2 on this system")
    )
    mocker.patch.object(
        iphlpapi, "addresses_to_skip", side_effect=NoFact("GetUnicastIpAddressTable: error 5")
    )
    mocker.patch.object(registry, "values", side_effect=NoFact("HKLM\\x: Access is denied"))
    board = Board(5)
    (found,) = adapters.collect(LIVE, board)
    assert (found.name, found.physical, found.dhcp_server) == ("Ethernet", False, "168.63.129.16")
    assert [note.fact for note in board.notes()] == ["adapters", "adapters"]


# --- the machine ---


def smbios(*structures):
    """RawSMBIOSData of (type, formatted part after the header, strings)."""
    table = b""
    for number, (kind, body, strings) in enumerate(structures):
        table += struct.pack("<BBH", kind, len(body) + 4, number) + body
        table += b"".join(text + b"\0" for text in strings) + (b"\0" if strings else b"\0\0")
    return struct.pack("<BBBBI", 0, 3, 1, 0, len(table)) + table


IDENTITY = uuid.UUID("02aab8a4-74ef-476e-8182-f6d2ba4166a6")
SYSTEM = (
    1,
    bytes([1, 2, 3, 4]) + IDENTITY.bytes_le + bytes([6, 0, 0]),
    [b"Microsoft Corporation", b"Virtual Machine", b"7.0", b"1"],
)
CHASSIS = (
    3,
    bytes([1, 3, 0, 0, 2]) + bytes(8),
    [b"Microsoft Corporation", b"7783-7084-3265-9085-8269-3286-77"],
)
END = (127, b"", [])


def test_vendor_product_uuid_and_asset_tag_of_the_chassis():
    found = machine.parse_smbios(smbios((0, bytes(20), []), SYSTEM, CHASSIS, END))
    assert (found.vendor, found.product) == ("Microsoft Corporation", "Virtual Machine")
    assert found.smbios_uuid == "02AAB8A4-74EF-476E-8182-F6D2BA4166A6"
    assert found.asset_tag == scenarios.AZURE_ASSET_TAG


def test_a_table_that_is_cut_or_makes_no_sense_gives_what_it_has():
    whole = smbios(SYSTEM, CHASSIS, END)
    for end in range(len(whole)):
        machine.parse_smbios(whole[:end])
    for junk in (
        b"",
        b"\xff" * 200,
        smbios((3, b"", [])),
        smbios((3, bytes([9] * 9), [b"x"])),
        smbios((1, bytes(23), [])),
    ):
        assert machine.parse_smbios(junk).asset_tag is None


@pytest.mark.parametrize(
    "name, build, shown",
    [
        (
            "Windows Server 2022 Datacenter Azure Edition",
            "20348",
            "Windows Server 2022 Datacenter Azure Edition",
        ),
        ("Windows 10 Enterprise multi-session", "22631", "Windows 11 Enterprise multi-session"),
        ("Windows 10 Enterprise", "19045", "Windows 10 Enterprise"),
        ("Windows 10 Enterprise", None, "Windows 10 Enterprise"),
        (None, "22631", None),
    ],
)
def test_the_name_of_the_product(name, build, shown):
    assert machine.product_name(name, build) == shown


def test_registry_values_of_the_wrong_type_are_none(mocker):
    mocker.patch.object(
        firmware, "firmware_table", side_effect=NoFact("GetSystemFirmwareTable: error 1")
    )
    values = {
        "ProductName": 7,
        "EditionID": b"\0",
        "CurrentBuildNumber": ["x"],
        "CurrentBuild": "20348",
        "UBR": "x",
    }
    mocker.patch.object(registry, "values", return_value=values)
    found = machine.collect(LIVE, Board(5))
    assert (found.os_name, found.edition, found.build) == (None, None, "20348")


@pytest.mark.parametrize(
    "value, expected", [(["a", "", 7, "b\0"], ["a", "b"]), ("a", ["a"]), (None, []), (7, [])]
)
def test_a_list_of_texts(value, expected):
    assert registry.texts(value) == expected
