"""Runs the system's own programs, by absolute path and without a shell.

Their time and output are bounded, and they are ended together with their children.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import IO, Any, Callable, Dict, List, Mapping, NamedTuple, Sequence, Set, Tuple

from ..collect import NoFact, NoProgram, threads
from ..collect.errors import is_shortage
from ..facts import RawText

PROGRAM_S = 5.0
OUTPUT_LIMIT = 16 * 1024 * 1024
ERRORS_LIMIT = 4096
# Between attempts to start a program while memory, processes or file descriptors are short.
AGAIN_S = 0.1
# All such waits of one run together, so a lasting shortage costs no more.
PATIENCE_S = 2.0
# How long killed programs are waited for.
DYING_S = 0.2
# How long the end of the run waits for a program that is just being started.
STARTING_S = 0.2
# Characters of a program's output that a report holds.
RAW_LIMIT = 256 * 1024
CREATE_NO_WINDOW = 0x08000000  # processthreadsapi.h
_OPTIONS: Dict[str, Any] = {"start_new_session": True}
if os.name != "posix":
    _OPTIONS = {"creationflags": CREATE_NO_WINDOW}
# Ends a program with its children.
End = Callable[[], None]


def process_group(process: subprocess.Popen[bytes]) -> End:
    """How a POSIX system ends a program that leads a process group of its own."""

    def end() -> None:
        # before any wait: a zombie keeps its number
        if process.returncode is None and sys.platform != "win32":
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

    :param directories: where to look for programs: never PATH, never the current folder
    :param environment: everything that a program inherits
    :param contain: takes a program that was started; returns what ends it with its children
    """

    def __init__(
        self,
        directories: Sequence[str],
        environment: Mapping[str, str],
        contain: Callable[[subprocess.Popen[bytes]], End] = process_group,
    ) -> None:
        self._directories: Tuple[str, ...] = tuple(directories)
        self._environment = dict(environment)
        self._lock = threading.Lock()
        self._contain = contain
        self._running: Dict[subprocess.Popen[bytes], End] = {}
        # a program that once did not finish gets no second chance
        self._hung: Set[str] = set()
        self._closed = False
        self._patience_s = PATIENCE_S

    def find(self, program: str) -> str:
        """The absolute path of a program. Raises ``NoProgram``."""
        for directory in self._directories:
            path = Path(directory, program)
            if path.is_file() and os.access(path, os.X_OK):
                return str(path)
        raise NoProgram(f"{program}: not found")

    def run(self, program: str, arguments: Sequence[str], seconds: float = PROGRAM_S) -> bytes:
        """What the program prints.

        Raises ``NoFact`` when it is missing, fails, hangs or never stops printing.
        """
        done = self.complete(program, arguments, seconds)
        if done.status:
            said = done.errors.strip().partition("\n")[0][:200]
            reason = f"{_shown(program, arguments)}: exit status {done.status}"
            if said:
                reason += f": {said}"
            raise NoFact(reason)
        return done.output

    def complete(self, program: str, arguments: Sequence[str], seconds: float = PROGRAM_S) -> Done:
        """How the program ended, whatever its exit status.

        Raises ``NoFact`` when it is missing, hangs or never stops printing.
        """
        shown = _shown(program, arguments)
        end = time.monotonic() + seconds
        process = self._start_in_time(program, arguments, shown, end)
        output, errors = bytearray(), bytearray()
        try:
            is_read = _read(process, output, errors, end)
            if len(output) > OUTPUT_LIMIT:
                raise NoFact(f"{shown}: printed more than {OUTPUT_LIMIT >> 20} MiB")
            if not is_read:
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

    def raw_text(
        self, command: str, program: str, arguments: Sequence[str], encoding: str = "utf-8"
    ) -> RawText:
        """What the program prints, or why it does not, for the full report.

        :param command: the command as people type it
        """
        try:
            text = self.run(program, arguments).decode(encoding, "replace")
        except NoFact as missing:
            text = str(missing)
        return RawText(command, text[:RAW_LIMIT], len(text) > RAW_LIMIT)

    def _start_in_time(
        self, program: str, arguments: Sequence[str], shown: str, end: float
    ) -> subprocess.Popen[bytes]:
        """Starts it, and while other programs and collectors hold what it needs, tries again."""
        while True:
            try:
                return self._start(program, arguments, shown)
            except (OSError, MemoryError) as error:
                with self._lock:
                    self._patience_s -= AGAIN_S
                    is_over = self._patience_s < 0 or time.monotonic() + AGAIN_S > end
                if is_over or not is_shortage(error):
                    reason = getattr(error, "strerror", None) or "not enough memory"
                    raise NoFact(f"{shown}: {reason}") from None
                time.sleep(AGAIN_S)

    def _start(self, program: str, arguments: Sequence[str], shown: str) -> subprocess.Popen[bytes]:
        """Raises ``OSError``, ``MemoryError`` and ``NoFact``."""
        command = [self.find(program), *arguments]
        with self._lock:
            if self._closed:
                raise NoFact(f"{shown}: not started, the run is over")
            if program in self._hung:
                raise NoFact(f"{program}: did not finish before, so not started again")
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                cwd=os.path.dirname(command[0]),
                env=self._environment,
                **_OPTIONS,
            )
            end_it = self._contain(process)
            # close() may have given up waiting for this lock
            if self._closed:
                kill(process, end_it)
                raise NoFact(f"{shown}: not started, the run is over")
            self._running[process] = end_it
            return process

    def close(self) -> None:
        """Ends every program that still runs, and lets no other start.

        Returns soon, whatever hangs.
        """
        # before the lock: a program that is being started now is then ended by its starter
        self._closed = True
        is_free = self._lock.acquire(timeout=STARTING_S)
        try:
            running, self._running = self._running, {}
        finally:
            if is_free:
                self._lock.release()
        programs = list(running.items())
        for _, end_it in programs:
            _end(end_it)
        end = time.monotonic() + DYING_S
        for process, _ in programs:
            _wait(process, max(0.0, end - time.monotonic()))


