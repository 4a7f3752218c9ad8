"""What imds-check.ps1 brought alone is judged as what the exe saw: the same readers, rules and
reports. (tests/recorded has what it printed in the lab, tests/lab/script_alone.py prints it.)
"""

import hashlib
import json
import random
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

import pytest

from runcommand.diagnosis import diagnose
from runcommand.facts import Outcome
from runcommand.operator import block
from runcommand.operator.decode import decode
from runcommand.operator.material import facts_of
from runcommand.probes import recorded as probes
from runcommand.report import json_report, text
from runcommand.report.recorded import facts_of_report
from runcommand.simulator import pki
from runcommand.system.recorded import NO_ROOM, NO_TEXTS, NOT_ASKED, NOT_BEGUN, registry_value
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
    assert facts_of_report(content) == facts


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
    assert (found["activation"], found["raw"]) == (NOT_ASKED, NO_TEXTS)


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
        ("curl Connection refused", Outcome.REFUSED),
        ("curl Network unreachable", Outcome.UNREACHABLE),
        ("curl Host unreachable", Outcome.UNREACHABLE),
        ("curl Bad access", Outcome.FORBIDDEN),
        ("curl Timed out", Outcome.TIMED_OUT),
        ("curl 7", Outcome.FAILED),
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
        ("REG_SZ", "a", "a"),
        ("REG_DWORD", "7", 7),
        ("REG_MULTI_SZ", "a\\0b", ["a", "b"]),
        ("REG_BINARY", "0001", b"\0\1"),
        ("None", "!", None),
    ],
)
def test_registry_values_are_as_winreg_gives_them(kind, value, read):
    assert registry_value(kind, value) == read


# --- what the registry and netsh tell ---

NAMED = ("Ethernet", "Hyper-V", "6", "132")  # Characteristics: NCF_HAS_UI, NCF_PHYSICAL
OTHER = "{99999999-2222-3333-4444-555555555555}"
DEVICE = ("device", ON, *NAMED, "VMBUS\\{f8615163}\\1", "0")
INTERFACES = "SYSTEM\\CurrentControlSet\\Services\\Tcpip\\Parameters\\Interfaces"
LEASE = ("key", "HKLM", f"{INTERFACES}\\{OTHER}", "EnableDHCP", "DWord", "1")


def disabled(flags="1"):
    return ("device", OTHER, "Ethernet 2", *NAMED[1:], "VMBUS\\{f8615163}\\2", flags)


def adapters_with(*records):
    return {item.name: item for item in facts_of([*HEALTHY, *records]).adapters}


def test_a_device_with_a_driver_of_hardware_is_physical():
    assert adapters_with(DEVICE)["Ethernet"].physical
    assert not adapters_with()["Ethernet"].physical


@pytest.mark.parametrize(
    "devices, comes_first", [((disabled(), DEVICE), True), ((DEVICE, disabled()), False)]
)
def test_a_disabled_nic_is_there_and_in_the_order_of_its_driver(devices, comes_first):
    found = adapters_with(LEASE, *devices)
    assert found["Ethernet 2"].state.value == "down" and found["Ethernet 2"].physical
    assert (found["Ethernet 2"].index < found["Ethernet"].index) == comes_first


def test_a_nic_that_azure_took_away_is_none():
    assert set(adapters_with(LEASE, DEVICE, disabled("0"))) == {"Ethernet"}


def test_an_adapter_that_is_listed_and_not_up_has_no_link():
    records = [("adapter", *HEALTHY[4][1:7], "2", *HEALTHY[4][8:]) if r is HEALTHY[4] else r
               for r in HEALTHY]  # fmt: skip
    (adapter,) = facts_of([*records, DEVICE]).adapters
    assert adapter.state.value == "no-carrier"


@pytest.mark.parametrize("yes, no", [("true", "false"), ("wahr", "falsch"), ("vrai", "faux")])
def test_skip_as_source_is_read_in_any_language(yes, no):
    others = (("skip", "127.0.0.1", no), ("skip", "10.9.9.9", no))
    (own,) = adapters_with(*others, ("skip", NIC, yes))["Ethernet"].addresses
    assert own.skip_as_source
    (own,) = adapters_with(*others, ("skip", NIC, no))["Ethernet"].addresses
    assert not own.skip_as_source


def test_without_a_word_for_no_skip_as_source_is_not_known_and_a_note_says_so():
    facts = facts_of([*HEALTHY, ("skip", NIC, "true")])
    assert any("SkipAsSource is not known" in note.text for note in facts.notes)
    assert not facts.adapters[0].addresses[0].skip_as_source


FORBIDDEN = ("try", "imds", IMDS, "80", "", "", "10013", "0.0", INSTANCE)
FILTER = (
    "<item><filterKey>{8a}</filterKey><displayData><name>Contoso EDR</name></displayData>"
    "<layerKey>FWPM_LAYER_ALE_AUTH_CONNECT_V4</layerKey><filterCondition><item>"
    "<fieldKey>FWPM_CONDITION_IP_REMOTE_ADDRESS</fieldKey><matchType>FWP_MATCH_EQUAL</matchType>"
    "<conditionValue><type>FWP_UINT32</type><uint32>169.254.169.254</uint32></conditionValue>"
    "</item></filterCondition><action><type>FWP_ACTION_BLOCK</type></action></item>"
)


def test_a_filter_that_forbade_the_connect_is_read_as_netshs():
    records = [FORBIDDEN if record[1:2] == ("imds",) else record for record in HEALTHY]
    facts = facts_of([*records, ("filter", FILTER), ("done", "wfp_filters")])
    (rule,) = facts.wfp_filters
    assert (rule.name, rule.action.value) == ("Contoso EDR", "block")
    assert "Contoso EDR" in text.full(diagnose(facts), "none")


