"""The real exe: made by ``build.py``, run under Wine, in the same namespaces as the program on
Linux.
"""

import hashlib
import json
import os
import re
import shutil
import struct
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from runcommand.facts import to_json
from runcommand.facts.decoding import facts_from_json
from runcommand.simulator import scenarios

from . import wine
from .clock import in_time
from .command import ROOT, imds_check
from .conftest import exhaustive
from .lab import windows
from .lab.certificates import CERTIFICATES, ON_WINDOWS
from .lab.namespace import IMDS, why_not
from .lab.registry import WINDOWS
from .lab.run import SIDE_BY_SIDE, run_all
from .lab.scenarios import SCENARIOS
from .lab.windows import WindowsLab
from .wine.exe import build as freeze, current

REASON = why_not() or wine.why_not()
pytestmark = pytest.mark.skipif(REASON is not None, reason=f"the lab cannot run the exe: {REASON}")
SHOWN = windows.shown()
NAMES = [scenario.name for scenario in SHOWN]
TELLING = [scenario.name for scenario in windows.telling()]
SIZE_LIMIT = int(5.6 * 1024 * 1024)


@pytest.fixture(scope="module")
def exe():
    return current()


@pytest.fixture(scope="module")
def seen(exe, request):
    everything = request.config.getoption("--exhaustive")
    chosen = [scenario for scenario in SHOWN if everything or scenario.name in TELLING]
    results = run_all(chosen, partial(WindowsLab, exe))
    return {scenario.name: result for scenario, result in zip(chosen, results)}


@pytest.fixture(scope="module")
def lab(exe):
    """One VM for all tests that change nothing in it."""
    with WindowsLab(exe) as lab:
        yield lab


def run(exe, *arguments, **more):
    """The exe outside any namespace: only for what sends nothing."""
    assert arguments and arguments[0] in ("demo", "replay", "explain", "--version")
    done = wine.run([str(exe), *map(str, arguments)], prefix=wine.prefix(), **more)
    return (
        done.code,
        done.out.decode("ascii").replace("\r\n", "\n"),
        done.err.decode("ascii").replace("\r\n", "\n"),
    )


# --- what build.py makes ---


def test_it_is_a_console_program_for_64_bits_with_its_version_and_small_enough(exe):
    content = exe.read_bytes()
    header = struct.unpack_from("<I", content, 0x3C)[0]
    assert content[header : header + 4] == b"PE\0\0"
    machine, magic = (
        struct.unpack_from("<H", content, header + 4)[0],
        struct.unpack_from("<H", content, header + 24)[0],
    )
    subsystem = struct.unpack_from("<H", content, header + 24 + 68)[0]
    assert (machine, magic, subsystem) == (0x8664, 0x20B, 3)  # x64, PE32+, console
    assert "Finds why an Azure VM".encode("utf-16-le") in content
    assert len(content) < SIZE_LIMIT


def test_the_checksums_are_those_of_what_is_there(exe):
    lines = (exe.parent / "SHA256SUMS").read_text().splitlines()
    made = [exe.parent / name for name in ("imds-check.exe", "imds-check.ps1", "imds-check.sh")]
    assert lines == [
        f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.name}"
        for file in made
        if file.exists()
    ]


@exhaustive  # .ci/run has it
def test_another_build_in_another_folder_is_the_same_bytes(exe, tmp_path, monkeypatch):
    ours = shutil.ignore_patterns("__pycache__", ".git", "dist", "build", "samples")
    shutil.copytree(ROOT, tmp_path / "a checkout", ignore=ours)
    content = exe.read_bytes()
    header = struct.unpack_from("<I", content, 0x3C)[0]
    made_for = struct.unpack_from("<I", content, header + 8)[0]  # the time of the commit
    monkeypatch.setenv("SOURCE_DATE_EPOCH", str(made_for))
    assert freeze(tmp_path / "a checkout").read_bytes() == content


# --- the lab ---


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[] if name in TELLING else exhaustive) for name in NAMES],
)
def test_verdict_and_cause(seen, name):
    scenario, found = next(item for item in SHOWN if item.name == name), seen[name]
    assert (found.verdict, found.cause) == (scenario.verdict, scenario.cause), found.report[
        "findings"
    ]
    if scenario in (*CERTIFICATES, *ON_WINDOWS):  # whose fixes are carried out under Wine too
        assert scenario.is_right(found.report), found.report["findings"]
        assert not scenario.heals or (found.after == "healthy" and found.executed > 0), (
            found.report["findings"][0]["fix"]
        )


