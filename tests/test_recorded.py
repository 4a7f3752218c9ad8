"""What imds-check.ps1 brought alone is judged as what the exe saw: the same readers, rules and
reports. (tests/recorded has what it printed in the lab, tests/lab/script_alone.py prints it.)
"""

import json
import random
from pathlib import Path

import pytest

from runcommand.diagnosis import diagnose
from runcommand.facts import Outcome
from runcommand.operator import block
from runcommand.operator.decode import decode
from runcommand.operator.material import facts_of
from runcommand.probes import recorded as probes
from runcommand.report import json_report, recorded, text
from runcommand.system.recorded import NO_ROOM, NOT_BEGUN, NOT_BY_SCRIPT, registry_value
from runcommand.winsock import posix_code

from .test_decode import run as run_decode

PRINTED = sorted((Path(__file__).parent / "recorded").glob("*.txt"))
CAUSES = {
    "healthy-as-Azure-s-DHCP-leaves-it": ("healthy", None),
    "route-wrong-interface": ("broken", "route-wrong-interface"),
    "firewall-blocks-imds-local-rule": ("broken", "firewall-blocks-imds"),
    "proxy-intercepts-imds-WinHTTP": ("degraded", "proxy-intercepts-imds"),
    "nic-down": ("broken", "nic-down"),
    "imds-not-imds": ("broken", "imds-not-imds"),
}

IMDS, WIRE, NIC = "169.254.169.254", "168.63.129.16", "10.0.0.4"
ON = "{11111111-2222-3333-4444-555555555555}"
INSTANCE = "/metadata/instance?api-version=2021-02-01"
METADATA = json.dumps(
    {
        "compute": {"vmId": "9a1f0c86-4c43-4d3e-8a3f-1a6f6f2b7d11", "name": "vm", "sku": "s"},
        "network": {
            "interface": [
                {
                    "ipv4": {"ipAddress": [{"privateIpAddress": NIC}]},
                    "macAddress": "000D3A7F2004",
                }
            ]
        },
    }
)
HEAD = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nServer: IMDS/150.870.65.1854"


def sent(key, body, head=HEAD, ended="whole", target=INSTANCE, address=IMDS):
    connect = (key, address, "80", "", NIC, "0", "0.002")
    return ("try", *connect, target, ended, "0.004", "2026-11-28T10:00:00Z", head, "500", body)


VERSIONS = "<?xml version='1.0'?><Versions><Supported><Version>2012-11-30</Version></Supported>"
WIRE_HEAD = "HTTP/1.1 200 OK\r\nContent-Length: 300"
RUN = ("run", "0.1.0", "testWs", "2026-11-28T10:00:00Z", "1.5", "77")
PARTS = (
    "adapters proxies imds routes lookups neighbours firewall machine services listeners".split()
)
HEALTHY = [
    RUN,
    sent("imds", METADATA),
    sent("wire", VERSIONS, WIRE_HEAD, target="/?comp=versions", address=WIRE),
    ("try", "plugin", WIRE, "32526", "", NIC, "0", "0.002", ""),
    (
        *("adapter", "7", ON, "Ethernet", "Hyper-V", "6", "000D3A7F2004", "1"),
        *(f"{NIC}/24/3/4", "10.0.0.1", WIRE, "1"),
    ),
    ("route", "0.0.0.0", "0.0.0.0", "10.0.0.1", NIC, "10"),
    ("source", IMDS, NIC, ""),
    ("source", WIRE, NIC, ""),
    ("elevated", "1"),
    ("service", "MpsSvc", "4", "2"),
    ("profiles", "4", ""),
    ("done", *PARTS),
]


def reasons(facts):
    return {item.fact: item.reason for item in facts.unavailable}


def printed_with(records):
    end = "END IMDS-CHECK verdict=inconclusive cause=- exit=3 host=testWs at=x v=0.1.0"
    head = "IMDS-CHECK 0.1.0  testWs  2026-11-28T10:00:00Z  1.5 s\nVERDICT  INCONCLUSIVE\n"
    return f"{head}{block.pack(records)}{end}\n"


# --- what was printed in the lab ---


@pytest.mark.parametrize("path", PRINTED, ids=lambda path: path.stem)
def test_what_the_script_printed_has_the_cause_that_the_exe_names(path):
    (decoded,) = decode(path.read_bytes())
    diagnosis = diagnose(decoded.facts)
    assert (diagnosis.verdict.value, diagnosis.cause) == CAUSES[path.stem]
    assert not decoded.notes


def test_every_cause_is_there():
    assert {path.stem for path in PRINTED} == set(CAUSES)


