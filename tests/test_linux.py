"""Linux' own words, read: ip's JSON, procfs, leases, systemd; programs that misbehave; the report
folder.
"""

import json
import os
import stat
import sys
import threading
import time
from pathlib import Path

import pytest

linux = (
    pytest.importorskip("runcommand.system.linux")
    if sys.platform.startswith("linux")
    else pytest.skip("Linux only", allow_module_level=True)
)

from runcommand.collect import Board, NoFact
from runcommand.facts import (
    Adapter,
    InterfaceAddress,
    LinkState,
    RouteKind,
    RuleAction,
    ServiceState,
)
from runcommand.system import program as program_module
from runcommand.system.linux import (
    DIRECTORIES,
    adapters,
    files,
    folder,
    iproute,
    leases,
    routes,
    services,
    sockets,
)
from runcommand.system.program import Programs

from .clock import Waiting

INDEXES = {"eth0": 2, "eth1": 3}


def parse(row):
    return list(routes.parse_routes(row, INDEXES))


def test_a_default_route():
    (route,) = parse(
        {
            "dst": "default",
            "gateway": "10.0.0.1",
            "dev": "eth0",
            "protocol": "dhcp",
            "prefsrc": "10.0.0.4",
            "metric": 100,
            "flags": [],
        }
    )
    assert (route.destination, route.gateway, route.interface, route.interface_index) == (
        "0.0.0.0/0",
        "10.0.0.1",
        "eth0",
        2,
    )
    assert (route.metric, route.source, route.table, route.kind, route.dead) == (
        100,
        "10.0.0.4",
        "main",
        RouteKind.UNICAST,
        False,
    )


def test_a_host_route_without_a_length_is_a_32():
    assert (
        parse({"dst": "169.254.169.254", "dev": "eth0", "flags": []})[0].destination
        == "169.254.169.254/32"
    )


@pytest.mark.parametrize("kind", ["unreachable", "blackhole", "prohibit"])
def test_rows_that_deny_keep_their_kind(kind):
    (route,) = parse({"type": kind, "dst": "169.254.169.254", "metric": 5, "flags": []})
    assert (route.kind.value, route.interface, route.metric) == (kind, None, 5)


def test_each_next_hop_of_a_multipath_route_is_a_row():
    row = {
        "dst": "1.2.3.0/24",
        "flags": [],
        "nexthops": [
            {"gateway": "10.0.0.7", "dev": "eth0", "weight": 1, "flags": []},
            {"gateway": "10.0.1.7", "dev": "eth1", "weight": 1, "flags": ["linkdown"]},
        ],
    }
    assert [(r.gateway, r.interface, r.dead) for r in parse(row)] == [
        ("10.0.0.7", "eth0", False),
        ("10.0.1.7", "eth1", True),
    ]


def test_an_ipv6_next_hop_of_an_ipv4_route():
    assert (
        parse(
            {
                "dst": "default",
                "via": {"family": "inet6", "host": "fe80::1"},
                "dev": "eth0",
                "flags": [],
            }
        )[0].gateway
        == "fe80::1"
    )


@pytest.mark.parametrize(
    "row",
    [
        {},
        {"dst": "fe80::/64"},
        {"dst": 7},
        {"dst": "10.0.0.0/99"},
        {"dst": "10.0.0.0/x"},
        {"type": "broadcast", "dst": "10.0.0.255"},
        {"dst": "default", "nexthops": [7, None]},
    ],
)
def test_rows_that_make_no_sense_or_do_not_matter_are_left_out(row):
    assert parse(row) == []


def test_a_policy_rule():
    row = {
        "priority": 5,
        "not": None,
        "src": "10.0.0.0",
        "srclen": 8,
        "fwmark": "0x10",
        "fwmask": "0xff",
        "uid_start": 0,
        "uid_end": 5,
        "ipproto": "tcp",
        "dport": 80,
        "action": "prohibit",
    }
    rule = routes.parse_rule(row)
    assert (
        rule.priority,
        rule.inverted,
        rule.source,
        rule.destination,
        rule.action,
        rule.table,
    ) == (
        5,
        True,
        "10.0.0.0/8",
        None,
        RuleAction.PROHIBIT,
        None,
    )
    assert (rule.fwmark, rule.uid_start, rule.uid_end, rule.ipproto, rule.dport) == (
        "0x10/0xff",
        0,
        5,
        "tcp",
        "80",
    )


