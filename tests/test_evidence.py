"""What stands in the reports as evidence, on the real thing: policy rules, counters, the programs
behind sockets.
"""

import json
import os
import re
import socket
import subprocess
import sys
import time
from dataclasses import replace

import pytest

from runcommand.collect import Board, NoProgram
from runcommand.facts import Listener, Outcome, ProcessConnection
from runcommand.redaction import redacted
from runcommand.simulator.host import Behaviour

from .facts_of import LINUX, http, imds, metadata, no_answer, wireserver
from .lab.namespace import IMDS, WIRESERVER, Lab, why_not

if not sys.platform.startswith("linux"):
    pytest.skip("Linux only", allow_module_level=True)

from runcommand.system.linux import firewall, services, sockets

in_the_lab = pytest.mark.skipif(why_not() is not None, reason=f"the lab cannot run: {why_not()}")
FULL = ("--format", "full", "--no-files")
PORTAL = ("--format", "portal", "--no-files")


def detail(report, cause):
    return next(finding["detail"] for finding in report["findings"] if finding["cause"] == cause)


# --- policy rules ---


@in_the_lab
def test_the_policy_rule_that_decides_stands_in_both_reports():
    with Lab() as lab:
        lab.vm("ip route add default via 10.0.1.1 dev eth1 table 100")
        lab.vm(f"ip rule add pref 100 to {IMDS} lookup 100")
        report, _ = lab.diagnose()
        portal, full = lab.tool(*PORTAL).stdout, lab.tool(*FULL).stdout
    rule = f"100: from all to {IMDS} lookup 100"
    assert f'The policy rule "{rule}" selects that route.' in detail(
        report, "route-wrong-interface"
    )
    for text in (portal, full):
        lines = text.splitlines()
        row = next(number for number, line in enumerate(lines) if line.startswith("> 0.0.0.0"))
        assert (
            lines[row].endswith("eth1 table 100") and lines[row + 1] == f"    by policy rule {rule}"
        )
        assert f"policy rule {rule}" in next(line for line in lines if " route.imds " in line)
    lines = full.splitlines()
    assert f"> policy rule {rule}" in lines and "  policy rule 32766: from all lookup main" in lines
    raw = lines[lines.index("OUTPUT of ip -4 rule show") + 1 :]
    assert any(re.match(rf"  100:\s+from all to {IMDS} lookup 100$", line.rstrip()) for line in raw)


@in_the_lab
def test_a_policy_rule_that_denies_the_way_stands_in_place_of_a_row():
    with Lab() as lab:
        lab.vm(f"ip rule add pref 100 to {IMDS} prohibit")
        report, _ = lab.diagnose()
        portal = lab.tool(*PORTAL).stdout
    rule = f"100: from all to {IMDS} prohibit"
    assert detail(report, "route-missing").startswith(
        f'The policy rule "{rule}" blocks packets to {IMDS}.'
    )
    assert f"\n> policy rule {rule}\n" in portal


@in_the_lab
def test_the_rules_of_every_linux_are_no_evidence():
    with Lab() as lab:
        portal = lab.tool(*PORTAL).stdout
    assert "policy rule" not in portal and "VERDICT  HEALTHY" in portal


@in_the_lab
def test_where_no_row_matches_the_report_says_so():
    with Lab() as lab:
        for row in (f"{IMDS}/32", f"{WIRESERVER}/32", "default"):
            lab.vm(f"ip route del {row}")
        portal = lab.tool(*PORTAL).stdout
    assert f"\n  no row matches {IMDS}\n  no row matches {WIRESERVER}\n" in portal


@in_the_lab
def test_a_row_shows_the_source_address_that_is_used():
    with Lab() as lab:
        lab.vm("ip addr add 10.0.0.5/24 dev eth0")
        lab.vm(f"ip route replace {IMDS}/32 via 10.0.0.1 dev eth0 src 10.0.0.5")
        portal = lab.tool(*PORTAL).stdout
    row = next(line for line in portal.splitlines() if line.startswith(f"> {IMDS}"))
    assert row.split()[1:5] == [IMDS, "255.255.255.255", "10.0.0.1", "10.0.0.5"]