def test_every_cause_that_is_in_the_vm_is_shown_in_every_run():
    told = [scenario for scenario in SHOWN if scenario.name in TELLING]
    in_the_vm = [item for item in SHOWN if not windows.differs_in_the_answer(item)]
    assert {scenario.cause for scenario in told} == {scenario.cause for scenario in in_the_vm}
    assert len(told) < len(SHOWN) and any(scenario.heals for scenario in told)


def test_what_wine_cannot_show_is_in_the_lab():
    assert set(windows.CANNOT) <= {scenario.name for scenario in SCENARIOS}
    assert (
        len(set(NAMES))
        == len(NAMES)
        == len(SCENARIOS) - len(windows.CANNOT) + 1 + len(WINDOWS) + len(CERTIFICATES + ON_WINDOWS)
    )


def test_fixes_are_commands_of_windows_with_this_vms_adapters(seen):
    commands = [
        (name, fix)
        for name, found in seen.items()
        for finding in found.report["findings"]
        for fix in finding["fix"]
        if fix["kind"] == "command" and fix["run_on"] == "vm"
    ]
    assert len(commands) > 30
    assert {fix["shell"] for _, fix in commands} == {"cmd", "powershell"}
    for name, fix in commands:
        for index in re.findall(r"(?: if |name=|neighbors |-InterfaceIndex )(\d+)", fix["text"]):
            assert int(index) in {
                adapter["index"] for adapter in seen[name].report["facts"]["adapters"]
            }, (name, fix)
    wrong_interface = [fix["text"] for name, fix in commands if name == "route-wrong-interface"]
    assert wrong_interface == [
        'ipconfig /renew "eth0"',
        "route delete 169.254.169.254",
        "route -p add 169.254.169.254 mask 255.255.255.255 10.0.0.1 if 2",
    ]


def test_the_facts_agree_with_ip_in_the_same_namespace(exe):
    with WindowsLab(exe) as lab:
        lab.vm("ip addr add 10.0.0.5/24 dev eth0")
        lab.vm("ip route add 10.9.0.0/16 via 10.0.1.1 dev eth1")
        facts = lab.diagnose()[0]["facts"]
        links = json.loads(lab.vm("ip -j addr show"))
        rows = json.loads(lab.vm("ip -4 -j route show table main"))
    assert {(a["index"], a["name"], a["mac"]) for a in facts["adapters"]} == {
        (
            link["ifindex"],
            link["ifname"],
            None if link["ifname"] == "lo" else link["address"].replace(":", "-").upper(),
        )
        for link in links
    }
    assert {
        (a["name"], held["address"], held["prefix"])
        for a in facts["adapters"]
        for held in a["addresses"]
    } == {
        (link["ifname"], held["local"], held["prefixlen"])
        for link in links
        for held in link["addr_info"]
        if held["family"] == "inet"
    }
    assert sorted(
        (r["destination"], r["gateway"] or "", r["interface"]) for r in facts["routes"]
    ) == sorted(
        (
            {"default": "0.0.0.0/0"}.get(
                row["dst"], row["dst"] if "/" in row["dst"] else f"{row['dst']}/32"
            ),
            row.get("gateway", ""),
            row["dev"],
        )
        for row in rows
    )
    lookup = facts["lookups"][0]
    assert (lookup["destination"], lookup["source"], lookup["route"]["gateway"]) == (
        IMDS,
        "10.0.0.4",
        "10.0.0.1",
    )
    neighbour = next(item for item in facts["neighbours"] if item["address"] == "10.0.0.1")
    assert (neighbour["mac"], neighbour["state"]) == ("12-34-56-78-9A-BC", "reachable")
    machine = facts["machine"]
    assert (machine["asset_tag"], machine["elevated"]) == ("7783-7084-3265-9085-8269-3286-77", True)
    assert ("WindowsAzureGuestAgent", "running", "auto") in [
        (s["name"], s["state"], s["start"]) for s in facts["services"]
    ]
    eth0 = next(adapter for adapter in facts["adapters"] if adapter["name"] == "eth0")
    assert (eth0["dhcp"], eth0["dhcp_server"], eth0["lease_gateway"]) == (
        True,
        "168.63.129.16",
        "10.0.0.1",
    )
    assert to_json(facts_from_json(facts)) == facts