def test_a_policy_rule_for_one_address():
    rule = routes.parse_rule(
        {
            "priority": 100,
            "src": "all",
            "dst": "169.254.169.254",
            "table": "100",
            "suppress_prefixlen": 0,
        }
    )
    assert (
        rule.source,
        rule.destination,
        rule.table,
        rule.action,
        rule.suppress_prefix_length,
    ) == (
        None,
        "169.254.169.254/32",
        "100",
        RuleAction.TABLE,
        0,
    )


def test_a_policy_rule_for_a_range_of_ports():
    assert (
        routes.parse_rule(
            {"priority": 1, "src": "all", "dport_start": 1, "dport_end": 1024, "table": "9"}
        ).dport
        == "1-1024"
    )


class Printing:
    """Programs of which ``ip`` prints the same whatever it is asked."""

    def __init__(self, text):
        self._text = text

    def run(self, program, arguments, seconds=5.0):
        return self._text.encode()


def notes_of(board):
    return [note.text for note in board.notes()]


GARBAGE = '7, "x", null, {"dst": "10.0.0.0/99", "priority": 5, "ifname": "a/b", "ifindex": 1}'


@pytest.mark.parametrize(
    "collect, good, field",
    [
        (routes.collect, '{"dst": "default", "gateway": "10.0.0.1", "dev": "eth0"}', "destination"),
        (routes.collect_rules, '{"priority": 0, "src": "all", "table": "local"}', "table"),
        (adapters.collect, '{"ifname": "lo", "ifindex": 1, "link_type": "loopback"}', "name"),
    ],
)
def test_a_garbled_row_of_ip_does_not_cost_the_others(collect, good, field):
    board = Board(1)
    found = collect(Printing(f"[{GARBAGE}, {good}]"), board)
    assert [getattr(item, field) for item in found] == [
        {"destination": "0.0.0.0/0", "table": "local", "name": "lo"}[field]
    ]
    said = notes_of(board)
    assert any(note.endswith("3 of 5 rows cannot be read, and are left out") for note in said), said
    assert any(note.endswith("1 of 2 rows cannot be read, and are left out") for note in said), said


@pytest.mark.parametrize("key", ["src", "dst"])
@pytest.mark.parametrize("selector", ["10.0.0.x", "10.0.0.1/8", 7, [], ""])
def test_a_policy_rule_whose_selector_cannot_be_read_is_not_one_for_every_packet(key, selector):
    rows = (
        f'[{{"priority": 0, "table": "local"}}, {{"priority": 5, "{key}": '
        f'{json.dumps(selector)}, "table": "100"}}]'
    )
    board = Board(1)
    assert [rule.table for rule in routes.collect_rules(Printing(rows), board)] == ["local"]
    assert notes_of(board) == ["ip -j rule: 1 of 2 rows cannot be read, and are left out"]


@pytest.mark.parametrize(
    "row",
    [{}, {"priority": "x", "src": 7, "dst": [], "action": {}, "table": None, "uid_start": "0"}],
)
def test_a_policy_rule_that_makes_no_sense_is_no_failure(row):
    assert routes.parse_rule(row).source is None


PROC_NET_ROUTE = """\
Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
eth0\t00000000\t0100000A\t0003\t0\t0\t100\t00000000\t0\t0\t0
*\tFEA9FEA9\t00000000\t0205\t0\t0\t5\tFFFFFFFF\t0\t0\t0
eth0\t0000000A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0
broken line
"""


@pytest.mark.skipif(sys.byteorder != "little", reason="the recorded table is little-endian")
def test_the_kernels_own_table_serves_without_ip():
    found = [
        (r.destination, r.gateway, r.interface, r.metric, r.kind)
        for r in routes._proc_routes(PROC_NET_ROUTE)
    ]
    assert found == [
        ("0.0.0.0/0", "10.0.0.1", "eth0", 100, RouteKind.UNICAST),
        ("169.254.169.254/32", None, None, 5, RouteKind.UNREACHABLE),
        ("10.0.0.0/24", None, "eth0", 0, RouteKind.UNICAST),
    ]


