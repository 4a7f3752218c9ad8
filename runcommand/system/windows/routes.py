"""Routes, route lookups for both platform addresses, the ARP table, and persistent routes."""

from __future__ import annotations

import ipaddress
from dataclasses import replace
from typing import Dict, Iterable, Mapping, Optional, Tuple

from ...collect import Board, NoFact
from ...facts import (
    PLATFORM_ADDRESSES,
    Address,
    Cidr,
    Lookup,
    Neighbour,
    NeighbourState,
    NextHop,
    PersistentRoute,
    Route,
    if_valid,
    parse_address,
    parse_mac,
)
from .. import after_the_connect
from . import registry
from .iphlpapi import AdapterRow, BestRoute, ForwardRow, NeighbourRow
from .source import Source

PERSISTENT_ROUTES = "SYSTEM\\CurrentControlSet\\Services\\Tcpip\\Parameters\\PersistentRoutes"
# MIB_IPROUTE_TYPE_DIRECT; the next hop of an on-link route
DIRECT, ON_LINK = 3, "0.0.0.0"
# MIB_IPPROTO
PROTOCOLS = {
    1: "other",
    2: "local",
    3: "static",
    10002: "autostatic",
    10006: "static",
    10007: "static",
}
DYNAMIC = 3  # MIB_IPNET_TYPE
STATES = {2: NeighbourState.FAILED, DYNAMIC: NeighbourState.REACHABLE, 4: NeighbourState.PERMANENT}


def collect(source: Source, board: Board) -> Tuple[Route, ...]:
    adapters = _adapters(source)
    rows = source.forward_table()
    parsed = [parse_row(row, adapters) for row in rows]
    found = tuple(route for route in parsed if route)
    if len(found) < len(rows):
        left_out = len(rows) - len(found)
        board.note("routes", f"{left_out} rows left out: the mask is not one of a prefix")
    return found


def parse_row(row: ForwardRow, adapters: Mapping[int, AdapterRow]) -> Optional[Route]:
    """One row of ``GetIpForwardTable``; None where its mask is not one of a prefix."""
    try:
        destination = _cidr(row.destination, row.mask)
    except ValueError:
        return None
    adapter = adapters.get(row.index)
    gateway = None
    if row.type != DIRECT:
        gateway = _gateway(row.next_hop, adapter)
    return Route(
        destination,
        gateway,
        _name(adapter),
        row.index,
        row.metric,
        protocol=PROTOCOLS.get(row.protocol),
    )


def _cidr(address: str, mask: str) -> Cidr:
    """Raises ``ValueError`` where the mask is not one of a prefix."""
    network = ipaddress.IPv4Network(f"{address}/{mask}", strict=False)
    # ipaddress takes a host mask for the netmask that it inverts
    if str(network.netmask) != mask:
        raise ValueError(f"not a mask: {mask}")
    return Cidr(str(network))


def _gateway(next_hop: str, adapter: Optional[AdapterRow]) -> Optional[NextHop]:
    """The next hop; None where the row is on-link: the next hop is 0.0.0.0 or the NIC's address."""
    if next_hop == ON_LINK:
        return None
    if adapter and _has(adapter, next_hop):
        return None
    return NextHop(next_hop)


def collect_lookups(source: Source, board: Board) -> Tuple[Lookup, ...]:
    table, adapters = board.wait("routes") or (), _adapters(source)
    return tuple(
        look_up(source, Address(address), table, adapters, board) for address in PLATFORM_ADDRESSES
    )


def look_up(
    source: Source,
    destination: Address,
    table: Iterable[Route],
    adapters: Mapping[int, AdapterRow],
    board: Board,
) -> Lookup:
    """Windows' route lookup for ``destination``; nothing is sent.

    ``GetBestRoute2`` gives it. Where the system does not have that, ``GetBestRoute`` gives the row
    and a connected UDP socket the source or the error. Where those two disagree, the socket
    decides, and the row is not known.
    """
    try:
        best = source.best_route2(destination)
    except NoFact as missing:
        return _look_up_in_parts(source, destination, table, adapters, board, missing)
    chosen = None
    if best.source:
        chosen = Address(best.source)
    return Lookup(destination, chosen, route=_row_of(best, table, adapters))


