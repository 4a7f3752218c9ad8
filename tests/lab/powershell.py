"""The lab's VM as Windows, with imds-check.ps1 run in it by PowerShell's own engine.

``python -m tests.lab.powershell [NAME ...]``: every scenario as a table. The engine is the folder
that ``$IMDS_CHECK_PWSH`` names, with ``windows/pwsh.exe`` and ``linux/pwsh`` in it.
"""

from __future__ import annotations

import base64
import os
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable, Dict, List, Mapping, Optional, Sequence, Tuple, Union

import build
from runcommand.operator import block
from runcommand.simulator.host import Behaviour

from .. import wine
from ..wine import compiled
from ..wine.exe import EXE
from . import registry
from .files import ADDRESS, NAME, QUERY
from .namespace import IMDS, WIRESERVER, why_not
from .run import IS_BESIDE_OTHERS
from .scenarios import NO_HOST_ROUTES, NO_ROUTES
from .windows import PREFIX, WindowsLab

# .NET needs Wine's mscoree; and what it maps twice, to write and to execute, it does not find again
# under Wine when it collects garbage ("Internal CLR error" in DynamicResolver).
ENGINE = {
    "WINEDLLOVERRIDES": "mshtml,winedbg.exe=d",
    "DOTNET_EnableWriteXorExecute": "0",
    "DOTNET_CLI_TELEMETRY_OPTOUT": "1",
}
SIDE_BY_SIDE = 2 if IS_BESIDE_OTHERS else 4
DRIVE_C = f"{PREFIX}/drive_c"
FOLDER = f"{DRIVE_C}/Program Files/imds-check"
SENT = "/run/lab/script.ps1"
HTTPS = f"https://{NAME}"
END = re.compile(r"END IMDS-CHECK verdict=(\S+) cause=(\S+) exit=(\d) host=\S+ at=\S+Z v=\S+")
# What of the engine's or of Wine's is on standard error.
NOISE = re.compile(
    r'wine: Read access denied for device L"[^"]*", FS volume label and serial are not '
    r"available\.\r?\n"
)


def engine(system: str) -> Optional[Path]:
    """The engine for ``windows`` (under Wine) or ``linux``; None where there is none."""
    folder = os.environ.get("IMDS_CHECK_PWSH")
    if folder:
        found = Path(folder) / system / ("pwsh.exe" if system == "windows" else "pwsh")
        return found if found.exists() else None
    on_path = shutil.which("pwsh") if system == "linux" else None
    return Path(on_path) if on_path else None


def why_not_here() -> Optional[str]:
    """Why the script cannot be run here; None when it can."""
    missing = (
        None
        if engine("windows")
        else "no PowerShell engine for Windows: $IMDS_CHECK_PWSH names its folder"
    )
    return (
        why_not()
        or wine.why_not()
        or missing
        or (None if EXE.exists() else "no dist/imds-check.exe: build.py exe")
    )


class PowerShellLab(WindowsLab):
    """A VM with a route.exe, where Run Command stores the script in a file."""

    def __init__(self, *arguments: object, **more: object) -> None:
        super().__init__(EXE, *arguments, **more)

    def __enter__(self) -> PowerShellLab:
        super().__enter__()
        return self

    def _make(self) -> None:
        super()._make()
        self.start()
        self.put_route_exe()

    def put_route_exe(self) -> None:
        route = compiled("route.c", "iphlpapi", "ws2_32")
        self.put(f"{DRIVE_C}/windows/system32/route.exe", route)

    def offer(self) -> None:
        """Starts the web server that has the exe."""
        self.serve("tests.lab.files", str(EXE))
        self.hosts({NAME: ADDRESS})

    def put(self, path: str, content: bytes) -> None:
        """A file of any bytes inside the VM."""
        script = 'mkdir -p "$(dirname "$1")"; cat > "$1"; chmod 755 "$1"'
        subprocess.run(self.enter(["sh", "-c", script, "sh", path]), input=content, check=True)

    def power_shell(
        self,
        script: str,
        parameters: Mapping[str, str] = {},
        env: Mapping[str, str] = {},
        timeout: float = 300,
    ) -> wine.Done:
        """Runs a script with named parameters."""
        self.put(SENT, script.encode("ascii"))
        given = [f"-{name}:{value}" for name, value in parameters.items()]
        command = [f"Z:{engine('windows')}", "-File", f"Z:{SENT}", *given]
        done = self.program(*command, env={**ENGINE, **env}, timeout=timeout)
        err = NOISE.sub("", done.err.decode("ascii", "backslashreplace")).encode()
        return wine.Done(done.code, done.out, err, done.seconds)


