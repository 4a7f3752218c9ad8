"""Runs the system's own programs: absolute path, no shell, bounded in time and output, ended with their children."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from pathlib import Path
from typing import IO, Any, Callable, Dict, Mapping, NamedTuple, Sequence, Set, Tuple

from ..collect import NoFact
from ..facts import RawText

PROGRAM_S = 5.0
OUTPUT_LIMIT = 16 * 1024 * 1024
RAW_LIMIT = 256 * 1024  # characters of it that a report holds
CREATE_NO_WINDOW = 0x08000000  # processthreadsapi.h
_OPTIONS: Dict[str, Any] = {"start_new_session": True} if os.name == "posix" else {"creationflags": CREATE_NO_WINDOW}
End = Callable[[], None]  # ends a program with its children


def process_group(process: "subprocess.Popen[bytes]") -> End:
    """How a POSIX system ends a program that leads a process group of its own."""

    def end() -> None:
        if process.returncode is None:  # before any wait: a zombie keeps its number
            os.killpg(process.pid, signal.SIGKILL)

    return end


class Done(NamedTuple):
    """How a program ended."""

    status: int
    output: bytes
    errors: str  # the beginning of what it said on standard error


def _shown(program: str, arguments: Sequence[str]) -> str:
    return f"{program} {' '.join(arguments)}"[:60]


class Programs:
    """The programs of one run. ``close`` ends those that run and lets no other one start.

    :param directories: where programs are looked for: never PATH, never the current folder
    :param environment: all that a program inherits
    :param contain: is given each program that was started, and gives back what ends it with its children
    """

    def __init__(
        self,
        directories: Sequence[str],
        environment: Mapping[str, str],
        contain: Callable[["subprocess.Popen[bytes]"], End] = process_group,
    ) -> None:
        self._directories: Tuple[str, ...] = tuple(directories)
        self._environment = dict(environment)
        self._lock = threading.Lock()
        self._contain = contain
        self._running: Dict["subprocess.Popen[bytes]", End] = {}
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
        done = self.complete(program, arguments, seconds)
        if done.status:
            said = done.errors.strip().partition("\n")[0][:200]
            raise NoFact(f"{_shown(program, arguments)}: exit status {done.status}{': ' + said if said else ''}")
        return done.output

    def complete(self, program: str, arguments: Sequence[str], seconds: float = PROGRAM_S) -> Done:
        """How the program ended, whatever its exit status. Raises ``NoFact`` when it is not there, hangs or never stops printing."""
        shown = _shown(program, arguments)
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
            with self._lock:
                end_it = self._running.pop(process, None)
            if end_it:
                kill(process, end_it)
        return Done(status, bytes(output), errors.decode("utf-8", "replace"))

    def raw_text(self, command: str, program: str, arguments: Sequence[str], encoding: str = "utf-8") -> RawText:
        """What the program prints, or why it does not, for the full report; ``command`` is how people call it."""
        try:
            text = self.run(program, arguments).decode(encoding, "replace")
        except NoFact as missing:
            text = str(missing)
        return RawText(command, text[:RAW_LIMIT], len(text) > RAW_LIMIT)

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
                    cwd=os.path.dirname(command[0]),
                    env=self._environment,
                    **_OPTIONS,
                )
            except OSError as error:
                raise NoFact(f"{shown}: {error.strerror}") from None
            self._running[process] = self._contain(process)
            return process

    def close(self) -> None:
        """Ends every program that is still running; no other one starts."""
        with self._lock:
            self._closed = True
            running, self._running = self._running, {}
        for process, end_it in running.items():
            kill(process, end_it)


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


def kill(process: "subprocess.Popen[bytes]", end: End) -> None:
    """Ends a program with its children, and waits a moment for it."""
    try:
        end()
    except OSError:
        pass
    try:
        process.wait(0.2)
    except subprocess.TimeoutExpired:
        pass  # it cannot be killed (a dead disk): left behind
