"""Routes, policy rules, route lookups for both platform addresses, and the neighbour table."""

from __future__ import annotations

import ipaddress
import re
import socket
from dataclasses import replace
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional, Sequence, Tuple

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
    if_type,
    if_valid,
    list_of,
    parse_address,
    parse_cidr,
    parse_mac,
    parse_next_hop,
)
from .. import after_the_connect, udp_source
from ..program import Programs
from .files import Note
from .iproute import ip, left_out
from .procfs import hex_address, hex_number

PROC_NET_ROUTE = Path("/proc/net/route")
METRIC = re.compile("[0-9]{1,10}")
RTF_UP, RTF_GATEWAY, RTF_REJECT = 0x1, 0x2, 0x200  # linux/route.h


def collect(programs: Programs, board: Board) -> Tuple[Route, ...]:
    """Every IPv4 row of every table; without ``ip``, the main table from ``/proc/net/route``."""

    def note(text: str) -> None:
        board.note("routes", text)

    try:
        indexes = _indexes()
        rows = ip(programs, "-4", "route", "show", "table", "all", note=note)
        found = tuple(route for row in rows for route in parse_routes(row, indexes))
        if rows and not found:
            raise NoFact("ip -j route: printed nothing that reads as a route")
        garbled = sum(_cidr(row.get("dst")) is None for row in rows)
        if garbled:
            note(f"ip -j route: {left_out(garbled, len(rows))}")
        return found
    except NoFact as missing:
        try:
            text = PROC_NET_ROUTE.read_text("ascii", "replace")
        except OSError:
            raise missing from None
        note(f"{missing}; taken from {PROC_NET_ROUTE}, the main table only")
        return tuple(_proc_routes(text, note))


def parse_routes(row: Dict[str, Any], indexes: Dict[str, int]) -> Iterator[Route]:
    """The rows of one object of ``ip -j route``: one for each next hop.

    A row that makes no sense is left out.
    """
    kind = row.get("type", "unicast")
    destination = _cidr(row.get("dst"))
    if destination is None or kind in ("broadcast", "multicast", "anycast"):
        return
    hops = [row]
    if "nexthops" in row:
        hops = list_of(dict, row["nexthops"])
    for hop in hops:
        via = dict_of(hop.get("via"))
        device = if_type(str, hop.get("dev"))
        flags = [*list_of(str, row.get("flags")), *list_of(str, hop.get("flags"))]
        yield Route(
            destination,
            if_valid(parse_next_hop, hop.get("gateway") or via.get("host")),
            device,
            indexes.get(device or ""),
            if_type(int, row.get("metric")) or 0,
            if_valid(parse_address, row.get("prefsrc")),
            _text(row.get("table")) or "main",
            _KINDS.get(str(kind), RouteKind.OTHER),
            _text(row.get("protocol")),
            "linkdown" in flags or "dead" in flags,
        )


_KINDS = {kind.value: kind for kind in RouteKind}


def collect_rules(programs: Programs, board: Board) -> Tuple[RoutingRule, ...]:
    """The rules, except those whose place or selectors cannot be read."""

    def note(text: str) -> None:
        board.note("routing_rules", text)

    rows = ip(programs, "-4", "rule", "show", note=note)
    readable = [row for row in rows if _is_readable(row)]
    found = tuple(map(parse_rule, readable))
    if not any(rule.table for rule in found):
        raise NoFact("ip -j rule: printed nothing that reads as a rule for a table")
    if len(readable) < len(rows):
        note(f"ip -j rule: {left_out(len(rows) - len(readable), len(rows))}")
    return found


def _is_readable(row: Dict[str, Any]) -> bool:
    """Whether a rule's place and both of its selectors can be read.

    Without a selector it would apply to every packet.
    """
    if type(row.get("priority")) is not int:
        return False
    for key in ("src", "dst"):
        address = row.get(key)
        if address not in (None, "all") and _selector(address, row.get(f"{key}len")) is None:
            return False
    return True


def parse_rule(row: Dict[str, Any]) -> RoutingRule:
    """One object of ``ip -j rule``."""
    mark = _text(row.get("fwmark"))
    if mark and "fwmask" in row:
        mark += f"/{row['fwmask']}"
    return RoutingRule(
        if_type(int, row.get("priority")) or 0,
        _selector(row.get("src"), row.get("srclen")),
        _selector(row.get("dst"), row.get("dstlen")),
        "not" in row,
        _text(row.get("iif")),
        _text(row.get("oif")),
        mark,
        if_type(int, row.get("uid_start")),
        if_type(int, row.get("uid_end")),
        _text(row.get("ipproto")),
        _ports(row, "sport"),
        _ports(row, "dport"),
        if_type(int, row.get("suppress_prefixlen")),
        _text(row.get("table")),
        _action(row.get("action")),
    )


def _action(word: Any) -> RuleAction:
    if word is None:
        return RuleAction.TABLE
    known = {
        "unreachable": RuleAction.UNREACHABLE,
        "blackhole": RuleAction.BLACKHOLE,
        "prohibit": RuleAction.PROHIBIT,
    }
    return known.get(str(word), RuleAction.OTHER)