def test_an_adapter_with_a_primary_and_a_secondary_address():
    adapter = adapters.parse_adapter(
        {
            "ifindex": 2,
            "ifname": "eth0",
            "flags": ["BROADCAST", "MULTICAST", "UP", "LOWER_UP"],
            "link_type": "ether",
            "address": "00:0d:3a:7f:20:04",
            "master": "br0",
            "addr_info": [
                {"family": "inet", "local": "10.0.0.4", "prefixlen": 24, "dynamic": True},
                {"family": "inet", "local": "10.0.0.5", "prefixlen": 24, "secondary": True},
                {"family": "inet6", "local": "fe80::1", "prefixlen": 64},
                {"family": "inet", "local": "nonsense", "prefixlen": 24},
                7,
            ],
        }
    )
    assert (adapter.mac, adapter.state, adapter.kind, adapter.master) == (
        "00-0D-3A-7F-20-04",
        LinkState.UP,
        "ethernet",
        "br0",
    )
    assert [(a.address, a.secondary, a.dynamic) for a in adapter.addresses] == [
        ("10.0.0.4", False, True),
        ("10.0.0.5", True, False),
    ]


@pytest.mark.parametrize(
    "flags, state",
    [
        ([], LinkState.DOWN),
        (["UP", "NO-CARRIER"], LinkState.NO_CARRIER),
        (["UP", "LOWER_UP"], LinkState.UP),
        (["NO-CARRIER"], LinkState.DOWN),
    ],
)
def test_the_state_of_a_link(flags, state):
    assert (
        adapters.parse_adapter(
            {"ifindex": 2, "ifname": "eth0", "flags": flags, "link_type": "ether"}
        ).state
        is state
    )


@pytest.mark.parametrize(
    "row", [{}, {"ifname": "eth0"}, {"ifname": 7, "ifindex": 2}, {"ifname": "eth0", "ifindex": "2"}]
)
def test_an_adapter_without_name_or_index_is_none(row):
    assert adapters.parse_adapter(row) is None


def test_the_addresses_of_the_c_library_agree_with_ip():
    from runcommand.system.linux import getifaddrs

    held = {
        (r["ifname"], a["local"], a["prefixlen"])
        for r in iproute.ip(Programs(DIRECTORIES, {}), "addr", "show")
        for a in r["addr_info"]
        if a["family"] == "inet"
    }
    assert set(getifaddrs.ipv4()) == held


@pytest.mark.parametrize(
    "cell", [1, 2, 3, 6, 7]
)  # the others are a name, and counters that are not looked at
@pytest.mark.parametrize(
    "garbage", ["", "x", "-1", "FFFFFFFFFF", "0x1", "9" * 5000, "\u0661", "1" * 40]
)
def test_a_garbled_cell_of_proc_net_route_does_not_cost_the_other_rows(cell, garbage):
    head, good, *_ = PROC_NET_ROUTE.splitlines()
    cells = good.split("\t")
    cells[cell] = garbage
    notes = []
    found = list(routes._proc_routes("\n".join([head, "\t".join(cells), good]), notes.append))
    assert [route.destination for route in found] == ["0.0.0.0/0"]
    assert notes == ["/proc/net/route: 1 of 2 rows cannot be read, and are left out"]


def test_a_mask_with_holes_is_no_mask():
    head, good, *_ = PROC_NET_ROUTE.splitlines()
    row = good.replace("\t00000000\t0\t0\t0", "\tFF00FF00\t0\t0\t0")
    assert row != good and list(routes._proc_routes(f"{head}\n{row}\n")) == []


def test_without_ip_garbled_rows_of_proc_net_route_are_noted(tmp_path, monkeypatch):
    path = tmp_path / "route"
    path.write_text(PROC_NET_ROUTE.replace("0100000A", "0100000AFF"))
    monkeypatch.setattr(routes, "PROC_NET_ROUTE", path)
    board = Board(1)
    found = routes.collect(Printing("garbage"), board)
    assert [route.destination for route in found] == ["169.254.169.254/32", "10.0.0.0/24"]
    assert any("2 of 4 rows cannot be read" in note for note in notes_of(board))


SOCKETS = (
    "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  "
    "timeout inode\n"
)
LISTENING = "1: 0100007F:0C08 00000000:0000 0A 00000000:00000000 00:00000000 00000000 998 0 4711"


