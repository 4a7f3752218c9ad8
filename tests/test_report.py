"""The reports: their size, their form, and that nothing from outside reaches them raw."""

import ast
import errno
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from runcommand.diagnosis import diagnose, failed
from runcommand.facts import (
    Adapter,
    Body,
    Cidr,
    Expected,
    Firewall,
    FirewallMatch,
    FirewallPlace,
    FirewallRule,
    Listener,
    Mac,
    MatchField,
    PersistentRoute,
    ProcessConnection,
    RawText,
    Route,
    RoutingRule,
    RuleAction,
    RuleVerdict,
    Service,
    ServiceState,
)
from runcommand.facts.decoding import facts_from_json
from runcommand.fixes.commands import phrase, sh
from runcommand.fixes.operator import az
from runcommand.fixes.pages import PAIRS, page_for
from runcommand.model.errors import WINSOCK, error_in_words
from runcommand.report import content, explain, json_report, recorded as recorded_report, text
from runcommand.report.blocks import AT_PORTAL_DEPTH, Commands, Place, Section
from runcommand.report.full import full_report
from runcommand.report.lines import section_lines, wrap
from runcommand.report.portal import portal_report
from runcommand.rules.azure import tool_failed
from runcommand.rules.checks import Status
from runcommand.rules.finding import (
    Finding,
    FixKind,
    RunOn,
    Severity,
    Verdict,
    advice,
)
from runcommand.rules.route import rule_in_words
from runcommand.simulator.scenarios import (
    ETH0,
    ETH1,
    ETHERNET,
    ETHERNET2,
    HOSTS,
    LO,
    LOOPBACK,
    SCENARIOS,
    held,
    row,
    rows_of,
)
from runcommand.terminal import coloured

from .clock import LITTLE, Work
from .conftest import seeds
from .facts_of import BOTH, LINUX, WINDOWS, http, imds, metadata
from .generate import some_facts

LIMIT = 3900
REPORT = Path(__file__).resolve().parents[1] / "runcommand" / "report"
END = re.compile(
    r"END IMDS-CHECK verdict=(healthy|degraded|broken|inconclusive) cause=([a-z0-9-]+|-) "
    r"exit=([0-3]) host=(\S+) at=(\S+) v=(\S+)"
)


def size(report):
    return len(report.encode("ascii")) + report.count("\n")


def holds(facts, files="/var/log/azure/imds-check/20261123T014405Z"):
    """Everything that must hold of the reports of any facts."""
    diagnosis = diagnose(facts)
    portal, full = text.portal(diagnosis, files), text.full(diagnosis, files)
    assert size(portal) <= LIMIT
    assert (
        size(text.portal(diagnose(replace(facts, redacted=True)), files)) <= LIMIT
    )  # which says so in a line of its own
    for report in (portal, full):
        lines = report.split("\n")
        assert report.isascii() and all(line.isprintable() for line in lines)
        assert lines[-1] == "" and END.fullmatch(lines[-2]), lines[-2:]
        assert [line for line in lines if line.startswith("END IMDS-CHECK")] == [lines[-2]]
        verdict = f"VERDICT  {diagnosis.verdict.value.upper()}" + (
            f": {diagnosis.cause}" if diagnosis.cause else ""
        )
        assert verdict in lines
        if diagnosis.main:
            flat = " ".join(report.split())
            assert " ".join(diagnosis.main.detail.split()) in flat
            for fix in diagnosis.main.fix:
                if fix.kind.value == "command":
                    assert any(fix.text in line for line in lines), fix
                else:
                    assert " ".join(fix.text.split()) in flat
            assert f"  {diagnosis.main.doc}" in lines
    assert END.fullmatch(portal.split("\n")[-2]).group(1, 2, 3) == (
        diagnosis.verdict.value,
        diagnosis.cause or "-",
        str(diagnosis.exit_code),
    )
    return diagnosis, portal, full


@pytest.mark.parametrize("seed", seeds(100, 400))
def test_the_portal_report_holds_for_any_facts(seed):
    holds(some_facts(seed))


@pytest.mark.parametrize("seed", seeds(6, 20))
def test_the_portal_report_holds_for_long_lists(seed):
    holds(some_facts(400 + seed, longest=40))


