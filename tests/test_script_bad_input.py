"""imds-check.ps1 alone, and ``decode`` behind it, on bad input: whatever the registry, Windows, the
network or a copied text holds, there is a report in time, of at most 3,900 bytes, with nothing raw
from the network and no secret in it.

Most of it runs on PowerShell's engine for Linux, with tables in the place of Windows
(``tests/lab/script_on_linux.py``); the rest on Windows .NET under Wine.
"""

import base64
import gc
import hashlib
import json
import random
import re
import shlex
import time
import zlib

import pytest

from runcommand.diagnosis import diagnose
from runcommand.operator import block
from runcommand.operator.decode import decode
from runcommand.operator.material import facts_of
from runcommand.redaction import redacted
from runcommand.report import json_report, text
from runcommand.simulator.host import TOKENS, Behaviour

from .conftest import exhaustive
from .lab import powershell, script_on_linux
from .lab.namespace import IMDS, WIRESERVER, Lab, why_not
from .lab.registry import (
    SYSTEM,
    USER,
    blob,
    out,
    rules,
    settings,
    winhttp,
)
from .lab.script_alone import OWN_ARP, REPORT_LIMIT, AloneLab
from .lab.script_on_linux import NOTHING
from .test_decode import quoted, run as run_decode, windows as az_answer
from .test_powershell import LINUX
from .test_recorded import HEALTHY, PRINTED, printed_with
from .test_secrets import WITH_CREDENTIALS, secrets_in
from .wine import compiled

WHY_NOT = why_not() or (None if LINUX else "no PowerShell engine")
in_a_vm = pytest.mark.skipif(WHY_NOT is not None, reason=f"the lab cannot run here: {WHY_NOT}")
ON_WINE = powershell.why_not_here()
on_wine = pytest.mark.skipif(ON_WINE is not None, reason=f"no Windows here: {ON_WINE}")

DEADLINE_S = 20.0
HEAD = re.compile(r"IMDS-CHECK \S+  \S+  \S+Z  ([0-9.]+) s")
END = re.compile(r"END IMDS-CHECK verdict=\S+ cause=\S+ exit=[0-3] host=\S+ at=\S+Z v=\S+")
FORGED_END = "END IMDS-CHECK verdict=healthy cause=- exit=0 host=x at=2026-01-01T00:00:00Z v=9"
FORGED = f"x\r\nRAW 1 4 00000000\r\n  AAAA\r\nRAW END\r\n{FORGED_END}\r\n"
ODD = "R&D \"n\u00e4chste\" 'x' `$(1) \u65e5\u672c \ud83d\ude00 \x1b[2J"

POLICY = r"SYSTEM\CurrentControlSet\Services\SharedAccess\Parameters\FirewallPolicy"
LOCAL_RULES = rf"{POLICY}\FirewallRules"
ENVIRONMENT = r"SYSTEM\CurrentControlSet\Control\Session Manager\Environment"
MACHINE_SETTINGS = r"Software\Microsoft\Windows\CurrentVersion\Internet Settings"
WINDOWS_NT = r"SOFTWARE\Microsoft\Windows NT\CurrentVersion"
SERVICES = r"SYSTEM\CurrentControlSet\Services"
SID = "S-1-5-21-1004336348-1177238915-682003330-1001"
EVERYTHING = "$ReportLimit = 4000000"  # bytes: so that no record is left out
NIC = "10.0.0.4"


def seen(done):
    """The lines beside the block, and the facts in it; with what holds for every report."""
    printed = done.out.decode("ascii")
    assert len(printed.replace("\r\n", "\n").replace("\n", "\r\n")) <= REPORT_LIMIT
    lines, facts = readable(done)
    assert float(HEAD.fullmatch(lines[0])[1]) <= DEADLINE_S, lines[0]
    return lines, facts


def readable(done):
    """The same of a report of any length."""
    assert done.code == 0 and beside_documents(done) == "", done
    lines = done.out.decode("ascii").splitlines()
    assert END.fullmatch(lines[-1]) and all(line.isprintable() for line in lines)
    assert sum(line.startswith("END ") for line in lines) == 1
    begin, end = [number for number, line in enumerate(lines) if line.lstrip().startswith("RAW ")]
    assert lines[end] == "RAW END"
    (decoded,) = decode(done.out)
    assert decoded.notes == [] and decoded.facts is not None
    return [*lines[:begin], *lines[end + 1 :]], decoded.facts


def beside_documents(done):
    """What is on standard error beside the second block."""
    return block.without(done.err.decode("ascii"), block.DOCUMENT).strip()


def unpacked(done):
    """All that the blocks hold, with what is base64 in them read too."""
    found = []
    records = block.unpack(done.out.decode("ascii"))
    records += block.unpack(done.err.decode("ascii"), block.DOCUMENT) or []
    for record in records:
        for field in record:
            found.append(field)
            if re.fullmatch(r"[A-Za-z0-9+/]{8,}={0,2}", field) and len(field) % 4 == 0:
                found.append(base64.b64decode(field).replace(b"\0", b"").decode("latin-1"))
    return "\n".join(found)


def notes_on(facts, name):
    told = [note.text for note in facts.notes if note.fact == name]
    return " ".join(told + [item.reason for item in facts.unavailable if item.fact == name])


