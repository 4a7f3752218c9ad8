"""``dist/imds-check.exe`` as the tests use it: frozen once, by ``build.py`` or by the first test
that needs it.
"""

from __future__ import annotations

import fcntl
import subprocess
import sys
from pathlib import Path
from typing import Iterator

ROOT = Path(__file__).resolve().parents[2]
EXE = ROOT / "dist" / "imds-check.exe"
LOCK = "exe.lock"  # tests of several files run side by side, and all want it


def current() -> Path:
    """The exe of the sources as they are now. It takes 15 s where ``dist`` has none, or an older
    one.
    """
    EXE.parent.mkdir(exist_ok=True)
    with open(EXE.parent / LOCK, "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not EXE.exists() or EXE.stat().st_mtime < max(map(_changed, _sources())):
            build(ROOT)
    return EXE


def build(checkout: Path) -> Path:
    """Freezes the exe of a checkout, whether or not it has one."""
    done = subprocess.run(
        [sys.executable, "build.py", "exe", "--wine"],
        cwd=checkout,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0, done.stdout
    return checkout / "dist" / "imds-check.exe"


def _sources() -> Iterator[Path]:
    yield ROOT / "build.py"
    yield ROOT / "tests" / "wine" / "setup.sh"
    yield from (ROOT / "runcommand").rglob("*.py")


def _changed(source: Path) -> float:
    return source.stat().st_mtime