# --- counters ---

CHAIN = "nft add chain ip lab out {{ type filter hook output priority 0 ; }}"
DROPS = {
    "nftables": (
        "nft add table ip lab",
        CHAIN,
        "nft add rule ip lab out ip daddr {}/32 counter drop",
    ),
    "iptables": ("iptables -A OUTPUT -d {}/32 -j DROP",),
}


@in_the_lab
@pytest.mark.parametrize("program", DROPS)
@pytest.mark.parametrize(
    "address, cause", [(WIRESERVER, "firewall-blocks-wireserver"), (IMDS, "firewall-blocks-imds")]
)
def test_the_rule_that_is_named_shows_what_it_met_during_the_tries(program, address, cause):
    with Lab() as lab:
        for command in DROPS[program]:
            lab.vm(command.format(address))
        report, _ = lab.diagnose()
    (rule,) = [rule for rule in report["facts"]["firewall"]["rules"] if rule["action"] == "drop"]
    assert rule["packets"] >= 1
    assert re.search(rf"[Pp]ackets matched so far: {rule['packets']}\b", detail(report, cause))


class Programs:
    """Prints a ruleset whose counter goes up each time that it is asked for."""

    def __init__(self, chain="out"):
        self.asked = 0
        self.chain = chain

    def run(self, program, arguments):
        if program != "nft":
            raise NoProgram(f"{program}: not found")
        self.asked += 1
        own = {"family": "ip", "table": "lab"}
        base = {
            "name": "out",
            "handle": 1,
            "type": "filter",
            "hook": "output",
            "prio": 0,
            "policy": "accept",
        }
        match = {
            "op": "==",
            "left": {"payload": {"protocol": "ip", "field": "daddr"}},
            "right": WIRESERVER,
        }
        statements = [
            {"match": match},
            {"counter": {"packets": self.asked - 1, "bytes": 0}},
            {"drop": None},
        ]
        rule = {
            "chain": self.chain,
            "handle": 4 if self.chain == "out" else 3 + self.asked,
            "expr": statements,
        }
        objects = [
            {"table": {"family": "ip", "name": "lab"}},
            {"chain": {**own, **base}},
            {"rule": {**own, **rule, "chain": "out"}},
        ]
        return json.dumps({"nftables": objects}).encode()


def board(exchange, server):
    made = Board(5)
    made.post("imds", imds(exchange))
    made.post("wireserver", server)
    return made


HEALTHY = (metadata(LINUX.ip, LINUX.vm), wireserver(LINUX.ip))


def test_where_every_try_succeeds_the_ruleset_is_read_once():
    programs = Programs()
    (rule,) = firewall.collect(programs, board(*HEALTHY)).rules
    assert (programs.asked, rule.packets) == (1, 0)


@pytest.mark.parametrize(
    "exchange, server",
    [
        (no_answer(LINUX.ip), HEALTHY[1]),
        (http(LINUX.ip, 403), HEALTHY[1]),
        (HEALTHY[0], wireserver(LINUX.ip, Outcome.TIMED_OUT)),
        (HEALTHY[0], wireserver(LINUX.ip, plugin=Outcome.TIMED_OUT)),
    ],
    ids=("IMDS is silent", "IMDS denies", "the WireServer is silent", "the host plugin is silent"),
)
def test_after_a_try_that_failed_the_counters_are_read_again(exchange, server):
    programs = Programs()
    (rule,) = firewall.collect(programs, board(exchange, server)).rules
    assert (programs.asked, rule.packets) == (2, 1)


def test_a_ruleset_that_changed_meanwhile_stays_as_it_was_before_the_tries():
    programs = Programs("changing")
    (rule,) = firewall.collect(programs, board(no_answer(LINUX.ip), HEALTHY[1])).rules
    assert (programs.asked, rule.id, rule.packets) == (2, "4", 0)


# --- programs behind sockets ---