# --- the registry ---

NAMED = {
    MACHINE_SETTINGS: ("ProxyEnable", "ProxyServer", "ProxyOverride", "AutoConfigURL"),
    rf"{MACHINE_SETTINGS}\Connections": ("WinHttpSettings", "DefaultConnectionSettings"),
    ENVIRONMENT: ("http_proxy", "all_proxy", "no_proxy"),
    rf"{POLICY}\PublicProfile": ("EnableFirewall", "DefaultOutboundAction"),
    LOCAL_RULES: ("rule",),
    rf"{WINDOWS_NT}\NetworkList\Profiles": (),
    rf"{WINDOWS_NT}\NetworkList\Profiles\{{1}}": ("Category",),
    rf"{SERVICES}\Tcpip\Parameters\PersistentRoutes": ("169.254.169.254,0,x,1", "a\tb\n"),
    WINDOWS_NT: ("ProductName", "CurrentBuildNumber", "UBR"),
    rf"{SERVICES}\mssmbios\Data": ("SMBiosData",),
    rf"{SERVICES}\MpsSvc": ("Start",),
    r"SOFTWARE\Policies\Microsoft\Windows\CurrentVersion\Internet Settings": (
        "ProxySettingsPerUser",
    ),
}
OF_USERS = {
    rf"{SID}\{MACHINE_SETTINGS}": NAMED[MACHINE_SETTINGS],
    rf"{SID}\{MACHINE_SETTINGS}\Connections": ("DefaultConnectionSettings",),
    rf"{SID}\Environment": NAMED[ENVIRONMENT],
}


def each(names, value):
    return {path: dict.fromkeys(values, value) for path, values in names.items()}


@in_a_vm
@pytest.mark.parametrize(
    "value",
    [
        pytest.param(-1, id="a DWORD"),
        pytest.param(2**63 - 1, id="a QWORD"),
        pytest.param(-(2**63), id="a QWORD with a sign", marks=exhaustive),
        pytest.param(b"\xff\0\x01\x80" * 9, id="bytes"),
        pytest.param(["a", "", "\u65e5\0"], id="several texts"),
        pytest.param("", id="nothing", marks=exhaustive),
        pytest.param(ODD, id="a text"),
    ],
)
def test_values_of_any_type_cost_no_report(tmp_path, value):
    machine, users = each(NAMED, value), each(OF_USERS, value)
    done = script_on_linux.run(tmp_path, machine=machine, users=users)
    _, facts = seen(done)
    assert facts.firewall or "neither rules nor profiles" in notes_on(facts, "firewall")
    for fact in (facts.proxies, facts.persistent_routes, facts.services, facts.machine):
        assert fact is not None


@in_a_vm
def test_values_of_a_megabyte_are_left_out_and_a_note_says_so(tmp_path):
    long = "a:1 b@" * 170_000
    machine = {**each(NAMED, long), WINDOWS_NT: {"ProductName": "Windows 9", "UBR": b"x" * 10**6}}
    users = each(OF_USERS, long)
    _, facts = seen(script_on_linux.run(tmp_path, machine=machine, users=users))
    assert facts.machine.os_name == "Windows 9"
    assert "no room" in notes_on(facts, "proxies") and facts.proxies == ()


RULES = r"""
$rules = [Collections.Specialized.OrderedDictionary]::new()
foreach ($number in 1..20000) {
    $conditions = "Protocol=6|RA4=ADDRESS|Name=$number"
    $rules["{$number}"] = "v2.31|Action=Block|Active=TRUE|Dir=Out|$conditions|"
}
$Machine.Keys['PATH'] = $rules
"""


@in_a_vm
@pytest.mark.parametrize(
    "address, fits", [(IMDS, True), ("10.1.$($number -shr 8).$($number -band 255)", False)]
)
def test_of_20000_rules_the_report_has_those_that_fit_and_the_number_of_the_others(
    tmp_path, address, fits
):
    more = RULES.replace("ADDRESS", address).replace("PATH", LOCAL_RULES)
    _, facts = seen(script_on_linux.run(tmp_path, more=more))
    assert facts.firewall.rules_read == 20000
    assert (len(facts.firewall.rules) > 5) == fits  # no other one could stop what goes to IMDS
    assert "no room" in notes_on(facts, "firewall")


@in_a_vm
def test_what_an_ordinary_user_may_not_read_is_a_note_and_the_rest_is_there(tmp_path):
    denied = "Requested registry access is not allowed."
    machine = {
        **dict.fromkeys(NAMED, denied),
        **{rf"{SERVICES}\{name}": denied for name in ("BFE", "RdAgent")},
        rf"{SERVICES}\Dhcp": {"Start": 2},
        rf"{POLICY}\PublicProfile": {"EnableFirewall": 1},
    }
    users = {**dict.fromkeys(OF_USERS, denied), rf"S-1-5-18\{MACHINE_SETTINGS}": {"AutoDetect": 1}}
    printed = {**NOTHING, "sc": b"[SC] OpenService FAILED 5:\r\n\r\nAccess is denied.\r\n"}
    _, facts = seen(script_on_linux.run(tmp_path, machine=machine, users=users, printed=printed))
    for fact in ("firewall", "proxies", "machine", "persistent_routes"):
        assert "registry access is not allowed" in notes_on(facts, fact), fact
    assert facts.proxies[0].auto_detect
    assert [(item.name, item.state.value) for item in facts.services] == [("Dhcp", "unknown")]
    assert [item.enabled for item in facts.firewall.profiles if item.name == "public"] == [True]


