"""A real Windows Python under Wine: set up once outside the checkout, and run with pipes.

What has to be known of it: a Windows Python under Wine dies when a standard stream is a plain file
or standard input is closed, so they are pipes and /dev/null here. The pipes are inherited by Wine's
services, so reading ends soon after the program itself has ended, not at the end of the pipe.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import IO, Dict, Mapping, Optional, Sequence

PYTHON = "C:/py/python.exe"
SETUP = Path(__file__).with_name("setup.sh")
VERSION = 1  # of what setup.sh makes: a new one is made beside the old one
DRAIN_S = 0.3  # for what a program that has ended has left in its pipes


def folder() -> Path:
    """Where Wine's prefix is kept: outside the checkout, so that it is made once."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "imds-check" / f"wine-{VERSION}"


def prefix() -> Path:
    return folder() / "prefix"


def why_not() -> Optional[str]:
    """Why no Windows program can run here; None when it can."""
    if not sys.platform.startswith("linux"):
        return "Wine is for Linux"
    return (
        None if (folder() / ".ready").exists() else "Wine is not set up: python build.py exe --wine"
    )


def set_up() -> None:
    """Makes the prefix where it is not there yet (30 s, 225 MB of downloads).

    Raises ``subprocess.CalledProcessError`` when the script failed (it has said why), ``OSError``
    without ``bash``.
    """
    subprocess.run(["bash", str(SETUP), str(folder())], check=True, stdin=subprocess.DEVNULL)


@lru_cache(maxsize=None)
def compiled(source: str, *libraries: str) -> bytes:
    """A program of Windows, made of a C file in this folder. (``stand_in.c``: in the place of one
    that Wine does not have.)
    """
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "made.exe"
        command = [
            "x86_64-w64-mingw32-gcc",
            "-Os",
            "-s",
            "-o",
            str(made),
            str(Path(__file__).with_name(source)),
        ]
        subprocess.run([*command, *(f"-l{name}" for name in libraries)], check=True)
        return made.read_bytes()


def environment(prefix: Path) -> Dict[str, str]:
    """This process's environment, with what Wine needs."""
    own = {
        key: value for key, value in os.environ.items() if key not in ("DISPLAY", "WAYLAND_DISPLAY")
    }
    return {
        **own,
        "WINEPREFIX": str(prefix),
        "WINEARCH": "win64",
        "WINEDEBUG": "-all",
        "WINEDLLOVERRIDES": "mscoree,mshtml,winedbg.exe=d",
    }


@dataclass(frozen=True)
class Done:
    code: int  # its low 8 bits
    out: bytes
    err: bytes
    seconds: float  # until the program itself had ended


def run(
    command: Sequence[str],
    *,
    prefix: Path,
    enter: Sequence[str] = (),
    env: Optional[Mapping[str, str]] = None,
    cwd: Optional[Path] = None,
    timeout: float = 300,
) -> Done:
    """Runs a Windows program under Wine.

    :param enter: what comes before ``wine`` on the command line, to get into a namespace
    :raises subprocess.TimeoutExpired: after ``timeout`` seconds; the program is killed
    """
    began = time.monotonic()
    process = subprocess.Popen(
        [*enter, "wine", *command],
        env={**environment(prefix), **(env or {})},
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    out, err = bytearray(), bytearray()
    readers = [_reader(process.stdout, out), _reader(process.stderr, err)]
    try:
        process.wait(timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        raise
    seconds = time.monotonic() - began
    for reader in readers:
        reader.join(DRAIN_S)
    return Done(process.returncode, bytes(out), bytes(err), seconds)


def _reader(stream: Optional[IO[bytes]], into: bytearray) -> threading.Thread:
    assert stream is not None

    def read() -> None:
        with stream:
            for piece in iter(lambda: os.read(stream.fileno(), 65536), b""):
                into.extend(piece)

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    return thread
