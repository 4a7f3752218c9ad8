"""Routes, policy rules, the kernel's own choice for both platform addresses, and the neighbour table."""

from __future__ import annotations

import errno
import socket
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional, Tuple

from ...collect import Board, NotAvailable
from ...facts import (
    IMDS_ADDRESS,
    WIRESERVER_ADDRESS,
    Address,
    Lookup,
    Neighbour,
    Network,
    Route,
    RoutingRule,
    if_valid,
    parse_address,
    parse_mac,
    parse_next_hop,
    prefix_length,
)
from .iproute import ip

PROC_NET_ROUTE = Path("/proc/net/route")
NEIGHBOURS_S = 3.5  # the connect that fills the neighbour table has ended by then
RTF_UP, RTF_GATEWAY, RTF_REJECT = 0x1, 0x2, 0x200  # linux/route.h


def collect(board: Board) -> Tuple[Route, ...]:
    """Every IPv4 row of every table; from ``/proc/net/route`` (main table only) where ``ip`` cannot tell."""
    try:
        indexes = _indexes()
        rows = ip("-4", "route", "show", "table", "all")
        found = tuple(route for row in rows for route in parse_routes(row, indexes))
        if rows and not found:
            raise NotAvailable("ip -j route: printed nothing that reads as a route")
        return found
    except NotAvailable as missing:
        try:
            found = tuple(_proc_routes(PROC_NET_ROUTE.read_text("ascii", "replace")))
        except OSError:
            raise missing from None
        board.note("routes", f"{missing}; taken from {PROC_NET_ROUTE}, the main table only")
        return found


def parse_routes(row: Dict[str, Any], indexes: Dict[str, int]) -> Iterator[Route]:
    """The rows of one object of ``ip -j route``: one for each next hop. A row that makes no sense is left out."""
    kind = row.get("type", "unicast")
    destination = _network(row.get("dst"))
    if destination is None or kind in ("broadcast", "multicast", "anycast"):
        return
    hops = row.get("nexthops") if isinstance(row.get("nexthops"), list) else [row]
    for hop in hops:
        if not isinstance(hop, dict):
            continue
        via = hop.get("via") if isinstance(hop.get("via"), dict) else {}
        device = hop.get("dev") if isinstance(hop.get("dev"), str) else None
        flags = [*_texts(row.get("flags")), *_texts(hop.get("flags"))]
        yield Route(
            destination,
            if_valid(parse_next_hop, hop.get("gateway") or via.get("host")),
            device,
            indexes.get(device or ""),
            row["metric"] if type(row.get("metric")) is int else 0,
            if_valid(parse_address, row.get("prefsrc")),
            _text(row.get("table")) or "main",
            str(kind),
            _text(row.get("protocol")),
            "linkdown" in flags or "dead" in flags,
        )


def collect_rules(board: Board) -> Tuple[RoutingRule, ...]:
    return tuple(parse_rule(row) for row in ip("-4", "rule", "show"))


_SELECTORS = ("fwmark", "iif", "oif", "ipproto", "sport", "dport", "tos", "tun_id", "l3mdev", "suppress_prefixlen")


def parse_rule(row: Dict[str, Any]) -> RoutingRule:
    """One object of ``ip -j rule``."""
    words = ["not"] if "not" in row else []
    for key in _SELECTORS:
        if key in row:
            value = "" if row[key] is None else f" {row[key]}"
            words.append(f"{key}{value}" + (f"/{row['fwmask']}" if key == "fwmark" and "fwmask" in row else ""))
    if "uid_start" in row:
        words.append(f"uidrange {row.get('uid_start')}-{row.get('uid_end')}")
    return RoutingRule(
        row["priority"] if type(row.get("priority")) is int else 0,
        _selector(row.get("src"), row.get("srclen")),
        _selector(row.get("dst"), row.get("dstlen")),
        " ".join(words),
        _text(row.get("table")),
        _text(row.get("action")) or "table",
    )


def collect_lookups(board: Board) -> Tuple[Lookup, ...]:
    return tuple(look_up(Address(address)) for address in (IMDS_ADDRESS, WIRESERVER_ADDRESS))


def look_up(destination: Address) -> Lookup:
    """What the kernel would do: the source or the error by a connected UDP socket (sends nothing), the rest by ``ip``."""
    lookup = Lookup(destination)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            sock.connect((destination, 9))
            lookup = replace(lookup, source=Address(sock.getsockname()[0]))
        except OSError as error:
            return replace(lookup, error=errno.errorcode.get(error.errno or 0, str(error)))
    try:
        matched = ip("-4", "route", "get", "fibmatch", destination)
        rows = [route for row in matched for route in parse_routes(row, _indexes())]
        chosen = [hop for row in ip("-4", "route", "get", destination) for hop in parse_routes(row, _indexes())]
    except NotAvailable:
        return lookup
    if not rows or not chosen:
        return lookup
    hop = chosen[0]  # of a multipath route, the one that this flow takes
    winner = next((row for row in rows if (row.gateway, row.interface) == (hop.gateway, hop.interface)), rows[0])
    return replace(lookup, source=hop.source or lookup.source, route=winner)


def collect_neighbours(board: Board) -> Tuple[Neighbour, ...]:
    """Asked after the plain connect: a next hop that answers no ARP is FAILED or INCOMPLETE then."""
    board.wait("imds.first", NEIGHBOURS_S)
    indexes = _indexes()
    return tuple(
        Neighbour(
            parse_next_hop(row["dst"]),
            _text(row.get("dev")),
            indexes.get(str(row.get("dev"))),
            if_valid(parse_mac, row.get("lladdr")),
            " ".join(_texts(row.get("state"))),
        )
        for row in ip("-4", "neigh", "show")
        if if_valid(parse_next_hop, row.get("dst"))
    )


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
                Network(f"{network}/{bits}"),
                gateway if flags & RTF_GATEWAY else None,
                None if rejected else device,
                indexes.get(device),
                metric,
                kind="unreachable" if rejected else "unicast",
            )


def hex_address(text: str) -> str:
    return socket.inet_ntoa(int(text, 16).to_bytes(4, sys.byteorder))


def _indexes() -> Dict[str, int]:
    try:
        return {name: index for index, name in socket.if_nameindex()}
    except OSError:
        return {}


def _network(text: Any) -> Optional[Network]:
    if text == "default":
        return Network("0.0.0.0/0")
    if not isinstance(text, str):
        return None
    address, _, length = text.partition("/")
    try:
        network = Network(f"{parse_address(address)}/{length or 32}")
        return network if 0 <= prefix_length(network) <= 32 else None
    except ValueError:
        return None


def _selector(address: Any, length: Any) -> str:
    if not isinstance(address, str) or address == "all":
        return "all"
    return f"{address}/{length}" if type(length) is int else f"{address}/32"


def _text(value: Any) -> Optional[str]:
    return str(value) if isinstance(value, (str, int)) and not isinstance(value, bool) else None


def _texts(value: Any) -> List[str]:
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []
