"""nftables' rules, from ``nft -j list ruleset`` (libnftables-json(5))."""

from __future__ import annotations

import re
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Set, Tuple

from ...collect import NoFact
from ...facts import (
    PLATFORM_ADDRESSES,
    FirewallChain,
    FirewallMatch,
    FirewallPlace,
    FirewallRule,
    MatchField,
    RuleVerdict,
    dict_of,
    if_type,
    list_of,
    parse_json,
)
from ...firewall.matching import ends
from ...firewall.netfilter import SOURCE
from .ruleset import RULES_READ, Ruleset

FAMILIES = ("ip", "inet")
DEVICE_HOOKS = ("ingress", "egress")  # not looked at
DEPTH = 8  # of values inside values; nft nests three
# Elements of a set that are kept. Of a longer set, those that hold an address of the platform, and
# the set's name.
ELEMENTS = 200
VERDICTS = {
    "accept": RuleVerdict.ACCEPT,
    "drop": RuleVerdict.DROP,
    "reject": RuleVerdict.REJECT,
    "return": RuleVerdict.RETURN,
    "jump": RuleVerdict.JUMP,
    "goto": RuleVerdict.GOTO,
    "dnat": RuleVerdict.REDIRECT,
    "redirect": RuleVerdict.REDIRECT,
}
META = {
    "l4proto": MatchField.PROTOCOL,
    "protocol": MatchField.PROTOCOL,
    "nfproto": MatchField.PROTOCOL,
    "oif": MatchField.INTERFACE_OUT,
    "oifname": MatchField.INTERFACE_OUT,
    "iif": MatchField.INTERFACE_IN,
    "iifname": MatchField.INTERFACE_IN,
    "skuid": MatchField.USER,
    "skgid": MatchField.GROUP,
    "mark": MatchField.MARK,
}
IP_HEADER = {
    "daddr": MatchField.DESTINATION,
    "saddr": MatchField.SOURCE,
    "protocol": MatchField.PROTOCOL,
}
PORTS = {"dport": MatchField.DESTINATION_PORT, "sport": MatchField.SOURCE_PORT}
# Statements that let the packet go on.
NO_CONDITIONS = (
    "counter", "log", "ct helper", "ct timeout", "set", "map", "flow", "last", "dup",
)  # fmt: skip
MARKS = {"mangle": "mark", "notrack": "state"}
# A program decides; where none runs, the packet is dropped.
QUEUE = FirewallMatch(MatchField.OTHER, ("queue",))
TRANSPORTS = (
    "tcp", "udp", "udplite", "sctp", "dccp", "icmp", "icmpv6", "igmp", "ah", "esp", "comp", "gre",
    "ip6",
)  # fmt: skip
KNOWN_FLAGS = re.compile(r"\b(owner|persist)\b")
NFPROTO = {"ipv4": "ip", "ipv6": "ip6"}
# Targets of iptables, each with the rule's ``FirewallRule.target``.
XT_TARGETS = {
    "REJECT": (RuleVerdict.REJECT, None),
    "REDIRECT": (RuleVerdict.REDIRECT, "?"),
    "DNAT": (RuleVerdict.REDIRECT, "?"),
}
Sets = Dict[Tuple[str, str, str], List[Any]]  # family, table, name: elements


class _Where(NamedTuple):
    """The sets of the ruleset, and their values as far as they have been read."""

    sets: Sets
    read: Dict[Tuple[str, str, str], Optional[Tuple[str, ...]]]
    family: str = ""
    table: str = ""


def parse(output: bytes) -> Ruleset:
    """All rules of the IPv4 families, also those without a verdict. Raises ``NoFact``.

    A dormant table is left out. Where a table's flags cannot be read, its rules cannot be decided.
    (nft 1.0.6 writes nonsense there.)
    """
    try:
        document = dict_of(parse_json(output.decode("utf-8", "replace")))
    except ValueError as reason:
        raise NoFact(f"nft -j list ruleset: {reason}") from None
    objects = list_of(dict, document.get("nftables"))
    where = _Where({}, {})
    for item in (*_items(objects, "set"), *_items(objects, "map")):
        key = (str(item.get("family")), str(item.get("table")), str(item.get("name")))
        where.sets[key] = if_type(list, item.get("elem")) or []
    flags = {
        f"{item.get('family')} {item.get('name')}": str(item["flags"])
        for item in _items(objects, "table")
        if "flags" in item
    }
    chains = [
        _chain(item, table, bool(_doubt(flags, table)))
        for table, item in _awake(objects, "chain", flags)
    ]
    rules: List[FirewallRule] = []
    opaque: Set[Tuple[str, str]] = set()
    unread = 0
    for table, item in _awake(objects, "rule", flags):
        # counted as they come: a verdict map makes many of one
        if len(rules) >= RULES_READ:
            unread += 1
            continue
        rules += _rules(item, table, where, _doubt(flags, table))
        if any("xt" in statement for statement in list_of(dict, item.get("expr"))):
            opaque.add((rules[-1].chain or "", rules[-1].id))
    tables = {" ".join(chain.id.split(" ")[:2]) for chain in chains}
    hooks = {str(item.get("hook")) for item in _items(objects, "chain")} & set(DEVICE_HOOKS)
    return Ruleset(chains, rules, tables, frozenset(opaque), tuple(sorted(hooks)), unread)