def made(exe: Optional[bytes] = None, exe_uri: str = "") -> str:
    """The script that ``build.py`` makes for an exe (by default the real one), with the line ends
    of Windows.
    """
    return build.powershell_script(EXE.read_bytes() if exe is None else exe, exe_uri).replace(
        "\n", "\r\n"
    )


# --- scenarios ---


@dataclass(frozen=True)
class Scenario:
    name: str
    way: str  # how the exe is to come
    verdict: str
    code: int
    says: Tuple[str, ...] = ()  # in the report, over line ends
    err: Tuple[str, ...] = ()  # on standard error; empty: nothing
    never: Tuple[str, ...] = ()  # in neither
    parameters: Mapping[str, str] = field(default_factory=dict)
    exe: Optional[Callable[[], bytes]] = None  # another program in its place
    exe_uri: str = ""  # as the build has it
    earlier: Optional[Mapping[str, str]] = None  # the parameters of an earlier run
    vm: Tuple[str, ...] = ()  # ``ip`` commands in the VM
    host: Tuple[str, ...] = ()  # and in the host's namespace
    commands: Tuple[str, ...] = ()  # other commands in the VM
    put: Mapping[str, Union[bytes, Path]] = field(default_factory=dict)  # files in the VM
    registry: Tuple[str, ...] = ()
    behaviour: Behaviour = Behaviour()
    not_listening: Tuple[Tuple[str, int], ...] = ()
    edits: Tuple[Tuple[str, str], ...] = ()  # what is written otherwise in the script
    env: Mapping[str, str] = field(default_factory=dict)
    own_vm: bool = False  # leaves a trace in its VM
    slow: bool = False  # takes longer than the others

    @property
    def shares(self) -> bool:
        """Whether it can run in the VM of the others."""
        own = (self.vm, self.host, self.registry, self.not_listening, self.own_vm, self.slow)
        return not any(own) and self.behaviour == Behaviour()


@dataclass(frozen=True)
class Seen:
    out: str
    err: str
    code: int
    seconds: float
    left: Tuple[str, ...]  # the names of the files where the exe is kept

    @property
    def end(self) -> str:
        return self.out.rstrip("\r\n").rpartition("\n")[2]

    @property
    def flat(self) -> str:
        """The report without its line ends."""
        return " ".join(self.out.split())


def broken(
    name: str, *says: str, verdict: str = "broken", code: int = 1, **more: object
) -> Scenario:
    """A VM without the exe: the short report alone."""
    return Scenario(name, "none", verdict, code, says, **more)  # type: ignore[arg-type]


def cannot(name: str, way: str, *says: str, **more: object) -> Scenario:
    """A healthy VM on which the exe cannot be had or run, or was not asked for."""
    told = (
        "IMDS answers. Whether anything else is wrong was not judged here.",
        "imds-check.exe did not run: ",
        *says,
    )
    if way == "none":
        told = (told[0], *says)
    given = {"verdict": "inconclusive", "code": 3, "says": told, **more}
    return Scenario(name, way, **given)  # type: ignore[arg-type]


def healthy(name: str, way: str, **more: object) -> Scenario:
    given = {"verdict": "healthy", "code": 0, "says": ("VERDICT HEALTHY",), **more}
    return Scenario(name, way, **given)  # type: ignore[arg-type]


def kept(script: str) -> str:
    """The name under which a script keeps its exe."""
    match = re.search(r"\$ExeSha256 = '(.{16})", script)
    assert match
    return f"imds-check-{match[1]}.exe"


def uri(path: str, place: str = HTTPS) -> Dict[str, str]:
    return {"ExeUri": f"{place}{path}"}


def encoded(text: str, how: str = "utf-8") -> str:
    return base64.b64encode(text.encode(how)).decode()