@pytest.mark.parametrize(
    "garbage",
    [
        "0: nonsense 0 0A",
        LISTENING.replace("0C08", "XXXX"),
        LISTENING.replace("0100007F", "FFFFFFFFFF"),
        LISTENING.replace("0100007F:0C08", ":-1"),
        LISTENING.replace("998", "root"),
    ],
)
def test_a_garbled_row_of_proc_net_tcp_does_not_cost_the_listeners(garbage):
    notes = []
    found = list(sockets.parse(f"{SOCKETS}{garbage}\n{LISTENING}\n", notes.append))
    assert [(item.local_address, item.local_port) for item in found] == [("127.0.0.1", 3080)]
    assert notes == ["/proc/net/tcp: 1 of 2 rows cannot be read, and are left out"]


# --- leases ---

NETWORKD = (
    "# This is private data. Do not "
    "parse.\nADDRESS=10.0.0.4\nNETMASK=255.255.255.0\nROUTER=10.0.0.1\nSERVER_ADDRESS=168.63.129.16\n"
)
DHCLIENT = """
lease { interface "eth0"; fixed-address 10.9.9.9; option routers 10.9.9.1; \
option dhcp-server-identifier 10.9.9.2; }
lease {
  interface "eth0";
  fixed-address 10.0.0.4;
  option subnet-mask 255.255.255.0;
  option routers 10.0.0.1;
  option dhcp-server-identifier 168.63.129.16;
  option rfc3442-classless-static-routes \
0,10,0,0,1,32,168,63,129,16,10,0,0,1,32,169,254,169,254,10,0,0,1;
}
"""
NM_STATE = """[device]
managed=true
connection-uuid=5fb06bd0-0bb0-7ffb-45f1-d6edd65f3e03
[dhcp4]
dhcp4.ip_address=10.0.0.4
dhcp4.dhcp_server_identifier=168.63.129.16
dhcp4.routers=10.0.0.1
"""
WICKED = (
    "<lease><addresses><assigned-addr><local>10.0.0.4/24</local></assigned-addr></addresses>"
    "<ipv4:dhcp><server-id>168.63.129.16</server-id></ipv4:dhcp>"
    "<routes><route><nexthop><gateway>10.0.0.1</gateway></nexthop></route></routes></lease>"
)


@pytest.mark.parametrize(
    "parser, name, text",
    [
        (leases._networkd, "2", NETWORKD),
        (leases._networkd, "internal-5fb06bd0-0bb0-7ffb-45f1-d6edd65f3e03-eth0.lease", NETWORKD),
        (leases._dhclient, "dhclient.eth0.leases", DHCLIENT),
        (leases._networkmanager, "2", NM_STATE),
        (leases._wicked, "lease-eth0-dhcp-ipv4.xml", WICKED),
    ],
)
def test_a_lease_of_each_client(parser, name, text):
    (lease,) = parser(Path(name), text)
    assert (lease.address, lease.server, lease.gateway) == ("10.0.0.4", "168.63.129.16", "10.0.0.1")
    assert leases.of_adapter([lease], nic(2, "eth0", "10.0.0.4")) is lease
    assert leases.of_adapter([lease], nic(3, "eth1", "10.0.0.4")) is None


def nic(index, name, address):
    return Adapter(index, name, addresses=(InterfaceAddress(address, 24),))


def test_a_stored_lease_counts_only_while_the_adapter_holds_its_address():
    (old,) = leases._dhclient(
        Path("dhclient.eth0.leases"), DHCLIENT.replace("10.0.0.4", "192.168.5.7")
    )
    (new,) = leases._dhclient(Path("dhclient.leases"), DHCLIENT)
    assert leases.of_adapter([old], nic(2, "eth0", "10.0.0.4")) is None
    assert leases.of_adapter([old, new], nic(2, "eth0", "10.0.0.4")) is new


def test_a_running_managers_lease_counts_whatever_the_adapter_holds():
    (lease,) = leases._networkd(Path("2"), NETWORKD)
    current = leases.replace(lease, current=True)
    assert leases.of_adapter([current], nic(2, "eth0", "10.0.0.99")) is current


@pytest.mark.parametrize(
    "text",
    [
        "",
        "garbage\x00\xff",
        "lease {",
        "ADDRESS=nonsense\nROUTER=also\n",
        "ROUTER=10.0.0.1 10.0.0.2\n",
    ],
)
def test_a_damaged_lease_is_no_failure(text):
    for parser in (leases._networkd, leases._dhclient, leases._networkmanager, leases._wicked):
        for lease in parser(Path("2"), text):
            assert lease.server is None


