"""The rows of the routing table, and the default routes among them."""

from __future__ import annotations

from typing import List, Optional, Tuple

from ..facts import LINK_LOCAL, Adapter, Facts, Route, RouteKind, network, prefix_length
from .adapters import Adapters
from .policy_routing import longest_match

DEFAULT = "0.0.0.0/0"
MAIN_TABLES = ("main", "default")
NO_METRIC = 2**31  # above every metric of a row


class RouteTable:
    """All rows, and what is looked up among them."""

    def __init__(self, facts: Facts, adapters: Adapters) -> None:
        self.rows: Tuple[Route, ...] = facts.routes or ()
        self._adapters = adapters

    def default_routes(self) -> List[Route]:
        """The default routes that ordinary traffic uses (not those of policy tables)."""
        return [
            row
            for row in self.rows
            if row.destination == DEFAULT and row.table in MAIN_TABLES and not row.dead
        ]

    def default_gateway(self, adapter: Adapter) -> Optional[str]:
        """The next hop of the adapter's own default route with the lowest metric."""
        own = [row for row in self._default_routes_by(adapter) if row.gateway]
        best = longest_match(own)
        if best:
            return best.gateway
        return next(iter(adapter.gateways), None)

    def default_metric(self, adapter: Adapter) -> int:
        """The lowest metric of the adapter's own default routes; ``NO_METRIC`` without one."""
        metrics = [row.metric for row in self._default_routes_by(adapter)]
        return min(metrics, default=NO_METRIC)

    def _default_routes_by(self, adapter: Adapter) -> List[Route]:
        return [row for row in self.default_routes() if self._adapters.egress(row) == adapter]


def is_link_local_shadow(route: Optional[Route]) -> bool:
    """Whether a route is on-link within 169.254.0.0/16, and broader than the one address."""
    return (
        route is not None
        and route.kind is RouteKind.UNICAST
        and route.gateway is None
        and 16 <= prefix_length(route.destination) < 32
        and network(route.destination).subnet_of(network(LINK_LOCAL))
    )
