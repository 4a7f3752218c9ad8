"""The routing table and the policy rules as evidence."""

from __future__ import annotations

from typing import List, Optional, Sequence, Tuple

from ..facts import Adapter, InterfaceAddress, Route, RouteKind, contains, network, prefix_length
from ..frozen import dataclass
from ..model.adapters import holds
from ..model.azure import matches_platform
from ..model.model import Model
from ..model.routing import RouteLookup
from ..model.words import short
from ..rules.route import policy_rule, rule_in_words
from .blocks import Column, Depth, Line, Row, Table

COLUMNS = (
    Column("Network Destination", 20),
    Column("Netmask", 17),
    Column("Gateway", 17),
    Column("Interface", 17),
    Column("Metric", 6, is_number=True),
    Column("", 0),
)


def route_table(model: Model) -> Table:
    """The rows that match either platform address, most specific first.

    Those that win are marked, with the policy rule that leads there; the full report has every
    other row too.
    """

    def place(route: Route) -> Tuple[bool, int, int]:
        is_other = not matches_platform(route.destination)
        return is_other, -prefix_length(route.destination), route.metric

    winners = _winners(model)
    rows = tuple(_row(model, route, winners) for route in sorted(model.route_table.rows, key=place))
    return Table(COLUMNS, rows)


@dataclass(frozen=True)
class _Winner:
    """The row that wins for one of the platform's addresses."""

    lookup: RouteLookup
    row: Route
    is_in_table: bool  # as the table has it; else the system gave fewer details

    def has_won(self, route: Route) -> bool:
        """Whether it is this row of the table."""
        if self.is_in_table:
            return route == self.row
        if self.row.interface_index:
            is_same_link = route.interface_index == self.row.interface_index
        else:
            is_same_link = route.interface == self.row.interface
        own = (self.row.destination, self.row.gateway, self.row.table)
        return is_same_link and (route.destination, route.gateway, route.table) == own


def _winners(model: Model) -> List[_Winner]:
    lookups = (model.routing.to_imds, model.routing.to_wireserver)
    return [
        _Winner(lookup, lookup.route, lookup.route in model.route_table.rows)
        for lookup in lookups
        if lookup.route
    ]


def _row(model: Model, route: Route, winners: Sequence[_Winner]) -> Row:
    won = [winner.lookup for winner in winners if winner.has_won(route)]
    rules = dict.fromkeys(policy_rule(model, lookup) for lookup in won)
    net = network(route.destination)
    depth = Depth.FULL
    if matches_platform(route.destination):
        depth = Depth.ALL
    cells = (
        str(net.network_address),
        str(net.netmask),
        route.gateway or _without_gateway(route),
        _source(model, route, won) or "-",
        str(route.metric),
        " ".join(_remarks(route)),
    )
    return Row(
        cells,
        is_marked=bool(won),
        depth=depth,
        notes=tuple(f"by policy rule {rule_in_words(rule)}" for rule in rules if rule),
    )


def _without_gateway(route: Route) -> str:
    if route.kind in (RouteKind.UNICAST, RouteKind.LOCAL):
        return "On-link"
    return "-"


def _remarks(route: Route) -> List[str]:
    remarks = []
    if route.interface:
        remarks.append(short(route.interface, 24))
    if route.kind is not RouteKind.UNICAST:
        remarks.append(route.kind.value)
    if route.table not in ("main", "local"):
        remarks.append(f"table {short(route.table, 16)}")
    if route.dead:
        remarks.append("dead")
    return remarks


def _source(model: Model, route: Route, won: Sequence[RouteLookup]) -> Optional[str]:
    """The source address of packets that take a row.

    Where it wins, the one that is chosen; else the row's own, the one that the system chooses on
    that adapter, or the adapter's best.
    """
    chosen = [lookup.source for lookup in won if lookup.source]
    if chosen:
        return chosen[0]
    if route.source:
        return route.source
    adapter = model.adapters.egress(route)
    if adapter is None:
        return None
    for lookup in (model.routing.to_imds, model.routing.to_wireserver):
        if _is_choice_on(model, lookup, adapter):
            return lookup.source
    return _best_address(adapter, route)


def _is_choice_on(model: Model, lookup: RouteLookup, adapter: Adapter) -> bool:
    """Whether the system itself chose this lookup's source address, on this adapter."""
    is_chosen_by_row = lookup.route is not None and lookup.route.source is not None
    is_on_adapter = model.adapters.egress(lookup.route) == adapter and holds(adapter, lookup.source)
    return is_on_adapter and not is_chosen_by_row


def _best_address(adapter: Adapter, route: Route) -> Optional[str]:
    """The adapter's address on the gateway's subnet, else its first one.

    One that is not for sending (secondary, SkipAsSource) is the last choice.
    """

    def place(item: InterfaceAddress) -> Tuple[bool, bool]:
        is_elsewhere = gateway is not None and not contains(
            f"{item.address}/{item.prefix}", gateway
        )
        return item.secondary or item.skip_as_source, is_elsewhere

    gateway = route.gateway
    if gateway and ":" in gateway:
        gateway = None
    if not adapter.addresses:
        return None
    return min(adapter.addresses, key=place).address


def not_routed(model: Model) -> List[Line]:
    """Of the platform's addresses those that no row matches, or that a policy rule denies."""
    lines: List[Line] = []
    for lookup in (model.routing.to_imds, model.routing.to_wireserver):
        if lookup.rule:
            lines.append(Line(f"policy rule {rule_in_words(lookup.rule)}", ">"))
        elif model.facts.routes is not None and not _has_row(model, lookup.destination):
            lines.append(Line(f"no row matches {lookup.destination}"))
    return list(dict.fromkeys(lines))


def _has_row(model: Model, address: str) -> bool:
    return any(contains(route.destination, address) for route in model.route_table.rows)


def policy_rules(model: Model) -> List[Line]:
    """Every policy rule in its order, marked where it leads to a platform address."""
    deciding = [
        policy_rule(model, lookup)
        for lookup in (model.routing.to_imds, model.routing.to_wireserver)
    ]
    lines = []
    for rule in sorted(model.facts.routing_rules or (), key=lambda rule: rule.priority):
        mark = ">" if rule in deciding else ""
        lines.append(Line(f"policy rule {rule_in_words(rule)}", mark, Depth.FULL))
    return lines