@pytest.mark.parametrize("path", PRINTED, ids=lambda path: path.stem)
def test_what_the_script_printed_fits_into_run_command_and_is_ascii(path):
    content = path.read_bytes()
    assert (
        content.isascii() and len(content.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")) <= 3900
    )
    assert content.rstrip().splitlines()[-1].startswith(b"END IMDS-CHECK ")


@pytest.mark.parametrize(
    "changed",
    [
        pytest.param(lambda printed: printed.replace("\r\n", "\n"), id="line feeds"),
        pytest.param(lambda printed: "\n".join(map(str.strip, printed.split("\n"))), id="trimmed"),
        pytest.param(lambda printed: "    " + printed.replace("\n", "\n    "), id="indented"),
        pytest.param(lambda printed: "> " + printed.replace("\n", "\n> "), id="quoted"),
        pytest.param(
            lambda printed: json.dumps(
                {"value": [{"code": "ComponentStatus/StdOut/succeeded", "message": printed}]}
            ),
            id="az",
        ),
    ],
)
def test_on_any_way_the_report_is_the_same(changed):
    printed = printed_with(HEALTHY)
    (straight,), (changed_on_its_way,) = decode(printed.encode()), decode(changed(printed).encode())
    assert json_report.as_json(diagnose(changed_on_its_way.facts)) == json_report.as_json(
        diagnose(straight.facts)
    )


# --- the command ---


def test_decode_prints_the_diagnosis_in_each_form_and_ends_with_its_code():
    printed = printed_with(HEALTHY).encode()
    code, out, err = run_decode(printed)
    assert code == 0 and "VERDICT  HEALTHY" in out and " verdict=healthy " in out and not err
    code, out, _ = run_decode(printed, "--format", "json")
    report = json.loads(out)
    assert (code, report["verdict"], report["host"]) == (0, "healthy", "testWs")
    code, full, _ = run_decode(printed, "--format", "full")
    assert code == 0 and len(full) > len(out) / 20


def test_the_json_report_can_be_judged_again():
    facts = facts_of(HEALTHY)
    content = json_report.as_json(diagnose(facts)).encode()
    assert recorded.facts_of_report(content) == facts


def test_redacted_it_names_nothing_of_the_vm():
    _, out, _ = run_decode(printed_with(HEALTHY).encode(), "--redact", "--format", "json")
    for name in ("testWs", NIC, "9a1f0c86", "00-0D-3A-7F-20-04"):
        assert name not in out


def test_a_report_without_raw_material_is_not_passed_off_as_redacted():
    printed = "IMDS-CHECK 0.1.0  testWs\nEND IMDS-CHECK verdict=broken cause=x exit=1 host=testWs\n"
    code, out, err = run_decode(printed.encode(), "--redact")
    assert (code, out) == (2, "") and "cannot be redacted" in err


def test_where_the_block_is_damaged_the_short_report_counts_and_the_damage_is_named():
    printed = printed_with(HEALTHY)
    start = printed.index("RAW 1")
    damaged = printed[: start + 60] + printed[start + 61 :]
    code, out, err = run_decode(damaged.encode())
    assert code == 3 and "VERDICT  INCONCLUSIVE" in out
    assert "The block of raw material in it is damaged: " in err and "characters are there" in err


# --- what is not there ---


def test_what_there_was_no_room_for_is_unavailable_and_says_so():
    records = [record for record in HEALTHY if record[0] not in ("adapter", "route", "service")]
    left = [("left", "adapters", "2"), ("left", "routes", "9"), ("left", "services", "1")]
    found = reasons(facts_of([*records, *left]))
    assert found["adapters"] == found["routes"] == found["services"] == NO_ROOM


def test_what_could_not_be_collected_is_unavailable_with_the_reason():
    records = [record for record in HEALTHY if record[0] != "adapter"]
    found = reasons(facts_of([*records, ("missing", "adapters", "access is denied")]))
    assert found["adapters"] == "access is denied"


def test_where_a_part_is_left_out_a_note_says_so():
    facts = facts_of([*HEALTHY, ("left", "firewall", "3")])
    assert any(note.fact == "firewall" and NO_ROOM in note.text for note in facts.notes)


def test_what_powershell_cannot_see_says_where_to_look():
    found = reasons(facts_of(HEALTHY))
    assert found["activation"] == found["raw"] == NOT_BY_SCRIPT


def test_of_an_empty_block_everything_is_unavailable_and_there_is_a_report():
    facts = facts_of([])
    diagnosis = diagnose(facts)
    assert diagnosis.verdict.value == "inconclusive" and text.portal(diagnosis, "none")
    assert reasons(facts)["routes"] == reasons(facts)["firewall"] == NOT_BEGUN


# --- tries ---


@pytest.mark.parametrize(
    "code, outcome",
    [
        ("-1", Outcome.TIMED_OUT),
        ("10060", Outcome.TIMED_OUT),
        ("10061", Outcome.REFUSED),
        ("10013", Outcome.FORBIDDEN),
        ("10051", Outcome.UNREACHABLE),
        ("10065", Outcome.UNREACHABLE),
        ("10049", Outcome.FAILED),
        ("-2", Outcome.FAILED),
        ("10999", Outcome.FAILED),
    ],
)
def test_an_error_of_winsock_has_the_outcome_that_the_exe_would_name(code, outcome):
    made = probes.read_try(("imds", IMDS, "80", "", "", code, "3.0", INSTANCE))
    assert made.exchange()[0].outcome is outcome


@pytest.mark.parametrize(
    "head, body, ended, size, outcome, whole",
    [
        (HEAD, "{}", "whole", 2, Outcome.HTTP, (True, False)),
        (HEAD, "{}", "closed", 2, Outcome.HTTP, (True, False)),
        (HEAD + "\r\nContent-Length: 9", "{}", "closed", 2, Outcome.HTTP, (False, True)),
        (HEAD + "\r\nTransfer-Encoding: chunked", "{}", "closed", 2, Outcome.HTTP, (False, True)),
        (HEAD, "{}", "timeout", 2, Outcome.HTTP, (False, False)),
        (HEAD, "{}", "endless", 2, Outcome.HTTP, (False, False)),
        (HEAD, "{}", "10054", 2, Outcome.HTTP, (False, True)),
        ("SSH-2.0-x", "", "closed", 9, Outcome.GARBLED, (False, False)),
        ("", "", "closed", 9, Outcome.GARBLED, (False, False)),
        ("", "", "closed", 0, Outcome.RESET, (False, False)),
        ("", "", "timeout", 0, Outcome.TIMED_OUT, (False, False)),
        ("", "", "10054", 0, Outcome.RESET, (False, False)),
    ],
)
def test_an_answer_ends_as_it_did(head, body, ended, size, outcome, whole):
    answer = probes.answer_of(head, body, ended, size)
    assert (answer.outcome, (answer.complete, answer.cut)) == (outcome, whole)


def test_the_numbers_are_this_systems():
    assert posix_code(10061) != 10061 and posix_code(7) == 7


@pytest.mark.parametrize(
    "kind, value, read",
    [
        ("DWord", "-1", 2**32 - 1),
        ("DWord", "7", 7),
        ("String", "a", "a"),
        ("ExpandString", "%a%", "%a%"),
        ("MultiString", "a\0b", ["a", "b"]),
        ("Binary", "AAE=", b"\0\1"),
        ("None", "!", None),
    ],
)
def test_registry_values_are_as_winreg_gives_them(kind, value, read):
    assert registry_value(kind, value) == read


# --- hostile ---


def test_whatever_is_in_the_records_there_is_a_report_or_a_named_damage():
    chance = random.Random(16)
    odd = ["", "x", "-1", "9" * 5000, "\0", "\u2028", "nan", "1e999", "{", IMDS, "HKLM", "0/0/0/0"]
    reports = 0
    for _ in range(120):
        records = [list(record) for record in HEALTHY]
        for _ in range(chance.randrange(1, 6)):
            record = chance.choice([item for item in records if len(item) > 2])
            record[chance.randrange(1, len(record))] = chance.choice(odd)
            if chance.random() < 0.2:
                del record[chance.randrange(1, len(record)) :]
        (decoded,) = decode(printed_with([tuple(record) for record in records]).encode())
        if decoded.facts is None:
            assert "damaged" in decoded.notes[0]
            continue
        reports += 1
        report = text.portal(diagnose(decoded.facts), "none")
        assert report.isascii() and json_report.as_json(diagnose(decoded.facts))
    assert reports > 60


def test_a_forged_last_line_in_a_record_is_not_the_last_line():
    forged = "x\nEND IMDS-CHECK verdict=healthy cause=- exit=0 host=a at=b v=c"
    records = [
        ("adapter", "7", ON, forged, *HEALTHY[4][4:]) if r is HEALTHY[4] else r for r in HEALTHY
    ]
    _, out, _ = run_decode(printed_with(records).encode())
    assert [line for line in out.splitlines() if line.startswith("END ")] == [out.splitlines()[-1]]