SIGNED = f"{HTTPS}/signed?{QUERY}"
DOWNLOAD = {"ExeUri": f"{HTTPS}/imds-check.exe"}
NOWHERE = {"ExeUri": "https://nowhere.contoso.com/imds-check.exe"}
HERE = {"ExePath": f"Z:{EXE}"}
PLACE = "/run/lab/another.exe"
THERE = {"ExePath": f"Z:{PLACE}"}
ODD = "/run/lab/R&D 'n\u00e4chste' (1)/imds check.exe"
SPOIL = (
    f'sh -c \'for file in "{FOLDER}"/*; do printf x | dd of="$file" bs=1 seek=5000 '
    "conv=notrunc; done'"
)
FILL = (
    "sh -c 'used=$(df -k --output=used /run | tail -n 1); mount -o remount,size=$((used + "
    "2000))k /run'"
)
NICS = ('2 "eth0" 00-0D-3A-7F-20-04 up 10.0.0.4/24', '3 "eth1" 00-0D-3A-7F-20-05 up 10.0.1.5/24')
NOT_ANSWERED = (f"rule add pref 0 to {IMDS} blackhole",)

SCENARIOS: List[Scenario] = [
    # --- the exe comes ---
    healthy("over HTTPS", "ExeUri", parameters=DOWNLOAD),
    healthy("with a signature in the address", "ExeUri", parameters={"ExeUri": SIGNED}),
    healthy("the same in base64", "ExeUri", parameters={"ExeUri": encoded(SIGNED)}),
    healthy("in base64 of UTF-16", "ExeUri", parameters={"ExeUri": encoded(SIGNED, "utf-16-le")}),
    healthy("over HTTP", "ExeUri", parameters={"ExeUri": f"http://{NAME}/imds-check.exe"}),
    healthy(
        "from the address that the build was given",
        "ExeUri",
        exe_uri=SIGNED,
        parameters={"ExeUri": "release"},
    ),
    cannot("the address that the build was given, not asked for", "none", exe_uri=SIGNED),
    cannot(
        "the build was given no address",
        "ExeUri",
        "ExeUri: this script was built without an address: give one.",
        parameters={"ExeUri": "release"},
    ),
    healthy("after a redirect", "ExeUri", parameters=uri("/moved")),
    healthy("cut off once", "ExeUri", parameters=uri("/cut-once")),
    healthy("twice too busy (503)", "ExeUri", parameters=uri("/busy")),
    healthy("left by an earlier run, no way out", "kept", earlier=DOWNLOAD, parameters=NOWHERE),
    healthy("left by an earlier run, nothing given", "kept", earlier=HERE),
    healthy(
        "left by an earlier run, and spoilt",
        "kept, ExeUri",
        earlier=HERE,
        commands=(SPOIL,),
        parameters=DOWNLOAD,
        err=("The copy that an earlier run kept: its SHA-256 is ",),
    ),
    healthy("copied to the VM", "ExePath", parameters=HERE),
    healthy("with an odd name", "ExePath", parameters={"ExePath": f"Z:{ODD}"}, put={ODD: EXE}),
    healthy(
        "the wrong one there, the right one kept",
        "ExePath, kept",
        earlier=DOWNLOAD,
        parameters=THERE,
        put={PLACE: b"MZ"},
        err=(f"ExePath Z:{PLACE}: it has 2 bytes instead of ",),
    ),
    healthy(
        "no such file, but a download",
        "ExePath, ExeUri",
        parameters={**DOWNLOAD, **THERE},
        err=("there is no such file",),
    ),
    # --- it does not come ---
    cannot(
        "nothing given", "none", "ExeUri: none was given, and no earlier run has left the exe here."
    ),
    cannot(
        "no way out: the name is not known",
        "ExeUri",
        "ExeUri https://nowhere.contoso.com/imds-check.exe: the name cannot be resolved",
        parameters=NOWHERE,
    ),
    cannot(
        "no way out: refused",
        "ExeUri",
        "the connection was refused",
        parameters=uri("/imds-check.exe", f"{HTTPS}:4430"),
    ),
    cannot(
        "no way out: no route",
        "ExeUri",
        "no way leads there from this VM",
        parameters={"ExeUri": "https://192.0.2.7/imds-check.exe"},
        vm=("route add unreachable 192.0.2.0/24",),
    ),
    cannot(
        "no way out: no answer",
        "ExeUri",
        "ExeUri https://files.contoso.com/silent: no answer in ",
        parameters=uri("/silent"),
        slow=True,
    ),
    cannot(
        "another file (wrong hash)",
        "ExeUri",
        "its SHA-256 is ",
        "it was not run",
        parameters=uri("/other"),
    ),
    cannot("cut off", "ExeUri", "cut after 1000000 of ", parameters=uri("/cut")),
    cannot(
        "cut off, its length not told",
        "ExeUri",
        "it has 1000000 bytes instead of ",
        parameters=uri("/part"),
    ),
    cannot("a longer file", "ExeUri", "more than ", parameters=uri("/longer")),
    cannot("a file without an end", "ExeUri", "it has more than ", parameters=uri("/endless")),
    cannot(
        "a page in HTML",
        "ExeUri",
        "a page in HTML came from files.contoso.com",
        parameters=uri("/page"),
    ),
    cannot(
        "a page in HTML, called a file",
        "ExeUri",
        'it begins with "<"',
        parameters=uri("/page-as-file"),
    ),
    cannot("not found (404)", "ExeUri", "HTTP 404, not found", parameters=uri("/missing")),
    cannot(
        "the address cut at &",
        "ExeUri",
        "HTTP 403, access denied",
        'cut at "&"',
        parameters={"ExeUri": SIGNED.partition("&")[0]},
    ),
    cannot(
        "a certificate of an unknown root",
        "ExeUri",
        "this VM does not trust the certificate",
        parameters=uri("/imds-check.exe", f"{HTTPS}:444"),
    ),
    cannot(
        "not an address",
        "ExeUri",
        "ExeUri: it is neither an https:// address nor one in base64",
        parameters={"ExeUri": "ftp://files.contoso.com/secret"},
    ),
    cannot(
        "left by an earlier run, spoilt, no way out",
        "kept, ExeUri",
        "The copy that an earlier run kept: its SHA-256 is ",
        "cannot be resolved",
        earlier=HERE,
        commands=(SPOIL,),
        parameters=NOWHERE,
    ),
    cannot(
        "no such file", "ExePath", f"ExePath Z:{PLACE}: there is no such file.", parameters=THERE
    ),
    cannot(
        "another version",
        "ExePath",
        "bytes instead of ",
        parameters=THERE,
        put={PLACE: b"MZ" * 5000},
    ),
    cannot(
        "a page in HTML saved as the exe",
        "ExePath",
        'it begins with "<"',
        parameters=THERE,
        put={PLACE: b"<!DOCTYPE html>"},
    ),
    cannot(
        "\\n in its name became a line break",
        "ExePath",
        "ExePath C: ew.exe: it holds a line break",
        parameters={"ExePath": "C:\new.exe"},
    ),
    cannot(
        "no whole path",
        "ExePath",
        "it is not a whole path",
        parameters={"ExePath": "imds-check.exe"},
    ),
    # --- it is not kept ---
    cannot(
        "a folder of another user",
        "ExePath",
        "belongs to another user (S-1-5-7)",
        parameters=HERE,
        commands=(f"mkdir '{FOLDER}'", f"chown 1000 '{FOLDER}'"),
        never=("SHA-256",),
    ),
    cannot(
        "a folder where others write",
        "ExePath",
        "can be written by another user (S-1-1-0)",
        parameters=HERE,
        commands=(f"mkdir '{FOLDER}'", f"chmod 777 '{FOLDER}'"),
    ),
    cannot(
        "a file in the folder's place",
        "ExePath",
        "cannot be made",
        parameters=HERE,
        commands=(f"touch '{FOLDER}'",),
    ),
    cannot(
        "the disk is full",
        "ExePath",
        "the disk is full: free ",
        parameters=HERE,
        commands=(FILL,),
        own_vm=True,
    ),
    cannot(
        "a link in the folder's place",
        "ExePath",
        "is a link that leads elsewhere",
        parameters=HERE,
        commands=(f"mkdir '{FOLDER}'", f"mount -t tmpfs -o mode=0700 none '{FOLDER}'"),
        own_vm=True,
    ),
    # --- it does not run ---
    cannot(
        "no program",
        "ExePath",
        "it could not be started: this Windows cannot run it",
        exe=lambda: b"This is no program.\n" * 50,
    ),
    cannot(
        "a program that says nothing",
        "ExePath",
        "it ended with exit code 0 and without a report",
        exe=lambda: compiled("stand_in.c"),
    ),
    cannot(
        "a program that hangs",
        "ExePath",
        "it had not ended after 31 s, and was killed",
        exe=lambda: compiled("hang.c"),
        parameters={"Arguments": "--deadline 1"},
        slow=True,
    ),
    # --- parameters ---
    Scenario(
        "an option that there is not",
        "ExePath",
        "inconclusive",
        2,
        ("Wrong parameters: imds-check: check: no option is called '--nope'.",),
        ("no option is called '--nope'",),
        parameters={**HERE, "Arguments": "--nope"},
    ),
    Scenario(
        "a MAC that is none",
        "ExePath",
        "inconclusive",
        2,
        ("Wrong parameters: imds-check: argument --expected-mac",),
        ("argument --expected-mac",),
        parameters={**HERE, "ExpectedMac": "eth0"},
    ),
    Scenario(
        "a parameter that there is not",
        "no such file",
        "a file in the folder's place",
        "none",
        "inconclusive",
        2,
        ("Wrong parameters: -ExeURL. There are ExpectedMac,",),
        parameters={"ExeURL": "https://contoso.com/x?sig=S3cret"},
    ),
    Scenario(
        "what Azure says of the NIC",
        "ExePath",
        "healthy",
        0,
        ("warn nic-ip-mismatch", "10.0.0.99"),
        parameters={**HERE, "ExpectedIp": " 10.0.0.99 ", "ExpectedMac": "00:0d:3a:7f:20:04"},
    ),
    Scenario(
        "redacted",
        "none",
        "inconclusive",
        3,
        ("imds.reachable connected ok imds.metadata HTTP 200 ok",),
        never=("10.0.", "labvm", "00-0D", "9a1f0c86", "contoso", "eth0"),
        parameters={**NOWHERE, "Arguments": "--redact"},
    ),
    # --- the short report on broken VMs ---
    broken(
        "route-wrong-interface",
        "imds.reachable timed out after 3 s",
        f"What goes to {IMDS} is sent from 10.0.1.5",
        f"> {IMDS} 255.255.255.255 10.0.1.1 10.0.1.5 ",
        f" {IMDS} 255.255.255.255 10.0.0.1 10.0.0.4 ",
        *NICS,
        vm=(f"route add {IMDS}/32 via 10.0.1.1 dev eth1",),
    ),
    broken(
        "route-link-local-shadow",
        f"What goes to {IMDS} is sent from 169.254.7.1",
        "> 169.254.0.0 255.255.0.0 On-link 10.0.1.5 ",
        "0.0.0.0 0.0.0.0 10.0.0.1 10.0.0.4 ",
        vm=(*NO_HOST_ROUTES, "addr add 169.254.7.1/16 dev eth1"),
    ),
    broken(
        "route-missing",
        "imds.reachable no way leads there from this VM",
        f"Nothing can be sent to {IMDS}: no way leads there",
        f"none leads to {IMDS} or {WIRESERVER}",
        *NICS,
        vm=NO_ROUTES,
    ),
    broken(
        "nic-down",
        "no way leads there from this VM",
        '2 "eth0" 00-0D-3A-7F-20-04 down',
        vm=("link set eth0 down",),
    ),
    broken(
        "firewall-unknown",
        "imds.reachable forbidden on this VM",
        "wireserver.reachable port 80 connected",
        vm=(f"rule add pref 100 to {IMDS} prohibit",),
    ),
    broken(
        "imds-no-answer",
        "imds.reachable timed out after 3 s",
        f"> {IMDS} 255.255.255.255 10.0.0.1 10.0.0.4 ",
        *NICS,
        host=NOT_ANSWERED,
    ),
    broken(
        "imds-refused",
        "imds.reachable the connection was refused",
        *NICS,
        not_listening=((IMDS, 80),),
    ),
    broken(
        "imds-not-imds",
        "imds.metadata HTTP 200, ",
        "not the metadata of a VM",
        behaviour=Behaviour(instance="html"),
    ),
    broken(
        "imds-not-imds (redirect)",
        "imds.metadata HTTP 302",
        behaviour=Behaviour(instance="redirect"),
        never=("secret",),
    ),
    broken(
        "imds-not-imds (broken JSON)",
        "imds.metadata HTTP 200, ",
        "not the metadata of a VM",
        behaviour=Behaviour(instance="broken-json"),
    ),
    broken(
        "imds-not-imds (endless JSON)",
        "(endless): not the metadata of a VM",
        behaviour=Behaviour(instance="endless"),
    ),
    broken(
        "imds-not-imds (another cloud's)",
        "not the metadata of a VM",
        behaviour=Behaviour(instance="other-json"),
    ),
    broken(
        "imds-not-imds (one byte a second)",
        "imds.metadata no HTTP answer (timeout)",
        behaviour=Behaviour(instance="trickle"),
    ),
    broken("imds-access-denied", "imds.metadata HTTP 403", behaviour=Behaviour(instance="403")),
    broken("imds-unavailable", "imds.metadata HTTP 503", behaviour=Behaviour(instance="503")),
    cannot(
        "imds-throttled, for a moment",
        "none",
        "imds.metadata HTTP 200, vmId",
        behaviour=Behaviour(instance="429", recovers_after=1),
    ),
    cannot(
        "wireserver-unreachable",
        "none",
        "fail wireserver.reachable port 80 connected from 10.0.0.4; port 32526 the connection was "
        "refused",
        not_listening=((WIRESERVER, 32526),),
    ),
    cannot(
        "proxies",
        "none",
        "note proxy 10.0.0.50:3128 is set on this VM",
        "note proxy 10.0.0.50:8080 is set on this VM",
        never=("secret", "user:"),
        registry=(
            registry.winhttp("http=user:secret@10.0.0.50:3128;https=10.0.0.50:3129", WIRESERVER),
            registry.key(
                registry.ENVIRONMENT,
                http_proxy="http://user:a@secret@10.0.0.50:8080/",
                no_proxy="localhost,169.254.*",
            ),
        ),
    ),
    cannot(
        "a proxy that is bypassed",
        "none",
        "note proxy 10.0.0.50:3128 is set on this VM",
        registry=(registry.winhttp("10.0.0.50:3128", f"<local>;{IMDS}"),),
    ),
]
BY_NAME = {scenario.name: scenario for scenario in SCENARIOS}

