"""Agents and services, and the processes that listen locally or use IMDS."""

from __future__ import annotations

from typing import Tuple

from ...collect import Board
from ...facts import IMDS_ADDRESS, Address, Listener, ProcessConnection, Service, ServiceState
from .. import LISTENED_PORTS
from .service_control import ServiceRow
from .source import Source

NAMES = (
    "WindowsAzureGuestAgent",
    "RdAgent",
    "GuestProxyAgent",
    "himds",
    "Dhcp",
    "BFE",
    "MpsSvc",
    "W32Time",
)
STATES = {
    1: ServiceState.STOPPED,
    2: ServiceState.STARTING,
    3: ServiceState.STOPPING,
    4: ServiceState.RUNNING,
    5: ServiceState.STARTING,
    6: ServiceState.STOPPING,
    7: ServiceState.STOPPED,  # SERVICE_PAUSED: it serves nobody
}
# SERVICE_AUTO_START and its neighbours
STARTS = {0: "boot", 1: "system", 2: "auto", 3: "demand", 4: "disabled"}
TCP_STATES = (
    "", "closed", "listen", "syn-sent", "syn-received", "established", "fin-wait-1", "fin-wait-2",
    "close-wait", "closing", "last-ack", "time-wait", "delete-tcb",
)  # fmt: skip
LISTEN, TIME_WAIT = TCP_STATES.index("listen"), TCP_STATES.index("time-wait")


def collect(source: Source, board: Board) -> Tuple[Service, ...]:
    """The services of the list that are installed."""
    return tuple(_service(row) for row in source.services(NAMES))


def _service(row: ServiceRow) -> Service:
    state, start = ServiceState.UNKNOWN, None
    if row.state is not None:
        state = STATES.get(row.state, ServiceState.UNKNOWN)
    if row.start is not None:
        start = STARTS.get(row.start)
    return Service(row.name, state, start)


def collect_listeners(source: Source, board: Board) -> Tuple[Listener, ...]:
    """IPv4 listeners on the ports that matter, with their programs."""
    rows = [
        row
        for row in source.tcp_table()
        if row.state == LISTEN and row.local_port in LISTENED_PORTS
    ]
    return tuple(
        Listener(
            Address(row.local_address),
            row.local_port,
            source.process_name(row.pid),
            row.pid or None,
        )
        for row in rows
    )


def collect_connections(source: Source, board: Board) -> Tuple[ProcessConnection, ...]:
    """Connections to IMDS that other processes still have."""
    rows = [
        row
        for row in source.tcp_table()
        if row.remote_address == IMDS_ADDRESS
        and row.pid != source.own_process()
        and row.state != TIME_WAIT
    ]
    return tuple(
        ProcessConnection(
            source.process_name(row.pid), row.pid, row.local_port, _tcp_state(row.state)
        )
        for row in rows
    )


def _tcp_state(number: int) -> str:
    if number >= len(TCP_STATES):
        return str(number)
    return TCP_STATES[number]