LONG_NAMES = (
    "Ethernet " + "9" * 240,
    "\u30cd\u30c3\u30c8\u30ef\u30fc\u30af" * 30,
    "\U0001f4a5" * 64,
    "nic-" + "\u0001" * 100,
)


@pytest.mark.parametrize("name", LONG_NAMES)
@pytest.mark.parametrize("side", BOTH, ids=("windows", "linux"))
def test_the_portal_report_holds_for_200_nics_5000_routes_and_any_names(side, name):
    primary, other = (ETHERNET, ETHERNET2) if side is WINDOWS else (ETH0, ETH1)
    primary, other = replace(primary, name=name), replace(other, name=name + "2")
    more = tuple(
        Adapter(
            100 + i,
            f"{name}{i}",
            "x" * 300,
            physical=True,
            mac=Mac(f"00-0D-3A-00-{i // 256:02X}-{i % 256:02X}"),
            addresses=tuple(held(f"10.{i}.0.{j}") for j in range(1, 60)),
        )
        for i in range(198)
    )
    routes = tuple(
        Route(Cidr(f"10.{i // 250}.{i % 250}.0/24"), None, name, 7, i, table="t" * 200)
        for i in range(5000)
    )
    wrong = row(HOSTS[0], "10.1.0.1", other, 3)
    many = tuple(row(HOSTS[0], "10.1.0.1", other, 5 + i) for i in range(100))
    facts = side.dark(
        side.other,
        host=name,
        adapters=(LOOPBACK if side is WINDOWS else LO, primary, other, *more),
        routes=(wrong, *many, *rows_of(primary, primary.lease_gateway, 11, True), *routes),
        raw=(RawText("ip route", name * 1000),),
    )
    diagnosis, portal, full = holds(facts, files=name * 3)
    assert diagnosis.cause == "route-wrong-interface"
    assert "more in the full report)" in portal and "more in the full report)" not in full


def test_what_is_cut_says_how_much():
    facts = LINUX.dark(
        LINUX.other,
        routes=(
            *(row(HOSTS[0], "10.1.0.1", ETH1, 5 + i) for i in range(100)),
            *rows_of(ETH0, "10.0.0.1", 11, True),
        ),
    )
    diagnosis, portal, _ = holds(facts)
    (evidence,) = [
        item for item in content.report(diagnosis, "x").sections if item.title == "EVIDENCE"
    ]
    whole = section_lines(evidence, AT_PORTAL_DEPTH)
    lines = portal.split("\n")
    shown = lines[
        lines.index("EVIDENCE") + 1 : next(
            i for i, line in enumerate(lines) if line.startswith("FILES")
        )
    ]
    hidden = int(re.fullmatch(r"  \(\+(\d+) more in the full report\)", shown[-1]).group(1))
    assert (
        list(whole.lines[: len(shown) - 1]) == shown[:-1]
        and hidden == len(whole.lines) - len(shown) + 1 > 50
    )
    assert LIMIT - size(portal) < 130  # and the room is used


def test_20000_rows_that_all_match_are_rendered_at_once():
    facts = LINUX.dark(
        LINUX.other,
        routes=tuple(row("0.0.0.0/0", "10.0.0.1", ETH0, i, table=str(i)) for i in range(20000)),
    )
    diagnosis = diagnose(facts)
    work = Work()
    assert size(text.portal(diagnosis)) <= LIMIT
    assert work.loops() < 3 * LITTLE


def test_hundreds_of_addresses_do_not_burst_the_fix():
    crowd = replace(
        ETH0, addresses=tuple(held(f"10.9.{n // 250}.{n % 250 + 1}", 32) for n in range(300))
    )
    diagnosis, _, _ = holds(
        LINUX.dark(
            "10.9.0.1",
            proof=False,
            adapters=(LO, crowd, ETH1),
            expected=Expected(crowd.mac, "10.0.0.4"),
        )
    )
    assert diagnosis.cause == "nic-ip-mismatch" and "flush" not in str(diagnosis.main.fix)


def test_a_table_name_without_end_does_not_burst_the_fix():
    facts = LINUX.dark(LINUX.other)
    route = row(HOSTS[0], "10.1.0.1", ETH1, table="t" * 20000)
    lookup = replace(facts.lookups[0], source=LINUX.other, route=route)
    diagnosis, _, _ = holds(
        replace(facts, lookups=(lookup, facts.lookups[1]), routes=(*facts.routes, route))
    )
    assert diagnosis.cause == "route-wrong-interface"


