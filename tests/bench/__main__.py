"""``python -m tests.bench [RUNS]``: wall time, IMDS requests and peak memory of whole runs in the lab, and sizes."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import time
import zipfile
from dataclasses import dataclass
from statistics import median
from typing import Callable, List, Sequence

from runcommand.probes.tcp import CONNECT_S

from ..lab.namespace import IMDS, ROOT, WIRESERVER, Lab, why_not

DARK = [f"rule add pref 0 to {address} blackhole" for address in (IMDS, WIRESERVER)]


@dataclass(frozen=True)
class Sample:
    seconds: float
    peak_mib: float


def sample(command: Sequence[str]) -> Sample:
    """One whole process, from its start to its end. The peak is its own high-water mark, seen up to 5 ms before its end."""
    began = time.monotonic()
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    peak = 0
    while process.poll() is None:
        try:
            with open(f"/proc/{process.pid}/status") as status:
                peak = max(peak, next((int(line.split()[1]) for line in status if line.startswith("VmHWM")), 0))
        except OSError:
            pass
        time.sleep(0.005)
    return Sample(time.monotonic() - began, peak / 1024)


def show(name: str, values: List[float], unit: str, limit: str) -> None:
    print(f"{name:34}{min(values):8.2f}{median(values):8.2f}{max(values):8.2f}  {unit:6}{limit}")


def whole_runs(name: str, runs: int, limit: str, prepare: Callable[[Lab], None]) -> None:
    with Lab() as lab:
        prepare(lab)
        command = lab.enter([sys.executable, "-m", "runcommand", "--no-files"])
        sample(command)  # warm
        before = len(lab.requests())
        samples = [sample(command) for _ in range(runs)]
        asked = sum(1 for _, path in lab.requests()[before:] if path.startswith("/metadata/"))
    show(name, [item.seconds for item in samples], "s", limit)
    show(f"{name}: peak memory", [item.peak_mib for item in samples], "MiB", "")
    print(f"{name + ': IMDS requests':34}{'':8}{asked / runs:8.2f}{'':8}  {'a run':6}")


def package_size() -> int:
    """Bytes of the whole package as a compressed archive, which is what a one-file script would carry."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for path in sorted((ROOT / "runcommand").rglob("*.py")):
            archive.write(path, str(path.relative_to(ROOT)))
    return len(buffer.getvalue())


def main() -> int:
    reason = why_not()
    if reason:
        print(f"the lab cannot run here: {reason}", file=sys.stderr)
        return 2
    runs = int(sys.argv[1]) if sys.argv[1:] else 5
    print(f"{runs} runs each, after one to warm up; one connect may take {CONNECT_S:.1f} s")
    print(f"{'':34}{'min':>8}{'median':>8}{'max':>8}  {'':6}limit")
    version = [sample([sys.executable, "-m", "runcommand", "--version"]).seconds for _ in range(runs)]
    bare = [sample([sys.executable, "-c", "pass"]).seconds for _ in range(runs)]
    show("bare interpreter", bare, "s", "")
    show("--version", version, "s", "")
    whole_runs("healthy", runs, "0.6", lambda lab: None)
    whole_runs(
        "all dark",
        runs,
        f"{1.5 * CONNECT_S + 1:.1f} (1.5 x one connect + 1)",
        lambda lab: [lab.host(line) for line in DARK] and None,
    )
    whole_runs(
        "wrong interface", runs, "", lambda lab: lab.vm(f"ip route add {IMDS}/32 via 10.0.1.1 dev eth1") and None
    )
    print(f"{'package, compressed':34}{'':8}{package_size() / 1024:8.1f}{'':8}  {'KiB':6}128 (as a script)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
