"""How packets to the platform leave the VM: route lookup, egress, next hop, gateway, neighbour."""

from __future__ import annotations

from functools import cached_property
from typing import Optional

from ..facts import (
    IMDS_ADDRESS,
    LINK_LOCAL,
    LOOPBACK,
    WIRESERVER_ADDRESS,
    Adapter,
    Cidr,
    Exchange,
    Facts,
    Lookup,
    Neighbour,
    NeighbourState,
    Outcome,
    Route,
    RouteKind,
    RoutingRule,
    contains,
    network,
    prefix_length,
)
from ..frozen import dataclass
from .adapters import Adapters, holds, same_nic
from .answers import Answers
from .azure import AZURE_ARP_MAC
from .policy_routing import DENYING_ACTIONS, DENYING_KINDS, ERRORS, longest_match, walk
from .primary_nic import PrimaryNic
from .route_table import DEFAULT, RouteTable

SILENT_ARP = (NeighbourState.FAILED, NeighbourState.INCOMPLETE)
NO_ROUTE = ("ENETUNREACH", "EHOSTUNREACH", "ENETDOWN")  # a lookup's errors that mean just that


@dataclass(frozen=True)
class RouteLookup:
    """How packets to one address are routed: the row that wins, or why there is none."""

    destination: str
    route: Optional[Route] = None
    source: Optional[str] = None
    error: Optional[str] = None  # POSIX' name of what a connect says, where there is no route
    rule: Optional[RoutingRule] = None  # the policy rule that denies the route
    known: bool = False  # False: neither the system's own choice nor the table is known


class Routing:
    """The route lookups of both platform addresses, and what IMDS's leads to."""

    def __init__(
        self,
        facts: Facts,
        adapters: Adapters,
        answers: Answers,
        route_table: RouteTable,
        primary_nic: Optional[PrimaryNic],
    ) -> None:
        self._facts = facts
        self._adapters = adapters
        self._answers = answers
        self._route_table = route_table
        self._primary_nic = primary_nic

    # --- the lookups ---

    @cached_property
    def to_imds(self) -> RouteLookup:
        return self._lookup(IMDS_ADDRESS, self._answers.imds)

    @cached_property
    def to_wireserver(self) -> RouteLookup:
        exchange = None
        if self._facts.wireserver:
            exchange = self._facts.wireserver.http
        return self._lookup(WIRESERVER_ADDRESS, exchange)

    def _lookup(self, destination: str, exchange: Optional[Exchange]) -> RouteLookup:
        """The route lookup of an address.

        What the system says, corrected by what the plain connect did, completed from the tables.
        """
        recorded = self._recorded(destination)
        source = _source(recorded, exchange)
        if any(holds(adapter, destination) for adapter in self._adapters.all):
            own = Route(Cidr(f"{destination}/32"), kind=RouteKind.LOCAL, table="local")
            return RouteLookup(destination, own, source, known=True)
        rows = self._route_table.rows
        rule, row = walk(self._facts.routing_rules, rows, destination, source)
        rule_denies = rule is not None and rule.action in DENYING_ACTIONS
        row_denies = row is not None and row.kind in DENYING_KINDS
        denies = rule_denies or row_denies
        known = recorded is not None or self._facts.routes is not None
        error, chosen = None, None
        if recorded:
            error, chosen = recorded.error, recorded.route
        error = _error(error, denies, exchange)
        if error or (denies and chosen is None):
            return _denied(destination, source, error, rule, row, denies, known)
        route = chosen or self._by_source(row, destination, source)
        if route is None and recorded is None and self._facts.routes is not None:
            return RouteLookup(destination, None, source, "ENETUNREACH", known=True)
        return RouteLookup(destination, route, source, known=known)

    def _recorded(self, destination: str) -> Optional[Lookup]:
        """The system's own route lookup."""
        for lookup in self._facts.lookups or ():
            if lookup.destination == destination:
                return lookup
        return None

    def _by_source(
        self, row: Optional[Route], destination: str, source: Optional[str]
    ) -> Optional[Route]:
        """The row, or that of an unknown policy table.

        Without a lookup and rules, a source address of another NIC shows that such a table took
        over.
        """
        if self._facts.routing_rules is not None:
            return row
        owner = self._adapters.holding(source)
        adapter = self._adapters.egress(row)
        if owner is None or adapter is None or same_nic(owner, adapter):
            return row
        own = [
            other
            for other in self._route_table.rows
            if self._adapters.egress(other) == owner and contains(other.destination, destination)
        ]
        policy = Route(Cidr(DEFAULT), None, owner.name, owner.index, table="?")
        return longest_match(own) or policy

    # --- the egress ---

    @cached_property
    def egress(self) -> Optional[Adapter]:
        """The adapter through which packets to IMDS leave."""
        if self.to_imds.error:
            return None
        return self._adapters.egress(self.to_imds.route)

    @property
    def leaves_by_primary_nic(self) -> bool:
        if self._primary_nic is None or self.egress is None:
            return False
        return same_nic(self.egress, self._primary_nic.adapter)

    # --- the next hop ---

    @property
    def next_hop(self) -> Optional[str]:
        """The address that must answer ARP for a packet to IMDS.

        The gateway, or IMDS itself where it is on-link.
        """
        route = self.to_imds.route
        if route is None or self.to_imds.error or route.kind is not RouteKind.UNICAST:
            return None
        return route.gateway or IMDS_ADDRESS

    @cached_property
    def next_hop_neighbour(self) -> Optional[Neighbour]:
        """The next hop in the neighbour table."""
        route = self.to_imds.route
        if route is None:
            return None
        own = [
            neighbour
            for neighbour in self._facts.neighbours or ()
            if neighbour.address == self.next_hop and _is_on_link_of(neighbour, route)
        ]
        # Windows may keep a dead twin of an entry.
        own.sort(key=lambda neighbour: neighbour.state in SILENT_ARP)
        if own:
            return own[0]
        return None

    @property
    def next_hop_is_dead(self) -> bool:
        """Whether the next hop did not answer ARP while the plain request waited for it."""
        neighbour = self.next_hop_neighbour
        if neighbour is None or not self._answers.imds_is_silent:
            return False
        return neighbour.state in SILENT_ARP

    @property
    def next_hop_is_forged(self) -> bool:
        """Whether the next hop has a static ARP entry that is not Azure's, and IMDS is silent."""
        neighbour = self.next_hop_neighbour
        if neighbour is None or not self._answers.imds_is_silent:
            return False
        return neighbour.state is NeighbourState.PERMANENT and neighbour.mac != AZURE_ARP_MAC

    def goes_astray(self, lookup: RouteLookup) -> Optional[bool]:
        """Whether packets leave otherwise than by the primary NIC and its gateway; on-link on that
        NIC is right too.

        None: it cannot be said.
        """
        if not lookup.known or self._primary_nic is None:
            return None
        route, egress = lookup.route, self._adapters.egress(lookup.route)
        if lookup.error:
            return True
        if route is None or egress is None:
            return None
        if not same_nic(egress, self._primary_nic.adapter):
            return True
        return route.gateway not in (None, self.gateway)

    # --- the gateway ---

    @cached_property
    def gateway(self) -> Optional[str]:
        """The gateway of the primary NIC's subnet.

        The first address of the subnet that IMDS reports, else what the lease says, else the
        default route's (unless it is dead), else the first address of the subnet that the NIC has.
        Azure keeps a subnet's first address for it
        (https://learn.microsoft.com/azure/virtual-network/virtual-networks-faq).
        """
        if self._primary_nic is None:
            return None
        adapter = self._primary_nic.adapter
        default = self._route_table.default_gateway(adapter)
        alive = default
        if default and self.is_silent(adapter, default):
            alive = None
        return (
            self.reported_gateway(adapter)
            or adapter.lease_gateway
            or alive
            or self.first_address(adapter)
            or default
        )

    def is_silent(self, adapter: Adapter, address: Optional[str]) -> bool:
        """Whether a neighbour on the adapter's link has been asked for, and has not answered."""
        own = [
            item.state
            for item in self._facts.neighbours or ()
            if item.address == address and item.interface_index in (None, adapter.index)
        ]
        return bool(own) and all(state in SILENT_ARP for state in own)

    def reported_gateway(self, adapter: Adapter) -> Optional[str]:
        """The first address of the subnet that IMDS reports for a NIC."""
        interface = self._answers.reported_interface(adapter)
        if interface and interface.subnet and prefix_length(interface.subnet) < 31:
            return _first_host(interface.subnet)
        return None

    def first_address(self, adapter: Adapter) -> Optional[str]:
        """The first host address of the adapter's own subnet (an automatic address has none)."""
        primary_ip = None
        if self._primary_nic:
            primary_ip = self._primary_nic.ip
        own = [
            held
            for held in adapter.addresses
            if held.prefix < 31 and not contains(LINK_LOCAL, held.address)
        ]
        if not own:
            return None
        own.sort(key=lambda held: held.address != primary_ip)
        return _first_host(f"{own[0].address}/{own[0].prefix}")


