"""Agents and network managers (systemd), and the processes that listen locally or use IMDS."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from typing import Iterator, List, Tuple

from ...collect import Board
from ...facts import IMDS_ADDRESS, Address, Listener, ProcessConnection, Service, ServiceState
from .. import LISTENED_PORTS
from ..program import Programs
from . import sockets
from .files import key_values

assert sys.platform != "win32"
UNITS = (
    "walinuxagent", "waagent", "azure-proxy-agent", "himdsd", "systemd-networkd",
    "NetworkManager", "networking", "wicked", "cloud-init", "systemd-timesyncd", "chronyd",
    "chrony", "ntpd", "ntp", "ntpsec", "firewalld", "ufw", "nftables", "netfilter-persistent",
)  # fmt: skip
STATES = {
    "active": ServiceState.RUNNING,
    "inactive": ServiceState.STOPPED,
    "failed": ServiceState.FAILED,
    "activating": ServiceState.STARTING,
    "deactivating": ServiceState.STOPPING,
}
NOBODY_KNOWN = sockets.Owner("-", 0, None)


def collect(programs: Programs, board: Board) -> Tuple[Service, ...]:
    """The units of the list that are installed."""
    units = [f"{unit}.service" for unit in UNITS]
    output = programs.run(
        "systemctl",
        ["show", "--no-pager", "--property=Id,LoadState,ActiveState,UnitFileState", *units],
    )
    # two names of one unit (waagent, walinuxagent) are one service
    found = {service.name: service for service in parse_units(output.decode("utf-8", "replace"))}
    return tuple(found.values())


def parse_units(text: str) -> Iterator[Service]:
    for block in text.split("\n\n"):
        unit = key_values(block)
        if unit.get("LoadState") == "loaded" and unit.get("Id"):
            name = unit["Id"]
            if name.endswith(".service"):
                name = name[: -len(".service")]
            state = STATES.get(unit.get("ActiveState", ""), ServiceState.UNKNOWN)
            yield Service(name, state, unit.get("UnitFileState") or None)


def collect_listeners(board: Board) -> Tuple[Listener, ...]:
    """IPv4 listeners on the ports that matter, with their programs."""
    rows = [
        row
        for row in sockets.sockets(lambda text: board.note("listeners", text))
        if row.state == "listen" and row.local_port in LISTENED_PORTS
    ]
    known = sockets.owners({row.inode for row in rows})
    found: List[Listener] = []
    for row in rows:
        owner = known.get(row.inode)
        listener = Listener(Address(row.local_address), row.local_port)
        if owner:
            listener = replace(listener, process=owner.program, pid=owner.pid)
        found.append(listener)
    return tuple(found)


def collect_connections(board: Board) -> Tuple[ProcessConnection, ...]:
    """Connections to IMDS of other processes.

    A socket without an owner may be one that this program has just closed: it counts only where it
    belongs to another user. A process that this program starts holds this program's sockets until
    it runs another program.
    """
    rows = [
        row
        for row in sockets.sockets(lambda text: board.note("connections", text))
        if row.remote_address == IMDS_ADDRESS
        and row.state != "time-wait"
        and row.inode != sockets.NO_INODE
    ]
    known = sockets.owners({row.inode for row in rows})
    found: List[ProcessConnection] = []
    for row in rows:
        owner = known.get(row.inode, NOBODY_KNOWN)
        if owner.parent is None:
            is_ours = row.uid == os.geteuid()
        else:
            is_ours = os.getpid() in (owner.pid, owner.parent)
        if not is_ours:
            found.append(ProcessConnection(owner.program, owner.pid, row.local_port, row.state))
    return tuple(found)