OTHER = """
lease { interface "eth1"; fixed-address 10.0.1.5; option routers 10.0.1.1; \
option dhcp-server-identifier 168.63.129.16; }
"""


@pytest.mark.parametrize(
    "damage",
    [
        "lease {",
        'lease { interface "eth0',
        "}",
        'lease { interface "eth0"; fixed-address 10.0.0.999; }',
        '"',
        "lease {" * 50_000,
        'lease { interface "eth0"; fixed-address nonsense; option routers x; }\n',
    ],
)
def test_a_damaged_lease_of_dhclient_does_not_cost_the_others(damage):
    found = {
        lease.interface: lease
        for lease in leases._dhclient(Path("x"), f"{DHCLIENT}{damage}\n{OTHER}")
    }
    assert {name: (lease.address, lease.gateway) for name, lease in found.items()} == {
        "eth0": ("10.0.0.4", "10.0.0.1"),
        "eth1": ("10.0.1.5", "10.0.1.1"),
    }


def test_a_brace_in_a_string_ends_no_lease():
    text = DHCLIENT.replace(
        "option routers", 'option domain-name "a}; fixed-address 10.7.7.7";\n  option routers'
    )
    (lease,) = leases._dhclient(Path("x"), text)
    assert (lease.address, lease.gateway) == ("10.0.0.4", "10.0.0.1")


def test_an_ipv6_lease_does_not_replace_the_other_one():
    address = "iaaddr fe80::1 { preferred-life 1; }"
    text = f'{DHCLIENT}lease6 {{ interface "eth0"; ia-na 01:02 {{ {address} }} }}'
    assert [lease.address for lease in leases._dhclient(Path("x"), text)] == ["10.0.0.4"]


def test_of_a_long_lease_file_the_end_counts(tmp_path, monkeypatch):
    (tmp_path / "dhclient.leases").write_text("# old\n" * 100_000 + DHCLIENT)
    notes = []
    ((_, lease),) = leases._each(str(tmp_path), "*.leases", leases._dhclient, notes.append)
    assert lease.address == "10.0.0.4"
    assert notes == [f"{tmp_path}/dhclient.leases: only its last 256 KiB are read"]


def test_of_many_long_lease_files_the_newest_count(tmp_path):
    for number in range(8):
        path = tmp_path / f"dhclient.eth{number}.leases"
        path.write_text("# old\n" * 40_000 + DHCLIENT.replace("eth0", f"eth{number}"))
        os.utime(path, (number, number))
    notes = []
    found = [
        lease.interface
        for _, lease in leases._each(str(tmp_path), "*.leases", leases._dhclient, notes.append)
    ]
    assert found == ["eth7", "eth6", "eth5", "eth4", "eth3"]
    assert notes == [f"{tmp_path}: of 8 lease files the newest 5 are read"]


def test_a_lease_file_named_by_no_number_is_no_failure():
    assert list(leases._networkmanager(Path("1x"), NM_STATE)) == []
    assert [lease.interface for lease in leases._networkd(Path("\u00b2"), NETWORKD)] == ["\u00b2"]


# --- services ---


def test_a_garbled_line_of_systemctl_does_not_cost_the_other_units():
    text = (
        "=\nLoadState\n\n"
        "Id=chronyd.service\n\x00garbage\nLoadState=loaded\nActiveState=???\n\n\n\n"
        "Id=ntp.service\nLoadState=loaded"
    )
    assert [(s.name, s.state) for s in services.parse_units(text)] == [
        ("chronyd", ServiceState.UNKNOWN),
        ("ntp", ServiceState.UNKNOWN),
    ]


def test_only_installed_units_count():
    text = """Id=walinuxagent.service
LoadState=loaded
ActiveState=active
UnitFileState=enabled

Id=waagent.service
LoadState=not-found
ActiveState=inactive

Id=azure-proxy-agent.service
LoadState=loaded
ActiveState=failed
UnitFileState=
"""
    assert [(s.name, s.state, s.start) for s in services.parse_units(text)] == [
        ("walinuxagent", ServiceState.RUNNING, "enabled"),
        ("azure-proxy-agent", ServiceState.FAILED, None),
    ]