def _items(objects: Sequence[Dict[str, Any]], kind: str) -> List[Dict[str, Any]]:
    """The objects of one kind: tables, sets, maps, chains or rules."""
    return [dict_of(entry[kind]) for entry in objects if kind in entry]


def _awake(
    objects: Sequence[Dict[str, Any]], kind: str, flags: Dict[str, str]
) -> List[Tuple[str, Dict[str, Any]]]:
    """The objects of one kind in IPv4 tables that are not dormant, each with its table's name."""
    found: List[Tuple[str, Dict[str, Any]]] = []
    for item in _items(objects, kind):
        table = f"{item.get('family')} {item.get('table')}"
        if item.get("family") in FAMILIES and "dormant" not in flags.get(table, ""):
            found.append((table, item))
    return found


def _doubt(flags: Dict[str, str], table: str) -> Tuple[FirewallMatch, ...]:
    """What keeps a whole table from being decided: flags that cannot be read."""
    if table not in flags or KNOWN_FLAGS.search(flags[table]):
        return ()
    return (FirewallMatch(MatchField.OTHER, ("the table's flags",)),)


def _chain(item: Dict[str, Any], table: str, in_doubt: bool) -> FirewallChain:
    policy = RuleVerdict.ACCEPT
    if item.get("policy") == "drop" and not in_doubt:
        policy = RuleVerdict.DROP
    kind = if_type(str, item.get("type"))
    if kind is None:
        kind = "filter"
    return FirewallChain(
        f"{table} {item.get('name')}",
        FirewallPlace.NFTABLES,
        if_type(str, item.get("hook")),
        kind,
        if_type(int, item.get("prio")) or 0,
        policy,
    )


def _rules(
    item: Dict[str, Any], table: str, where: _Where, doubt: Tuple[FirewallMatch, ...]
) -> List[FirewallRule]:
    """One rule; for a verdict map (vmap) one rule for each of its elements.

    :param doubt: matches of the whole table
    """
    where = where._replace(family=str(item.get("family")), table=str(item.get("table")))
    reading = _Reading(item, table, where, list(doubt))
    for statement in list_of(dict, item.get("expr")):
        for name, body in statement.items():
            reading.statement(name, body)
    if not reading.rules:
        reading.end(RuleVerdict.OTHER, reading.source)
    return reading.rules


