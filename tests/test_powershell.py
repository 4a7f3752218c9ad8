"""``dist/imds-check.ps1``: the script that is pasted into RunPowerShellScript, run by PowerShell's
own engine.
"""

import json
import os
import re
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import build
from runcommand.diagnosis import diagnose
from runcommand.facts import parse_json
from runcommand.operator.decode import decode

from . import wine
from .clock import in_time
from .command import ROOT
from .conftest import exhaustive
from .lab import powershell
from .lab.namespace import IMDS
from .lab.powershell import (
    BY_NAME,
    DOWNLOAD,
    DRIVE_C,
    END,
    EXE,
    FOLDER,
    HERE,
    PLACE,
    REPEATS,
    THERE,
    PowerShellLab,
    made,
)
from .wine import compiled
from .wine.exe import current

TEMPLATE = ROOT / "runcommand" / "scripts" / "imds-check.ps1"
REASON = powershell.why_not_here()
runs = pytest.mark.skipif(REASON is not None, reason=f"the lab cannot run imds-check.ps1: {REASON}")
LINUX = powershell.engine("linux")
reads = pytest.mark.skipif(
    LINUX is None, reason="no PowerShell engine: $IMDS_CHECK_PWSH names its folder"
)
VERDICT = {"ExitCode": "verdict"}


@pytest.fixture(scope="module", autouse=True)
def exe():
    """The exe that the script brings is the one of these sources."""
    if REASON is None:
        current()


@pytest.fixture(scope="module")
def seen(request):
    everything = request.config.getoption("--exhaustive")
    chosen = [item for item in BY_NAME.values() if everything or item.name not in REPEATS]
    return powershell.run_all(chosen)


@pytest.fixture(scope="module")
def lab():
    """One healthy VM for all tests that change nothing in it but the place where the exe is
    kept.
    """
    with PowerShellLab() as lab:
        lab.warm_up()
        lab.offer()
        yield lab


def end(done):
    """Verdict, cause and exit code of the last line."""
    match = END.fullmatch(done.out.decode("ascii").rstrip("\r\n").rpartition("\n")[2])
    assert match, (done.out, done.err)
    return match[1], match[2], int(match[3])


def flat(done):
    """The output without its line ends."""
    return " ".join(done.out.decode("ascii").split())


def evaluate(tmp_path, *expressions):
    """What expressions of the script's functions come to, each a text, on Linux."""
    functions, marker, rest = build.powershell_script(b"x").partition("# --- run --")
    assert marker
    # everything of it but the last lines, which begin the check
    settings, begins, _ = rest.partition("$HostName = '-'")
    assert begins
    path = tmp_path / "functions.ps1"
    path.write_text(
        "\n".join(
            [functions, "#" + settings, *(f'"$({expression})"' for expression in expressions), ""]
        )
    )
    done = subprocess.run([str(LINUX), "-File", str(path)], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("\n") == len(expressions)
    return done.stdout.splitlines()


# --- what it is made of ---


def test_it_is_plain_ascii_and_build_fills_it_in():
    text = build.powershell_script(b"the exe", "https://contoso.com/imds-check.exe?sig=x%20y")
    assert text.isascii() and not re.search(r"@[A-Z0-9_]+@", text)
    assert (
        "$ExeSize = [long]'7'" in text
        and "= 'https://contoso.com/imds-check.exe?sig=x%20y'" in text
    )
    assert len(text.replace("\n", "\r\n")) < 64 * 1024


def test_no_two_variables_differ_in_case_alone():
    """PowerShell takes them for one; a function's hides the script's from those that it calls."""
    names = set(re.findall(r"\$\{?(\w+)", TEMPLATE.read_text("ascii")))
    assert len({name.lower() for name in names}) == len(names)


@pytest.mark.skipif(
    "IMDS_CHECK_PWSH" not in os.environ or LINUX is None,
    reason="the engine that knows 5.1 is not here",
)
@pytest.mark.parametrize("line_end", ["\n", "\r\n"], ids=["LF", "CRLF"])
def test_windows_powershell_5_1_can_read_it_and_no_module_is_needed(tmp_path, line_end):
    path = tmp_path / "imds-check.ps1"
    path.write_bytes(build.powershell_script(b"x").replace("\n", line_end).encode("ascii"))
    done = subprocess.run(
        [str(LINUX), "-Check", str(TEMPLATE), str(path)], stdout=subprocess.PIPE, text=True
    )
    assert (done.returncode, done.stdout) == (
        0,
        "",
    )  # neither an error nor a note of a command that lives in a module


# --- every scenario of the table ---


@runs
@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=exhaustive if name in REPEATS else []) for name in BY_NAME],
)
def test_scenario(seen, name):
    assert powershell.wrong(BY_NAME[name], seen[name]) == [], (seen[name].out, seen[name].err)