def _source(recorded: Optional[Lookup], exchange: Optional[Exchange]) -> Optional[str]:
    """The source address: the one that the connect used, else the one that the lookup gives."""
    used = None
    if exchange:
        used = exchange.connection.local_address
    if used and not contains(LOOPBACK, used):
        return used
    if recorded:
        return recorded.source
    return None


def _error(error: Optional[str], denies: bool, exchange: Optional[Exchange]) -> Optional[str]:
    """The system's error, where it means that there is no route.

    A filter (BPF, a security module) says EACCES or EPERM too: those, and a connect that failed at
    once, count only where a row or rule denies the route.
    """
    if error in NO_ROUTE:
        return error
    if not denies:
        return None
    if error or exchange is None:
        return error
    if exchange.outcome not in (Outcome.FORBIDDEN, Outcome.UNREACHABLE):
        return None
    return (exchange.connection.error or "EACCES").partition(" ")[0]


def _denied(
    destination: str,
    source: Optional[str],
    error: Optional[str],
    rule: Optional[RoutingRule],
    row: Optional[Route],
    denies: bool,
    known: bool,
) -> RouteLookup:
    """The lookup of an address to which there is no route.

    :param row: the row that matches
    :param denies: whether the tables deny it (else only the system does)
    """
    word = ""
    if row is not None:
        word = row.kind.value
    elif rule is not None:
        word = rule.action.value
    error = error or ERRORS.get(word, "ENETUNREACH")
    if denies and row:
        return RouteLookup(destination, row, source, error, known=known)
    return RouteLookup(destination, None, source, error, rule, known)


def _is_on_link_of(neighbour: Neighbour, route: Route) -> bool:
    if neighbour.interface_index is not None and route.interface_index is not None:
        return neighbour.interface_index == route.interface_index
    return neighbour.interface in (None, route.interface)


def _first_host(subnet: str) -> str:
    return str(network(subnet).network_address + 1)