def test_a_connection_to_imds_and_a_listener_are_seen(lab):
    script = (
        "import socket, subprocess, sys;"
        "held = socket.create_connection(('169.254.169.254', 80)); own = socket.socket(); "
        "own.bind(('127.0.0.1', 3080));"
        "own.listen(); print(held.getsockname()[1]); print(subprocess.run(sys.argv[1:], "
        "stdin=subprocess.DEVNULL, stdout=subprocess.PIPE).stdout.decode())"
    )
    done = lab.program(wine.PYTHON, "-c", script, f"Z:{lab.exe}", "--format", "json", "--no-files")
    port, report = done.out.decode().split("\n", 1)
    facts = json.loads(report)["facts"]
    held, *_ = [item for item in facts["connections"] if item["local_port"] == int(port)]
    # Wine knows no owner of a connection (process 0): so the exe's own ones cannot be told apart
    # here either
    assert (held["process"], held["pid"]) == ("-", 0)
    assert held["state"] in ("established", "close-wait")  # the host hangs up on who says nothing
    (listener,) = facts["listeners"]
    assert (listener["address"], listener["port"]) == ("127.0.0.1", 3080)


def test_registry_values_of_the_wrong_type_cost_facts_and_never_the_report(exe):
    with WindowsLab(exe) as lab:
        eth0 = windows.guid(lab.index("eth0"))
        interfaces = "System\\CurrentControlSet\\Services\\Tcpip\\Parameters"
        lab.forget_leases()
        lab.key(
            f"{interfaces}\\Interfaces\\{eth0}",
            '"EnableDHCP"="yes"',
            '"DhcpIPAddress"=dword:00000007',
            '"DhcpServer"=hex:00,ff,fe',
            '"DhcpDefaultGateway"=hex(7):00',
        )
        lab.key(
            f"{interfaces}\\PersistentRoutes",
            '"10.5.0.0,255.255.0.0,10.99.0.1,1"=""',
            '"nonsense"=""',
            '"1.2.3.4,255.0.255.0,10.0.0.1,1"=""',
            '",,,"=dword:1',
        )
        lab.key("Software\\Microsoft\\Windows NT\\CurrentVersion\\", '"UBR"="x"')
        report, _ = lab.diagnose()
    assert (report["verdict"], report["cause"]) == ("healthy", None)
    assert [item["destination"] for item in report["facts"]["persistent_routes"]] == ["10.5.0.0/16"]
    assert "route-stale-persistent" in [finding["cause"] for finding in report["findings"]]


# --- the same program as on Linux ---


def test_a_scenario_of_the_demo_has_the_cause_that_the_list_promises(exe, request):
    """Every twelfth: what all of them say is the same on every system (tests/test_demo.py)."""
    step = 1 if request.config.getoption("--exhaustive") else 12
    chosen = list(scenarios.BY_NAME)[::step]
    with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
        ran = dict(zip(chosen, pool.map(lambda name: run(exe, "demo", name), chosen)))
    for name, scenario in [(name, scenarios.BY_NAME[name]) for name in chosen]:
        assert f" cause={scenario.cause or '-'} " in ran[name][1].rstrip().rpartition("\n")[2], (
            name,
            ran[name],
        )


@pytest.mark.parametrize(
    "arguments",
    [
        ("--version",),
        ("demo", "--list"),
        ("explain",),
        ("explain", "route-wrong-interface"),
        ("demo", "nope"),
        ("replay", "nope.json"),
        ("explain", "nope"),
    ],
)
def test_it_says_what_the_program_says_on_linux(exe, arguments):
    there = imds_check(*arguments)
    assert run(exe, *arguments) == (there.code, there.out, there.err)


def test_a_recorded_run_is_judged_the_same(exe, lab, tmp_path):
    recorded = tmp_path / "report.json"
    recorded.write_text(lab.tool("--format", "json", "--no-files").stdout)
    there = imds_check("replay", recorded, "--format", "full")
    assert run(exe, "replay", f"Z:{recorded}", "--format", "full") == (
        there.code,
        there.out,
        there.err,
    )


@pytest.mark.parametrize(
    "arguments",
    [("--expected-mac", "xx"), ("--out", "C:\\nowhere"), ("--deadline", "-1"), ("nope",)],
)
def test_wrong_arguments_are_one_line_and_exit_code_2(lab, arguments):
    done = lab.tool(*arguments)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)