@runs
def test_what_repeats_another_scenario_is_one():
    assert set(BY_NAME) >= REPEATS


@runs
def test_nothing_is_left_of_a_download_that_failed(seen):
    for name, found in seen.items():
        scenario = BY_NAME[name]
        own = powershell.kept(made(scenario.exe() if scenario.exe else None))
        assert set(found.left) <= {own}, name
        assert scenario.verdict != "healthy" or found.left == (own,), name


@runs
def test_the_short_report_has_checks_and_evidence_in_every_case(seen):
    short = [found for found in seen.values() if "NEXT" in found.flat and "host=-" not in found.end]
    assert len(short) > 10
    for found in short:
        heads = [line for line in found.out.splitlines() if re.match("[A-Z]{3}", line)]
        assert [head.split()[0] for head in heads] == [
            *("IMDS-CHECK", "VERDICT", "NEXT", "CHECKS", "ROUTES", "ADAPTERS", "RAW", "RAW", "END")
        ]
        assert '"imds-check decode"' in found.flat and "anywhere with Python" in found.flat
        columns = "  Destination     Netmask         Gateway         Interface       Metric\r\n"
        assert columns in found.out
        assert re.search(r'^  2 "eth0"  00-0D-3A-7F-20-04  (up|down)  ', found.out, re.MULTILINE)


# --- as Run Command stores it ---


@runs
@pytest.mark.parametrize("line_end", ["\n", "\r\n"], ids=["LF", "CRLF"])
def test_a_script_that_was_pasted_twice_runs_once_and_ends_with_0(lab, line_end):
    script = (2 * made()).replace("\r\n", line_end)
    done = lab.power_shell(script, {**DOWNLOAD, "ExpectedIp": "10.0.0.99"})
    assert (end(done), done.code, done.out.count(b"END IMDS-CHECK")) == (("healthy", "-", 0), 0, 1)
    assert b"Azure expects address 10.0.0.99 (--expected-ip)" in done.out


@runs
def test_it_may_stand_in_braces_with_its_parameters_behind_them(lab):
    script = (
        "& {\n"
        + made()
        + "\n} -ExpectedMac '' -ExpectedIp '127.0.0.1' -Arguments '--no-files' -ExitCode 'verdict'"
    )
    done = lab.power_shell(script.replace("-Arguments", f"-ExePath 'Z:{EXE}' -Arguments"))
    assert (end(done), done.code) == (("inconclusive", "-", 2), 2)
    assert "argument --expected-ip" in flat(done)