@in_a_vm
@pytest.mark.parametrize("name", [ODD, f"{FORGED}\ud800"], ids=["odd", "forged"])
def test_names_of_any_characters_stay_names(tmp_path, name):
    rule = f"v2.31|Action=Block|Active=TRUE|Dir=Out|RA4={IMDS}|Name={name}|"
    machine = {
        LOCAL_RULES: {name: rule},
        rf"{SERVICES}\Tcpip\Parameters\PersistentRoutes": {name: ""},
        ENVIRONMENT: {"http_proxy": f"{name}:80", "no_proxy": name},
    }
    users = {rf"S-1-5-21-{name}\Environment": {"http_proxy": "10.0.0.9:80"}}
    more = f"$odd = {script_on_linux.text(name)}\n" + NAMED_ADAPTER
    lines, facts = seen(script_on_linux.run(tmp_path, machine=machine, users=users, more=more))
    assert [adapter.mac for adapter in facts.adapters] == ["00-0D-3A-7F-20-04"]
    assert len(facts.firewall.rules) == 1
    assert not any(line.startswith(("RAW", "  AAAA")) for line in lines)
    for some in (facts, redacted(facts)):
        report = text.portal(diagnose(some), "none")
        assert report.isascii() and sum(map(is_end, report.splitlines())) == 1


NAMED_ADAPTER = script_on_linux.ADAPTER.replace("'Ethernet', 'Hyper-V'", "$odd, $odd").replace(
    '\'  7 "Ethernet"', '"  7 `"$odd`"" + \''
)


def is_end(line):
    return line.startswith("END ")


# --- a Windows of another language ---

LANGUAGES = {  # on-link, dynamic, static, interface, the state of a service, listening, waiting
    "English": ("cp437", "On-link", "dynamic", "static", "Interface:", "STATE", "LISTENING"),
    "German": (
        *("cp850", "Auf Verbindung", "dynamisch", "statisch", "Schnittstelle:", "STATUS"),
        "ABH\u00d6REN",
    ),
    "French": (
        "cp850",
        "On-link",
        "dynamique",
        "statique",
        "Interface\u00a0:",
        "\u00c9TAT",
        "LISTENING",
    ),
    "Japanese": (
        *("cp932", "\u30ea\u30f3\u30af\u4e0a", "\u52d5\u7684", "\u9759\u7684"),
        *("\u30a4\u30f3\u30bf\u30fc\u30d5\u30a7\u30a4\u30b9:", "\u72b6\u614b", "LISTENING"),
    ),
    "Chinese": (
        *("cp936", "\u5728\u94fe\u8def\u4e0a", "\u52a8\u6001", "\u9759\u6001", "\u63a5\u53e3:"),
        *("\u72b6\u6001", "LISTENING"),
    ),
    "Russian": (
        *(
            "cp866",
            "On-link",
            "\u0434\u0438\u043d\u0430\u043c\u0438\u0447\u0435\u0441\u043a\u0438\u0439",
        ),
        *("\u0441\u0442\u0430\u0442\u0438\u0447\u0435\u0441\u043a\u0438\u0439",),
        *("\u0418\u043d\u0442\u0435\u0440\u0444\u0435\u0439\u0441:",),
        *("\u0421\u043e\u0441\u0442\u043e\u044f\u043d\u0438\u0435", "LISTENING"),
    ),
}


NO_PROCESS = 2_000_000_000  # has no name on this machine


def printed_in(language):
    """What the four programs print in a language, in its code page."""
    code_page, on_link, dynamic, static, interface, state, listening = LANGUAGES[language]
    route = f"""
          0.0.0.0          0.0.0.0         10.0.0.1         {NIC}     10
         10.0.0.0    255.255.255.0   {on_link:>14}         {NIC}    266
  169.254.169.254  255.255.255.255         10.0.0.1         {NIC}     11
"""
    arp = f"""
{interface} {NIC} --- 0x7
  Internet Address      Physical Address      Type
  10.0.0.1              12-34-56-78-9a-bc     {dynamic}
  10.0.0.9                                    {dynamic}
  224.0.0.22            01-00-5e-00-00-16     {static}
"""
    netstat = f"""
  TCP    127.0.0.1:3080         0.0.0.0:0              {listening}       {NO_PROCESS}
  TCP    {NIC}:50123         {IMDS}:80     {static}       0
"""
    sc = f"""
SERVICE_NAME: MpsSvc
        {state + " X":<18} : 20  WIN32_SHARE_PROCESS
        {state:<18} : 4  RUNNING
"""
    told = {"route": route, "arp": arp, "netstat": netstat, "sc": sc}
    return {name: what.replace("\n", "\r\n").encode(code_page) for name, what in told.items()}


def told_in(tmp_path, language):
    machine = {rf"{SERVICES}\MpsSvc": {"Start": 2}}
    done = script_on_linux.run(tmp_path, machine=machine, printed=printed_in(language))
    lines, facts = seen(done)
    assert f"> {IMDS} 255.255.255.255 10.0.0.1        {NIC}           11" in lines
    return facts.routes, facts.neighbours, facts.listeners, facts.connections, facts.services