# --- as SYSTEM sees it ---

AS_SYSTEM = """
import json, os, subprocess, sys
command, environment, folder = json.loads(sys.argv[1])
done = subprocess.run(command, env={**os.environ, **environment}, cwd=folder,
    stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    creationflags=subprocess.DETACHED_PROCESS)
print(json.dumps([done.returncode, done.stdout.decode("oem"), done.stderr.decode("oem")]))
"""


def as_system(lab, *arguments, environment=None, folder="Z:\\proc"):
    """The exe without a console, with NUL as its input, in a folder where nothing can be written,
    its output in pipes.
    """
    # in capitals, as os.environ has them there: else both would be in the block
    variables = {name.upper(): value for name, value in (environment or {}).items()}
    request = json.dumps([[f"Z:{lab.exe}", *arguments], variables, folder])
    done = lab.program(wine.PYTHON, "-c", AS_SYSTEM, request)
    code, out, err = json.loads(done.out)
    return code, out.replace("\r\n", "\n"), err


def last_line(text):
    return text.rstrip("\n").rpartition("\n")[2]


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"TEMP": "Q:\\nowhere", "TMP": "Q:\\nowhere"},
        {"TEMP": "", "TMP": ""},
        {"TEMP": "Z:\\run\\lab\\full", "TMP": "Z:\\run\\lab\\full"},
        {"TEMP": "C:\\" + "x" * 300, "TMP": "relative"},
        {"FILLER": "x" * 32000},
        {
            "PYTHONHOME": "C:\\nowhere",
            "PYTHONPATH": "C:\\nowhere",
            "PYTHONOPTIMIZE": "2",
            "PYTHONIOENCODING": "utf-16",
        },
        {"PATH": "", "ProgramData": "Q:\\nowhere", "USERPROFILE": ""},
    ],
    ids=["usual", "temp-missing", "temp-empty", "temp-full", "temp-odd", "large", "python", "poor"],
)
def test_whatever_the_environment_the_report_comes(lab, environment):
    lab.vm("mkdir -p /run/lab/full")
    if "/run/lab/full" not in lab.vm("cat /proc/mounts"):
        lab.vm("mount -t tmpfs -o size=16k none /run/lab/full")
        lab.vm("dd if=/dev/zero of=/run/lab/full/all", check=False)
    code, out, err = as_system(lab, "--no-files", environment=environment)
    assert (code, err) == (0, "")
    assert last_line(out).startswith("END IMDS-CHECK verdict=healthy cause=- exit=0 host=labvm ")


def test_the_output_is_bounded_and_its_line_ends_count_twice(exe):
    with WindowsLab(exe) as lab:
        for number in range(60):
            lab.vm(f"ip link add br{number} type bridge")
            lab.vm(f"ip addr add 172.16.{number}.1/24 dev br{number}")
            lab.vm(f"ip link set br{number} up")
        lab.vm(f"ip route add {IMDS}/32 via 10.0.1.1 dev eth1")
        done = lab.program(str(exe), "--no-files")
    assert len(done.out) <= 3900 and done.out.count(b"\n") == done.out.count(b"\r\n")
    assert b"cause=route-wrong-interface exit=1" in done.out.splitlines()[-1]


# --- where it unpacks itself ---

DRIVE_C = f"{windows.PREFIX}/drive_c"
UNPACKED = f"{DRIVE_C}/Program Files/imds-check"
# Every variable that Windows or the bootloader could take a folder from.
FOLDERS = (
    *("ProgramFiles", "ProgramW6432", "ProgramData", "SystemDrive", "SystemRoot", "windir"),
    *("TEMP", "TMP", "USERPROFILE"),
)


@contextmanager
def silent_host(lab):
    """While IMDS does not answer the exe runs long enough to be watched."""
    lab.host(f"rule add pref 0 to {IMDS} blackhole")
    try:
        yield
    finally:
        lab.host(f"rule del pref 0 to {IMDS} blackhole")


def unpacked_folders(lab):
    return set(lab.vm(f"find {DRIVE_C} /run/lab -name _MEI*", check=False).splitlines())


def watched(lab, program):
    """What ``program()`` returns, and the folders into which the exe unpacked itself meanwhile."""
    seen = set()
    with ThreadPoolExecutor(1) as pool:
        ran = pool.submit(program)
        while not ran.done():
            seen |= unpacked_folders(lab)
            time.sleep(0.1)
    return ran.result(), seen