@runs
@pytest.mark.parametrize("has_curl", [True, False], ids=["curl", "no curl"])
def test_where_a_policy_constrains_powershell_the_report_still_comes(lab, has_curl):
    vm_id = "9a1f0c86-4c43-4d3e-8a3f-1a6f6f2b7d11"
    curl = f"{DRIVE_C}/windows/system32/curl.exe"
    if has_curl:  # Wine has none
        lab.put(curl, compiled("curl.c", "ws2_32"))
    lab.put("/run/lab/inner.ps1", made().encode("ascii"))
    mode = "$ExecutionContext.SessionState.LanguageMode = 'ConstrainedLanguage'"
    done = lab.power_shell(
        f"{mode}\n& 'Z:/run/lab/inner.ps1' -ExitCode verdict -ExePath 'Z:{EXE}' -Arguments "
        "'--deadline 30'\nexit $LASTEXITCODE\n"
    )
    lab.vm(f"rm -f {curl}")
    assert (end(done), done.code, done.err) == (("inconclusive", "-", 3), 3, b"")
    report = flat(done)
    assert "a policy keeps PowerShell to ConstrainedLanguage mode" in report
    assert f"> {IMDS} 255.255.255.255 10.0.0.1 10.0.0.4 " in report
    assert (f"ok imds.metadata HTTP 200, vmId {vm_id}" in report) == has_curl
    assert ("Whether IMDS answers could not be found out." in report) != has_curl
    (decoded,) = decode(done.out)
    assert decoded.facts and (decoded.facts.imds is not None) == has_curl and not decoded.notes


@runs
def test_the_value_of_an_unknown_parameter_is_not_repeated(lab):
    lab.put("/run/lab/inner.ps1", made().encode("ascii"))
    done = lab.power_shell(
        "& 'Z:/run/lab/inner.ps1' -ExeUrl 'https://contoso.example/x?sig=S3cret' -ExitCode "
        "verdict\nexit $LASTEXITCODE\n"
    )
    assert (end(done), done.code) == (("inconclusive", "-", 2), 2)
    assert "Wrong parameters: -ExeUrl." in flat(done) and b"S3cret" not in done.out + done.err


@runs
def test_whatever_happens_the_last_line_comes(lab):
    done = lab.power_shell(
        made().replace(
            "\tStart-Check $args\r\n", "\tthrow [InvalidOperationException]::new('x')\r\n"
        )
    )
    assert (end(done), done.code) == (("inconclusive", "tool-failed", 3), 0)
    assert re.search(rb"This script itself failed at line \d+: x\r\n", done.out)


# --- the exe ---


@runs
def test_what_the_exe_prints_comes_through_untouched(lab):
    text = (
        (ROOT / "samples" / "reports" / "nic-down-windows.txt").read_bytes().replace(b"\n", b"\r\n")
    )
    exe = compiled("stand_in.c")
    lab.put(PLACE, exe)
    lab.put(f"{DRIVE_C}/recorded.txt", text)
    done = lab.power_shell(made(exe), {**THERE, **VERDICT})
    lab.vm(f"rm {DRIVE_C}/recorded.txt")
    assert (done.out, done.err) == (text, b"")
    assert done.code == 1  # as its END line says, whatever the program's exit code


@runs
def test_values_reach_the_exe_whatever_is_in_them(lab):
    folder = f"{DRIVE_C}/R&D (n\u00e4chste) 'x' 100%"
    lab.vm("mkdir -p " + '"' + folder + '"')
    place = "C:\\R&D (n\u00e4chste) 'x' 100%\\"
    done = lab.power_shell(made(), {**HERE, "Arguments": f'--out "{place}" --format=full'})
    assert (
        end(done) == ("healthy", "-", 0)
        and b"\r\nFILES    C:\\R&D (n\\u00E4chste) 'x' 100%\\" in done.out
    )
    assert "report.json" in lab.vm(f'find "{folder}"')
    done = lab.power_shell(made(), {**HERE, "ExpectedMac": 'a"b\\" c'})
    assert end(done) == ("inconclusive", "-", 2) and "'a\"b\\\\\" c'" in done.err.decode("ascii")


@runs
def test_only_administrators_can_write_where_it_is_kept(lab):
    lab.vm(f"rm -rf '{FOLDER}'")
    assert end(lab.power_shell(made(), DOWNLOAD)) == ("healthy", "-", 0)
    assert re.fullmatch("7[0-7]0", lab.vm(f"stat -c %a '{FOLDER}'").strip())
    (file,) = lab.vm(f"find '{FOLDER}' -type f -printf '%f\\n'").split()
    assert file == powershell.kept(made())