# What repeats another scenario with other values: the same check of a file's size, beginning or
# hash, the same second try, words for an error and readings of an answer that the engine on Linux
# is asked for in tests/test_powershell.py, or what a test of its own there shows. And where the
# script only collects: that is what tests/test_script_alone.py and test_script_bad_input.py show.
REPEATS = frozenset(
    {
        "with a signature in the address",
        "in base64 of UTF-16",
        "over HTTP",
        "after a redirect",
        "twice too busy (503)",
        "left by an earlier run, nothing given",
        "no such file, but a download",
        "no way out: refused",
        "no way out: no route",
        "cut off, its length not told",
        "a longer file",
        "a page in HTML, called a file",
        "not found (404)",
        "left by an earlier run, spoilt, no way out",
        "another version",
        "no whole path",
        "imds-not-imds (redirect)",
        "imds-not-imds (broken JSON)",
        "imds-not-imds (another cloud's)",
        "imds-access-denied",
        "a MAC that is none",
        "the build was given no address",
        "copied to the VM",
        "cut off",
        "a program that hangs",
        "a parameter that there is not",
        "no such file",
        "a file in the folder's place",
        # only collecting
        "the address that the build was given, not asked for",
        "nothing given",
        "route-link-local-shadow",
        "route-missing",
        "nic-down",
        "firewall-unknown",
        "imds-no-answer",
        "imds-refused",
        "imds-not-imds",
        "imds-not-imds (endless JSON)",
        "imds-not-imds (one byte a second)",
        "imds-unavailable",
        "imds-throttled, for a moment",
        "wireserver-unreachable",
        "proxies",
        "a proxy that is bypassed",
    }
)