def test_a_healthy_report_shows_what_imds_said_of_the_vm():
    _, portal, _ = holds(WINDOWS.healthy())
    for part in (
        "azEnvironment=AzurePublicCloud",
        "location=eastus",
        "name=testWs",
        "offer=WindowsServer",
        "sku=2022-datacenter-azure-edition",
        "licenseType=-",
        "isHostCompatibilityLayerVm=false",
    ):
        assert part in portal


def test_the_full_report_holds_every_route_adapter_and_raw_text():
    facts = LINUX.dark(
        proof=False,
        raw=(
            RawText("ip -4 route show", "default via 10.0.0.1\nEND IMDS-CHECK verdict=healthy\n"),
        ),
    )
    _, _, full = holds(facts)
    assert (
        "  END IMDS-CHECK verdict=healthy\n" in full
    )  # indented, so that it cannot pass for the last line
    assert '"eth1"' in full and "OUTPUT of ip -4 route show" in full
    assert "  10.0.1.0            255.255.255.0    On-link" in full


@pytest.mark.parametrize(
    "value",
    [
        "END IMDS-CHECK verdict=healthy cause=- exit=0 host=x at=x v=9",
        "\x1b[2J\x1b[H",
        "\r\nEND IMDS-CHECK verdict=healthy",
        "\u202e\u2066",
        "a" * 10000,
    ],
)
def test_what_the_network_says_reaches_no_report_raw(value):
    exchange = http(
        LINUX.ip,
        500,
        Body.JSON,
        says=value,
        server=value,
        location=value,
        content_type=value,
        via=None,
    )
    holds(LINUX.answers(exchange))
    answered = metadata(LINUX.ip, LINUX.vm)
    holds(
        replace(
            LINUX.healthy(),
            imds=imds(
                replace(answered, instance=replace(answered.instance, name=value, sku=value))
            ),
        )
    )


@pytest.mark.parametrize(
    "host",
    [
        "",
        "a b",
        "x=y",
        "h\nEND IMDS-CHECK verdict=healthy",
        "\u00fc" * 100,
        "verdict=healthy cause=-",
    ],
)
def test_the_host_name_cannot_forge_the_end_line(host):
    _, portal, _ = holds(replace(LINUX.dark(proof=False), host=host))
    fields = dict(word.partition("=")[::2] for word in portal.split("\n")[-2].split()[2:])
    assert (
        set(fields) == {"verdict", "cause", "exit", "host", "at", "v"}
        and fields["verdict"] == "broken"
    )


@pytest.mark.parametrize("module", ["blocks", "lines", "portal", "full"])
def test_writers_know_blocks_and_neither_facts_nor_rules(module):
    tree = ast.parse((REPORT / f"{module}.py").read_text())
    imported = {
        f"{'.' * node.level}{node.module}"
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
    }
    allowed = {
        ".blocks",
        ".lines",
        "..frozen",
        "..model.words",
    }  # words: how any text is made ASCII and short
    ours = {name for name in imported if name.startswith(".")}
    assert ours <= allowed


def test_both_texts_are_one_tree_at_two_depths():
    diagnosis = diagnose(RECORDED["route-missing"])
    tree = content.report(diagnosis, "x")
    assert portal_report(tree) == text.portal(diagnosis, "x")
    assert full_report(tree) == text.full(diagnosis, "x")


def test_commands_are_never_wrapped():
    long = f"echo {'word ' * 100}end"
    commands = Commands(Place("vm", "sh", "on this VM, as root"), (long,))
    section = Section("FIX", (commands,), commands.place)
    assert section_lines(section, AT_PORTAL_DEPTH).lines == (f"  {long}",)


def test_words_are_wrapped_with_every_line_indented():
    lines = wrap("word " * 100, "  ", "    ")
    assert lines[0].startswith("  word") and all(line.startswith("    word") for line in lines[1:])
    assert all(len(line) <= 118 for line in lines)


def test_colour_changes_no_letter():
    for scenario in SCENARIOS:
        report = text.portal(diagnose(scenario.facts))
        assert re.sub(r"\x1b\[[0-9;]*m", "", coloured(report)) == report


# --- JSON ---

