"""imds-check.ps1 alone in the lab's VM as Windows: what it prints, put through ``decode``, beside
what the exe says of the same VM.

``python -m tests.lab.script_alone [NAME ...]``: every scenario of ``python -m tests.lab --exe`` as
a table, one after the other, because their seconds are compared; half an hour on two cores.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

import build
from runcommand.diagnosis import diagnose
from runcommand.operator.decode import decode
from runcommand.report import json_report

from .. import wine
from ..wine import compiled
from .certificates import DARK
from .powershell import DRIVE_C, ENGINE, PowerShellLab, why_not_here
from .run import SIDE_BY_SIDE
from .scenarios import Broken
from .windows import WindowsLab, shown

SAVED = Path(__file__).parent.parent / "recorded"
# Wine prefers its own arp.exe, which prints nothing.
OWN_ARP = {"WINEDLLOVERRIDES": f"{ENGINE['WINEDLLOVERRIDES']};arp.exe=n"}
REPORT_LIMIT = 3900  # bytes, every line end counted as two
EQUAL_OF_100 = 95  # at least
ENGINE_DIES = b"Fatal error."  # .NET's own words
# healthy, all dark, wrong interface
TIMED = ("healthy: as Azure's DHCP leaves it", "platform-unreachable", "route-wrong-interface")
PARAMETERS = {"--expected-mac": "ExpectedMac", "--expected-ip": "ExpectedIp"}
# What the script's output cannot show although the exe sees it, and why.
UNSEEN: Dict[str, str] = {}


class EngineDied(AssertionError):
    """The engine that runs the script ended by an error of its own, before anything was printed."""


@dataclass(frozen=True)
class Alone:
    """What came of one scenario."""

    exe: Tuple[str, Optional[str]]  # verdict, cause
    script: Tuple[str, Optional[str]]
    report: Dict[str, Any]  # of the script's raw material
    printed: str
    seconds: float
    exe_seconds: float
    err: str = ""  # what it printed on standard error

    @property
    def size(self) -> int:
        return size_of(self.printed)

    @property
    def is_equal(self) -> bool:
        return self.exe == self.script


def size_of(printed: str) -> int:
    """Bytes as Run Command counts them: two for each line end."""
    return len(printed.replace("\r\n", "\n").replace("\n", "\r\n"))


class AloneLab(PowerShellLab):
    """A VM whose leases and services are in the registry before Wine starts."""

    def _make(self) -> None:
        self._tag = ""
        WindowsLab._make(self)

    def write(self, path: str, text: str) -> None:
        super().write(path, text)
        if path.endswith("/chassis_asset_tag"):
            self._tag = text.strip()

    def hosts(self, names: Dict[str, str]) -> None:
        """Wine waits a minute for a host of a certificate that is dark, and Windows for the time
        that it is given (dwUrlRetrievalTimeout): then this VM's kernel gives up after 3 s.
        """
        super().hosts(names)
        if DARK in names.values():
            self.vm("sysctl -q -w net.ipv4.tcp_syn_retries=1")

    def start(self) -> None:
        if self._started:
            return
        # Windows keeps a copy of the table there, and Wine does not
        table = ",".join(f"{byte:02x}" for byte in smbios(self._tag))
        self.key("System\\CurrentControlSet\\Services\\mssmbios\\Data", f'"SMBiosData"=hex:{table}')
        super().start()
        self.put_route_exe()
        self.put(f"{DRIVE_C}/windows/system32/arp.exe", compiled("arp.c", "iphlpapi", "ws2_32"))

    def alone(self, given: Mapping[str, str] = {}, variables: Mapping[str, str] = {}) -> wine.Done:
        """Runs the script."""
        return self.power_shell(script(), given, {**OWN_ARP, **variables})


def smbios(tag: str) -> bytes:
    """RawSMBIOSData with the vendor and the asset tag of a chassis (DMTF DSP0134)."""
    system = bytes([1, 27, 0, 0, 1, 0, 0, 0]) + bytes(19) + b"Microsoft Corporation\0\0"
    chassis = bytes([3, 9, 1, 0, 0, 0, 0, 0, 1]) + tag.encode("ascii") + b"\0\0"
    table = system + chassis + bytes([127, 4, 2, 0, 0, 0])
    return bytes([0, 3, 1, 0]) + len(table).to_bytes(4, "little") + table


def script() -> str:
    """The script as ``build.py`` makes it without an exe, with the line ends of Windows."""
    return build.powershell_script(None).replace("\n", "\r\n")


def run(scenario: Broken, with_exe: bool = True) -> Alone:
    """Breaks a VM, and asks the exe and the script. Wine hangs now and then, and .NET dies in it: a
    VM in which a run does not end, or its engine dies, is given up once for a new one.
    """
    try:
        return _run(scenario, with_exe)
    except (subprocess.TimeoutExpired, EngineDied):
        return _run(scenario, with_exe)


def _run(scenario: Broken, with_exe: bool) -> Alone:
    with AloneLab(scenario.behaviour, scenario.not_listening, scenario.environment) as lab:
        scenario.prepare(lab)
        lab.warm_up()
        exe: Tuple[str, Optional[str]] = (scenario.verdict, scenario.cause)
        exe_seconds = 0.0
        if with_exe:
            report, exe_seconds = lab.diagnose(*scenario.arguments, environment=scenario.variables)
            exe = (report["verdict"], report["cause"])
        done = lab.alone(parameters(scenario.arguments), scenario.variables)
        return judged(done.out, exe, done.seconds, exe_seconds, done.err)


def run_all(scenarios: Sequence[Broken]) -> Dict[str, Alone]:
    """The script in several VMs side by side, by the names of the scenarios. One that is wrong then
    counts only if it is wrong alone too: a busy machine costs a time-out.
    """
    asked = partial(run, with_exe=False)
    with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
        found = list(pool.map(asked, scenarios))
    return {
        scenario.name: alone if alone.is_equal else asked(scenario)
        for scenario, alone in zip(scenarios, found)
    }


def judged(
    out: bytes,
    exe: Tuple[str, Optional[str]],
    seconds: float,
    exe_seconds: float,
    err: bytes = b"",
) -> Alone:
    if not out and err.startswith(ENGINE_DIES):
        raise EngineDied(err.decode("ascii", "replace"))
    printed, said = out.decode("ascii"), err.decode("ascii")
    (found,) = decode(given_back(printed, said))
    if found.facts is None:
        raise AssertionError(f"no facts: {found.notes}\n{printed}\n{said}")
    report = json.loads(json_report.as_json(diagnose(found.facts)))
    script = (report["verdict"], report["cause"])
    return Alone(exe, script, report, printed, seconds, exe_seconds, said)


def given_back(out: str, err: str) -> bytes:
    """Both streams as ``az vm run-command invoke`` prints them."""
    streams = [
        {"code": f"ComponentStatus/{name}/succeeded", "message": text}
        for name, text in (("StdOut", out), ("StdErr", err))
    ]
    return json.dumps({"value": streams}).encode("ascii")


def parameters(arguments: Tuple[str, ...]) -> Dict[str, str]:
    """The script's parameters for options of the exe."""
    given: Dict[str, str] = {}
    rest: List[str] = []
    words = list(arguments)
    while words:
        word = words.pop(0)
        if word in PARAMETERS:
            given[PARAMETERS[word]] = words.pop(0)
        else:
            rest.append(word)
    if rest:
        given["Arguments"] = " ".join(rest)
    return given