@pytest.fixture(scope="module")
def in_english(tmp_path_factory):
    return told_in(tmp_path_factory.mktemp("english"), "English")


@in_a_vm
def test_what_windows_prints_is_read(in_english):
    routes, neighbours, listeners, connections, services = in_english
    assert [route.gateway for route in routes] == ["10.0.0.1", "10.0.0.1", None]
    assert [item.state.value for item in neighbours] == ["reachable", "incomplete", "permanent"]
    assert [item.port for item in listeners] == [3080] and connections == ()
    assert [item.state.value for item in services] == ["running"]


@in_a_vm
@pytest.mark.parametrize(
    "language",
    [
        "German",
        "Japanese",
        "Russian",
        pytest.param("French", marks=exhaustive),
        pytest.param("Chinese", marks=exhaustive),
    ],
)
def test_a_windows_of_another_language_is_read_as_an_english_one(tmp_path, in_english, language):
    assert told_in(tmp_path, language) == in_english


# --- the network ---

OK = b"HTTP/1.1 200 OK\r\n"
TYPE = b"Content-Type: application/json\r\n"
VM_ID = "9a1f0c86-4c43-4d3e-8a3f-1a6f6f2b7d11"


def of_json(value):
    body = json.dumps(value).encode()
    return OK + TYPE + b"Content-Length: %d\r\n\r\n" % len(body) + body


FORGED_HEAD = f"HTTP/1.1 200 {FORGED}Server: {FORGED}Via: {FORGED}\r\n<title>{FORGED}"
CONTROLS = b"HTTP/1.1 200 \x1b[2J\x07\r\nServer: \x1b]0;x\x07\0\r\n\r\n"
HOSTILE = {
    "10,000 headers": OK + b"".join(b"X-%d: y\r\n" % n for n in range(10_000)) + b"\r\n{}",
    "10,000 headers that are looked at": OK + b"Via: %s\r\n" % (b"z-" * 300) * 10_000 + b"\r\n{}",
    "control characters": CONTROLS + b'{"\x1b[31m": \x80}',
    "forged in the body": of_json({"compute": {"vmId": FORGED, "name": FORGED}, "error": FORGED}),
    "forged lines": OK + b"\r\n" + FORGED.encode(),
    "forged in the head": FORGED_HEAD.encode(),
    "forged instead of a head": f"{FORGED}\r\n\r\n".encode(),
    "chunks of one byte": OK + b"Transfer-Encoding: chunked\r\n\r\n" + b"1\r\n[\r\n" * 170_000,
    "nested deeply": OK + b"\r\n" + b"[" * 400_000,
    "many values": of_json({"apiVersions": ["x" * 5000] * 60, **{str(n): n for n in range(9000)}}),
}


# What is read and kept as another one is.
ALIKE = ("10,000 headers", "forged lines", "forged instead of a head", "many values")


@pytest.mark.parametrize(
    "how", [pytest.param(how, marks=exhaustive if how in ALIKE else []) for how in HOSTILE]
)
@in_a_vm
def test_a_hostile_imds_is_no_imds_and_nothing_of_it_is_in_the_report(tmp_path, how):
    with Lab(Behaviour(), ((IMDS, 80),)) as lab:
        lab.answer(IMDS, 80, HOSTILE[how])
        lines, facts = seen(script_on_linux.run(tmp_path, lab=lab))
    assert not any("AAAA" in line or "verdict=healthy" in line for line in lines)
    diagnosis = diagnose(facts)
    assert (diagnosis.verdict.value, diagnosis.cause) == ("broken", "imds-not-imds")
    report = text.portal(diagnosis, "none").splitlines()
    assert sum(map(is_end, report)) == 1 and report[-1].startswith("END ")


PROXIES = {"http_proxy": "http://10.0.0.50:3128"}


@in_a_vm
def test_a_forging_proxy_is_one_that_does_not_reach_imds(tmp_path):
    with Lab() as lab:
        lab.answer("10.0.0.50", 3128, HOSTILE["forged in the head"])
        lines, facts = seen(script_on_linux.run(tmp_path, lab=lab, variables=PROXIES))
    assert not any("AAAA" in line or "verdict=healthy" in line for line in lines)
    assert diagnose(facts).cause == "proxy-intercepts-imds"


@in_a_vm
def test_where_everything_hangs_the_report_comes_within_the_deadline(tmp_path):
    """IMDS, the WireServer, two proxies, two names, and every program of Windows."""
    several = "10.0.0.50:3128 10.0.0.50:3129 a.invalid:1 b.invalid:2"
    silent = Behaviour(instance="silent", wireserver="silent")
    with Lab(silent) as lab:
        for port in (3128, 3129):
            lab.web("10.0.0.50", port, "silent")
        done = script_on_linux.run(
            tmp_path,
            lab=lab,
            printed={},
            variables={"http_proxy": several},
            arguments="-Arguments:--deadline=8",
        )
    lines, facts = seen(done)
    assert float(HEAD.fullmatch(lines[0])[1]) <= 8
    assert facts.imds.attempts[0].outcome.value == "timed-out"
    assert facts.lookups is not None and facts.proxies is not None
    for fact in ("routes", "neighbours"):
        assert re.search("did not end|no time left", notes_on(facts, fact)), fact