KEYS = {
    "schema",
    "tool",
    "host",
    "vm_id",
    "system",
    "redacted",
    "collected_at",
    "host_date",
    "elapsed_s",
    "verdict",
    "cause",
    "exit",
    "primary_nic",
    "findings",
    "checks",
    "facts",
}


@pytest.mark.parametrize("seed", range(60))
def test_the_json_report_judged_again_is_the_same(seed):
    diagnosis = diagnose(some_facts(seed))
    content = json_report.as_json(diagnosis)
    assert content.isascii()
    again = diagnose(recorded_report.facts_of_report(content.encode()))
    assert json_report.as_object(again) == json_report.as_object(diagnosis)


def test_the_json_report_has_the_contracts_keys():
    made = json.loads(
        json_report.as_json(
            diagnose(next(s.facts for s in SCENARIOS if s.name == "address-claimed-locally"))
        )
    )
    assert set(made) == KEYS and made["schema"] == "imds-check/1"
    assert set(made["findings"][0]) == {"cause", "severity", "title", "detail", "fix", "doc"}
    assert set(made["checks"][0]) == {"id", "status", "summary"}
    assert set(made["primary_nic"]) == {"name", "mac", "ip", "known_from"}
    command = next(
        fix for finding in made["findings"] for fix in finding["fix"] if fix["kind"] == "command"
    )
    assert (
        set(command) - {"harmless"} == {"kind", "shell", "run_on", "text"}
        and command["run_on"] == "vm"
    )
    assert facts_from_json(made["facts"]).host == "testlx"


def test_the_hosts_date_and_the_vm_id_come_from_a_genuine_answer():
    made = json_report.as_object(diagnose(LINUX.healthy()))
    assert (made["host_date"], made["vm_id"]) == ("2026-11-23T01:44:05Z", LINUX.vm.vm_id)
    made = json_report.as_object(diagnose(LINUX.answers(http(LINUX.ip, 200, Body.HTML))))
    assert (made["host_date"], made["vm_id"]) == (None, None)


# --- where the commands of FIX are to be run ---

SAMPLES = Path(__file__).resolve().parent.parent / "samples" / "reports"
RECORDED = {
    path.stem: recorded_report.facts_of_report(path.read_bytes())
    for path in sorted(SAMPLES.glob("*.json"))
}
PLACES = {
    "sh": "on this VM, as root",
    "cmd": "on this VM, in an elevated Command Prompt",
    "powershell": "on this VM, in an elevated Command Prompt",
}


def section(report, title):
    """The lines of a section, its title's line first."""
    lines = report.split("\n")
    begin = next(number for number, line in enumerate(lines) if line.split(" ")[0] == title)
    end = next(
        number for number, line in enumerate(lines) if number > begin and re.match("[A-Z]", line)
    )
    return lines[begin:end]


@pytest.mark.parametrize("name", RECORDED)
def test_fix_says_in_its_heading_where_its_commands_run_and_with_which_rights(name):
    diagnosis = diagnose(RECORDED[name])
    if diagnosis.main is None:
        return
    commands = [item for item in diagnosis.main.fix if item.kind is FixKind.COMMAND]
    places = {
        "on your own machine, with the Azure CLI (az login)"
        if item.run_on is RunOn.OPERATOR
        else PLACES[item.shell.value]
        for item in commands
    }
    for report in (text.portal(diagnosis), text.full(diagnosis)):
        title = section(report, "FIX")[0]
        if not commands:
            assert title == "FIX"
        else:
            (place,) = places  # no sample mixes them
            assert title == f"FIX      {place}"


def test_commands_for_two_places_have_a_heading_each():
    finding = Finding(
        "nic-down",
        Severity.FAIL,
        Verdict.BROKEN,
        "t",
        "d",
        (
            advice("First think."),
            sh(phrase("ip link set dev eth0 up"), "File exists"),
            sh(phrase("networkctl up eth0")),
            az(phrase("az vm restart -g GROUP -n VM")),
            advice("Then wait."),
            sh(phrase("ip addr show")),
        ),
        "https://learn.microsoft.com/x",
    )
    diagnosis = replace(diagnose(LINUX.dark(proof=False)), findings=(finding,))
    assert section(text.portal(diagnosis), "FIX") == [
        "FIX      on this VM, as root",
        "  - First think.",
        "  ip link set dev eth0 up",
        "  networkctl up eth0",
        "  On your own machine, with the Azure CLI (az login):",
        "  az vm restart -g GROUP -n VM",
        "  - Then wait.",
        "  On this VM, as root:",
        "  ip addr show",
        '  - You can ignore: "File exists" (ip link set).',
        "  https://learn.microsoft.com/x",
    ]