# --- running them ---


def run(scenario: Scenario, lab: PowerShellLab) -> Seen:
    """Runs one in a VM, from which the exe has been taken away."""
    lab.vm(f"rm -rf '{FOLDER}' {PLACE}")
    exe = scenario.exe() if scenario.exe else EXE.read_bytes()
    script = made(exe, scenario.exe_uri)
    for old, new in scenario.edits:
        assert script.count(old) == 1, old
        script = script.replace(old, new)
    for path, content in scenario.put.items():
        lab.put(path, content.read_bytes() if isinstance(content, Path) else content)
    parameters = {"ExitCode": "verdict", **scenario.parameters}
    if scenario.exe:
        lab.put(PLACE, exe)
        parameters.update(THERE)
    if scenario.earlier is not None:
        earlier = lab.power_shell(script, scenario.earlier)
        assert earlier.code == 0 and b" verdict=healthy " in earlier.out, earlier
    for command in scenario.commands:
        lab.vm(command)
    done = lab.power_shell(script, parameters, scenario.env)
    left = lab.vm(f"find '{FOLDER}' -mindepth 1 -printf '%f\\n'", check=False).split()
    return Seen(
        done.out.decode("ascii"), done.err.decode("ascii"), done.code, done.seconds, tuple(left)
    )