@in_a_vm
def test_imds_is_asked_no_more_than_three_times_in_a_second(tmp_path):
    one = "$LocalAddresses[$LocalAddresses.Count] = '10.0.0.4'"
    several = f"foreach ($number in 1..4) {{ {one} }}"
    assert one in script_on_linux.ADAPTER
    with Lab(Behaviour(instance="html")) as lab:
        more = script_on_linux.ADAPTER.replace(one, several)
        seen(script_on_linux.run(tmp_path, lab=lab, more=more))
        asked = [at for at, path in lab.requests() if path.startswith("/metadata")]
    assert len(asked) == 1 + 4
    # nearly: the server may have noticed the first of them a little later
    assert min(last - first for first, last in zip(asked, asked[3:])) > 0.8


# --- secrets ---

WORDS = ("hunter2", "S3cret", "4711")
NAMED_SECRETS = 'password=hunter2, x-api-key: S3cret, {"token":"hunter2"}, Basic aHVudGVyMg=='


def secrets_beside(*texts):
    """Which secrets are in some texts; ``token=`` alone and the like are none."""
    found = set(secrets_in(*texts)) - {"sig=", "token="}
    return sorted(
        found | {"aHVudGVyMg"} & {word for word in ["aHVudGVyMg"] if word in "".join(texts)}
    )


@in_a_vm
def test_no_password_in_any_form_of_a_setting_leaves_the_vm(tmp_path):
    machine, users = {}, {}
    for number, proxy in enumerate(WITH_CREDENTIALS):
        sid = f"S-1-5-21-1-2-3-{number}"
        pac = f"{proxy}/p.pac?a=1;sig=S3cret&b=hunter2#S3cret"
        users |= {
            rf"{sid}\{MACHINE_SETTINGS}": {
                "ProxyEnable": 1,
                "ProxyServer": f"http={proxy};https={proxy}",
                "ProxyOverride": f"<local>;{proxy}",
                "AutoConfigURL": pac,
            },
            rf"{sid}\{MACHINE_SETTINGS}\Connections": {
                "DefaultConnectionSettings": blob(0x46, 7, proxy, proxy, pac)
            },
            rf"{sid}\Environment": {"http_proxy": [proxy, proxy], "no_proxy": proxy},
            rf"{sid}-9\{MACHINE_SETTINGS}": {
                "ProxyServer": [pac, proxy],
                "ProxyOverride": proxy.encode("utf-16-le"),
                "AutoConfigURL": pac.encode(),
            },
        }
    machine = {
        rf"{MACHINE_SETTINGS}\Connections": {
            "WinHttpSettings": blob(0x18, 3, *WITH_CREDENTIALS[:2])
        },
        ENVIRONMENT: {"http_proxy": WITH_CREDENTIALS[0], "API_KEY": "S3cret"},
        r"SOFTWARE\Contoso": {"Password": "hunter2"},
        LOCAL_RULES: {
            "{1}": out(f"RA4={IMDS}|Desc=password=hunter2|EmbedCtxt=S3cret|").replace(
                "Name=Lab rule", f"Name={NAMED_SECRETS}"
            )
        },
    }
    variables = {"AZURE_CLIENT_SECRET": "S3cret", "all_proxy": WITH_CREDENTIALS[4]}
    done = script_on_linux.run(
        tmp_path, machine=machine, users=users, more=EVERYTHING, variables=variables
    )
    lines, facts = readable(done)
    raw = unpacked(done)
    assert raw.count("\nAutoConfigURL\n") == 2 * len(WITH_CREDENTIALS) and "|Name=" in raw
    assert secrets_beside("\n".join(lines), raw) == []
    assert facts.proxies and secrets_beside(json_report.as_json(diagnose(facts))) == []


@in_a_vm
@pytest.mark.parametrize(
    "how", ["token-json", "token-html", pytest.param("redirect", marks=exhaustive)]
)
def test_no_token_in_an_answer_leaves_the_vm(tmp_path, how):
    told = f"<html><title>{NAMED_SECRETS}</title>{TOKENS}".encode()
    answer = f"HTTP/1.1 503 {TOKENS}\r\nServer: {NAMED_SECRETS}\r\nVia: {TOKENS}\r\n\r\n".encode()
    with Lab(Behaviour(instance=how)) as lab:
        lab.answer("10.0.0.50", 3128, answer + told)
        done = script_on_linux.run(tmp_path, lab=lab, more=EVERYTHING, variables=PROXIES)
    lines, _ = readable(done)
    assert "<title>" in unpacked(done) or how != "token-html"
    assert secrets_beside("\n".join(lines), unpacked(done)) == []


@in_a_vm
def test_of_a_healthy_answer_no_secret_leaves_the_vm(tmp_path):
    with Lab() as lab:
        done = script_on_linux.run(tmp_path, lab=lab, more=EVERYTHING)
    lines, facts = readable(done)
    assert diagnose(facts).cause is None and VM_ID in unpacked(done)
    assert secrets_beside("\n".join(lines), unpacked(done)) == []