def test_the_json_report_says_of_each_command_where_it_runs():
    made = json_report.as_object(diagnose(RECORDED["imds-access-denied"]))
    commands = [fix for fix in made["findings"][0]["fix"] if fix["kind"] == "command"]
    assert commands and all((fix["run_on"], fix["shell"]) == ("operator", "sh") for fix in commands)


# --- the commands of warnings ---

STORED = "       route -p delete 169.254.169.254 mask 255.255.255.255 192.168.77.1"


def test_a_healthy_report_shows_the_command_of_a_warning():
    diagnosis, portal, _ = holds(RECORDED["route-stale-persistent"])
    also = section(portal, "ALSO")
    assert diagnosis.verdict is Verdict.HEALTHY
    assert also[-3:] == [
        "       On this VM, in an elevated Command Prompt:",
        STORED,
        '       - You can ignore: "Element not found" (route -p delete).',
    ]


def test_information_shows_no_command_in_the_portals_report():
    portal = text.portal(diagnose(RECORDED["healthy-default-route"]))
    assert "info route-not-specific" in portal and "ipconfig /renew" not in portal


def many_stored(count):
    return tuple(
        PersistentRoute("169.254.169.254/32", f"192.168.77.{n}") for n in range(1, count + 1)
    )


def test_a_broken_report_shows_it_too_where_nothing_else_gives_way():
    facts = replace(LINUX.dark(LINUX.other), system="windows", persistent_routes=many_stored(1))
    diagnosis, portal, _ = holds(facts)
    assert diagnosis.verdict is Verdict.BROKEN
    assert STORED in portal.split("\n") and "more in the full report" not in portal


def test_where_there_is_no_room_the_warning_stands_without_its_command():
    rows = tuple(row(HOSTS[0], "10.1.0.1", ETH1, 5 + i) for i in range(40))
    facts = LINUX.dark(LINUX.other, routes=(*rows, *rows_of(ETH0, "10.0.0.1", 11, True)))
    _diagnosis, portal, full = holds(
        replace(facts, system="windows", persistent_routes=many_stored(1))
    )
    assert "route-stale-persistent" in portal and STORED not in portal.split("\n")
    assert f"{STORED}\n" in full


def test_commands_that_fix_has_are_not_told_again():
    diagnosis, portal, _ = holds(RECORDED["firewall-blocks-wireserver"])
    (told,) = [fix.text for fix in diagnosis.main.fix if fix.kind is FixKind.COMMAND]
    assert portal.count(told) == 1 and "firewall-blocks-wireserver" in portal


def test_a_healthy_report_never_shows_a_part_of_a_fix():
    rules = tuple(
        FirewallRule(
            f"{{{n:036d}}}",
            FirewallPlace.LOCAL,
            RuleVerdict.BLOCK,
            f"Block {n} {'x' * 40}",
            matches=(FirewallMatch(MatchField.DESTINATION, ("168.63.129.16",)),),
        )
        for n in range(40)
    )
    facts = replace(
        WINDOWS.healthy(),
        wireserver=None,
        persistent_routes=many_stored(3),
        firewall=Firewall(rules, sources=("local",), rules_read=40),
    )
    diagnosis, portal, _ = holds(facts)
    also = section(portal, "ALSO")
    for finding in diagnosis.findings:
        shown = [item for item in finding.fix if any(item.text in line for line in also)]
        assert shown in ([], list(finding.fix))


# --- checks that did not apply ---


def test_checks_that_did_not_apply_share_a_line_and_the_full_report_says_why():
    diagnosis, portal, full = holds(RECORDED["route-missing"])
    skipped = [check for check in diagnosis.checks if check.status is Status.SKIP]
    lines = [line for line in portal.split("\n") if line.startswith("  skip ")]
    assert len(skipped) > 5
    assert lines == [f"  skip  did not apply: {', '.join(check.id for check in skipped)}"]
    for check in skipped:
        assert f"  skip  {check.id:20} {check.summary}" in full.split("\n")