def _ports(row: Dict[str, Any], key: str) -> Optional[str]:
    if f"{key}_start" in row:
        return f"{row[f'{key}_start']}-{row.get(f'{key}_end')}"
    return _text(row.get(key))


def collect_lookups(programs: Programs, board: Board) -> Tuple[Lookup, ...]:
    return tuple(look_up(programs, Address(address)) for address in PLATFORM_ADDRESSES)


def look_up(programs: Programs, destination: Address) -> Lookup:
    """The kernel's route lookup for a TCP connect to port 80 of ``destination``; nothing is sent.

    Like the kernel, it asks twice: for the source address, then for the route of a packet from that
    address. Without ``ip``, a connected UDP socket gives the source or the error.
    """
    source, error = udp_source(destination)
    first = _get(programs, destination)
    if first and first[0].source:
        source = first[0].source
    lookup = Lookup(destination, source, error)
    if error or not source:
        return lookup
    chosen = _get(programs, destination, "from", source)
    rows = _get(programs, "fibmatch", destination, "from", source)
    if not chosen or not rows:
        return lookup
    # of a multipath route, the next hop of this flow
    hop = (chosen[0].gateway, chosen[0].interface)
    winner = next((row for row in rows if (row.gateway, row.interface) == hop), rows[0])
    return replace(lookup, route=winner)


def _get(programs: Programs, *words: str) -> List[Route]:
    """``ip route get``, for TCP port 80 where this ``ip`` supports it; nothing where it fails."""
    for flow in (("ipproto", "tcp", "dport", "80"), ()):
        try:
            found = ip(programs, "-4", "route", "get", *words, *flow)
        except NoFact:
            continue
        indexes = _indexes()
        return [route for row in found for route in parse_routes(row, indexes)]
    return []


def collect_neighbours(programs: Programs, board: Board) -> Tuple[Neighbour, ...]:
    """The neighbour table after the plain connect.

    By then a next hop that answers no ARP is failed or incomplete.
    """
    after_the_connect(board)
    indexes = _indexes()
    rows = ip(programs, "-4", "neigh", "show", note=lambda text: board.note("neighbours", text))
    found: List[Neighbour] = []
    for row in rows:
        address = if_valid(parse_next_hop, row.get("dst"))
        if address:
            device = _text(row.get("dev"))
            mac = if_valid(parse_mac, row.get("lladdr"))
            index = indexes.get(device or "")
            found.append(Neighbour(address, device, index, mac, _neighbour_state(row)))
    return tuple(found)


_STATES = {state.name: state for state in NeighbourState}


def _neighbour_state(row: Dict[str, Any]) -> NeighbourState:
    for word in list_of(str, row.get("state")):
        if word in _STATES:
            return _STATES[word]
    return NeighbourState.UNKNOWN


def _proc_routes(text: str, note: Note = lambda text: None) -> Iterator[Route]:
    """The rows of ``/proc/net/route``.

    A row with a cell that makes no sense is left out.

    :param note: is called with the number of those
    """
    indexes = _indexes()
    rows = list(filter(None, text.splitlines()[1:]))
    garbled = 0
    for line in rows:
        try:
            route = _proc_route([cell.strip() for cell in line.split("\t")], indexes)
        except (IndexError, ValueError):
            garbled += 1
            continue
        if route:
            yield route
    if garbled:
        note(f"{PROC_NET_ROUTE}: {left_out(garbled, len(rows))}")


def _proc_route(cells: Sequence[str], indexes: Dict[str, int]) -> Optional[Route]:
    """One row; None where it is not up.

    Raises ``IndexError`` or ``ValueError`` where a cell makes no sense.
    """
    device, flags = cells[0], hex_number(cells[3])
    network, gateway, mask = (hex_address(cells[number]) for number in (1, 2, 7))
    if not METRIC.fullmatch(cells[6]):
        raise ValueError("not a metric")
    if not flags & RTF_UP:
        return None
    destination = parse_cidr(f"{network}/{_prefix_length(mask)}")
    next_hop = None
    if flags & RTF_GATEWAY:
        next_hop = parse_next_hop(gateway)
    route = Route(destination, next_hop, device, indexes.get(device), int(cells[6]))
    if flags & RTF_REJECT:
        return replace(route, interface=None, kind=RouteKind.UNREACHABLE)
    return route


def _prefix_length(mask: str) -> int:
    """The length of a mask like 255.255.255.0.

    Raises ``ValueError`` where its ones are not all in front.
    """
    bits = f"{int(ipaddress.IPv4Address(mask)):032b}"
    if "01" in bits:
        raise ValueError("not a mask of a prefix")
    return bits.count("1")


def _indexes() -> Dict[str, int]:
    try:
        return {name: index for index, name in socket.if_nameindex()}
    except OSError:
        return {}


def _cidr(text: Any) -> Optional[Cidr]:
    if text == "default":
        return Cidr("0.0.0.0/0")
    if isinstance(text, str) and "/" not in text:
        text += "/32"
    return if_valid(parse_cidr, text)


def _selector(address: Any, length: Any) -> Optional[Cidr]:
    if not isinstance(address, str) or address == "all":
        return None
    if type(length) is not int:
        length = 32
    return if_valid(parse_cidr, f"{address}/{length}")


def _text(value: Any) -> Optional[str]:
    if type(value) in (str, int):
        return str(value)
    return None
