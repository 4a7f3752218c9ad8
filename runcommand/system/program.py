"""Runs the system's own programs: absolute path, no shell, bounded in time and output, ended with their children."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from pathlib import Path
from typing import IO, Mapping, Sequence, Set, Tuple

from ..collect import NoFact

PROGRAM_S = 5.0
OUTPUT_LIMIT = 16 * 1024 * 1024


class Programs:
    """The programs of one run. ``close`` ends those that run and lets no other one start.

    :param directories: where programs are looked for: never PATH, never the current folder
    :param environment: all that a program inherits
    """

    def __init__(self, directories: Sequence[str], environment: Mapping[str, str]) -> None:
        self._directories: Tuple[str, ...] = tuple(directories)
        self._environment = dict(environment)
        self._lock = threading.Lock()
        self._running: Set["subprocess.Popen[bytes]"] = set()
        self._hung: Set[str] = set()  # what did not finish once gets no second chance
        self._closed = False

    def find(self, program: str) -> str:
        """The absolute path of a program. Raises ``NoFact``."""
        for directory in self._directories:
            path = Path(directory, program)
            if path.is_file() and os.access(path, os.X_OK):
                return str(path)
        raise NoFact(f"{program}: not found")

    def run(self, program: str, arguments: Sequence[str], seconds: float = PROGRAM_S) -> bytes:
        """What the program prints. Raises ``NoFact`` when it is not there, fails, hangs or never stops printing."""
        shown = f"{program} {' '.join(arguments)}"[:60]
        end = time.monotonic() + seconds
        process = self._start(program, arguments, shown)
        output, errors = bytearray(), bytearray()
        try:
            readers = [_reader(process.stdout, output, OUTPUT_LIMIT), _reader(process.stderr, errors, 4096)]
            for reader in readers:
                reader.join(max(0.0, end - time.monotonic()))
            if len(output) > OUTPUT_LIMIT:
                raise NoFact(f"{shown}: printed more than {OUTPUT_LIMIT >> 20} MiB")
            if any(reader.is_alive() for reader in readers):
                raise subprocess.TimeoutExpired(program, seconds)
            status = process.wait(max(0.1, end - time.monotonic()))
        except subprocess.TimeoutExpired:
            self._hung.add(program)
            raise NoFact(f"{shown}: not finished in {seconds:.0f} s") from None
        finally:
            kill(process)
            with self._lock:
                self._running.discard(process)
        if status:
            said = errors.decode("utf-8", "replace").strip().partition("\n")[0][:200]
            raise NoFact(f"{shown}: exit status {status}{': ' + said if said else ''}")
        return bytes(output)

    def _start(self, program: str, arguments: Sequence[str], shown: str) -> "subprocess.Popen[bytes]":
        command = [self.find(program), *arguments]
        with self._lock:
            if self._closed:
                raise NoFact(f"{shown}: not started, the run is over")
            if program in self._hung:
                raise NoFact(f"{program}: did not finish before, so not started again")
            try:
                process = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    cwd=os.path.abspath(os.sep),
                    env=self._environment,
                    start_new_session=os.name == "posix",
                )
            except OSError as error:
                raise NoFact(f"{shown}: {error.strerror}") from None
            self._running.add(process)
            return process

    def close(self) -> None:
        """Ends every program that is still running; no other one starts."""
        with self._lock:
            self._closed = True
            running = list(self._running)
        for process in running:
            kill(process)


def _reader(stream: "IO[bytes] | None", into: bytearray, limit: int) -> threading.Thread:
    """Reads a pipe to its end, or until there is more than ``limit``."""

    def read() -> None:
        if stream is None:
            return
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
    """Ends a program that has not been waited for yet, with its children where the system knows them as a group."""
    if process.returncode is not None:
        return
    try:
        if os.name == "posix":
            os.killpg(process.pid, signal.SIGKILL)  # before any wait: a zombie keeps its number
        else:
            process.kill()
    except OSError:
        pass
    try:
        process.wait(0.2)
    except subprocess.TimeoutExpired:
        pass  # it cannot be killed (a dead disk): left behind