# --- on Windows .NET ---


def on_windows(done):
    lines, facts = seen(done)
    return lines, facts, diagnose(facts)


@on_wine
def test_two_hundred_nics_odd_names_and_a_full_disk_cost_no_report():
    odd = "n\u00e4'\"`$1"
    proxies = settings(SYSTEM, f"{odd} \u65e5\u672c:80", odd) + settings(USER, "10.9.9.9:1", odd)
    with AloneLab() as lab:
        lab.registry(proxies + rules(out(f"App=C:\\{odd}.exe|RA4={IMDS}|")))
        lab.ip(*(f"link add br{number} type bridge" for number in range(200)))
        lab.ip(*(f"addr add 172.16.{number}.1/24 dev br{number}" for number in range(200)))
        lab.ip(*(f"link set br{number} up" for number in range(200)))
        lab.vm(f"ip link set br7 down name {shlex.quote(odd)}")
        lab.warm_up()
        lab.vm(powershell.FILL)
        lines, facts, diagnosis = on_windows(lab.alone())
    assert diagnosis.verdict.value in ("healthy", "degraded") and "no room" in notes_on(
        facts, "adapters"
    )
    assert any(line.startswith("  (+") for line in lines)
    assert "eth0" in [adapter.name for adapter in facts.adapters]


HANGING_SC = {"WINEDLLOVERRIDES": f"{OWN_ARP['WINEDLLOVERRIDES']};sc.exe=n"}


@on_wine
def test_a_service_manager_and_a_proxy_that_hang_cost_their_own_facts_alone():
    with AloneLab() as lab:
        lab.web("10.0.0.50", 3128, "silent")
        lab.registry(winhttp("10.0.0.50:3128", WIRESERVER))
        lab.warm_up()
        lab.put(f"{powershell.DRIVE_C}/windows/system32/sc.exe", compiled("hang.c"))
        _, facts, diagnosis = on_windows(lab.alone({}, HANGING_SC))
    assert diagnosis.cause == "proxy-intercepts-imds"
    assert "sc.exe did not end" in notes_on(facts, "services")
    assert facts.proxy_trials[0].imds.outcome.value == "timed-out"
    assert facts.routes and facts.adapters


# --- decode: on its way ---

WHOLE = next(path for path in PRINTED if path.stem == "route-wrong-interface").read_bytes().decode()
WHOLE = WHOLE.replace("\r\n", "\n")
BEGIN_LINE = next(line for line in WHOLE.splitlines() if line.startswith("RAW 1 "))
LAST_LINE = WHOLE.splitlines()[-1]


def trimmed(report):
    return "\n".join(line.strip() for line in report.splitlines())


def blank_lines(report):
    return report.replace("\n", "\n\n")


WAYS = {
    "as it was printed": lambda report: report,
    "CRLF": lambda report: report.replace("\n", "\r\n"),
    "trimmed": trimmed,
    "trimmed, CRLF": lambda report: trimmed(report).replace("\n", "\r\n"),
    "indented": lambda report: quoted(report, "    "),
    "quoted": lambda report: quoted(report, "> "),
    "quoted twice, trimmed": lambda report: quoted(trimmed(report), "> > "),
    "blank lines between": blank_lines,
    "in a letter": lambda report: f"Hello,\n\n{quoted(report, '> ')}\nRegards\n",
    "an answer of az": lambda report: json.dumps(az_answer(report.replace("\n", "\r\n"))),
    "a quoted answer of az": lambda report: quoted(json.dumps(az_answer(report), indent=1), "> "),
    "the last 4,096 bytes": lambda report: ("x" * 5000 + "\n" + report)[-4096:],
}


def judged_again(content):
    (decoded,) = decode(content.encode())
    return json_report.as_json(diagnose(decoded.facts)), decoded.exit_code


@pytest.mark.parametrize("way", WAYS)
def test_a_report_is_the_same_on_any_way(way):
    assert judged_again(WAYS[way](WHOLE)) == judged_again(WHOLE)


# --- decode: damage ---


def only(content):
    (decoded,) = decode(content.encode())
    return decoded


def damaged(content):
    """What is said of a report whose last line is there and whose block cannot be read."""
    decoded = only(content)
    assert decoded.facts is None
    assert decoded.exit_code == 1 and decoded.report.rstrip().endswith(LAST_LINE)
    notes = [note for note in decoded.notes if note.startswith("The block of raw material")]
    (note,) = notes
    assert "\n" not in note and note.endswith(
        ". What the report itself says still counts. To get the cause, run the script again and "
        "decode its whole output."
    )
    return note


def packed_as(version, content):
    """The report with another block."""
    characters = base64.b64encode(content).decode()
    checksum = hashlib.sha256(characters.encode()).hexdigest()[:8]
    packed = f"RAW {version} {len(characters)} {checksum}\n  {characters}\nRAW END\n"
    begin, end = WHOLE.index(BEGIN_LINE), WHOLE.index("END IMDS-CHECK")
    return WHOLE[:begin] + packed + WHOLE[end:]


def deflated(content):
    deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
    return deflate.compress(content) + deflate.flush()