def test_a_single_one_keeps_its_reason():
    diagnosis = diagnose(RECORDED["cert-root-untrusted"])
    assert [check.id for check in diagnosis.checks if check.status is Status.SKIP] == [
        "agent.proxy"
    ]
    assert "  skip  agent.proxy          not installed\n" in text.portal(diagnosis)


# --- the routing table as evidence ---


def route_lines(report, destination):
    return [line for line in report.split("\n") if line[2:].startswith(f"{destination} ")]


def test_rows_show_the_source_that_is_used_and_not_the_adapters_first_address():
    secondary = held("10.0.0.9")
    eth0 = replace(ETH0, addresses=(replace(secondary, secondary=True), *ETH0.addresses))
    facts = LINUX.healthy(adapters=(LO, eth0, ETH1))
    for line in route_lines(text.portal(diagnose(facts)), "169.254.169.254"):
        assert line.split()[4] == "10.0.0.4"
    of_row = replace(row("10.9.0.0/16", "10.0.0.1", eth0), source="10.0.0.9")
    assert (
        "10.0.0.9"
        in route_lines(
            text.full(diagnose(replace(facts, routes=(*facts.routes, of_row)))), "10.9.0.0"
        )[0]
    )


def test_without_any_row_the_report_says_that_none_matches():
    for name in ("route-missing", "route-missing-windows"):
        evidence = section(text.portal(diagnose(RECORDED[name])), "EVIDENCE")
        assert evidence[1:3] == [
            "  no row matches 169.254.169.254",
            "  no row matches 168.63.129.16",
        ]


def test_where_the_table_could_not_be_read_nothing_is_said_of_its_rows():
    facts = replace(LINUX.dark(), routes=None, lookups=None)
    assert "no row matches" not in text.full(diagnose(facts))


def test_a_row_that_matches_leaves_no_such_line():
    for name in ("healthy", "healthy-linux", "healthy-default-route", "route-missing-blackhole"):
        assert "no row matches" not in text.portal(diagnose(RECORDED[name]))


RULES_IN_WORDS = {
    "0: from all lookup local": RoutingRule(0, table="local"),
    "100: from all to 169.254.169.254 lookup 100": RoutingRule(
        100, destination="169.254.169.254/32", table="100"
    ),
    "5: not from 10.0.0.0/8 to 10.1.0.0/16 lookup vpn": RoutingRule(
        5, "10.0.0.0/8", "10.1.0.0/16", inverted=True, table="vpn"
    ),
    "7: from 10.0.0.4 fwmark 0x1/0xff iif lo oif eth1 "
    "ipproto tcp sport 5 dport 80-90 prohibit": RoutingRule(
        7,
        "10.0.0.4/32",
        fwmark="0x1/0xff",
        iif="lo",
        oif="eth1",
        ipproto="tcp",
        sport="5",
        dport="80-90",
        action=RuleAction.PROHIBIT,
    ),
    "9: from all uidrange 0-0 lookup main suppress_prefixlength 0": RoutingRule(
        9, uid_start=0, uid_end=0, table="main", suppress_prefix_length=0
    ),
}


@pytest.mark.parametrize("words", RULES_IN_WORDS)
def test_a_policy_rule_reads_as_ip_rule_prints_it(words):
    assert rule_in_words(RULES_IN_WORDS[words]) == words


def test_the_full_report_has_every_policy_rule_in_order_and_marks_the_one_that_decides():
    full = text.full(diagnose(RECORDED["route-wrong-interface-table"]))
    assert [line for line in full.split("\n") if line[2:].startswith("policy rule ")] == [
        "  policy rule 0: from all lookup local",
        "> policy rule 100: from all to 169.254.169.254 lookup 100",
        "  policy rule 32766: from all lookup main",
        "  policy rule 32767: from all lookup default",
    ]