class _Reading:
    """A rule, read statement by statement."""

    def __init__(
        self, item: Dict[str, Any], table: str, where: _Where, matches: List[FirewallMatch]
    ) -> None:
        self.rules: List[FirewallRule] = []
        # the target of source NAT
        self.source: Optional[str] = None
        self._item, self._table, self._where = item, table, where
        self._matches = matches
        self._packets: Optional[int] = None

    def statement(self, name: str, body: Any) -> None:
        if name == "match":
            self._matches += _match(dict_of(body), self._where)
        elif name == "counter":
            self._count(dict_of(body).get("packets"))
        elif name in VERDICTS:
            self.end(*_verdict(name, body, self._table), *_if_known(name, body))
        elif name in MARKS:
            self.end(RuleVerdict.MARK, MARKS[name])
        elif name == "vmap":
            self._verdict_map(dict_of(body))
        elif name == "queue":
            self.end(RuleVerdict.DROP, None, QUEUE)
        elif name == "xt":
            self._extension(dict_of(body))
        elif name in ("snat", "masquerade"):
            address = if_type(str, dict_of(body).get("addr"))
            if address is None:
                address = "of the interface"
            self.source = SOURCE + address
        elif name not in NO_CONDITIONS:
            self._matches.append(FirewallMatch(MatchField.OTHER, (name,)))

    def _count(self, packets: Any) -> None:
        if type(packets) is int:
            self._packets = packets

    def end(self, action: RuleVerdict, target: Optional[str], *more: FirewallMatch) -> None:
        self.rules.append(
            FirewallRule(
                id=str(self._item.get("handle")),
                place=FirewallPlace.NFTABLES,
                action=action,
                name=if_type(str, self._item.get("comment")) or "",
                chain=f"{self._table} {self._item.get('chain')}",
                target=target,
                matches=(*self._matches, *more),
                packets=self._packets,
            )
        )

    def _verdict_map(self, body: Dict[str, Any]) -> None:
        for matches, verdict in _vmap(body, self._where):
            for name, value in verdict.items():
                if name in VERDICTS:
                    self.end(*_verdict(name, value, self._table), *matches)

    def _extension(self, body: Dict[str, Any]) -> None:
        """An extension of iptables that nft shows in part only."""
        name = str(body.get("name"))
        if body.get("type") != "target":
            if name != "comment":
                self._matches.append(FirewallMatch(MatchField.OTHER, (f"xt {name}",)))
        elif name == "NFQUEUE":
            self.end(RuleVerdict.DROP, None, QUEUE)
        elif name in XT_TARGETS:
            self.end(*XT_TARGETS[name])
        elif name in ("SNAT", "MASQUERADE"):
            self.source = f"{SOURCE}?"


def _if_known(name: str, body: Any) -> Tuple[FirewallMatch, ...]:
    """A redirection by a map cannot be decided: the map may have nothing for the packet."""
    values = dict_of(body).values()
    if name in ("dnat", "redirect") and any(isinstance(value, dict) for value in values):
        return (FirewallMatch(MatchField.OTHER, (f"{name} by a map",)),)
    return ()


def _verdict(name: str, body: Any, table: str) -> Tuple[RuleVerdict, Optional[str]]:
    action = VERDICTS[name]
    detail = dict_of(body)
    if action in (RuleVerdict.JUMP, RuleVerdict.GOTO):
        return action, f"{table} {detail.get('target')}"
    if action is RuleVerdict.REDIRECT:
        address, port = detail.get("addr"), detail.get("port")
        to = "?"
        if isinstance(address, str):
            to = address
        elif name == "redirect":
            to = "this machine"
        if type(port) is int:
            to += f" port {port}"
        return action, to
    return action, None


def _vmap(
    body: Dict[str, Any], where: _Where
) -> List[Tuple[Tuple[FirewallMatch, ...], Dict[str, Any]]]:
    """The elements of a verdict map, with their matches; the one for all others comes last."""
    data = body.get("data")
    if isinstance(data, str):
        pairs = where.sets.get((where.family, where.table, data.lstrip("@")), [])
    else:
        pairs = dict_of(data).get("set") or []
    field = _field(body.get("key"))
    found: List[Tuple[Tuple[FirewallMatch, ...], Dict[str, Any]]] = []
    others: List[Tuple[Tuple[FirewallMatch, ...], Dict[str, Any]]] = []
    for pair in list_of(list, pairs):
        if len(pair) != 2 or not isinstance(pair[1], dict):
            continue
        if pair[0] == "*":
            others.append(((), pair[1]))
            continue
        condition = FirewallMatch(MatchField.OTHER, ("vmap",))
        if field:
            values = _values(pair[0], where)
            if values is not None:
                condition = FirewallMatch(field, values)
        found.append(((condition,), pair[1]))
    return found + others


def _match(body: Dict[str, Any], where: _Where) -> List[FirewallMatch]:
    left, right, op = body.get("left"), body.get("right"), body.get("op")
    payload = dict_of(dict_of(left).get("payload"))
    field = _field(left)
    also: List[FirewallMatch] = []
    # a packet that has such a field is of this protocol
    if payload.get("protocol") in TRANSPORTS:
        also.append(FirewallMatch(MatchField.PROTOCOL, (str(payload["protocol"]),)))
    values: Optional[Tuple[str, ...]] = None
    if field is MatchField.TCP_FLAGS:
        values = _flags(left, right)
    elif op in ("<", ">", "<=", ">=") and field in PORTS.values() and type(right) is int:
        values = (_range(str(op), right),)
        op = "=="
    elif field:
        values = _values(right, where)
    if field is None or values is None or op not in ("==", "!=", "in"):
        return [*also, FirewallMatch(MatchField.OTHER, (_shown(left),))]
    return [*also, FirewallMatch(field, values, op == "!=")]


