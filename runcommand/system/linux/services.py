"""The agents and network managers that run (systemd), and who listens where it matters."""

from __future__ import annotations

from pathlib import Path
from typing import Iterator, Sequence, Tuple

from ...collect import Board
from ...facts import Address, Listener, Service, ServiceState
from .. import LISTENED_PORTS
from ..program import Programs
from .files import Note, key_values
from .iproute import left_out
from .routes import hex_address, hex_number

UNITS = (
    "walinuxagent", "waagent", "azure-proxy-agent", "himdsd", "systemd-networkd", "NetworkManager", "networking",
    "wicked", "cloud-init", "systemd-timesyncd", "chronyd", "chrony", "ntpd", "ntp", "ntpsec",
    "firewalld", "ufw", "nftables", "netfilter-persistent",
)  # fmt: skip
STATES = {
    "active": ServiceState.RUNNING,
    "inactive": ServiceState.STOPPED,
    "failed": ServiceState.FAILED,
    "activating": ServiceState.STARTING,
    "deactivating": ServiceState.STOPPING,
}
PROC_NET_TCP = Path("/proc/net/tcp")
TCP_LISTEN = "0A"  # include/net/tcp_states.h


def collect(programs: Programs, board: Board) -> Tuple[Service, ...]:
    """The units of the list that are installed."""
    units = [f"{unit}.service" for unit in UNITS]
    output = programs.run(
        "systemctl", ["show", "--no-pager", "--property=Id,LoadState,ActiveState,UnitFileState", *units]
    )
    found = {service.name: service for service in parse_units(output.decode("utf-8", "replace"))}
    return tuple(found.values())  # two names of one unit (waagent, walinuxagent) are one service


def parse_units(text: str) -> Iterator[Service]:
    for block in text.split("\n\n"):
        unit = key_values(block)
        if unit.get("LoadState") == "loaded" and unit.get("Id"):
            state = unit.get("ActiveState", "")
            name = unit["Id"][: -len(".service")] if unit["Id"].endswith(".service") else unit["Id"]
            yield Service(name, STATES.get(state, ServiceState.UNKNOWN), unit.get("UnitFileState") or None)


def collect_listeners(board: Board) -> Tuple[Listener, ...]:
    """IPv4 listeners on the ports that matter."""
    rows = PROC_NET_TCP.read_text("ascii", "replace").splitlines()[1:]
    return tuple(parse_listeners(rows, lambda text: board.note("listeners", text)))


def parse_listeners(rows: Sequence[str], note: Note) -> Iterator[Listener]:
    """The rows of ``/proc/net/tcp`` that matter. One that makes no sense is left out, and ``note`` is told how many are."""
    garbled = 0
    for row in filter(None, rows):
        cells = row.split()
        if len(cells) > 3 and cells[3] != TCP_LISTEN:
            continue
        try:
            address, _, port = cells[1].partition(":")
            number = hex_number(port)
            if number in LISTENED_PORTS and cells[3] == TCP_LISTEN:
                yield Listener(Address(hex_address(address)), number)
        except (IndexError, ValueError):
            garbled += 1
    if garbled:
        note(f"{PROC_NET_TCP}: {left_out(garbled, len(rows))}")