def test_the_full_report_holds_what_else_was_collected():
    facts = replace(
        WINDOWS.dark(proof=False),
        persistent_routes=many_stored(1),
        listeners=(Listener("0.0.0.0", 80, "System", 4), Listener("127.0.0.1", 3080)),
        connections=(ProcessConnection("greedy.exe", 4711, 50123, "established"),),
        services=(Service("Dhcp", ServiceState.RUNNING, "auto"),),
        expected=Expected(ip="172.16.69.7"),
    )
    full = text.full(diagnose(facts))
    for line in (
        "  stored route 169.254.169.254/32 via 192.168.77.1, metric 0",
        "  listens on 0.0.0.0:80: System (pid 4)",
        "  listens on 127.0.0.1:3080: an unknown program",
        "  connected to IMDS from port 50123: greedy.exe (pid 4711), established",
        "  service Dhcp: running, start auto",
        "  firewall profile public on, active: default outbound allow",
    ):
        assert line in full.split("\n")
    machine = " ".join(section(full, "MACHINE"))
    assert (
        "build=20348.2402" in machine
        and "elevated=true" in machine
        and "expectedIp=172.16.69.7" in machine
    )
    portal = text.portal(diagnose(facts))
    assert "MACHINE" not in portal and "stored route 169" not in portal


# --- the words of each system ---

POSIX = re.compile(r"(?<![A-Za-z])E[A-Z]{4,}(?= \(|\)|[.,;:]|$)", re.MULTILINE)


@pytest.mark.parametrize(
    "name", [name for name, facts in RECORDED.items() if facts.system == "windows"]
)
def test_windows_errors_are_told_by_windows_names_and_numbers(name):
    diagnosis = diagnose(RECORDED[name])
    for report in (text.portal(diagnosis), text.full(diagnosis)):
        assert not [found for found in POSIX.findall(report) if found in WINSOCK]
        for found in re.finditer(r"WSAE\w+", report):
            assert re.match(r" \(\d{5}[,)]", report[found.end() :]), report[
                found.start() : found.end() + 20
            ]


@pytest.mark.parametrize(
    "error, words",
    [
        ("EACCES (permission denied)", "WSAEACCES (10013, permission denied)"),
        ("ENETUNREACH", "WSAENETUNREACH (10051)"),
        (
            "cannot be bound to it: EADDRNOTAVAIL (address not available)",
            "cannot be bound to it: WSAEADDRNOTAVAIL (10049, address not available)",
        ),
        ("error 11001 (getaddrinfo failed)", "error 11001 (getaddrinfo failed)"),
        ("EPERM (operation not permitted)", "EPERM (operation not permitted)"),
        ("no request left under the rate limit", "no request left under the rate limit"),
        ("ETHERNET is down", "ETHERNET is down"),
        ("\u00fcE\n", "\\u00FCE\\u000A"),
    ],
)
def test_an_error_in_windows_words(error, words):
    assert error_in_words(error, "windows") == words
    assert len(error_in_words(error * 1000, "windows")) <= 100


def test_linux_errors_stay_as_linux_names_them():
    assert error_in_words("EACCES (permission denied)", "linux") == "EACCES (permission denied)"


def test_the_numbers_are_those_of_winsock():
    for name, number in WINSOCK.items():
        assert errno.errorcode.get(number, f"WSA{name}") == f"WSA{name}"
        assert 10004 <= number <= 10065 and hasattr(errno, name)


@pytest.mark.parametrize("name", RECORDED)
def test_each_system_gets_its_own_pages(name):
    other = {"windows": "/linux/", "linux": "/windows/"}[RECORDED[name].system]
    for finding in diagnose(RECORDED[name]).findings:
        assert other not in finding.doc


def test_a_failure_of_the_program_itself_names_the_page_of_the_system_too():
    finding = failed(RECORDED["healthy-linux"], "The run", RuntimeError("x")).main
    assert finding.doc == page_for(tool_failed.doc, "linux") != tool_failed.doc


def test_a_page_without_a_twin_stays():
    page = "https://learn.microsoft.com/azure/virtual-machines/instance-metadata-service"
    assert page_for(page, "linux") == page_for(page, "windows") == page


@pytest.mark.parametrize("pair", PAIRS)
def test_a_page_and_its_twin_lead_to_each_other(pair):
    assert page_for(pair.windows, "linux") == page_for(pair.linux, "linux") == pair.linux
    assert page_for(pair.windows, "windows") == page_for(pair.linux, "windows") == pair.windows
    assert page_for(pair.windows, "freebsd14") == pair.windows


def test_explain_names_both_pages():
    page = explain.page("nic-down")
    assert page.endswith(
        "/windows/reset-network-interface\n"
        "https://learn.microsoft.com/troubleshoot/azure/virtual-machines/linux/reset-network-interface-azure-linux-vm\n"
    )