def _look_up_in_parts(
    source: Source,
    destination: Address,
    table: Iterable[Route],
    adapters: Mapping[int, AdapterRow],
    board: Board,
    missing: NoFact,
) -> Lookup:
    chosen, error = source.udp_source(destination)
    lookup = Lookup(destination, chosen, error)
    try:
        row = _row_of(source.best_route(destination), table, adapters)
    except NoFact:
        return lookup
    holder = next((adapter.index for adapter in adapters.values() if _has(adapter, chosen)), None)
    if chosen and row.interface_index != holder:
        disagrees = f"GetBestRoute for {destination} disagrees with the socket's source address"
        board.note("lookups", f"{missing}; {disagrees}")
        return lookup
    if error:
        return lookup
    return replace(lookup, route=row)


def _row_of(best: BestRoute, table: Iterable[Route], adapters: Mapping[int, AdapterRow]) -> Route:
    """The row of the table that was chosen, with its whole metric.

    Where the table has changed meanwhile: a row of the values in ``best``.
    """
    adapter = adapters.get(best.index)
    gateway = _gateway(best.next_hop, adapter)
    chosen = Route(
        Cidr(f"{best.destination}/{best.prefix}"), gateway, _name(adapter), best.index, best.metric
    )
    egress = (chosen.destination, chosen.interface_index, chosen.gateway)
    alike = [row for row in table if (row.destination, row.interface_index, row.gateway) == egress]
    return min(alike, key=lambda row: row.metric, default=chosen)


def collect_neighbours(source: Source, board: Board) -> Tuple[Neighbour, ...]:
    """The ARP table after the plain connect: by then a next hop that answers no ARP is invalid."""
    after_the_connect(board)
    adapters = _adapters(source)
    return tuple(_neighbour(row, adapters.get(row.index)) for row in source.neighbours())


def _neighbour(row: NeighbourRow, adapter: Optional[AdapterRow]) -> Neighbour:
    mac = None
    if any(row.mac):
        mac = if_valid(parse_mac, row.mac.hex())
    return Neighbour(NextHop(row.address), _name(adapter), row.index, mac, neighbour_state(row))


def neighbour_state(row: NeighbourRow) -> NeighbourState:
    """The state of an entry. A dynamic one without a MAC address got no answer yet."""
    if row.type == DYNAMIC and not any(row.mac):
        return NeighbourState.INCOMPLETE
    return STATES.get(row.type, NeighbourState.UNKNOWN)


def collect_persistent_routes(source: Source, board: Board) -> Tuple[PersistentRoute, ...]:
    """The routes of ``route -p add``: names of values, ``destination,mask,gateway,metric``."""
    try:
        names = list(source.values(PERSISTENT_ROUTES))
    except registry.NoKey:
        return ()
    found = tuple(route for route in map(parse_stored, names) if route)
    if len(found) < len(names):
        board.note(
            "persistent_routes",
            f"{len(names) - len(found)} of {len(names)} cannot be read, and are left out",
        )
    return found


def parse_stored(name: str) -> Optional[PersistentRoute]:
    parts = [part.strip() for part in name.split(",")]
    metric = 0
    if len(parts) > 3 and parts[3].isdecimal() and len(parts[3]) < 11:
        metric = int(parts[3])
    try:
        destination, mask, gateway = parts[:3]
        return PersistentRoute(_cidr(destination, mask), parse_address(gateway), metric)
    except ValueError:
        return None


def _adapters(source: Source) -> Dict[int, AdapterRow]:
    try:
        return {row.index: row for row in source.adapters()}
    except NoFact:
        return {}


def _has(adapter: AdapterRow, address: Optional[str]) -> bool:
    return any(item.address == address for item in adapter.addresses)


def _name(adapter: Optional[AdapterRow]) -> Optional[str]:
    if adapter is None:
        return None
    return adapter.name