@runs
def test_a_file_that_another_program_keeps_locked_is_said_to_be(lab):
    lab.vm(f"rm -rf '{FOLDER}'")
    lab.put(PLACE, EXE.read_bytes())
    lock = (
        "import ctypes, os, time\n"
        f"handle = ctypes.windll.kernel32.CreateFileW(r'Z:{PLACE}', 0x80000000, 0, None, 3, 0, "
        "None)\n"
        "assert handle > 0\nopen('C:/locked', 'w').close()\nwhile os.path.exists('C:/locked'):\n   "
        " time.sleep(0.1)\n"
    )
    with ThreadPoolExecutor(1) as pool:
        locking = pool.submit(lab.program, wine.PYTHON, "-c", lock)
        while not lab.vm(f"find {DRIVE_C}/locked", check=False) and not locking.done():
            time.sleep(0.1)
        done = lab.power_shell(made(), THERE)
        lab.vm(f"rm {DRIVE_C}/locked")
        assert locking.result().code == 0
    assert end(done) == ("inconclusive", "-", 3)
    assert "another program, often an antivirus, keeps the file locked" in flat(done)


@runs
@pytest.mark.parametrize("how, survivors", [("PowerShell 7", 0), ("Windows PowerShell", 1)])
def test_a_program_that_hangs_is_killed_with_its_child(how, survivors):
    exe = compiled("hang.c")
    script = made(exe).replace("$Deadline, $Grace = 20, 30 ", "$Deadline, $Grace = 20, 2 ")
    if (
        how == "Windows PowerShell"
    ):  # which asks taskkill.exe /T to kill the children; Wine's does not know that option
        of_others = "\t\tif (-not $IsFramework) { return $process.Kill($true) }\r\n"
        assert of_others in script
        script = script.replace(of_others, "")
    with PowerShellLab() as lab:
        lab.warm_up()
        lab.put(PLACE, exe)
        start = lab.power_shell("exit 0\r\n")
        with ThreadPoolExecutor(1) as pool:
            running = pool.submit(lab.power_shell, script, {**THERE, "Arguments": "--deadline=1"})
            most = 0
            while not running.done():
                most = max(most, len(processes(lab)))
                time.sleep(0.2)
        done = running.result()
        time.sleep(1)
        assert (most, len(processes(lab))) == (2, survivors)
    assert end(done) == ("inconclusive", "-", 3)
    assert "it had not ended after 3 s, and was killed" in flat(done)
    assert in_time(done.seconds, 3 + 2 + 4 * start.seconds)


def processes(lab):
    """The exe's processes inside a VM."""
    inside, found = os.readlink(f"/proc/{lab.holder}/ns/mnt"), []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if os.readlink(process / "ns" / "mnt") == inside and (
                process / "comm"
            ).read_text().startswith("imds-check-"):
                found.append(process.name)
        except OSError:
            continue  # it has ended
    return found


# --- the short report ---


@runs
def test_imds_is_asked_three_times_and_never_for_a_token():
    with PowerShellLab() as lab:
        lab.warm_up()
        assert end(lab.power_shell(made())) == ("inconclusive", "-", 3)
        assert [path for _, path in lab.requests() if path != "/"] == [  # that is the WireServer's
            "/metadata/instance",
            "/metadata/attested/document",
            "/metadata/identity/info",
        ]