def test_without_filters_the_reason_is_named():
    records = [FORBIDDEN if record[1:2] == ("imds",) else record for record in HEALTHY]
    facts = facts_of([*records, ("missing", "wfp_filters", "netsh printed none")])
    assert any("netsh printed none" in note.text for note in facts.notes)


LISTED = (
    " 1...........................Software Loopback Interface 1\n"
    " 7...00 0d 3a 7f 20 04 ......Hyper-V\n"
    "Schnittstelle 1: Loopback Pseudo-Interface 1\nAndere Bevorzugt unendlich unendlich 127.0.0.1\n"
    f"Schnittstelle 7: Ethernet\nDhcp Bevorzugt 2d1h 2d1h {NIC}"
)


def test_the_lines_of_route_print_and_netsh_make_the_same_adapter():
    records = [record for record in HEALTHY if record[0] != "adapter"]
    on_link = ("route", "10.0.0.0", "255.255.255.0", "", NIC, "256")
    lease = ("key", "HKLM", f"{INTERFACES}\\{ON}", "EnableDHCP", "REG_DWORD", "1")
    lease += ("DhcpIPAddress", "REG_SZ", NIC, "DhcpServer", "REG_SZ", WIRE)
    facts = facts_of([*records, ("listed", LISTED), on_link, DEVICE, lease])
    loopback, adapter = facts.adapters
    (exe_s,) = facts_of([*HEALTHY, DEVICE]).adapters
    assert loopback.kind == "loopback"
    assert replace(adapter, lease_address=None) == exe_s


# --- the attested document, on standard error ---


NONCE = "1234567890"
WHAT = {"vmId": "9a1f0c86-4c43-4d3e-8a3f-1a6f6f2b7d11", "sku": "s", "subscriptionId": ""}


def with_document(kind, embedded=("issuing",), asked=NONCE):
    """A healthy VM's records, and that of the second block, as the script makes it."""
    path = f"/metadata/attested/document?api-version=2021-02-01&nonce={NONCE}"
    answer = '{"encoding":"pkcs7","signature":"-"}'
    now = datetime(2026, 11, 28, 10, tzinfo=timezone.utc)
    made = pki.document(kind, WHAT, NONCE, now, "AzurePublicCloud", "eastus", embedded)
    blank = []
    for name in embedded:
        other = pki.ISSUERS[name]()
        assert other in made
        made = made.replace(other, other[:4] + bytes(len(other) - 4))
        blank.append(hashlib.sha1(other).hexdigest().upper())
    record = ("document", asked, made.hex().upper(), *blank)
    return [*HEALTHY, sent("attested", answer, target=path)], [record]


@pytest.mark.parametrize(
    "kind, cause",
    [
        ("genuine", None),
        ("tampered", "attested-signature-invalid"),
        ("other-nonce", "attested-nonce-mismatch"),
        ("other-vm", "attested-vm-mismatch"),
        ("garbage", "attested-signature-invalid"),
    ],
)
def test_the_document_of_the_second_block_is_judged(kind, cause):
    embedded = ("issuing",)
    if kind == "garbage":
        embedded = ()
    records, document = with_document(kind, embedded)
    printed = {"value": [
        {"code": "ComponentStatus/StdOut/succeeded", "message": printed_with(records)},
        {"code": "ComponentStatus/StdErr/succeeded", "message": block.pack(document, "DOCUMENT")},
    ]}  # fmt: skip
    pasted = printed_with(records) + "\n" + block.pack(document, "DOCUMENT")
    for content in (json.dumps(printed), pasted):
        (decoded,) = decode(content.encode())
        assert diagnose(decoded.facts).cause == cause
        assert (decoded.notes, decoded.err) == ([], "")


def test_zeros_in_the_place_of_other_certificates_do_not_make_a_document_invalid():
    records, document = with_document("genuine")
    found = facts_of([*records, *document]).imds.document
    assert (found.signature.value, found.embedded, found.pkcs7) == ("valid", 2, "")


def test_a_document_without_the_second_block_is_not_judged_and_says_why():
    records, _ = with_document("tampered")
    (decoded,) = decode(printed_with(records).encode())
    assert decoded.facts.imds.document.reason == probes.NOT_HERE
    no_room = [*records, ("left", "document", "1")]
    assert facts_of(no_room).imds.document.reason == probes.NO_ROOM
    assert diagnose(decoded.facts).cause is None


def test_the_document_of_another_run_is_not_taken():
    records, document = with_document("tampered", asked="9999999999")
    found = facts_of([*records, *document]).imds.document
    assert (found.signature.value, found.reason) == ("unverifiable", probes.NOT_HERE)


def test_where_the_signer_s_own_certificate_is_blank_nothing_is_called_invalid():
    records, ((kind, nonce, digits, *blank),) = with_document("genuine")
    leaf = pki.leaf("metadata.azure.com", "eastus").hex().upper()
    assert leaf in digits
    digits = digits.replace(leaf, leaf[:8] + "0" * (len(leaf) - 8))
    found = facts_of([*records, (kind, nonce, digits, *blank, "AA")]).imds.document
    assert (found.signature.value, found.reason) == ("unverifiable", probes.NOT_KEPT)


def test_a_damaged_second_block_costs_only_the_document():
    records, document = with_document("tampered")
    packed = block.pack(document, "DOCUMENT")
    content = printed_with(records) + packed[:200] + packed[201:]
    (decoded,) = decode(content.encode())
    assert "The block with the attested document is damaged" in decoded.notes[0]
    assert decoded.facts.imds.document.reason == probes.NOT_HERE


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