def file_name(name: str) -> str:
    """The name of a scenario as a file may have it."""
    return re.sub(r"\W+", "-", name).strip("-")


# --- the table ---


@dataclass(frozen=True)
class Row:
    """One scenario in the table; without ``alone`` where it could not be run."""

    scenario: Broken
    alone: Optional[Alone]
    failure: str = ""

    @property
    def is_equal(self) -> bool:
        return self.alone is not None and self.alone.is_equal

    @property
    def is_explained(self) -> bool:
        return self.is_equal or self.scenario.name in UNSEEN

    def text(self, width: int) -> str:
        name = f"{self.scenario.name:{width}}"
        if self.alone is None:
            return f"{name}FAILED: {self.failure}"
        exe, script = in_words(self.alone.exe), in_words(self.alone.script)
        equal = "yes"
        if not self.is_equal:
            equal = f"NO: {UNSEEN.get(self.scenario.name, 'to be mended')}"
        return (
            f"{name}{exe:38}{script:38}{self.alone.exe_seconds:6.1f}{self.alone.seconds:9.1f}"
            f"{self.alone.size:7}  {equal}"
        )


def in_words(outcome: Tuple[str, Optional[str]]) -> str:
    verdict, cause = outcome
    if cause is None:
        return verdict
    return f"{verdict}: {cause}"


