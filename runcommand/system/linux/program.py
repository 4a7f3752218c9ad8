"""Runs one of the system's own programs: absolute path, no shell, bounded in time and output."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from pathlib import Path
from typing import IO, Sequence, Set

from ...collect import NotAvailable

PROGRAM_S = 5.0
OUTPUT_LIMIT = 16 * 1024 * 1024
DIRECTORIES = ("/usr/sbin", "/usr/bin", "/sbin", "/bin")  # never the current folder, never PATH
ENVIRONMENT = {"LC_ALL": "C", "PATH": ":".join(DIRECTORIES)}

_hung: Set[str] = set()  # programs that did not finish once: they get no second chance in this run
_running: Set["subprocess.Popen[bytes]"] = set()
_lock = threading.Lock()


def find(program: str) -> str:
    """The absolute path of a system program. Raises ``NotAvailable``."""
    for directory in DIRECTORIES:
        path = Path(directory, program)
        if path.is_file() and os.access(path, os.X_OK):
            return str(path)
    raise NotAvailable(f"{program}: not found")


def run(program: str, arguments: Sequence[str], seconds: float = PROGRAM_S) -> bytes:
    """What the program prints. Raises ``NotAvailable`` when it is not there, fails, hangs or never stops printing."""
    if program in _hung:
        raise NotAvailable(f"{program}: did not finish before, so not started again")
    command = [find(program), *arguments]
    shown = f"{program} {' '.join(arguments)}"
    end = time.monotonic() + seconds
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd="/",
            env=ENVIRONMENT,
            start_new_session=True,
        )
    except OSError as error:
        raise NotAvailable(f"{shown}: {error.strerror}") from None
    with _lock:
        _running.add(process)
    output, errors = bytearray(), bytearray()
    readers = [_reader(process.stdout, output, OUTPUT_LIMIT), _reader(process.stderr, errors, 4096)]
    try:
        for reader in readers:
            reader.join(max(0.0, end - time.monotonic()))
        if len(output) > OUTPUT_LIMIT:
            raise NotAvailable(f"{shown}: printed more than {OUTPUT_LIMIT >> 20} MiB")
        if any(reader.is_alive() for reader in readers):
            raise subprocess.TimeoutExpired(command, seconds)
        status = process.wait(max(0.1, end - time.monotonic()))
    except subprocess.TimeoutExpired:
        _hung.add(program)
        raise NotAvailable(f"{shown}: not finished in {seconds:.0f} s") from None
    finally:
        kill(process)
        with _lock:
            _running.discard(process)
    if status:
        said = errors.decode("utf-8", "replace").strip().partition("\n")[0][:200]
        raise NotAvailable(f"{shown}: exit status {status}{': ' + said if said else ''}")
    return bytes(output)


def _reader(stream: "IO[bytes] | None", into: bytearray, limit: int) -> threading.Thread:
    assert stream is not None

    def read() -> None:
        with stream:
            while len(into) <= limit:
                piece = os.read(stream.fileno(), 65536)
                if not piece:
                    return
                into.extend(piece)

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    return thread


def kill(process: "subprocess.Popen[bytes]") -> None:
    """Ends a program that has not been waited for yet, and its children."""
    if process.returncode is not None:
        return
    try:
        os.killpg(process.pid, signal.SIGKILL)  # before any wait: a zombie keeps its number
    except OSError:
        pass
    try:
        process.wait(0.2)
    except subprocess.TimeoutExpired:
        pass  # it cannot be killed (a dead disk): left behind


def kill_all() -> None:
    """Ends every program that is still running."""
    with _lock:
        running = list(_running)
    for process in running:
        kill(process)