@runs
def test_evidence_is_cut_and_the_last_line_is_not():
    with PowerShellLab() as lab:
        for number in range(60):
            lab.vm(f"ip link add br{number} type bridge")
            lab.vm(f"ip addr add 172.16.{number}.1/24 dev br{number}")
            lab.vm(f"ip link set br{number} up")
        lab.vm(f"ip route add {IMDS}/32 via 10.0.1.1 dev eth1")
        lab.warm_up()
        done = lab.power_shell(made())
    assert end(done) == ("broken", "-", 1)
    assert 3600 < len(done.out) <= 3900 and done.out.count(b"\n") == done.out.count(b"\r\n")
    assert re.search(rb"\r\n  \(\+\d+ more\)\r\nRAW 1 ", done.out)
    assert b"\r\nRAW END\r\nEND " in done.out and b'2 "eth0"  00-0D-3A-7F-20-04' in done.out
    (decoded,) = decode(done.out)
    assert diagnose(decoded.facts).cause == "route-wrong-interface"


WORDS = {
    5: "access is denied",
    32: "keeps the file locked",
    112: "the disk is full",
    193: "this Windows cannot run it",
    225: "an antivirus takes it for harmful: allow the SHA-256 2d711642",
    1260: "a policy (AppLocker, App Control) forbids it: allow the SHA-256 2d711642",
    4551: "a policy (AppLocker, App Control) forbids it",
    10061: "the connection was refused",
    11001: "the name cannot be resolved",
    -2146893019: "no TLS: this VM does not trust the certificate",  # SEC_E_UNTRUSTED_ROOT
}


@reads
def test_what_windows_says_is_told_in_words(tmp_path):
    win32 = "Get-Reason ([Exception]::new('outer', [ComponentModel.Win32Exception]::new({})))"
    for said, words in zip(evaluate(tmp_path, *map(win32.format, WORDS)), WORDS.values()):
        assert words in said


@reads
def test_errors_of_files_are_known_by_their_numbers_and_others_by_their_text(tmp_path):
    full, other, redacted = evaluate(
        tmp_path,
        "Get-Reason ([IO.IOException]::new('x', [BitConverter]::ToInt32([byte[]](0x70, 0, 7, "
        "0x80), 0)))",
        "Get-Reason ([IO.IOException]::new('Something else.'))",
        "$Redact = $true; Get-Reason ([IO.IOException]::new('secret.contoso.com'))",
    )
    assert (full[:16], other, redacted) == ("the disk is full", "Something else", "IOException")


SERVERS = {
    "proxy.contoso.com:3128": "proxy.contoso.com:3128",
    "http://user:secret@proxy.contoso.com:3128/": "http://xxxxxxxxxxx@proxy.contoso.com:3128/",
    "http=user:s@cret@10.0.0.1:80;https=10.0.0.1:81": (
        "http=xxxxxxxxxxx@10.0.0.1:80;https=10.0.0.1:81"
    ),
    "user:sec;ret@10.0.0.1:80": "xxxxxxxx;xxx@10.0.0.1:80",
    "user:123 45@10.0.0.1": "xxxxxxxx xx@10.0.0.1",
    'http://proxy.contoso.com/p?a="b;c#d': "http://proxy.contoso.com/p?xxxxxxxx",
    "http://proxy.contoso.com/p#secret": "http://proxy.contoso.com/p#xxxxxx",
    "http://proxy.contoso.com/?secret": "http://proxy.contoso.com/?xxxxxx",
}


@reads
def test_no_credential_of_a_proxy_leaves_the_vm_and_its_length_stays(tmp_path):
    hidden = evaluate(tmp_path, *(f"Hide-Secret '{text}'" for text in SERVERS))
    assert hidden == list(SERVERS.values())
    assert list(map(len, hidden)) == list(map(len, SERVERS))