def test_a_listener_that_matters_is_seen():
    import socket

    try:
        server = socket.create_server(("127.0.0.1", 3080))
    except OSError:
        pytest.skip("port 3080 is taken")
    with server:
        assert ("127.0.0.1", 3080) in [
            (found.address, found.port) for found in services.collect_listeners(Board(1))
        ]


# --- programs ---


@pytest.fixture
def programs(tmp_path):
    """A folder of the system's programs that a test can fill: ``programs(text)`` writes ``ip``."""

    class Filled(Programs):
        def __call__(self, text, name="ip"):
            path = tmp_path / name
            path.write_text("#!/bin/sh\n" + text)
            path.chmod(0o755)

    return Filled([str(tmp_path)], {"PATH": "/usr/bin:/bin"})


def test_a_program_that_is_missing(programs):
    with pytest.raises(NoFact, match=r"^ip: not found$"):
        programs.run("ip", [])


def test_a_program_that_fails_says_so(programs):
    programs("echo 'Object \"x\" is unknown' >&2; exit 255")
    with pytest.raises(NoFact, match=r'^ip x: exit status 255: Object "x" is unknown$'):
        programs.run("ip", ["x"])


def is_gone(pid):
    state = Path(f"/proc/{pid}/stat")
    return not state.exists() or state.read_text().split()[2] == "Z"


def test_a_program_that_hangs_is_ended_with_its_children_and_not_started_again(programs, tmp_path):
    programs(f"sleep 60 & echo $! > {tmp_path}/child; wait")
    clock = Waiting()
    with pytest.raises(NoFact, match="not finished in 1 s"):
        programs.run("ip", [], seconds=1.0)
    assert clock.times(1.0) < 2
    time.sleep(0.1)
    assert is_gone(int((tmp_path / "child").read_text()))
    with pytest.raises(NoFact, match="did not finish before"):
        programs.run("ip", [])


def test_a_child_that_keeps_the_pipe_open_does_not_hold_the_run(programs):
    programs("sleep 60 & echo '[]'")
    clock = Waiting()
    with pytest.raises(NoFact):
        programs.run("ip", [], seconds=1.0)
    assert clock.times(1.0) < 2


def test_output_without_end_is_cut_off(programs, monkeypatch):
    monkeypatch.setattr(program_module, "OUTPUT_LIMIT", 100000)
    programs("while :; do echo nonsense; done")
    with pytest.raises(NoFact, match="printed more than"):
        programs.run("ip", [])


@pytest.mark.parametrize(
    "text",
    ["echo garbage", "echo '{\"a\": 1}'", "echo '[1, {}]'", "printf '\\377\\376'", "echo '[[['"],
)
def test_garbage_is_no_list_of_objects(programs, text):
    programs(text)
    with pytest.raises(NoFact, match="printed no list of JSON objects"):
        iproute.ip(programs, "route")


