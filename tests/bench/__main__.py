"""``python -m tests.bench [RUNS]``: wall time, IMDS requests and peak memory of whole runs in the
lab, and sizes.

With ``--exe`` the same of the exe under Wine, beside a bare one-file exe with the same exclusions.
With ``--readers [PART OF A NAME]`` what each reader of text takes for 1 MiB of the text that is
worst for it (CPU time, one reading).
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Callable, Dict, List, Sequence

import build
from runcommand.attest import document as attested
from runcommand.network import CONNECT_S
from runcommand.simulator.host import Behaviour, attested_document

from .. import wine
from ..command import high_water_kib
from ..lab.certificates import ALONE, DARK as DARK_HOST, at
from ..lab.host import VM
from ..lab.namespace import IMDS, ROOT, WIRESERVER, Lab, why_not
from ..lab.windows import WindowsLab

DARK = [f"rule add pref 0 to {address} blackhole" for address in (IMDS, WIRESERVER)]


@dataclass(frozen=True)
class Sample:
    seconds: float
    peak_mib: float


def sample(command: Sequence[str], **variables: str) -> Sample:
    """One whole process, from its start to its end.

    The peak is its own high-water mark, seen up to 5 ms before its end.

    :param variables: of the environment, beside this process's own
    """
    began = time.monotonic()
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": str(ROOT), **variables},
    )
    peak = 0
    while process.poll() is None:
        peak = max(peak, high_water_kib(process.pid))
        time.sleep(0.005)
    return Sample(time.monotonic() - began, peak / 1024)


def show(name: str, values: List[float], unit: str, limit: str) -> None:
    print(f"{name:34}{min(values):8.2f}{median(values):8.2f}{max(values):8.2f}  {unit:6}{limit}")


def go_dark(lab: Lab) -> None:
    for line in DARK:
        lab.host(line)


def wrong_interface(lab: Lab) -> None:
    lab.vm(f"ip route add {IMDS}/32 via 10.0.1.1 dev eth1")


def silent_proxy(lab: Lab) -> None:
    """A proxy of the machine that takes the connection and says nothing."""
    lab.web("10.0.0.50", 3128, "silent")
    lab.write("/etc/environment", "http_proxy=http://10.0.0.50:3128\n")


def many_rules(lab: Lab) -> None:
    """20,000 nftables rules for other addresses."""
    rules = "".join(f"ip daddr 10.{n >> 8 & 255}.{n & 255}.1 drop\n" for n in range(20000))
    chain = f"chain out {{\ntype filter hook output priority 0;\n{rules}}}"
    lab.write("/run/lab/many.nft", f"table inet lab {{\n{chain}\n}}\n")
    lab.vm("nft -f /run/lab/many.nft")


def without_issuers(lab: Lab) -> None:
    """A document with its signing certificate alone, and every host of certificates dark."""
    lab.host(f"rule add pref 1 to {DARK_HOST} blackhole")
    lab.hosts(at(DARK_HOST))


def whole_runs(
    name: str,
    runs: int,
    limit: str,
    prepare: Callable[[Lab], None],
    *arguments: str,
    behaviour: Behaviour = Behaviour(),
) -> None:
    with Lab(behaviour) as lab:
        prepare(lab)
        command = lab.enter([sys.executable, "-m", "runcommand", "--no-files", *arguments])
        sample(command)  # warm
        before = len(lab.requests())
        samples = [sample(command) for _ in range(runs)]
        asked = sum(1 for _, path in lab.requests()[before:] if path.startswith("/metadata/"))
    show(name, [item.seconds for item in samples], "s", limit)
    show(f"{name}: peak memory", [item.peak_mib for item in samples], "MiB", "")
    print(f"{name + ': IMDS requests':34}{'':8}{asked / runs:8.2f}{'':8}  {'a run':6}")


# Without its byte code, as at the first time and as each time from the script, Python compiles
# 450 KB of source.
LIMITS = {"start-up: healthy": "0.2"}


def start_up(runs: int) -> None:
    """A healthy run beside what it cannot do without: a bare Python, and the three requests as curl
    makes them. They take turns, so that a busy machine slows all of them.
    """
    script = write_script()
    asked = ("instance", "attested/document", "identity/info")
    urls = [f"http://{IMDS}/metadata/{path}?api-version=2021-02-01" for path in asked]
    curl = ["curl", "-q", "--noproxy", "*", "--silent", "--header", "Metadata: true"]
    with Lab() as lab, tempfile.TemporaryDirectory() as bytecode:
        run = lab.enter([sys.executable, "-m", "runcommand", "--no-files"])
        cached = {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": bytecode}
        uncached = {"PYTHONDONTWRITEBYTECODE": "1", "PYTHONPYCACHEPREFIX": f"{bytecode}/none"}
        bare = lab.enter([sys.executable, "-c", "pass"])
        by_script = lab.enter(["sh", str(script), "--no-files"])
        works: Dict[str, Callable[[], float]] = {
            "start-up: bare interpreter": lambda: sample(bare).seconds,
            "start-up: three curls": lambda: sum(
                sample(lab.enter([*curl, url])).seconds for url in urls
            ),
            "start-up: healthy": lambda: sample(run, **cached).seconds,
            "start-up: healthy, first time": lambda: sample(run, **uncached).seconds,
            "start-up: healthy, the script": lambda: sample(by_script).seconds,
        }
        times: Dict[str, List[float]] = {name: [] for name in works}
        for turn in range(runs + 1):
            for name, work in works.items():
                seconds = work()
                if turn:  # the first is to warm up
                    times[name].append(seconds)
    for name, found in times.items():
        show(name, found, "s", LIMITS.get(name, ""))


def a_document(runs: int) -> None:
    """Reading and verifying one document, in this process."""
    answer = attested_document(VM, "1234567890", Behaviour())

    def once() -> float:
        began = time.monotonic()
        attested.read(answer["encoding"], answer["signature"], "1234567890")
        return (time.monotonic() - began) * 1000

    once()
    show("a document of three certificates", [once() for _ in range(runs)], "ms", "")


def write_script() -> Path:
    """Builds the script for Run Command in ``dist``."""
    build.DIST.mkdir(exist_ok=True)
    script = build.DIST / f"{build.NAME}.sh"
    script.write_text(build.shell_script(), "ascii")
    return script


def of_script(runs: int) -> None:
    """The script for Run Command: its size, and a whole healthy run, in which Python compiles all
    that it imports.
    """
    script = write_script()
    print(
        f"{'size of the script':34}{'':8}{script.stat().st_size / 1024:8.1f}{'':8}  "
        f"{'KiB':6}{build.SCRIPT_LIMIT >> 10}"
    )
    with Lab() as lab:
        command = lab.enter(["sh", str(script), "--no-files"])
        sample(command)  # warm
        show("the script, healthy", [sample(command).seconds for _ in range(runs)], "s", "0.6")


def of_exe(runs: int) -> None:
    """The exe and a bare one, under the same Wine, each in a VM of the lab."""
    build.build_exe(with_wine=True)
    bare, exe = build.WORK / "bare.exe", build.DIST / f"{build.NAME}.exe"
    (build.WORK / "bare.py").write_text("import sys\n\nsys.exit(0)\n")
    build.freeze_with_wine(script="build/bare.py", name="bare", folder="build")
    print(f"{'size of the exe':34}{'':8}{exe.stat().st_size / 2**20:8.2f}{'':8}  {'MiB':6}5.6")
    print(f"{'size of a bare exe':34}{'':8}{bare.stat().st_size / 2**20:8.2f}{'':8}  {'MiB':6}")
    with WindowsLab(exe) as lab:

        def times(program: str, *arguments: str) -> List[float]:
            return [lab.program(program, *arguments).seconds for _ in range(runs + 1)][
                1:
            ]  # the first to warm up

        start, own = times(str(bare)), times(str(exe), "--version")
        show("bare exe", start, "s", "")
        show("exe --version", own, "s", f"{1.3 * median(start):.2f} (1.3 x the bare one)")
        show("exe, healthy", times(str(exe), "--no-files"), "s", "")
        go_dark(lab)
        show(
            "exe, all dark",
            times(str(exe), "--no-files"),
            "s",
            f"{1.5 * CONNECT_S + 1:.1f} (1.5 x one connect + 1)",
        )


def of_readers(part: str) -> None:
    """Each reader's worst text of those in tests/test_growth.py is looked for at 64 KiB, and read
    at 1 MiB.
    """
    from ..test_growth import KIB, READERS, seconds

    print(f"{'READER':56}{'S FOR 1 MiB':>11}  LIMIT 0.3; THE TEXT")
    for reader in READERS:
        if part not in reader.name:
            continue
        slowest = 0.0
        for name, make in reader.inputs():
            took = seconds(reader.read, make(64 * KIB))
            if took > slowest:
                slowest, worst, at_worst = took, make, name
        took = seconds(reader.read, worst(1024 * KIB))
        print(f"{reader.name:56}{took:11.2f}  {at_worst}", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench")
    parser.add_argument("runs", nargs="?", type=int, default=5)
    parser.add_argument(
        "--exe", action="store_true", help="the exe, under Wine, instead of the package"
    )
    parser.add_argument(
        "--readers", nargs="?", const="", metavar="NAME", help="the readers of text instead"
    )
    options = parser.parse_args()
    if options.readers is not None:
        of_readers(options.readers)
        return 0
    reason = why_not() or (wine.why_not() if options.exe else None)
    if reason:
        print(f"the lab cannot run here: {reason}", file=sys.stderr)
        return 2
    print(f"{options.runs} runs each, after one to warm up; one connect may take {CONNECT_S:.1f} s")
    print(f"{'':34}{'min':>8}{'median':>8}{'max':>8}  {'':6}limit")
    if options.exe:
        of_exe(options.runs)
    else:
        of_package(options.runs)
    return 0


def of_package(runs: int) -> None:
    version = [
        sample([sys.executable, "-m", "runcommand", "--version"]).seconds for _ in range(runs)
    ]
    bare = [sample([sys.executable, "-c", "pass"]).seconds for _ in range(runs)]
    show("bare interpreter", bare, "s", "")
    show("--version", version, "s", "")
    start_up(runs)
    whole_runs("healthy", runs, "0.6", lambda lab: None)
    whole_runs(
        "all dark",
        runs,
        f"{1.5 * CONNECT_S + 1:.1f} (1.5 x one connect + 1)",
        go_dark,
    )
    whole_runs("wrong interface", runs, "", wrong_interface)
    whole_runs("a silent proxy", runs, "", silent_proxy)
    whole_runs("20,000 nftables rules", runs, "", many_rules)
    whole_runs(
        "--endpoints, all dark",
        runs,
        f"{CONNECT_S:.1f} more than healthy",
        without_issuers,
        "--endpoints",
    )
    whole_runs(
        "issuers missing, all dark",
        runs,
        f"{2 * CONNECT_S:.1f} more than healthy",
        without_issuers,
        behaviour=ALONE,
    )
    a_document(runs)
    of_script(runs)


if __name__ == "__main__":
    sys.exit(main())