AT = WHOLE.index(BEGIN_LINE) + len(BEGIN_LINE) + 500  # a place within the block
RECORD = b"adapter\t7\n"
DAMAGE = {
    "cut at the beginning": (
        WHOLE[AT:],
        "its first line is missing: the beginning of the text was",
    ),
    "cut as Run Command does": ((WHOLE + "y\n" * 1500)[-4096:], "the beginning of the text was"),
    "a character lost": (WHOLE[:AT] + WHOLE[AT + 1 :], "characters are there"),
    "a line lost": (WHOLE.replace(WHOLE[AT : AT + 300].split("\n")[1], ""), "characters are there"),
    "a character changed": (WHOLE[:AT] + "!" + WHOLE[AT + 1 :], "characters are there"),
    "another character": (
        WHOLE[:AT] + "x" + WHOLE[AT + 1 :].replace("x", "y", 1),
        "changed on the",
    ),
    "a character too many": (WHOLE[:AT] + "A" + WHOLE[AT:], "were sent"),
    "its first line changed": (WHOLE.replace("RAW 1 ", "RAW 1,"), "its first line was changed"),
    "its first line lost": (WHOLE.replace(BEGIN_LINE + "\n", ""), "its first line is missing"),
    "its last line lost": (WHOLE.replace("RAW END\n", ""), "its end is missing"),
    "two blocks": (WHOLE.replace(LAST_LINE, "") + WHOLE, "there are 2 of them"),
    "a newer version": (packed_as(7, deflated(RECORD)), "has version 7, which a newer imds-check"),
    "no DEFLATE": (packed_as(1, b"\xff\xff"), "it cannot be unpacked"),
    "no end of DEFLATE": (packed_as(1, deflated(RECORD)[:-2]), "it cannot be unpacked"),
    "no UTF-8": (packed_as(1, deflated(b"\xff")), "it holds no UTF-8 text"),
    "without an end": (packed_as(1, deflated(b"\0" * (40 << 20))), "larger than 1,048,576 bytes"),
    "20,000 records": (packed_as(1, deflated(RECORD * 20_000)), "it holds 20,000 records"),
    "an unknown root": (packed_as(1, deflated(b"key\tHKXX\ta\tb\tString\tc")), "it holds records"),
}


@pytest.mark.parametrize("what", DAMAGE)
def test_each_damage_has_its_sentence_and_the_short_report_counts(what):
    content, said = DAMAGE[what]
    assert said in damaged(content)


def test_any_character_of_the_block_that_is_lost_or_changed_is_noticed():
    begin, end = WHOLE.index(BEGIN_LINE), WHOLE.index("RAW END")
    for at in range(begin, end, 23):
        if WHOLE[at] in " \n":
            continue
        other = "B" if WHOLE[at] != "B" else "C"
        for changed in (WHOLE[:at] + WHOLE[at + 1 :], WHOLE[:at] + other + WHOLE[at + 1 :]):
            assert damaged(changed)


def test_where_only_the_end_was_cut_off_the_block_is_judged():
    decoded = only(WHOLE[: WHOLE.index(LAST_LINE)])
    assert diagnose(decoded.facts).cause == "route-wrong-interface"
    (note,) = decoded.notes
    assert "its last line is missing" in note and decoded.exit_code == 3


def test_where_the_end_is_cut_off_within_the_block_nothing_counts():
    decoded = only(WHOLE[:AT])
    assert (decoded.facts, decoded.report, decoded.exit_code) == (None, "", 3)
    assert "no line that begins with END IMDS-CHECK" in decoded.notes[0]
    assert "its end is missing" in decoded.notes[-1]


def test_where_only_the_beginning_was_cut_off_the_block_is_judged():
    decoded = only(WHOLE[300:])
    assert diagnose(decoded.facts).cause == "route-wrong-interface"
    (note,) = decoded.notes
    assert "The beginning of the report was cut off" in note


def test_of_two_runs_the_last_one_is_judged_and_the_reader_is_told():
    other = printed_with(HEALTHY)
    decoded = only(other + WHOLE)
    assert diagnose(decoded.facts).cause == "route-wrong-interface"
    assert decoded.notes == ["There are 2 reports in this text: this is the last one."]
    assert diagnose(only(WHOLE + other).facts).cause is None


@pytest.mark.parametrize("what", ["a character lost", "two blocks", "without an end"])
def test_the_command_prints_the_short_report_and_ends_with_its_code(what):
    code, printed, err = run_decode(DAMAGE[what][0])
    assert code == 1 and printed.rstrip().endswith(LAST_LINE)
    assert DAMAGE[what][1] in err and "Traceback" not in err


# --- decode: hostile records ---

FIELDS = [
    "",
    "x",
    "-1",
    "0",
    "1",
    "7",
    "80",
    "9" * 11,
    "9" * 5000,
    "-9223372036854775808",
    "\0",
    "\u2028",
    "\x1b[2J",
    "nan",
    "1e999",
    "{",
    "[[",
    "null",
    '{"compute":{"vmId":7}}',
    IMDS,
    NIC,
    "::1",
    "HKLM",
    "HKU",
    "0/0/0/0",
    f"{NIC}/99/3/4",
    "2026-11-28T10:00:00Z",
    "000D3A7F2004",
    "AAECAw==",
    "a\\b" * 300,
    FORGED_END,
    "HTTP/1.1 200 OK",
    "HTTP/1.1 abc\r\nContent-Length: -1",
    "whole",
    "10054",
    "99999999999",
]
KINDS = [
    *dict.fromkeys(record[0] for record in HEALTHY),
    "chain",
    "extension",
    "certificate",
    "document",
    "key",
    "rule",
    "rules",
    "nokey",
    "left",
    "missing",
    "neighbour",
    "tcp",
    "variable",
    "given",
    "nobody knows",
]


