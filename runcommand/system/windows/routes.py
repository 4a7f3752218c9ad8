"""The IPv4 routing table, Windows' own choice for both platform addresses, the ARP table, and the
stored routes.
"""

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
from .. import after_the_connect, udp_source
from . import iphlpapi, registry
from .iphlpapi import AdapterRow, BestRoute, ForwardRow, NeighbourRow

PERSISTENT_ROUTES = "SYSTEM\\CurrentControlSet\\Services\\Tcpip\\Parameters\\PersistentRoutes"
DIRECT, ON_LINK = 3, "0.0.0.0"  # MIB_IPROUTE_TYPE_DIRECT; the next hop of an on-link route
PROTOCOLS = {
    1: "other",
    2: "local",
    3: "static",
    10002: "autostatic",
    10006: "static",
    10007: "static",
}  # MIB_IPPROTO
DYNAMIC = 3  # MIB_IPNET_TYPE
STATES = {2: NeighbourState.FAILED, DYNAMIC: NeighbourState.REACHABLE, 4: NeighbourState.PERMANENT}


def collect(board: Board) -> Tuple[Route, ...]:
    adapters = _adapters()
    rows = iphlpapi.forward_table()
    found = tuple(route for route in (parse_row(row, adapters) for row in rows) if route)
    if len(found) < len(rows):
        board.note(
            "routes", f"{len(rows) - len(found)} rows left out: the mask is not one of a prefix"
        )
    return found


def parse_row(row: ForwardRow, adapters: Mapping[int, AdapterRow]) -> Optional[Route]:
    """One row of ``GetIpForwardTable``; None where its mask is not one of a prefix."""
    try:
        destination = _cidr(row.destination, row.mask)
    except ValueError:
        return None
    return Route(
        destination,
        None if row.type == DIRECT else _gateway(row.next_hop, adapters.get(row.index)),
        _name(adapters.get(row.index)),
        row.index,
        row.metric,
        protocol=PROTOCOLS.get(row.protocol),
    )


def _cidr(address: str, mask: str) -> Cidr:
    """Raises ``ValueError`` where the mask is not one of a prefix."""
    network = ipaddress.IPv4Network(f"{address}/{mask}", strict=False)
    if str(network.netmask) != mask:
        raise ValueError(f"not a mask: {mask}")  # a host mask, which passes for its inverse
    return Cidr(str(network))


def _gateway(next_hop: str, adapter: Optional[AdapterRow]) -> Optional[NextHop]:
    """The next hop; None where the row is on-link, which the NIC's own address as next hop says
    too.
    """
    return (
        None if next_hop == ON_LINK or (adapter and _has(adapter, next_hop)) else NextHop(next_hop)
    )


def collect_lookups(board: Board) -> Tuple[Lookup, ...]:
    table, adapters = board.wait("routes") or (), _adapters()
    return tuple(
        look_up(Address(address), table, adapters, board) for address in PLATFORM_ADDRESSES
    )


def look_up(
    destination: Address, table: Iterable[Route], adapters: Mapping[int, AdapterRow], board: Board
) -> Lookup:
    """What Windows would do with a packet to ``destination``; nothing is sent.

    ``GetBestRoute2`` tells it; where this system does not have that, ``GetBestRoute`` gives the row
    and a connected UDP socket the source or the error. Where those two disagree, the socket
    decides, and which row it took is not known.
    """
    try:
        best = iphlpapi.best_route2(destination)
    except NoFact as missing:
        source, error = udp_source(destination)
        lookup = Lookup(destination, source, error)
        try:
            row = _row_of(iphlpapi.best_route(destination), table, adapters)
        except NoFact:
            return lookup
        holder = next((row.index for row in adapters.values() if _has(row, source)), None)
        if source and row.interface_index != holder:
            board.note(
                "lookups",
                f"{missing}; GetBestRoute for {destination} disagrees with "
                "the socket's source address",
            )
            return lookup
        return lookup if error else replace(lookup, route=row)
    return Lookup(
        destination,
        Address(best.source) if best.source else None,
        route=_row_of(best, table, adapters),
    )


def _row_of(best: BestRoute, table: Iterable[Route], adapters: Mapping[int, AdapterRow]) -> Route:
    """The row of the table that was chosen, with its whole metric; what was said of it where the
    table has changed.
    """
    adapter = adapters.get(best.index)
    gateway = _gateway(best.next_hop, adapter)
    chosen = Route(
        Cidr(f"{best.destination}/{best.prefix}"), gateway, _name(adapter), best.index, best.metric
    )
    egress = (chosen.destination, chosen.interface_index, chosen.gateway)
    alike = [row for row in table if (row.destination, row.interface_index, row.gateway) == egress]
    return min(alike, key=lambda row: row.metric, default=chosen)


def collect_neighbours(board: Board) -> Tuple[Neighbour, ...]:
    """Asked after the plain connect: a next hop that answers no ARP is invalid then."""
    after_the_connect(board)
    adapters = _adapters()
    return tuple(
        Neighbour(
            NextHop(row.address),
            _name(adapters.get(row.index)),
            row.index,
            if_valid(parse_mac, row.mac.hex()) if any(row.mac) else None,
            neighbour_state(row),
        )
        for row in iphlpapi.neighbours()
    )


def neighbour_state(row: NeighbourRow) -> NeighbourState:
    """A dynamic entry without a MAC address has asked, and not been answered."""
    if row.type == DYNAMIC and not any(row.mac):
        return NeighbourState.INCOMPLETE
    return STATES.get(row.type, NeighbourState.UNKNOWN)


def collect_persistent_routes(board: Board) -> Tuple[PersistentRoute, ...]:
    """What ``route -p add`` stored: each is the name of a value,
    ``destination,mask,gateway,metric``.
    """
    try:
        names = list(registry.values(PERSISTENT_ROUTES))
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
    try:
        destination, mask, gateway = parts[:3]
        metric = (
            int(parts[3]) if len(parts) > 3 and parts[3].isdecimal() and len(parts[3]) < 11 else 0
        )
        return PersistentRoute(_cidr(destination, mask), parse_address(gateway), metric)
    except ValueError:
        return None


def _adapters() -> Dict[int, AdapterRow]:
    try:
        return {row.index: row for row in iphlpapi.adapters()}
    except NoFact:
        return {}


def _has(adapter: AdapterRow, address: Optional[str]) -> bool:
    return any(item.address == address for item in adapter.addresses)


def _name(adapter: Optional[AdapterRow]) -> Optional[str]:
    return adapter.name if adapter else None
