"""Routes, policy rules, the kernel's own choice for both platform addresses, and the neighbour table."""

from __future__ import annotations

import socket
from dataclasses import replace
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional, Tuple

from ...collect import Board, NoFact
from ...facts import (
    PLATFORM_ADDRESSES,
    Address,
    Cidr,
    Lookup,
    Neighbour,
    NeighbourState,
    Route,
    RouteKind,
    RoutingRule,
    RuleAction,
    dict_of,
    if_valid,
    list_of,
    parse_address,
    parse_cidr,
    parse_mac,
    parse_next_hop,
)
from .. import after_the_connect, udp_source
from ..program import Programs
from .iproute import ip
from .sockets import hex_address

PROC_NET_ROUTE = Path("/proc/net/route")
RTF_UP, RTF_GATEWAY, RTF_REJECT = 0x1, 0x2, 0x200  # linux/route.h


def collect(programs: Programs, board: Board) -> Tuple[Route, ...]:
    """Every IPv4 row of every table; from ``/proc/net/route`` (main table only) where ``ip`` cannot tell."""
    try:
        indexes = _indexes()
        rows = ip(programs, "-4", "route", "show", "table", "all")
        found = tuple(route for row in rows for route in parse_routes(row, indexes))
        if rows and not found:
            raise NoFact("ip -j route: printed nothing that reads as a route")
        return found
    except NoFact as missing:
        try:
            found = tuple(_proc_routes(PROC_NET_ROUTE.read_text("ascii", "replace")))
        except OSError:
            raise missing from None
        board.note("routes", f"{missing}; taken from {PROC_NET_ROUTE}, the main table only")
        return found


def parse_routes(row: Dict[str, Any], indexes: Dict[str, int]) -> Iterator[Route]:
    """The rows of one object of ``ip -j route``: one for each next hop. A row that makes no sense is left out."""
    kind = row.get("type", "unicast")
    destination = _cidr(row.get("dst"))
    if destination is None or kind in ("broadcast", "multicast", "anycast"):
        return
    for hop in list_of(dict, row["nexthops"]) if "nexthops" in row else [row]:
        via = dict_of(hop.get("via"))
        device = hop["dev"] if isinstance(hop.get("dev"), str) else None
        flags = [*list_of(str, row.get("flags")), *list_of(str, hop.get("flags"))]
        yield Route(
            destination,
            if_valid(parse_next_hop, hop.get("gateway") or via.get("host")),
            device,
            indexes.get(device or ""),
            row["metric"] if type(row.get("metric")) is int else 0,
            if_valid(parse_address, row.get("prefsrc")),
            _text(row.get("table")) or "main",
            _KINDS.get(kind, RouteKind.OTHER) if isinstance(kind, str) else RouteKind.OTHER,
            _text(row.get("protocol")),
            "linkdown" in flags or "dead" in flags,
        )


_KINDS = {kind.value: kind for kind in RouteKind}


def collect_rules(programs: Programs, board: Board) -> Tuple[RoutingRule, ...]:
    found = tuple(parse_rule(row) for row in ip(programs, "-4", "rule", "show"))
    if not any(rule.table for rule in found):
        raise NoFact("ip -j rule: printed nothing that reads as a rule for a table")
    return found


def parse_rule(row: Dict[str, Any]) -> RoutingRule:
    """One object of ``ip -j rule``."""
    mark = _text(row.get("fwmark"))
    return RoutingRule(
        row["priority"] if type(row.get("priority")) is int else 0,
        _selector(row.get("src"), row.get("srclen")),
        _selector(row.get("dst"), row.get("dstlen")),
        "not" in row,
        _text(row.get("iif")),
        _text(row.get("oif")),
        f"{mark}/{row['fwmask']}" if mark and "fwmask" in row else mark,
        row["uid_start"] if type(row.get("uid_start")) is int else None,
        row["uid_end"] if type(row.get("uid_end")) is int else None,
        _text(row.get("ipproto")),
        _ports(row, "sport"),
        _ports(row, "dport"),
        row["suppress_prefixlen"] if type(row.get("suppress_prefixlen")) is int else None,
        _text(row.get("table")),
        _action(row.get("action")),
    )


def _action(word: Any) -> RuleAction:
    known = {"unreachable": RuleAction.UNREACHABLE, "blackhole": RuleAction.BLACKHOLE, "prohibit": RuleAction.PROHIBIT}
    return RuleAction.TABLE if word is None else known.get(str(word), RuleAction.OTHER)