def _range(op: str, port: int) -> str:
    return {
        "<": f"0-{port - 1}",
        "<=": f"0-{port}",
        ">": f"{port + 1}-65535",
        ">=": f"{port}-65535",
    }[op]


def _flags(left: Any, right: Any) -> Optional[Tuple[str, ...]]:
    """``tcp flags & (fin | syn) == syn`` as it stands in a ``FirewallMatch``."""
    mask = dict_of(left)["&"][1]
    if not isinstance(right, (str, list)):
        return None
    return (f"{_listed(mask)}/{_listed(right)}",)


def _listed(flags: Any) -> str:
    if isinstance(flags, str):
        return flags
    return ",".join(list_of(str, flags))


def _field(left: Any, depth: int = 0) -> Optional[MatchField]:
    """The field that an expression tests; None where it is not known."""
    masked = dict_of(left).get("&")
    if isinstance(masked, list) and len(masked) == 2 and depth < DEPTH:
        if dict_of(dict_of(masked[0]).get("payload")) == {"protocol": "tcp", "field": "flags"}:
            return MatchField.TCP_FLAGS
        inner = _field(masked[0], depth + 1)
        # a packet without a mark has 0 under any mask; other fields cannot be decided so
        if inner is MatchField.MARK:
            return inner
        return None
    for kind, body in dict_of(left).items():
        detail = dict_of(body)
        if kind == "payload":
            protocol, name = detail.get("protocol"), str(detail.get("field"))
            if protocol == "ip":
                return IP_HEADER.get(name)
            return PORTS.get(name)
        if kind == "meta":
            return META.get(str(detail.get("key")))
        if kind == "ct" and "dir" not in detail:
            return {"state": MatchField.STATE, "mark": MatchField.MARK}.get(str(detail.get("key")))
        is_type = kind == "fib" and detail.get("result") == "type"
        if is_type and detail.get("flags") in ("daddr", ["daddr"]):
            return MatchField.DESTINATION_TYPE
    return None


def _values(right: Any, where: _Where, depth: int = 0) -> Optional[Tuple[str, ...]]:
    """The values of a set, a prefix, a range or a single value; None for any other form."""
    if depth > DEPTH or isinstance(right, bool):
        return None
    if isinstance(right, str) and right.startswith("@"):
        return _of_set(right, where)
    if isinstance(right, (int, str)):
        return (NFPROTO.get(str(right), str(right)),)
    if isinstance(right, list):
        return _all(right, where, depth)
    for kind, body in dict_of(right).items():
        if kind == "set" and isinstance(body, list):
            return _all(body, where, depth)
        if kind == "prefix" and isinstance(body, dict):
            return (f"{body.get('addr')}/{body.get('len')}",)
        if kind == "range" and isinstance(body, list) and len(body) == 2:
            return (f"{body[0]}-{body[1]}",)
        if kind == "elem":
            return _values(dict_of(body).get("val"), where, depth + 1)
    return None


def _of_set(name: str, where: _Where) -> Optional[Tuple[str, ...]]:
    key = (where.family, where.table, name[1:])
    if key in where.read:
        return where.read[key]
    values = None
    if key in where.sets:
        values = _reduced(where.sets[key], name, where)
    where.read[key] = values
    return values


def _all(items: Sequence[Any], where: _Where, depth: int = 0) -> Optional[Tuple[str, ...]]:
    found: List[str] = []
    for item in items:
        values = _values(item, where, depth + 1)
        if values is None:
            return None
        found += values
    return tuple(dict.fromkeys(found))


def _reduced(elements: List[Any], name: str, where: _Where) -> Optional[Tuple[str, ...]]:
    values = _all(elements, where)
    if values is None or len(values) <= ELEMENTS:
        return values
    holding = [value for value in values if _holds_platform(value)]
    if len(holding) > ELEMENTS:
        return None
    return (*holding, name)


def _holds_platform(value: str) -> bool:
    try:
        first, last = ends(value)
        return any(first <= type(first)(address) <= last for address in PLATFORM_ADDRESSES)  # type: ignore[operator]
    except ValueError:
        return False


def _shown(left: Any) -> str:
    """An unknown expression, in a few words."""
    for kind, body in dict_of(left).items():
        detail = dict_of(body)
        parts = (kind, detail.get("protocol"), detail.get("field") or detail.get("key"))
        return " ".join(str(part) for part in parts if part)
    return "?"
