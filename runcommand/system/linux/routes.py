"""Routes, policy rules, the kernel's own choice for both platform addresses, and the neighbour
table.
"""

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
    """Every IPv4 row of every table; from ``/proc/net/route`` (main table only) where ``ip`` cannot
    tell.
    """

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
    """The rows of one object of ``ip -j route``: one for each next hop. A row that makes no sense
    is left out.
    """
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
    """The rules, but for those of which it cannot be read for which packets they are."""

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
    """Whether a rule's place and both of its selectors can be read: without one, it would hold for
    every packet.
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
    known = {
        "unreachable": RuleAction.UNREACHABLE,
        "blackhole": RuleAction.BLACKHOLE,
        "prohibit": RuleAction.PROHIBIT,
    }
    return RuleAction.TABLE if word is None else known.get(str(word), RuleAction.OTHER)


def _ports(row: Dict[str, Any], key: str) -> Optional[str]:
    if f"{key}_start" in row:
        return f"{row[f'{key}_start']}-{row.get(f'{key}_end')}"
    return _text(row.get(key))


def collect_lookups(programs: Programs, board: Board) -> Tuple[Lookup, ...]:
    return tuple(look_up(programs, Address(address)) for address in PLATFORM_ADDRESSES)


def look_up(programs: Programs, destination: Address) -> Lookup:
    """What the kernel would do with a TCP connect to port 80 of ``destination``; nothing is sent.

    Like the kernel, it asks twice: for the source address, then for the way of a packet from that
    address. Where ``ip`` cannot tell, a connected UDP socket gives the source or the error.
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
    winner = next(
        (row for row in rows if (row.gateway, row.interface) == (hop.gateway, hop.interface)),
        rows[0],
    )
    return replace(lookup, route=winner)


def _get(
    programs: Programs, destination: Address, *words: str, fibmatch: bool = False
) -> List[Route]:
    """``ip route get``, for TCP port 80 where this ``ip`` takes that; nothing where it fails."""
    for flow in (("ipproto", "tcp", "dport", "80"), ()):
        try:
            found = ip(
                programs,
                "-4",
                "route",
                "get",
                *(["fibmatch"] if fibmatch else []),
                destination,
                *words,
                *flow,
            )
        except NoFact:
            continue
        indexes = _indexes()
        return [route for row in found for route in parse_routes(row, indexes)]
    return []


def collect_neighbours(programs: Programs, board: Board) -> Tuple[Neighbour, ...]:
    """After the plain connect: by then a next hop that answers no ARP is failed or incomplete."""
    after_the_connect(board)
    indexes = _indexes()
    rows = ip(programs, "-4", "neigh", "show", note=lambda text: board.note("neighbours", text))
    return tuple(
        Neighbour(
            parse_next_hop(row["dst"]),
            _text(row.get("dev")),
            indexes.get(str(row.get("dev"))),
            if_valid(parse_mac, row.get("lladdr")),
            next(
                (_STATES[word] for word in list_of(str, row.get("state")) if word in _STATES),
                NeighbourState.UNKNOWN,
            ),
        )
        for row in rows
        if if_valid(parse_next_hop, row.get("dst"))
    )


_STATES = {state.name: state for state in NeighbourState}


def _proc_routes(text: str, note: Note = lambda text: None) -> Iterator[Route]:
    """The rows of ``/proc/net/route``.

    One with a cell that makes no sense is left out, and ``note`` is told how many are.
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
    is_rejected = bool(flags & RTF_REJECT)
    return Route(
        parse_cidr(f"{network}/{_prefix_length(mask)}"),
        parse_next_hop(gateway) if flags & RTF_GATEWAY else None,
        None if is_rejected else device,
        indexes.get(device),
        int(cells[6]),
        kind=RouteKind.UNREACHABLE if is_rejected else RouteKind.UNICAST,
    )


def _prefix_length(mask: str) -> int:
    """Of a mask like 255.255.255.0. Raises ``ValueError`` where its ones are not all in front."""
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
    return if_valid(parse_cidr, f"{text}/32" if isinstance(text, str) and "/" not in text else text)


def _selector(address: Any, length: Any) -> Optional[Cidr]:
    if not isinstance(address, str) or address == "all":
        return None
    return if_valid(parse_cidr, f"{address}/{length if type(length) is int else 32}")


def _text(value: Any) -> Optional[str]:
    return str(value) if isinstance(value, (str, int)) and not isinstance(value, bool) else None
