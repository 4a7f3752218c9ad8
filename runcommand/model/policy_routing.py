"""The kernel's routing decision, worked out from the tables.

Which policy rule matches, and which row of its table wins.
"""

from __future__ import annotations

from typing import Iterable, Optional, Sequence, Tuple

from ..facts import Cidr, Route, RouteKind, RoutingRule, RuleAction, contains, prefix_length

DENYING_KINDS = (RouteKind.UNREACHABLE, RouteKind.BLACKHOLE, RouteKind.PROHIBIT)
DENYING_ACTIONS = (RuleAction.UNREACHABLE, RuleAction.BLACKHOLE, RuleAction.PROHIBIT)
ERRORS = {"unreachable": "EHOSTUNREACH", "blackhole": "EINVAL", "prohibit": "EACCES"}
USUAL_RULES = tuple(
    RoutingRule(priority, table=table)
    for priority, table in ((0, "local"), (32766, "main"), (32767, "default"))
)


def walk(
    rules: Optional[Sequence[RoutingRule]],
    routes: Iterable[Route],
    destination: str,
    source: Optional[str],
) -> Tuple[Optional[RoutingRule], Optional[Route]]:
    """The rule that decides about TCP port 80 of ``destination``, and the row that wins.

    None and None: nothing matches.

    :param rules: None: the usual three
    :param source: the source address; None: not chosen yet
    """
    rows = [row for row in routes if not row.dead and contains(row.destination, destination)]
    if rules is None:
        rules = USUAL_RULES
    for rule in sorted(rules, key=lambda rule: rule.priority):
        if not matches(rule, destination, source):
            continue
        if rule.action in DENYING_ACTIONS:
            return rule, None
        if rule.action is not RuleAction.TABLE:
            continue
        best = longest_match(row for row in rows if row.table == rule.table)
        if best is None or best.kind is RouteKind.THROW:
            continue
        length = prefix_length(best.destination)
        if rule.suppress_prefix_length is None or length > rule.suppress_prefix_length:
            return rule, best
    return None, None


def matches(rule: RoutingRule, destination: str, source: Optional[str]) -> bool:
    """Whether a rule matches a connect of root to TCP port 80.

    The connect carries no mark and is bound to no device.
    """
    asked = (
        _is_in(rule.destination, destination),
        rule.source is None or (source is not None and _is_in(rule.source, source)),
        rule.iif in (None, "lo"),
        rule.oif is None,
        rule.fwmark is None or _mark_is_zero(rule.fwmark),
        rule.uid_start is None or rule.uid_start <= 0,
        rule.ipproto in (None, "tcp", "6"),
        rule.sport is None,
        rule.dport is None or _covers(rule.dport, 80),
    )
    return all(asked) != rule.inverted


def longest_match(rows: Iterable[Route]) -> Optional[Route]:
    """Of rows that all match: the longest prefix, then the least metric."""
    return min(rows, key=lambda row: (-prefix_length(row.destination), row.metric), default=None)


def _is_in(cidr: Optional[Cidr], address: str) -> bool:
    return cidr is None or contains(cidr, address)


def _mark_is_zero(mark: str) -> bool:
    try:
        return int(mark.partition("/")[0], 0) == 0
    except ValueError:
        return False


def _covers(ports: str, port: int) -> bool:
    first, _, last = ports.partition("-")
    if not first.isdecimal():
        return False
    if not last.isdecimal():
        last = first
    return int(first) <= port <= int(last)