def run_all(scenarios: Sequence[Scenario]) -> Dict[str, Seen]:
    """All of them, several VMs side by side: those that break theirs or take long in VMs of their
    own.
    """
    alone = [[scenario] for scenario in scenarios if not scenario.shares]
    shared = [scenario for scenario in scenarios if scenario.shares]
    groups = [
        *sorted(alone, key=lambda group: not group[0].slow),
        *(shared[i::6] for i in range(6)),
    ]
    seen: Dict[str, Seen] = {}
    again: List[List[Scenario]] = []
    with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
        running = [(group, pool.submit(_run_group, group)) for group in groups if group]
        for group, future in running:
            try:
                seen.update(future.result())
            except (OSError, RuntimeError, subprocess.SubprocessError):  # of a machine too busy
                again.append(group)
    for group in again:
        seen.update(_run_group(group))
    return {scenario.name: seen[scenario.name] for scenario in scenarios}


def _run_group(scenarios: Sequence[Scenario]) -> Dict[str, Seen]:
    first = scenarios[0]
    with PowerShellLab(first.behaviour, first.not_listening) as lab:
        for text in first.registry:
            lab.registry(text)
        lab.warm_up()
        if first.shares or first.slow:
            lab.offer()
        for command in first.vm:
            lab.vm(f"ip {command}")
        for command in first.host:
            lab.host(command)
        return {scenario.name: run(scenario, lab) for scenario in scenarios}


