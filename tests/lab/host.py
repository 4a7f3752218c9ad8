"""The host's side of the lab: one process for each VM, in a namespace of its own.

``python -m tests.lab.host FD`` waits on a socket for VMs, and forks a process for each: the imports
are paid once. ``Hosts`` is the side of the tests.
"""

from __future__ import annotations

import array
import ctypes
import json
import os
import socket
import subprocess
import sys
import threading
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence, TextIO, Tuple

from runcommand.simulator.host import Behaviour, Host
from runcommand.simulator.scenarios import LINUX_VM

ROOT = Path(__file__).resolve().parents[2]
CLONE_NEWNET = 0x40000000
LONGEST = 64 * 1024  # bytes of a request
VM = replace(LINUX_VM, name="labvm")

Place = Tuple[str, int]


class Process:
    """A host's process: it ends when this is closed."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._lines: TextIO = control.makefile("rw", encoding="utf-8", newline="\n")

    def listen(self, places: Sequence[Place], behaviour: Behaviour, environment: str) -> None:
        """Serves at further addresses. What the first call made keeps the log."""
        asked = {
            "listen": list(places),
            "behaviour": asdict(behaviour),
            "environment": environment,
        }
        said = self._ask(asked)
        if said != "ready":
            raise RuntimeError(f"the lab's host: {said}")

    def log(self) -> List[Tuple[float, str]]:
        """What the host was asked so far: (monotonic time, path)."""
        return [(when, path) for when, path in self._ask("log")]

    def close(self) -> None:
        self._control.shutdown(socket.SHUT_RDWR)
        self._lines.close()
        self._control.close()

    def _ask(self, asked: object) -> Any:
        self._lines.write(json.dumps(asked) + "\n")
        self._lines.flush()
        said = self._lines.readline()
        assert said, "the lab's host has ended"
        return json.loads(said)


class Hosts:
    """Starts hosts. The process that forks them starts with the first one."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._forker: Optional[socket.socket] = None

    def start(self, namespace: str) -> Process:
        """A process in the network namespace that a file stands for."""
        ours, theirs = socket.socketpair()
        with theirs, self._lock:
            if self._forker is None:
                self._forker = self._start_forker()
            _send(self._forker, namespace, theirs)
        return Process(ours)

    @staticmethod
    def _start_forker() -> socket.socket:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            subprocess.Popen(
                [sys.executable, "-m", "tests.lab.host", str(theirs.fileno())],
                env={**os.environ, "PYTHONPATH": str(ROOT)},
                cwd="/",
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
            )
        return ours


def _send(over: socket.socket, text: str, passed: socket.socket) -> None:
    rights = array.array("i", [passed.fileno()])
    over.sendmsg([text.encode()], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])


def _received(over: socket.socket) -> Optional[Tuple[str, socket.socket]]:
    """The next request and the socket that came with it; None at the end."""
    size = array.array("i").itemsize
    data, ancillary, _, _ = over.recvmsg(LONGEST, socket.CMSG_SPACE(size))
    if not data:
        return None
    ((_, _, rights),) = ancillary
    return data.decode(), socket.socket(fileno=array.array("i", rights)[0])


def main() -> None:
    """Forks a host for each request. This process has one thread, so that it may fork."""
    requests = socket.socket(fileno=int(sys.argv[1]))
    while True:
        received = _received(requests)
        if received is None:
            return
        namespace, control = received
        if os.fork() == 0:
            requests.close()
            _enter(namespace)
            _serve(control)
            os._exit(0)
        control.close()
        _reap()


def _reap() -> None:
    try:
        while os.waitpid(-1, os.WNOHANG) != (0, 0):
            pass
    except ChildProcessError:
        pass  # none is left


def _enter(namespace: str) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    with open(namespace) as file:
        if libc.setns(file.fileno(), CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "setns", namespace)


def _serve(control: socket.socket) -> None:
    """Does what each line asks for, until the other side has gone."""
    hosts: List[Host] = []
    lines = control.makefile("rw", encoding="utf-8", newline="\n")
    for line in lines:
        asked = json.loads(line)
        said: object = "ready"
        if asked == "log":
            said = hosts[0].log
        else:
            try:
                hosts.append(_host(asked))
            except OSError as error:
                said = str(error)
        lines.write(json.dumps(said) + "\n")
        lines.flush()


def _host(asked: Dict[str, Any]) -> Host:
    given = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in asked["behaviour"].items()
    }
    host = Host(replace(VM, environment=asked["environment"]), Behaviour(**given))
    for address, port in asked["listen"]:
        host.listen(address, port)
    return host


if __name__ == "__main__":
    main()
