"""Runs the program as a user does, in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Ran:
    code: int
    out: str
    err: str
    seconds: float
    peak_kib: int  # of this process alone, as last seen; 0 where /proc does not say

    @property
    def end(self):
        """The fields of the END line."""
        words = self.out.rstrip("\n").rpartition("\n")[2].split()
        assert words[:2] == ["END", "IMDS-CHECK"], self.out[-300:]
        return dict(word.partition("=")[::2] for word in words[2:])


# The same program on a machine of which nothing is known but what the probes find: what this
# machine is plays no part.
NOWHERE = """
import sys
import runcommand.cli
from runcommand.system import here
here.current = here.Unknown
sys.exit(runcommand.cli.main(sys.argv[1:]))
"""


def start(*arguments, nowhere=False):
    """The command line of ``python -m runcommand ARGUMENTS``."""
    program = ["-c", NOWHERE] if nowhere else ["-m", "runcommand"]
    return [sys.executable, *program, *map(str, arguments)]


def imds_check(*arguments, nowhere=False, environment=None, timeout=60, **more) -> Ran:
    """``python -m runcommand ARGUMENTS``; standard streams may be given as files."""
    began = time.monotonic()
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        streams = {"stdin": subprocess.DEVNULL, "stdout": out, "stderr": err, **more}
        command = start(*arguments, nowhere=nowhere)
        env = {**os.environ, "PYTHONPATH": str(ROOT), **(environment or {})}
        process = subprocess.Popen(
            command,
            cwd=more.pop("cwd", ROOT),
            env=env,
            **{k: v for k, v in streams.items() if k != "cwd"},
        )
        end, peak = time.monotonic() + timeout, 0
        while process.poll() is None:
            peak = max(peak, high_water_kib(process.pid))
            if time.monotonic() > end:
                process.kill()
                raise AssertionError(f"{command}: not finished in {timeout} s")
            time.sleep(0.01)
        out.seek(0), err.seek(0)
        texts = [stream.read().decode("ascii").replace("\r\n", "\n") for stream in (out, err)]
    return Ran(process.returncode, *texts, time.monotonic() - began, peak)


def start_s() -> float:
    """What a run that does nothing takes now, the longer of two: the part of a limit that the
    machine decides.
    """
    return max(imds_check("--version").seconds for _ in range(2))


def high_water_kib(pid: int) -> int:
    """The most memory that a process has had so far; 0 where /proc does not say."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    return next(
        (int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")), 0
    )