def _read(
    process: subprocess.Popen[bytes], output: bytearray, errors: bytearray, end: float
) -> bool:
    """Reads what a program prints, until it has closed both streams or printed too much.

    False where ``end`` came first.
    """
    assert process.stdout and process.stderr
    streams = [
        _Stream(process.stdout, output, OUTPUT_LIMIT + 1, ends_when_full=True),
        _Stream(process.stderr, errors, ERRORS_LIMIT, ends_when_full=False),
    ]
    if sys.platform != "win32" and hasattr(select, "poll"):
        return _read_in_turn(streams, end)
    # Windows' pipes cannot be waited for together
    done = [_read_beside(stream) for stream in streams]
    are_done = [item.wait(max(0.0, end - time.monotonic())) for item in done]
    return all(are_done)


class _Stream(NamedTuple):
    """One output stream of a program, and the buffer it is read into."""

    pipe: IO[bytes]
    into: bytearray
    limit: int  # bytes that are kept
    # else reading goes on: a program that warns at length would die of a closed pipe
    ends_when_full: bool

    def read(self) -> bool:
        """Waits for the next piece; False when there is no more to read."""
        piece = os.read(self.pipe.fileno(), 65536)
        self.into.extend(piece[: self.limit - len(self.into)])
        is_full = len(self.into) >= self.limit
        return bool(piece) and not (is_full and self.ends_when_full)


def _read_in_turn(streams: List[_Stream], end: float) -> bool:
    if sys.platform == "win32":
        raise NotImplementedError("Windows has no poll")
    waiting = select.poll()
    left = {stream.pipe.fileno(): stream for stream in streams}
    for number in left:
        waiting.register(number, select.POLLIN)
    while left:
        remaining = end - time.monotonic()
        if remaining <= 0:
            return False
        for number, _ in waiting.poll(remaining * 1000):
            if not left[number].read():
                waiting.unregister(number)
                left.pop(number).pipe.close()
    return True


def _read_beside(stream: _Stream) -> threading.Event:
    """Reads in a thread of its own; the event is set at the end."""
    done = threading.Event()

    def read() -> None:
        try:
            with stream.pipe:
                while stream.read():
                    pass
        except (OSError, MemoryError):
            pass  # what was read by then counts
        finally:
            done.set()

    threads.start(read)
    return done


def kill(process: subprocess.Popen[bytes], end: End) -> None:
    """Ends a program with its children, and waits a moment for it."""
    _end(end)
    _wait(process, DYING_S)


def _end(end: End) -> None:
    with contextlib.suppress(OSError):
        end()


def _wait(process: subprocess.Popen[bytes], seconds: float) -> None:
    # one that cannot be killed (a dead disk) is left behind
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(seconds)