VM_ID = "02aab8a4-74ef-476e-8182-f6d2ba4166a6"
COMPUTE = f'{{"compute":{{"vmId":"{VM_ID}"}}}}'
NIC = {"ipv4": {"ipAddress": [{"privateIpAddress": "10.0.0.4", "publicIpAddress": "secret"}]}}
BODIES = {  # and what of them is kept
    json.dumps({"compute": {"vmId": VM_ID, "tags": "secret", "n": [1, -2.5e3, None, {}]}}): COMPUTE,
    f'{{ "compute" : {{\n "x": "\\"}}", "vmId" : "{VM_ID}" }} }}': COMPUTE,
    json.dumps({"compute": {"publicKeys": ["secret", {"keyData": "secret"}], "vmId": VM_ID}}): (
        COMPUTE
    ),
    json.dumps({"compute": {"tagsList": [{"name": "secret", "vmId": "secret"}], "vmId": VM_ID}}): (
        COMPUTE
    ),
    json.dumps({"network": {"interface": [NIC]}}): (
        '{"network":{"interface":[{"ipv4":{"ipAddress":[{"privateIpAddress":"10.0.0.4"}]}}]}}'
    ),
    '{"encoding":"pkcs7","signature":"AAAA"}': '{"encoding":"pkcs7","signature":"-"}',
    '{"error":{"message":"a","secret":"b"}}': '{"error":{"message":"a"}}',
    '{"error":"token=abc"}': '{"error":"token=x"}',
    r'{"error":"say \"no\""}': '{"error":"say  no "}',
    json.dumps({"error": json.dumps({"token": "abc"})}): '{"error":"{ token :  x }"}',
    json.dumps({"compute": {"name": "b" * 5000}}): f'{{"compute":{{"name":"{"b" * 298}"}}}}',
    json.dumps({"compute": {"name": "\\" * 5000}}): '{"compute":{"name":""}}',
    '{"newest-versions":["2021-02-01"]}': '{"newest-versions":["2021-02-01"]}',
    "{}": "{}",
    "[]": "[]",
}
NOT_JSON = (
    COMPUTE[:-1],
    f"{COMPUTE}{{",
    f"{COMPUTE}}}",
    COMPUTE.replace("{", "[", 1),
    '{"compute":{"vmId":}}',
    '{"compute" {}}',
    '{"compute":{},}',
    '{"compute":{}"network":{}}',
    '{"compute":nonsense}',
    "{compute:{}}",
    '{"a":"b',
    "[1,,2]",
    "[" * 20000,
)


def kept(tmp_path, bodies):
    files = []
    for number, body in enumerate(bodies):
        (tmp_path / f"{number}").write_text(body)
        files.append(f"Get-KeptJson ([IO.File]::ReadAllText('{tmp_path}/{number}'))")
    return evaluate(tmp_path, *files)


@reads
def test_of_json_only_what_is_judged_leaves_the_vm(tmp_path):
    assert kept(tmp_path, BODIES) == list(BODIES.values())


@reads
def test_what_is_no_json_does_not_become_json(tmp_path):
    for body, found in zip(NOT_JSON, kept(tmp_path, NOT_JSON)):
        with pytest.raises(ValueError):
            parse_json(body)
        with pytest.raises(ValueError):
            parse_json(found)


# --- the operator's side ---


@runs
@pytest.mark.parametrize("elevated, chosen", [(True, "there"), (False, "nothing")])
def test_the_operator_reads_answers_by_the_exe_where_it_may_unpack_itself(elevated, chosen):
    """``Decoder`` of ``samples/diagnose-vm.ps1``. (A file in the folder's place: nobody may write
    there.)
    """
    text = (ROOT / "samples" / "diagnose-vm.ps1").read_text("ascii")
    function = re.search(r"^function Decoder \{\n.*?^\}\n", text, re.MULTILINE | re.DOTALL).group()
    settings = "$isWindows_, $root = $true, 'C:\\operator'\n"
    with PowerShellLab() as lab:
        lab.warm_up()
        lab.put(f"{DRIVE_C}/operator/dist/imds-check.exe", EXE.read_bytes())
        lab.vm(f"rm -rf '{FOLDER}'")
        if not elevated:
            lab.vm(f"touch '{FOLDER}'")
        script = settings + function + "if (@(Decoder)) { 'there' } else { 'nothing' }\n"
        done = lab.power_shell(script.replace("\n", "\r\n"))
    assert (done.out.split(), done.err) == ([chosen.encode()], b"")