def mutated(chance, records):
    """Some records with fields of any kind, lost, doubled or of another order."""
    found = [list(record) for record in records]
    for _ in range(chance.randrange(1, 8)):
        record = chance.choice(found)
        how = chance.randrange(6)
        if how == 0:
            record[1:] = chance.choices(FIELDS, k=chance.randrange(30))
        elif how == 1:
            del record[chance.randrange(1, len(record) + 1) :]
        elif how == 2:
            record += chance.choices(FIELDS, k=3)
        elif how == 3:
            found.append([chance.choice(KINDS), *chance.choices(FIELDS, k=chance.randrange(15))])
        elif how == 4:
            found.append(list(record))
        elif len(record) > 1:
            record[chance.randrange(1, len(record))] = chance.choice(FIELDS)
    return [tuple(record) for record in found]


def reports_of(facts):
    for some in (facts, redacted(facts)):
        diagnosis = diagnose(some)
        yield text.portal(diagnosis, "none")
        yield json_report.as_json(diagnosis)


@pytest.mark.parametrize("seed", range(4))
def test_of_any_records_there_is_a_report_or_a_named_damage(seed):
    chance = random.Random(f"records {seed}")
    real = block.unpack(WHOLE)
    counts = {True: 0, False: 0}
    for number in range(40):
        records = mutated(chance, (HEALTHY, real)[number % 2])
        decoded = only(printed_with(records))
        counts[decoded.facts is not None] += 1
        if decoded.facts is None:
            assert "it holds records that no imds-check.ps1 sends" in decoded.notes[0]
            continue
        portal, whole, *_ = reports_of(decoded.facts)
        assert portal.isascii() and sum(map(is_end, portal.splitlines())) == 1
        assert len(portal.replace("\n", "\r\n")) <= REPORT_LIMIT and json.loads(whole)
    assert counts[True] > 20, counts


def test_every_kind_of_record_may_be_of_any_length():
    """A newer script may bring more fields, and an odd one fewer."""
    for kind in KINDS:
        for length in (0, 1, 2, 4, 9, 40):
            for field in ("", "7", "x"):
                records = [*HEALTHY, (kind, *[field] * length)]
                decoded = only(printed_with(records))
                assert decoded.facts or "no imds-check.ps1 sends" in decoded.notes[0], records[-1]


def test_of_a_mutated_text_there_is_always_one_answer():
    chance = random.Random("text")
    for _ in range(150):
        found = list(WHOLE)
        for _ in range(chance.randrange(1, 20)):
            at = chance.randrange(len(found))
            found[at : at + chance.choice((0, 1, 1, 80))] = chance.choice(
                ["", "A", "\n", "RAW ", "> ", "\0", "END ", "RAW END\n", LAST_LINE + "\n"]
            )
        for decoded in decode("".join(found).encode()):
            assert decoded.exit_code in (0, 1, 2, 3) and (decoded.report or decoded.notes)


MANY = {
    "tcp": lambda n: ("tcp", "LISTENING", "0.0.0.0", "80", "0.0.0.0", "0", str(n), "a.exe"),
    "key": lambda n: (
        "key",
        "HKU",
        f"S-1-5-21-{n}\\Environment",
        "http_proxy",
        "String",
        f"h{n}:1",
    ),
    "chain": lambda n: ("chain", "hand", "0", *["0", f"{n:040X}", "a", "b", "", ""] * 20),
    "extension": lambda n: ("extension", f"{n:040X}", "2.5.29.17", "MAA="),
    "rule": lambda n: ("rule", LOCAL_RULES, f"{{{n}}}", out(f"RA4={IMDS}|")),
    "try": lambda n: HEALTHY[1],
    "adapter": lambda n: ("adapter", str(n), f"{{{n}}}", *HEALTHY[4][3:]),
    "route": lambda n: ("route", f"10.{n >> 8}.{n & 255}.0", "255.255.255.0", "10.0.0.1", NIC, "1"),
}


@pytest.mark.parametrize("kind", MANY)
def test_thousands_of_records_take_time_in_proportion(kind):
    def seconds(count):
        records = [*HEALTHY, *map(MANY[kind], range(count))]
        taken = []
        for _ in range(3):
            gc.collect()  # not meanwhile: other tests have left much to look at
            began = time.process_time()
            facts_of(records)
            taken.append(time.process_time() - began)
        return min(taken)

    assert seconds(4000) < 10 * max(seconds(1000), 0.03)


def test_what_the_operator_mistyped_is_not_used_and_a_note_says_so():
    facts = facts_of([*HEALTHY, ("given", "eth0", "10.0.0.256")])
    assert (facts.expected.mac, facts.expected.ip) == (None, None)
    told = notes_on(facts, "expected")
    assert "no MAC address: eth0" in told and "no IPv4 address: 10.0.0.256" in told