def test_nothing_is_taken_from_path_or_the_current_folder(tmp_path, monkeypatch):
    (tmp_path / "nosuchprogram").write_text("#!/bin/sh\n")
    (tmp_path / "nosuchprogram").chmod(0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(NoFact):
        Programs(DIRECTORIES, {}).find("nosuchprogram")


def test_closing_ends_what_runs_and_lets_nothing_start(programs):
    programs("sleep 60")
    failures = []

    def work():
        for _ in range(3):
            try:
                programs.run("ip", [], seconds=30)
            except NoFact as missing:
                failures.append(str(missing))

    thread = threading.Thread(target=work)
    thread.start()
    time.sleep(0.3)
    programs.close()
    thread.join(3)
    assert not thread.is_alive()
    assert len(failures) == 3 and failures[2] == "ip : not started, the run is over"


def test_of_a_long_file_whole_lines_are_kept_and_it_is_said(tmp_path):
    path, notes = tmp_path / "long", []
    path.write_text("a=1\nhttp_proxy=http://u:12#34@p:1\n")
    assert files.read(path, 24, notes.append) == "a=1"
    assert files.read(path, 33, notes.append, last=True) == "http_proxy=http://u:12#34@p:1"
    assert notes == [
        f"{path}: only its first 0 KiB are read",
        f"{path}: only its last 0 KiB are read",
    ]


def test_a_file_that_is_none_is_nothing(tmp_path):
    assert files.read(tmp_path) is None and files.read(tmp_path / "missing") is None
    (tmp_path / "bytes").write_bytes(b"\xff\x00A=1\n")
    assert files.key_values(files.read(tmp_path / "bytes") or "") != {}


# --- the report folder ---

NOWHERE = Path("/nonexistent")


@pytest.fixture
def base(tmp_path):
    path = tmp_path / "imds-check"
    path.mkdir(mode=0o700)
    return path


def test_files_are_for_their_owner_only(base):
    made = folder.make(base, NOWHERE, "20261123T014405Z")
    made.write("report.txt", b"text")
    path = base / "20261123T014405Z"
    assert made.path == str(path) and (path / "report.txt").read_bytes() == b"text"
    assert (
        stat.S_IMODE(path.stat().st_mode) == 0o700
        and stat.S_IMODE((path / "report.txt").stat().st_mode) == 0o600
    )


def test_two_runs_in_one_second_have_a_folder_each(base):
    assert [
        folder.make(base, NOWHERE, "20261123T014405Z").path.rpartition("/")[2] for _ in range(3)
    ] == [
        "20261123T014405Z",
        "20261123T014405Z-2",
        "20261123T014405Z-3",
    ]


def test_the_newest_ten_are_kept_and_nobody_elses_is_touched(base):
    for day in range(10, 25):
        made = folder.make(base, NOWHERE, f"202611{day}T000000Z")
        made.write("report.txt", b"x")
    (base / "notes").mkdir()
    (base / "20200101T000000Z").mkdir()
    (base / "20200101T000000Z" / "mine.txt").write_text("kept")
    folder.make(base, NOWHERE, "20261125T000000Z")
    names = sorted(path.name for path in base.iterdir())
    assert names == [
        "20200101T000000Z",
        *(f"202611{day}T000000Z" for day in range(16, 26)),
        "notes",
    ]


def test_a_clock_that_was_put_back_does_not_cost_the_new_folder(base):
    for day in range(10, 22):
        folder.make(base, NOWHERE, f"202611{day}T000000Z")
    made = folder.make(base, NOWHERE, "20200101T000000Z")
    made.write("report.txt", b"kept")
    assert Path(made.path, "report.txt").read_bytes() == b"kept"
    assert len(list(base.iterdir())) == 10


def test_a_link_in_place_of_the_run_folder_is_not_followed(base, tmp_path):
    (base / "20261123T014405Z").symlink_to(tmp_path)
    made = folder.make(base, NOWHERE, "20261123T014405Z")
    assert made.path.endswith("-2")


def test_pruning_does_not_follow_a_link(base, tmp_path):
    target = tmp_path / "precious"
    target.mkdir()
    (target / "report.txt").write_text("precious")
    (base / "20190101T000000Z").symlink_to(target)
    for day in range(10, 22):
        folder.make(base, NOWHERE, f"202611{day}T000000Z")
    assert (target / "report.txt").read_text() == "precious"


def test_the_default_place_is_made_step_by_step(tmp_path):
    if any(
        parent.stat().st_mode & stat.S_IWOTH and not parent.stat().st_mode & stat.S_ISVTX
        for parent in tmp_path.parents
    ):
        pytest.skip("the temporary folder is open to others")
    made = folder.make(None, tmp_path / "azure" / "imds-check", "20261123T014405Z")
    assert Path(made.path).is_dir()
    assert stat.S_IMODE((tmp_path / "azure" / "imds-check").stat().st_mode) == 0o700


def test_a_link_on_the_way_to_the_default_place_is_refused(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "azure").symlink_to(tmp_path / "real")
    with pytest.raises(OSError, match="Not a directory"):
        folder.make(None, tmp_path / "azure" / "imds-check", "20261123T014405Z")


def test_a_folder_that_others_can_write_is_refused(tmp_path):
    (tmp_path / "imds-check").mkdir()
    (tmp_path / "imds-check").chmod(0o777)
    with pytest.raises(PermissionError, match="other users could write there"):
        folder.make(None, tmp_path / "imds-check", "20261123T014405Z")


@pytest.mark.skipif(os.geteuid() != 0, reason="giving a folder away needs root")
def test_a_folder_of_another_user_is_refused(tmp_path):
    (tmp_path / "imds-check").mkdir(mode=0o755)
    os.chown(tmp_path / "imds-check", 12345, 12345)
    with pytest.raises(PermissionError):
        folder.make(None, tmp_path / "imds-check", "20261123T014405Z")