@in_the_lab
def test_who_answers_in_imdss_place_is_named_by_program_and_pid():
    with Lab() as lab:
        lab.vm(f"ip addr add {IMDS}/32 dev lo")
        lab.serve_inside(Behaviour(instance="403"))
        report, _ = lab.diagnose()
        full = lab.tool(*FULL).stdout
    listener = next(item for item in report["facts"]["listeners"] if item["port"] == 80)
    assert listener["process"].startswith("python") and listener["pid"] > 1
    who = f"{listener['process']} (pid {listener['pid']})"
    assert f"Listening there: {who}." in detail(report, "address-claimed-locally")
    assert f"listens on {IMDS}:80: {who}" in full
    assert " firewall.imds " not in "".join(
        line for line in full.splitlines(True) if line.startswith("  fail")
    )
    assert "nothing blocks it" not in next(
        line for line in full.splitlines() if " firewall.imds " in line
    )


HOLD = (
    "import socket, sys; s = socket.create_connection((sys.argv[1], 80)); "
    "print(s.getsockname()[1], flush=True); input()"
)


@in_the_lab
def test_who_is_connected_to_imds_is_named_and_this_program_is_not():
    with Lab() as lab:
        command = lab.enter([sys.executable, "-c", HOLD, IMDS])
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as other:
            port = int(other.stdout.readline())
            report, _ = lab.diagnose()
            full = lab.tool(*FULL).stdout
            other.communicate("\n")
    (item,) = report["facts"]["connections"]
    assert (item["local_port"], item["state"]) == (port, "established") and item[
        "process"
    ].startswith("python")
    assert item["pid"] == other.pid
    assert (
        f"connected to IMDS from port {port}: {item['process']} (pid {other.pid}), established"
        in full
    )


def test_the_owner_of_a_socket_of_this_process_is_this_process():
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        (row,) = [row for row in sockets.sockets() if row.local_port == listening.getsockname()[1]]
        owner = sockets.owners({row.inode})[row.inode]
    assert (row.state, row.local_address, owner.pid) == ("listen", "127.0.0.1", os.getpid())
    assert owner.program == sockets.program_of(os.getpid()) != "-"


HEAD = (
    "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout "
    "inode\n"
)
ROW = (
    "   0: 0100007F:0050 00000000:0000 0A 00000000:00000000 00:00000000 00000000   998        0 "
    "4711 1 0 100 0 0 10 0\n"
)


@pytest.mark.parametrize(
    "line",
    [
        "",
        "x",
        "   0: 0100007F 00000000:0000 0A",
        ROW.replace("0050", "zz"),
        ROW.replace("0100007F", "F" * 40),
        ROW[:60],
    ],
)
def test_a_garbled_row_of_sockets_costs_itself(line):
    (row,) = sockets.parse(f"{HEAD}{line.rstrip()}\n{ROW}")
    assert row == ("listen", "127.0.0.1", 80, "0.0.0.0", 998, "4711")


def test_the_table_of_sockets_is_read_in_linear_time():
    def seconds(rows):
        text = HEAD + ROW * rows
        best = []
        for _ in range(7):
            began = time.process_time()
            assert len(list(sockets.parse(text))) == rows
            best.append(time.process_time() - began)
        return min(best)

    seconds(1000)
    assert seconds(40_000) < 12 * seconds(10_000)  # in quadratic time it would be 16


def test_a_socket_without_an_owner_that_may_be_ours_is_no_connection_of_others(mocker):
    theirs = sockets.TcpSocket("established", "10.0.0.4", 50000, IMDS, 4711, "1")
    ours = theirs._replace(uid=os.geteuid(), local_port=50001, inode="2")
    waiting = theirs._replace(state="time-wait", local_port=50002, inode="3")
    mocker.patch.object(sockets, "sockets", return_value=(theirs, ours, waiting))
    mocker.patch.object(sockets, "owners", return_value={})
    (found,) = services.collect_connections(Board(5))
    assert (found.process, found.pid, found.local_port) == ("-", 0, 50000)