def _ports(row: Dict[str, Any], key: str) -> Optional[str]:
    if f"{key}_start" in row:
        return f"{row[f'{key}_start']}-{row.get(f'{key}_end')}"
    return _text(row.get(key))


def collect_lookups(programs: Programs, board: Board) -> Tuple[Lookup, ...]:
    return tuple(look_up(programs, Address(address)) for address in PLATFORM_ADDRESSES)


def look_up(programs: Programs, destination: Address) -> Lookup:
    """What the kernel would do with a TCP connect to port 80 of ``destination``; nothing is sent.

    Like the kernel, it asks twice: for the source address, then for the way of a packet from that address. Where ``ip``
    cannot tell, a connected UDP socket gives the source or the error.
    """
    source, error = udp_source(destination)
    first = _get(programs, destination)
    source = first[0].source if first and first[0].source else source
    lookup = Lookup(destination, source, error)
    if error or not source:
        return lookup
    chosen, rows = (
        _get(programs, destination, "from", source),
        _get(programs, destination, "from", source, fibmatch=True),
    )
    if not chosen or not rows:
        return lookup
    hop = chosen[0]  # of a multipath route, the one that this flow takes
    winner = next((row for row in rows if (row.gateway, row.interface) == (hop.gateway, hop.interface)), rows[0])
    return replace(lookup, route=winner)


def _get(programs: Programs, destination: Address, *words: str, fibmatch: bool = False) -> List[Route]:
    """``ip route get``, for TCP port 80 where this ``ip`` takes that; nothing where it fails."""
    for flow in (("ipproto", "tcp", "dport", "80"), ()):
        try:
            found = ip(programs, "-4", "route", "get", *(["fibmatch"] if fibmatch else []), destination, *words, *flow)
        except NoFact:
            continue
        indexes = _indexes()
        return [route for row in found for route in parse_routes(row, indexes)]
    return []


def collect_neighbours(programs: Programs, board: Board) -> Tuple[Neighbour, ...]:
    """Asked after the plain connect: a next hop that answers no ARP is failed or incomplete then."""
    after_the_connect(board)
    indexes = _indexes()
    return tuple(
        Neighbour(
            parse_next_hop(row["dst"]),
            _text(row.get("dev")),
            indexes.get(str(row.get("dev"))),
            if_valid(parse_mac, row.get("lladdr")),
            next((_STATES[word] for word in list_of(str, row.get("state")) if word in _STATES), NeighbourState.UNKNOWN),
        )
        for row in ip(programs, "-4", "neigh", "show")
        if if_valid(parse_next_hop, row.get("dst"))
    )


_STATES = {state.name: state for state in NeighbourState}


def _proc_routes(text: str) -> Iterator[Route]:
    indexes = _indexes()
    for line in text.splitlines()[1:]:
        cells = line.split()
        try:
            device, (network, gateway, mask) = cells[0], (hex_address(cells[i]) for i in (1, 2, 7))
            flags, metric = int(cells[3], 16), int(cells[6])
        except (IndexError, ValueError):
            continue
        if flags & RTF_UP:
            bits = sum(bin(int(part)).count("1") for part in mask.split("."))
            rejected = bool(flags & RTF_REJECT)
            yield Route(
                Cidr(f"{network}/{bits}"),
                parse_next_hop(gateway) if flags & RTF_GATEWAY else None,
                None if rejected else device,
                indexes.get(device),
                metric,
                kind=RouteKind.UNREACHABLE if rejected else RouteKind.UNICAST,
            )


def _indexes() -> Dict[str, int]:
    try:
        return {name: index for index, name in socket.if_nameindex()}
    except OSError:
        return {}


def _cidr(text: Any) -> Optional[Cidr]:
    if text == "default":
        return Cidr("0.0.0.0/0")
    return if_valid(parse_cidr, f"{text}/32" if isinstance(text, str) and "/" not in text else text)


def _selector(address: Any, length: Any) -> Optional[Cidr]:
    if not isinstance(address, str) or address == "all":
        return None
    return if_valid(parse_cidr, f"{address}/{length if type(length) is int else 32}")


def _text(value: Any) -> Optional[str]:
    return str(value) if isinstance(value, (str, int)) and not isinstance(value, bool) else None