def wrong(scenario: Scenario, seen: Seen) -> List[str]:
    """What is not as the scenario has it."""
    match = END.fullmatch(seen.end)
    found = (
        []
        if match
        and (match[1], int(match[3]), seen.code) == (scenario.verdict, scenario.code, scenario.code)
        else ["END"]
    )
    found += ["size"] if len(seen.out.replace("\r\n", "\n").replace("\n", "\r\n")) > 3900 else []
    found += [text for text in scenario.says if text not in seen.flat]
    err = block.without(seen.err, block.DOCUMENT)
    found += [
        f"err: {text}"
        for text in scenario.err or ("",)
        if text not in err or (not text and err.strip())
    ]
    found += [f"not: {text}" for text in scenario.never if text in seen.out + seen.err]
    return found


def main() -> int:
    reason = why_not_here()
    if reason:
        print(f"the script cannot be run here: {reason}", file=sys.stderr)
        return 2
    names = sys.argv[1:]
    chosen = [scenario for scenario in SCENARIOS if not names or scenario.name in names]
    width = max(len(scenario.name) for scenario in chosen) + 2
    print(f"{'SCENARIO':{width}}{'WAY':17}{'S':>5}  {'RIGHT':7}END LINE")
    failed = 0
    for name, seen in run_all(chosen).items():
        found = wrong(BY_NAME[name], seen)
        failed += bool(found)
        end = seen.end.partition(" host=")[0]
        print(
            f"{name:{width}}{BY_NAME[name].way:17}{seen.seconds:5.1f}  "
            f"{'NO' if found else 'yes':7}{end}"
        )
        for text in found:
            print(f"    {text}")
        if found or names:
            print(seen.out, seen.err)
    print(f"{len(chosen)} scenarios, {failed} wrong")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
