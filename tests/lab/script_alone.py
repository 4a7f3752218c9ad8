"""imds-check.ps1 alone in the lab's VM as Windows: what it prints, put through ``decode``, beside
what the exe says of the same VM.

``python -m tests.lab.script_alone [NAME ...]``: scenarios of ``tests/lab/windows.py`` as a table.
"""

from __future__ import annotations

import json
import re
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Tuple

import build
from runcommand.diagnosis import diagnose
from runcommand.operator.decode import decode
from runcommand.report import json_report

from .. import wine
from ..wine import compiled
from .powershell import DRIVE_C, ENGINE, PowerShellLab, why_not_here
from .scenarios import Broken
from .windows import WindowsLab, shown

KEPT = "--keep"  # also keeps what the script printed, for tests/test_recorded.py
SAVED = Path(__file__).parent.parent / "recorded"
# Wine prefers its own arp.exe, which prints nothing.
OWN_ARP = {"WINEDLLOVERRIDES": f"{ENGINE['WINEDLLOVERRIDES']};arp.exe=n"}
REPORT_LIMIT = 3900  # bytes, every line end counted as two
PARAMETERS = {"--expected-mac": "ExpectedMac", "--expected-ip": "ExpectedIp"}


@dataclass(frozen=True)
class Alone:
    """What came of one scenario."""

    exe: Tuple[str, Optional[str]]  # verdict, cause
    script: Tuple[str, Optional[str]]
    report: Dict[str, Any]  # of the script's raw material
    printed: str
    seconds: float
    exe_seconds: float

    @property
    def size(self) -> int:
        return len(self.printed.replace("\r\n", "\n").replace("\n", "\r\n"))

    @property
    def is_equal(self) -> bool:
        return self.exe == self.script


class AloneLab(PowerShellLab):
    """A VM whose leases and services are in the registry before Wine starts."""

    def _make(self) -> None:
        self._tag = ""
        WindowsLab._make(self)

    def write(self, path: str, text: str) -> None:
        super().write(path, text)
        if path.endswith("/chassis_asset_tag"):
            self._tag = text.strip()

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
    """Breaks a VM, and asks the exe and the script."""
    with AloneLab(scenario.behaviour, scenario.not_listening, scenario.environment) as lab:
        scenario.prepare(lab)
        lab.warm_up()
        exe: Tuple[str, Optional[str]] = (scenario.verdict, scenario.cause)
        exe_seconds = 0.0
        if with_exe:
            began = time.monotonic()
            report, _ = lab.diagnose(*scenario.arguments, environment=scenario.variables)
            exe, exe_seconds = (report["verdict"], report["cause"]), time.monotonic() - began
        done = lab.alone(parameters(scenario.arguments), scenario.variables)
        return judged(done.out, exe, done.seconds, exe_seconds, done.err)


def judged(
    out: bytes,
    exe: Tuple[str, Optional[str]],
    seconds: float,
    exe_seconds: float,
    err: bytes = b"",
) -> Alone:
    # as the portal shows them: the document is on standard error
    (found,) = decode(out + b"\n" + err)
    if found.facts is None:
        raise AssertionError(f"no facts: {found.notes}\n{out.decode('ascii', 'replace')}\n{err!r}")
    report = json.loads(json_report.as_json(diagnose(found.facts)))
    printed = out.decode("ascii")
    return Alone(exe, (report["verdict"], report["cause"]), report, printed, seconds, exe_seconds)


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


def main() -> int:
    reason = why_not_here()
    if reason:
        print(f"the script cannot be run here: {reason}", file=sys.stderr)
        return 2
    names = [name for name in sys.argv[1:] if not name.startswith("-")]
    chosen = [scenario for scenario in shown() if scenario.name in names]
    if not chosen:
        chosen = [item for item in shown() if any(name in item.name for name in names or [""])]
    width = max(len(scenario.name) for scenario in chosen) + 2
    print(f"{'SCENARIO':{width}}{'EQUAL':7}{'BYTES':>6}{'S':>6}{'EXE S':>7}  EXE / SCRIPT")
    differ = 0
    for scenario in chosen:
        try:
            found = run(scenario)
        except AssertionError as failure:
            print(f"{scenario.name:{width}}FAILED {failure}")
            differ += 1
            continue
        differ += not found.is_equal
        exe, alone = (f"{verdict}: {cause}" for verdict, cause in (found.exe, found.script))
        told = exe if found.is_equal else f"{exe} / {alone}"
        print(
            f"{scenario.name:{width}}{'yes' if found.is_equal else 'NO':7}{found.size:6}"
            f"{found.seconds:6.1f}{found.exe_seconds:7.1f}  {told}",
            flush=True,
        )
        if KEPT in sys.argv:
            (SAVED / f"{file_name(scenario.name)}.txt").write_text(found.printed, newline="")
        if "-v" in sys.argv:
            print(found.printed)
            unavailable = found.report["facts"]["unavailable"] + found.report["facts"]["notes"]
            print(json.dumps(unavailable, indent=1))
    print(f"{len(chosen)} scenarios, {differ} differ")
    return 1 if differ else 0


if __name__ == "__main__":
    sys.exit(main())
