"""The reports: their size, their form, and that nothing from outside reaches them raw."""

import json
import re
import time
from dataclasses import replace

import pytest

from runcommand.diagnosis import diagnose
from runcommand.facts import Adapter, Body, Cidr, Expected, Mac, RawText, Route, facts_from_json
from runcommand.report import json_report, text
from runcommand.report.tree import sections, wrap
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

from .facts_of import BOTH, LINUX, WINDOWS, http, imds, metadata
from .generate import some_facts

LIMIT = 3900
END = re.compile(
    r"END IMDS-CHECK verdict=(healthy|degraded|broken|inconclusive) cause=([a-z0-9-]+|-) exit=([0-3]) host=(\S+) at=(\S+) v=(\S+)"
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
        verdict = f"VERDICT  {diagnosis.verdict.value.upper()}" + (f": {diagnosis.cause}" if diagnosis.cause else "")
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


@pytest.mark.parametrize("seed", range(400))
def test_the_portal_report_holds_for_any_facts(seed):
    holds(some_facts(seed))


@pytest.mark.parametrize("seed", range(400, 420))
def test_the_portal_report_holds_for_long_lists(seed):
    holds(some_facts(seed, longest=40))


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
        Adapter(100 + i, f"{name}{i}", "x" * 300, physical=True, mac=Mac(f"00-0D-3A-00-{i // 256:02X}-{i % 256:02X}"), addresses=tuple(held(f"10.{i}.0.{j}") for j in range(1, 60)))
        for i in range(198)
    )  # fmt: skip
    routes = tuple(Route(Cidr(f"10.{i // 250}.{i % 250}.0/24"), None, name, 7, i, table="t" * 200) for i in range(5000))
    wrong = row(HOSTS[0], "10.1.0.1", other, 3)
    many = tuple(row(HOSTS[0], "10.1.0.1", other, 5 + i) for i in range(100))
    facts = side.dark(
        side.other, host=name, adapters=(LOOPBACK if side is WINDOWS else LO, primary, other, *more),
        routes=(wrong, *many, *rows_of(primary, primary.lease_gateway, 11, True), *routes),
        raw=(RawText("ip route", name * 1000),),
    )  # fmt: skip
    diagnosis, portal, full = holds(facts, files=name * 3)
    assert diagnosis.cause == "route-wrong-interface"
    assert "more in the full report)" in portal and "more in the full report)" not in full


def test_what_is_cut_says_how_much():
    facts = LINUX.dark(
        LINUX.other,
        routes=(*(row(HOSTS[0], "10.1.0.1", ETH1, 5 + i) for i in range(100)), *rows_of(ETH0, "10.0.0.1", 11, True)),
    )
    diagnosis, portal, _ = holds(facts)
    whole = next(section for section in sections(diagnosis, "x", full=False) if section.title == "EVIDENCE")
    lines = portal.split("\n")
    shown = lines[lines.index("EVIDENCE") + 1 : next(i for i, line in enumerate(lines) if line.startswith("FILES"))]
    hidden = int(re.fullmatch(r"  \(\+(\d+) more in the full report\)", shown[-1]).group(1))
    assert list(whole.lines[: len(shown) - 1]) == shown[:-1] and hidden == len(whole.lines) - len(shown) + 1 > 50
    assert LIMIT - size(portal) < 130  # and the room is used


def test_20000_rows_that_all_match_are_rendered_at_once():
    facts = LINUX.dark(
        LINUX.other, routes=tuple(row("0.0.0.0/0", "10.0.0.1", ETH0, i, table=str(i)) for i in range(20000))
    )
    diagnosis = diagnose(facts)
    began = time.monotonic()
    assert size(text.portal(diagnosis)) <= LIMIT
    assert time.monotonic() - began < 3


def test_hundreds_of_addresses_do_not_burst_the_fix():
    crowd = replace(ETH0, addresses=tuple(held(f"10.9.{n // 250}.{n % 250 + 1}", 32) for n in range(300)))
    diagnosis, _, _ = holds(
        LINUX.dark("10.9.0.1", proof=False, adapters=(LO, crowd, ETH1), expected=Expected(crowd.mac, "10.0.0.4"))
    )
    assert diagnosis.cause == "nic-ip-mismatch" and "flush" not in str(diagnosis.main.fix)


def test_a_table_name_without_end_does_not_burst_the_fix():
    facts = LINUX.dark(LINUX.other)
    route = row(HOSTS[0], "10.1.0.1", ETH1, table="t" * 20000)
    lookup = replace(facts.lookups[0], source=LINUX.other, route=route)
    diagnosis, _, _ = holds(replace(facts, lookups=(lookup, facts.lookups[1]), routes=(*facts.routes, route)))
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
        proof=False, raw=(RawText("ip -4 route show", "default via 10.0.0.1\nEND IMDS-CHECK verdict=healthy\n"),)
    )
    _, _, full = holds(facts)
    assert "  END IMDS-CHECK verdict=healthy\n" in full  # indented, so that it cannot pass for the last line
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
    exchange = http(LINUX.ip, 500, Body.JSON, says=value, server=value, location=value, content_type=value, via=None)
    holds(LINUX.answers(exchange))
    answered = metadata(LINUX.ip, LINUX.vm)
    holds(
        replace(
            LINUX.healthy(), imds=imds(replace(answered, instance=replace(answered.instance, name=value, sku=value)))
        )
    )


@pytest.mark.parametrize(
    "host", ["", "a b", "x=y", "h\nEND IMDS-CHECK verdict=healthy", "\u00fc" * 100, "verdict=healthy cause=-"]
)
def test_the_host_name_cannot_forge_the_end_line(host):
    _, portal, _ = holds(replace(LINUX.dark(proof=False), host=host))
    fields = dict(word.partition("=")[::2] for word in portal.split("\n")[-2].split()[2:])
    assert set(fields) == {"verdict", "cause", "exit", "host", "at", "v"} and fields["verdict"] == "broken"


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
    again = diagnose(json_report.facts_of_report(content.encode()))
    assert json_report.as_object(again) == json_report.as_object(diagnosis)


def test_the_json_report_has_the_contracts_keys():
    made = json.loads(
        json_report.as_json(diagnose(next(s.facts for s in SCENARIOS if s.name == "address-claimed-locally")))
    )
    assert set(made) == KEYS and made["schema"] == "imds-check/1"
    assert set(made["findings"][0]) == {"cause", "severity", "title", "detail", "fix", "doc"}
    assert set(made["checks"][0]) == {"id", "status", "summary"}
    assert set(made["primary_nic"]) == {"name", "mac", "ip", "known_from"}
    command = next(fix for finding in made["findings"] for fix in finding["fix"] if fix["kind"] == "command")
    assert set(command) - {"harmless"} == {"kind", "shell", "run_on", "text"} and command["run_on"] == "vm"
    assert facts_from_json(made["facts"]).host == "testlx"


def test_the_hosts_date_and_the_vm_id_come_from_a_genuine_answer():
    made = json_report.as_object(diagnose(LINUX.healthy()))
    assert (made["host_date"], made["vm_id"]) == ("2026-11-23T01:44:05Z", LINUX.vm.vm_id)
    made = json_report.as_object(diagnose(LINUX.answers(http(LINUX.ip, 200, Body.HTML))))
    assert (made["host_date"], made["vm_id"]) == (None, None)