@pytest.mark.parametrize(
    "environment",
    [{}, dict.fromkeys(FOLDERS, "C:\\hostile"), dict.fromkeys(FOLDERS, "")],
    ids=["usual", "hostile", "none"],
)
def test_it_unpacks_itself_where_only_administrators_write(lab, environment):
    lab.tool("--version")  # starts Wine
    lab.vm(f"rm -rf '{UNPACKED}'")  # the exe makes it anew
    lab.vm(f"mkdir -p {DRIVE_C}/hostile")
    start = partial(as_system, lab, "--no-files", environment=environment, folder="C:\\hostile")
    with silent_host(lab):
        (code, out, err), seen = watched(lab, start)
    assert (code, err) == (1, "") and " cause=imds-no-answer " in last_line(out)
    assert {path.rpartition("/")[0] for path in seen} == {UNPACKED}
    left = lab.vm(f"find '{UNPACKED}' {DRIVE_C}/hostile").splitlines()
    assert left == [UNPACKED, f"{DRIVE_C}/hostile"]


def test_it_unpacks_itself_beside_the_exe_that_the_script_keeps(lab):
    lab.vm(f"mkdir -p '{UNPACKED}'")
    lab.write(f"{UNPACKED}/imds-check-0123456789abcdef.exe", "kept")
    with silent_host(lab):
        done, seen = watched(lab, partial(lab.tool, "--no-files"))
    assert done.returncode == 1 and {path.rpartition("/")[0] for path in seen} == {UNPACKED}
    assert lab.vm(f"ls '{UNPACKED}'").split() == ["imds-check-0123456789abcdef.exe"]
    lab.vm(f"rm -r '{UNPACKED}'")


NOT_CREATED = "LOADER: failed to create runtime-tmpdir path C:\\Program Files\\imds-check!"
NO_FOLDER = "Could not create temporary directory!"


@pytest.mark.parametrize(
    "commands, said",
    [
        ([f"mount -t tmpfs -o ro none '{DRIVE_C}/Program Files'"], [NOT_CREATED, NO_FOLDER]),
        ([f"mkdir -p '{UNPACKED}'", f"mount -t tmpfs -o ro none '{UNPACKED}'"], [NO_FOLDER]),
        ([f"rm -rf '{UNPACKED}'", f"touch '{UNPACKED}'"], [NO_FOLDER]),
    ],
    ids=["no folder yet", "a folder", "a file"],
)
def test_who_may_not_write_there_is_told_so_and_it_unpacks_nowhere_else(exe, commands, said):
    """What an ordinary user gets. (To Wine we are root: a read-only mount stands in for that.)"""
    with WindowsLab(exe) as lab:
        lab.start()
        for command in commands:
            lab.vm(command)
        done, seen = watched(lab, partial(lab.tool, "--no-files"))
    assert (done.returncode, done.stdout, seen) == (255, "", set())  # -1
    assert re.findall(r"^\[PYI-\d+:ERROR\] (.*)$", done.stderr, re.MULTILINE) == said