def test_a_socket_that_no_process_holds_is_no_connection(mocker):
    orphan = sockets.TcpSocket("fin-wait-1", "10.0.0.4", 50000, IMDS, 0, sockets.NO_INODE)
    mocker.patch.object(sockets, "sockets", return_value=(orphan,))
    assert services.collect_connections(Board(5)) == ()


def test_what_this_program_starts_may_hold_its_sockets_and_is_not_another(mocker):
    mocker.patch.object(services, "IMDS_ADDRESS", "127.0.0.1")
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        ours = socket.create_connection(listening.getsockname())
        port = ours.getsockname()[1]
        command = [sys.executable, "-c", "import sys; sys.stdin.read()"]
        with subprocess.Popen(command, stdin=subprocess.PIPE, pass_fds=[ours.fileno()]) as holder:
            ours.close()
            (row,) = [row for row in sockets.sockets() if row.local_port == port]
            owner = sockets.owners({row.inode})[row.inode]
            found = services.collect_connections(Board(5))
            holder.communicate()
    assert (owner.pid, owner.parent) == (holder.pid, os.getpid())
    assert port not in [connection.local_port for connection in found]


def test_the_whole_name_of_a_program_with_a_long_one(tmp_path, mocker):
    mocker.patch.object(sockets, "PROC", tmp_path)
    for pid, file in ((7, "azure-proxy-agent"), (8, "python3.11")):
        folder = tmp_path / str(pid)
        folder.mkdir()
        (folder / "comm").write_text("azure-proxy-age\n")
        (folder / "exe").symlink_to(f"/usr/sbin/{file}")
    assert (sockets.program_of(7), sockets.program_of(8)) == (
        "azure-proxy-agent",
        "azure-proxy-age",
    )
    assert sockets.program_of(9) == "-"


# --- everything ---


@in_the_lab
def test_the_full_report_is_everything():
    with Lab() as lab:
        full = lab.tool(*FULL, "--expected-ip", "10.0.0.4").stdout
    lines = full.splitlines()
    assert (
        "MACHINE" in lines
        and "elevated=true" in full
        and "kernel=" in full
        and "expectedIp=10.0.0.4" in full
    )
    assert re.search(r"^  neighbour 10\.0\.0\.1  12-34-56-78-9A-BC  \w+  eth0$", full, re.MULTILINE)
    assert "  service walinuxagent: running, start enabled" in lines
    after = lines[
        next(
            number
            for number, line in enumerate(lines)
            if line.startswith("* ") and '"eth0"' in line
        )
        + 1
    ]
    assert after.startswith("      kind ") and "managed by " in after
    for command in ("route show table all", "rule show", "addr show"):
        assert f"OUTPUT of ip -4 {command}" in lines


def test_a_listeners_program_gets_the_pseudonym_that_its_connection_has():
    facts = replace(
        LINUX.healthy(),
        listeners=(Listener("0.0.0.0", 80, "contoso-agent", 812),),
        connections=(ProcessConnection("contoso-agent", 812, 50000, "established"),),
    )
    made = redacted(facts)
    (listener,), (connection,) = made.listeners, made.connections
    assert (
        listener.process == connection.process != "contoso-agent"
        and "contoso" not in listener.process
    )
    assert listener.pid == 812


def test_windows_listeners_name_their_programs_and_the_kernel_by_its_name(mocker):
    from runcommand.system.windows import LIVE, iphlpapi, services as windows

    rows = [
        iphlpapi.TcpRow(windows.LISTEN, "0.0.0.0", 80, "0.0.0.0", 4),
        iphlpapi.TcpRow(windows.LISTEN, "127.0.0.1", 3080, "0.0.0.0", 812),
        iphlpapi.TcpRow(windows.LISTEN, "0.0.0.0", 445, "0.0.0.0", 4),
    ]
    mocker.patch.object(iphlpapi, "tcp_table", return_value=rows)
    found = windows.collect_listeners(LIVE, Board(5))
    unknown = Listener("127.0.0.1", 3080, "-", 812)  # of Linux, where no program can be asked for
    assert found == (Listener("0.0.0.0", 80, "System", 4), unknown)