def start_seconds() -> float:
    """How long PowerShell itself takes to start and to end, once it has been started before."""
    with AloneLab() as lab:
        lab.warm_up()
        return min(lab.power_shell("exit 0\r\n").seconds for _ in range(3))


def row_of(scenario: Broken) -> Row:
    try:
        return Row(scenario, run(scenario))
    except (AssertionError, OSError, subprocess.SubprocessError) as failure:
        return Row(scenario, None, f"{type(failure).__name__}: {' '.join(str(failure).split())}")


def table(scenarios: Sequence[Broken]) -> List[Row]:
    """Prints it, row by row."""
    width = max(len(scenario.name) for scenario in scenarios) + 2
    print(
        f"{'SCENARIO':{width}}{'EXE':38}{'SCRIPT ALONE':38}{'EXE S':>6}{'SCRIPT S':>9}"
        f"{'BYTES':>7}  EQUAL"
    )
    rows = []
    for scenario in scenarios:
        row = row_of(scenario)
        print(row.text(width), flush=True)
        rows.append(row)
    return rows


def summary(rows: Sequence[Row]) -> List[str]:
    """The counts, and the largest output."""
    equal = sum(row.is_equal for row in rows)
    explained = sum(row.is_explained for row in rows) - equal
    share = 100 * equal / len(rows)
    lines = [
        f"{len(rows)} scenarios: {equal} equal ({share:.1f} of 100), {explained} different for a "
        f"reason given, {len(rows) - equal - explained} to be mended"
    ]
    ran = [(row.alone, row.scenario.name) for row in rows if row.alone]
    if ran:
        largest, name = max(ran, key=lambda item: item[0].size)
        lines.append(f"largest output: {largest.size} of {REPORT_LIMIT} bytes ({name})")
        loudest, name = max(ran, key=lambda item: size_of(item[0].err))
        lines.append(f"largest on standard error: {size_of(loudest.err)} bytes ({name})")
        lines += [
            f"seconds, {name}: exe {alone.exe_seconds:.1f}, script alone {alone.seconds:.1f}"
            for alone, name in ran
            if name in TIMED
        ]
    lines += [
        f"equal by now, so no longer to be listed in UNSEEN: {row.scenario.name}"
        for row in rows
        if row.is_equal and row.scenario.name in UNSEEN
    ]
    return lines


def chosen_of(names: Sequence[str]) -> List[Broken]:
    """The scenarios of these names; where there is none, those whose names contain one of them; all
    where no name is given.
    """
    known = shown()
    if not names:
        return known
    named = [scenario for scenario in known if scenario.name in names]
    return named or [item for item in known if any(name in item.name for name in names)]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.lab.script_alone")
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument(
        "--keep",
        action="store_true",
        help="also keep what the script printed, for tests/test_recorded.py",
    )
    parser.add_argument("-v", action="store_true", help="also print it, and what is not known")
    options = parser.parse_args()
    reason = why_not_here()
    if reason:
        print(f"the script cannot be run here: {reason}", file=sys.stderr)
        return 2
    chosen = chosen_of(options.names)
    if not chosen:
        print(f"no scenario has such a name: {', '.join(options.names)}", file=sys.stderr)
        return 2
    rows = table(chosen)
    for row in rows:
        if row.alone and options.keep:
            kept = SAVED / f"{file_name(row.scenario.name)}.txt"
            kept.write_text(row.alone.printed, newline="")
        if row.alone and options.v:
            facts = row.alone.report["facts"]
            print(f"\n{row.scenario.name}\n{row.alone.printed}")
            print(json.dumps(facts["unavailable"] + facts["notes"], indent=1))
    print("\n".join(summary(rows)))
    print(f"seconds of PowerShell's own start, in those of the script: {start_seconds():.1f}")
    enough = sum(row.is_equal for row in rows) * 100 >= EQUAL_OF_100 * len(rows)
    if all(row.is_explained for row in rows) and (enough or options.names):
        return 0
    return 1


if __name__ == "__main__":
    sys.exit(main())
