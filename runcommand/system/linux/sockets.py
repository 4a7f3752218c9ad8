"""TCP sockets of this network namespace, and their programs (/proc/net/tcp, /proc/PID/fd)."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path
from typing import Dict, Iterator, NamedTuple, Optional, Sequence, Set, Tuple

from .files import Note, read
from .iproute import left_out
from .procfs import hex_address, hex_number

PROC = Path("/proc")
# include/net/tcp_states.h, by the names in Windows' table
STATES = {
    "01": "established",
    "02": "syn-sent",
    "03": "syn-received",
    "04": "fin-wait-1",
    "05": "fin-wait-2",
    "06": "time-wait",
    "07": "closed",
    "08": "close-wait",
    "09": "last-ack",
    "0A": "listen",
    "0B": "closing",
}
# CPU time for the owners of all sockets: a machine may run very many processes.
SEARCH_S = 0.3
TABLE_LIMIT = 16 * 1024 * 1024  # bytes of /proc/net/tcp: 100,000 sockets
NO_INODE = "0"  # of a socket that no process holds any more, or that is not accepted yet
COMM_LENGTH = 15  # TASK_COMM_LEN, without its end
UID = re.compile("[0-9]{1,10}")
SOCKET = re.compile(r"socket:\[([0-9]{1,20})\]")


class TcpSocket(NamedTuple):
    """One row of /proc/net/tcp."""

    state: str
    local_address: str
    local_port: int
    remote_address: str
    uid: int
    inode: str


class Owner(NamedTuple):
    """A process that holds a socket."""

    program: str
    pid: int
    parent: Optional[int]  # its PID; None where the process has ended meanwhile


def sockets(note: Note = lambda text: None) -> Tuple[TcpSocket, ...]:
    """The IPv4 sockets, listeners first. Raises ``OSError``."""
    with (PROC / "net/tcp").open("rb") as table:
        return tuple(parse(table.read(TABLE_LIMIT).decode("ascii", "replace"), note))


def parse(text: str, note: Note = lambda text: None) -> Iterator[TcpSocket]:
    """The rows of /proc/net/tcp.

    A row that makes no sense is left out.

    :param note: is called with the number of those
    """
    rows = [line for line in text.splitlines()[1:] if line]
    garbled = 0
    for line in rows:
        try:
            row = _socket(line.split())
        except (IndexError, ValueError):
            garbled += 1
            continue
        yield row
    if garbled:
        note(f"/proc/net/tcp: {left_out(garbled, len(rows))}")


def _socket(cells: Sequence[str]) -> TcpSocket:
    """Raises ``IndexError`` or ``ValueError`` where a cell makes no sense."""
    local = _endpoint(cells[1])
    remote_address, _ = _endpoint(cells[2])
    if not UID.fullmatch(cells[7]):
        raise ValueError("not a user's number")
    return TcpSocket(
        STATES.get(cells[3], cells[3]), *local, remote_address, int(cells[7]), cells[9]
    )


def _endpoint(cell: str) -> Tuple[str, int]:
    """``0100007F:0050`` as address and port. Raises ``ValueError``."""
    address, _, port = cell.partition(":")
    return hex_address(address), hex_number(port)


def owners(inodes: Set[str]) -> Dict[str, Owner]:
    """The processes that hold sockets, as far as this user sees them; the lowest PID of each."""
    found: Dict[str, Owner] = {}
    if not inodes:
        return found
    end = time.thread_time() + SEARCH_S
    for pid in sorted(int(name) for name in _names(PROC) if name.isdecimal()):
        if len(found) == len(inodes) or time.thread_time() > end:
            break
        for inode in _sockets_of(pid) & inodes:
            found.setdefault(inode, Owner(program_of(pid), pid, parent_of(pid)))
    return found


def program_of(pid: int) -> str:
    """The name of a process's program.

    The kernel keeps 15 characters of it. Where the name of the program file begins with them, that
    is the whole name.
    """
    name = read(PROC / str(pid) / "comm", 64) or "-"
    file = _target(PROC / str(pid) / "exe").rpartition("/")[2]
    if len(name) == COMM_LENGTH and file.startswith(name):
        return file
    return name


def parent_of(pid: int) -> Optional[int]:
    """The PID of a process's parent; None where it has ended (proc(5), /proc/PID/stat)."""
    text = read(PROC / str(pid) / "stat", 1024) or ""
    # "PID (NAME) STATE PARENT ...": a name may have blanks and parentheses
    cells = text.rpartition(")")[2].split()
    if len(cells) < 2 or not cells[1].isdecimal():
        return None
    return int(cells[1])


def _sockets_of(pid: int) -> Set[str]:
    folder = PROC / str(pid) / "fd"
    found: Set[str] = set()
    for name in _names(folder):
        match = SOCKET.fullmatch(_target(folder / name))
        if match:
            found.add(match.group(1))
    return found


def _names(folder: Path) -> Tuple[str, ...]:
    try:
        return tuple(os.listdir(folder))
    except OSError:  # the process has ended, or is another user's
        return ()


def _target(link: Path) -> str:
    try:
        return os.readlink(link)
    except OSError:
        return ""