def test_wine_lives_in_the_namespaces_of_the_vm(lab):
    lab.tool("--version")
    inside = {kind: os.readlink(f"/proc/{lab.holder}/ns/{kind}") for kind in ("mnt", "net")}
    assert inside["net"] != os.readlink("/proc/self/ns/net")
    nets = {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if os.readlink(process / "ns" / "mnt") == inside["mnt"]:
                nets[(process / "comm").read_text().strip()] = os.readlink(process / "ns" / "net")
        except OSError:
            continue  # it has ended
    assert {"wineserver64", "winedevice.exe"} <= set(nets) and set(nets.values()) == {inside["net"]}


# --- programs of Windows ---

RECORDED = """===========================================================================
Schnittstellenliste
  7...00 0d 3a e5 1c c0 ......Microsoft Hyper-V Network Adapter
===========================================================================

IPv4-Routentabelle
===========================================================================
Aktive Routen:
     Netzwerkziel    Netzwerkmaske          Gateway    Schnittstelle Metrik
          0.0.0.0          0.0.0.0      172.16.69.1      172.16.69.7     11
  169.254.169.254  255.255.255.255      172.16.69.1      172.16.69.7     11
===========================================================================
St\u00e4ndige Routen:
  Keine
""".replace("\n", "\r\n")


@pytest.fixture
def with_route_exe(exe, tmp_path):
    """A VM with a stand-in for route.exe that prints what was recorded, in the code page of the
    console.
    """
    with WindowsLab(exe) as lab:
        lab.start()
        system32 = windows.PREFIX / "drive_c" / "windows" / "system32"
        (tmp_path / "route.exe").write_bytes(wine.compiled("stand_in.c"))
        lab.vm(f"cp {tmp_path / 'route.exe'} {system32}/route.exe")
        (tmp_path / "recorded.txt").write_bytes(RECORDED.encode("cp437"))
        lab.vm(f"cp {tmp_path / 'recorded.txt'} {windows.PREFIX}/drive_c/recorded.txt")
        yield lab


def test_what_route_print_says_is_in_the_full_report_whatever_its_code_page(with_route_exe):
    out = with_route_exe.tool("--format", "full", "--no-files").stdout
    assert "OUTPUT of route print\n" in out and "\n  St\\u00E4ndige Routen:\n" in out
    assert "OUTPUT of ipconfig /all\n" in out and "Ethernet adapter eth0" in out


def test_a_program_that_hangs_costs_its_output_and_not_the_deadline(with_route_exe):
    lab = with_route_exe
    lab.tool("--no-files")  # Wine's own start does not count
    start = max(lab.program(str(lab.exe), "--version").seconds for _ in range(2))
    lab.vm(f"touch {windows.PREFIX}/drive_c/hang")
    done = lab.program(str(lab.exe), "--format", "json", "--no-files", "--deadline", "3")
    report = json.loads(done.out)
    assert report["verdict"] == "healthy" and in_time(
        done.seconds, 3 + 1 + 4 * start
    )  # of which one is the unpacking of the exe
    missing = [item["fact"] for item in report["facts"]["unavailable"]]
    assert missing == ["activation", "raw"]  # Wine has no SLIsGenuineLocal
    report, seconds = lab.diagnose()
    assert report["facts"]["raw"][0]["text"] == "route.exe print: not finished in 5 s" and in_time(
        seconds, 5 + 1 + 4 * start
    )


# --- the report folder ---

REPORTS = windows.PREFIX / "drive_c" / "ProgramData" / "imds-check"


def test_ten_runs_are_kept_and_only_administrators_may_write_there(exe):
    with WindowsLab(exe) as lab:
        lab.start()
        lab.vm(f"mkdir -p {REPORTS}/20200101T000000Z {REPORTS}/mine {REPORTS}/20200102T000000Z")
        lab.write(f"{REPORTS}/20200101T000000Z/report.json", "{}")
        lab.write(f"{REPORTS}/20200102T000000Z/of-somebody-else", "")
        for number in range(10):
            lab.vm(f"mkdir {REPORTS}/20210101T00000{number}Z")
        out = lab.tool().stdout
        kept = lab.vm(f"ls {REPORTS}").split()
        newest = kept[-2]
        files = lab.vm(f"ls {REPORTS}/{newest}").split()
        report = json.loads(lab.vm(f"cat {REPORTS}/{newest}/report.json"))
        mode = lab.vm(f"stat -c %a {REPORTS}/{newest}").strip()
    assert f"FILES    C:\\ProgramData\\imds-check\\{newest}\n" in out
    assert "mine" in kept and "20200101T000000Z" not in kept and "20200102T000000Z" in kept
    assert files == ["report.json", "report.txt"] and report["verdict"] == "healthy"
    assert mode.endswith("0")  # nothing for everyone


@pytest.mark.parametrize(
    "plant, said",
    [
        ("chown 1000 {}", "belongs to another user"),
        ("chmod 777 {}", "other users could write there"),
    ],
)
def test_a_planted_folder_is_refused_and_the_report_still_comes(exe, plant, said):
    with WindowsLab(exe) as lab:
        lab.start()
        lab.vm(f"mkdir -p {REPORTS}")
        lab.vm(plant.format(REPORTS))
        done = lab.tool()
        assert lab.vm(f"ls {REPORTS}") == ""
    assert done.returncode == 0
    assert re.search(rf"^FILES    not written: {said}", done.stdout, re.MULTILINE), done.stdout[
        -400:
    ]


def test_out_says_where_the_report_goes(exe):
    with WindowsLab(exe) as lab:
        lab.start()
        lab.vm(f"mkdir {windows.PREFIX}/drive_c/chosen")
        out = lab.tool("--out", "C:\\chosen").stdout
        folder = re.search(r"^FILES    C:\\chosen\\(\S+)$", out, re.MULTILINE).group(1)
        assert lab.vm(f"ls {windows.PREFIX}/drive_c/chosen/{folder}").split() == [
            "report.json",
            "report.txt",
        ]


def test_a_full_disk_costs_the_files(exe):
    with WindowsLab(exe) as lab:
        lab.vm("mkdir /run/lab/small")
        lab.vm("mount -t tmpfs -o size=12k none /run/lab/small")
        done = lab.tool("--out", "Z:\\run\\lab\\small")
        left = lab.vm("find /run/lab/small -type f").split()
    assert done.returncode == 0 and last_line(done.stdout).startswith(
        "END IMDS-CHECK verdict=healthy "
    )
    assert "FILES    not written: " in done.stdout
    assert left == []


# --- what has to be asked of Windows' Python itself ---


def python(lab, script):
    done = lab.program(wine.PYTHON, "-c", script, env={"PYTHONPATH": f"Z:{ROOT}"})
    assert done.code == 0, done.err.decode()
    return done.out.decode().replace("\r\n", "\n")


def test_structures_have_the_sizes_of_the_windows_headers(lab):
    script = """
import ctypes, json
import runcommand.system.windows.iphlpapi as iphlpapi
kinds = (ctypes.Structure, ctypes.Union)
classes = {name: item for name, item in vars(iphlpapi).items() if isinstance(item, type)}
own = {name: item for name, item in classes.items() if issubclass(item, kinds)}
print(json.dumps({name: ctypes.sizeof(item) for name, item in own.items() if item not in kinds}))
"""
    assert json.loads(python(lab, script)) == {  # x64
        "MIB_IPFORWARDROW": 56,
        "MIB_IPNETROW": 24,
        "MIB_TCPROW_OWNER_PID": 24,
        "SOCKADDR_IN": 16,
        "SOCKADDR_IN6": 28,
        "SOCKADDR_INET": 28,
        "IP_ADDRESS_PREFIX": 32,
        "MIB_IPFORWARD_ROW2": 104,
        "MIB_UNICASTIPADDRESS_ROW": 80,
        "MIB_IF_ROW2": 1352,
        "SOCKET_ADDRESS": 16,
        "IP_ADAPTER_UNICAST_ADDRESS": 64,
        "IP_ADAPTER_GATEWAY_ADDRESS": 32,
        "IP_ADAPTER_ADDRESSES": 448,
    }


def test_a_link_on_the_way_to_the_report_folder_is_refused(lab):
    script = """
from pathlib import Path
import runcommand.system.windows.folder as folder
real = folder.function
def inform(handle, about):  # Wine has no reparse points: what Windows says of one
    attributes = folder.FILE_ATTRIBUTE_DIRECTORY | folder.FILE_ATTRIBUTE_REPARSE_POINT
    about._obj.dwFileAttributes = attributes
    return True
def function(dll, name, *types):
    return inform if name == "GetFileInformationByHandle" else real(dll, name, *types)
folder.function = function
for link in (True, False):
    try:
        with folder._opened(Path("C:/windows"), link):
            print("opened")
    except PermissionError as refused:
        print(refused.strerror)
"""
    assert python(lab, script) == "opened\na link that leads elsewhere\n"


def test_a_process_is_named_by_its_program(lab):
    script = (
        "import os, runcommand.system.windows.processes as p; print(p.name(os.getpid()), p.name(0))"
    )
    assert python(lab, script) == "python.exe -\n"


def test_a_program_that_hangs_is_ended_with_its_children(lab):
    marker = windows.PREFIX / "drive_c" / "survivor"
    script = """
from runcommand.collect import NoFact
from runcommand.system.program import Programs
from runcommand.system.windows.job import contain
import os
child = "import time; time.sleep(3); open('C:/survivor', 'w')"
start = f"subprocess.Popen([sys.executable, '-c', {child!r}])"
parent = f"import subprocess, sys, time; {start}; time.sleep(60)"
try:
    Programs(("C:/py",), dict(os.environ), contain).run("python.exe", ["-c", parent], seconds=1.5)
except NoFact as reason:
    print(reason)
import time
time.sleep(4)
"""
    assert "not finished in 2 s" in python(lab, script)
    assert lab.vm(f"ls {marker}", check=False) == ""
