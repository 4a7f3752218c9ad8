"""What follows from the facts, worked out once for all rules: the primary NIC, the way to IMDS, whether it answers."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Iterable, List, Optional, Tuple

from ..facts import (
    IMDS_ADDRESS,
    WIRESERVER_ADDRESS,
    Adapter,
    Exchange,
    Facts,
    Instance,
    LinkState,
    Lookup,
    Neighbour,
    Outcome,
    Route,
    RoutingRule,
    Service,
    Trial,
    contains,
    is_from_imds,
    network,
    prefix_length,
)
from .finding import Severity, quoted, short

AZURE_ASSET_TAG = "7783-7084-3265-9085-8269-3286-77"
AZURE_MAC_PREFIXES = ("00-0D-3A", "00-22-48", "60-45-BD", "7C-1E-52", "7C-ED-8D", "00-17-FA", "00-12-5A")
AZURE_ARP_MAC = "12-34-56-78-9A-BC"  # the virtual switch answers with it for every next hop
LINK_LOCAL = "169.254.0.0/16"  # RFC 3927
NO_ROUTE_KINDS = ("unreachable", "blackhole", "prohibit", "throw")
ARP_DEAD = ("FAILED", "INCOMPLETE")


KNOWN_FROM = {
    "expected": "as --expected-mac or --expected-ip says",
    "imds-answer": "as IMDS answers its address",
    "wireserver-answer": "as the WireServer answers its address",
    "dhcp-lease": "as its DHCP lease has the gateway",
    "default-route": "as it has the only default route",
    "only-nic": "as it is the only NIC",
}


@dataclass(frozen=True)
class PrimaryNic:
    """The primary NIC, its primary address, and how both are known (a key of ``KNOWN_FROM``)."""

    adapter: Adapter
    ip: Optional[str]
    known_from: str


@dataclass(frozen=True)
class Path:
    """The way that a packet to one address takes: the row that wins, or why there is none."""

    destination: str
    route: Optional[Route]
    source: Optional[str]
    error: Optional[str]  # what the system answers to a connect, where there is no way
    known: bool  # False: neither the system's own choice nor the table is known


class Case:
    """One run, to be judged."""

    def __init__(self, facts: Facts) -> None:
        self.facts = facts
        self.adapters: Tuple[Adapter, ...] = facts.adapters or ()
        self.routes: Tuple[Route, ...] = facts.routes or ()

    # --- answers ---

    @cached_property
    def answer(self) -> Optional[Exchange]:
        """The last plain request for the instance metadata; None when it was not made."""
        return self.facts.imds.attempts[-1] if self.facts.imds and self.facts.imds.attempts else None

    @cached_property
    def imds_answers(self) -> bool:
        """Whether the plain, unproxied request got this VM's metadata."""
        return bool(self.answer and self.answer.instance)

    @cached_property
    def way_is_clear(self) -> bool:
        """Whether the plain request reached IMDS itself, whatever it answered."""
        return bool(self.answer and is_from_imds(self.answer))

    @cached_property
    def silent(self) -> bool:
        """Whether the plain request brought no HTTP answer at all."""
        return bool(self.answer and self.answer.outcome not in (Outcome.HTTP, Outcome.GARBLED))

    @property
    def local_severity(self) -> Severity:
        """Of what is wrong on the way: what works is not broken."""
        return Severity.WARN if self.way_is_clear else Severity.FAIL

    @cached_property
    def trials(self) -> Tuple[Trial, ...]:
        return self.facts.differential or ()

    @cached_property
    def proof(self) -> Optional[Trial]:
        """The way of the differential by which IMDS gave this VM's metadata."""
        return next((trial for trial in self.trials if trial.exchange and trial.exchange.instance), None)

    @cached_property
    def instance(self) -> Optional[Instance]:
        """What IMDS said of this VM, to the plain request or to the differential."""
        if self.answer and self.answer.instance:
            return self.answer.instance
        return self.proof.exchange.instance if self.proof and self.proof.exchange else None

    @cached_property
    def wireserver_speaks(self) -> bool:
        return bool(self.facts.wireserver and self.facts.wireserver.http.versions)

    @property
    def wireserver_can_be_judged(self) -> bool:
        """On Linux the agent's own firewall rule keeps the WireServer to root: to another user its silence says nothing."""
        machine = self.facts.machine
        return self.facts.wireserver is not None and not (machine and machine.elevated is False)

    @cached_property
    def wireserver_silent(self) -> bool:
        """Whether the WireServer would have to answer, and does on neither port."""
        server = self.facts.wireserver
        if server is None or not self.wireserver_can_be_judged:
            return False
        return server.http.outcome is not Outcome.HTTP and server.host_plugin.outcome is not Outcome.ANSWERED

    # --- services ---

    def service(self, *names: str) -> Optional[Service]:
        """The first of these services that is installed."""
        return next((service for name in names for service in self.facts.services or () if service.name == name), None)

    def runs(self, name: str) -> bool:
        service = self.service(name)
        return bool(service and service.state == "running")

    @cached_property
    def proxy_agent(self) -> Optional[Service]:
        """Metadata Security Protocol's agent in the guest."""
        return self.service("GuestProxyAgent", "azure-proxy-agent")

    # --- adapters ---

    def adapter_of(self, address: Optional[str]) -> Optional[Adapter]:
        """The adapter that holds a local address (not loopback)."""
        for adapter in self.adapters:
            if adapter.kind != "loopback" and any(held.address == address for held in adapter.addresses):
                return adapter
        return None

    def adapter_with_mac(self, mac: Optional[str]) -> Optional[Adapter]:
        """The adapter with a MAC; of a synthetic NIC and its virtual function (one MAC), the one with the addresses."""
        own = [adapter for adapter in self.adapters if mac and adapter.mac == mac]
        return max(own, key=lambda adapter: (len(adapter.addresses), adapter.master is None), default=None)

    def adapter_named(self, route: Optional[Route]) -> Optional[Adapter]:
        """The adapter by which a route leaves."""
        if route is None:
            return None
        for adapter in self.adapters:
            if route.interface_index is not None and adapter.index == route.interface_index:
                return adapter
        return next((adapter for adapter in self.adapters if adapter.name == route.interface), None)

    def same_nic(self, one: Adapter, other: Adapter) -> bool:
        """Whether two adapters are faces of one NIC: a VF and its synthetic NIC, a vSwitch, bridge or bond and its member."""
        if one.index == other.index or (one.mac and one.mac == other.mac):
            return True
        return one.master == other.name or other.master == one.name

    @cached_property
    def nics(self) -> List[Adapter]:
        """What Azure may know as a NIC of this VM: made by a device, or with one of Azure's MAC addresses."""
        found: List[Adapter] = []
        for adapter in self.adapters:
            candidate = adapter.kind != "loopback" and (adapter.physical or is_azure_mac(adapter.mac))
            twin = next((known for known in found if known.mac and known.mac == adapter.mac), None)
            if candidate and twin is None:
                found.append(adapter)
            elif candidate and twin and not twin.addresses and adapter.addresses:
                found[found.index(twin)] = adapter
        return found

    @cached_property
    def primary(self) -> Optional[PrimaryNic]:
        """The primary NIC, and how it is known; the first way that leads to exactly one."""
        for known_from, adapters in self._primary_candidates():
            if len(adapters) == 1:
                adapter = self._with_addresses(adapters[0])
                return PrimaryNic(adapter, self._primary_ip(adapter, known_from), known_from)
        return None

    def _primary_candidates(self) -> Iterable[Tuple[str, List[Adapter]]]:
        expected, server = self.facts.expected, self.facts.wireserver
        if expected.mac or expected.ip:
            found = self.adapter_with_mac(expected.mac) if expected.mac else self.adapter_of(expected.ip)
            yield "expected", [found] if found else []
        answered = self.answer.connection if self.answer and self.answer.instance else None
        proof = self.proof.connection if self.proof else None
        for connection in filter(None, (answered, proof)):
            yield "imds-answer", list(filter(None, [self.adapter_of(connection.local_address)]))
        if server and self.wireserver_speaks:
            yield "wireserver-answer", list(filter(None, [self.adapter_of(server.http.connection.local_address)]))
        leased = [adapter for adapter in self._distinct(self.adapters) if adapter.dhcp_server == WIRESERVER_ADDRESS]
        yield "dhcp-lease", [adapter for adapter in leased if adapter.lease_gateway or self.default_gateway(adapter)]
        yield "default-route", [adapter for adapter in self._distinct(self.adapters) if self.default_gateway(adapter)]
        yield "only-nic", self.nics

    def _distinct(self, adapters: Iterable[Adapter]) -> List[Adapter]:
        found: List[Adapter] = []
        for adapter in adapters:
            if not any(self.same_nic(adapter, known) for known in found):
                found.append(adapter)
        return found

    def _with_addresses(self, adapter: Adapter) -> Adapter:
        """The face of a NIC that carries its addresses."""
        faces = [other for other in self.adapters if self.same_nic(adapter, other) and other.addresses]
        return adapter if adapter.addresses or not faces else faces[0]

    def _primary_ip(self, adapter: Adapter, known_from: str) -> Optional[str]:
        held = [address.address for address in adapter.addresses]
        answered = [
            exchange.connection.local_address
            for exchange in (self.answer, self.proof.exchange if self.proof else None)
            if exchange and exchange.instance
        ]
        plain = [address.address for address in adapter.addresses if not address.secondary and not address.skip_as_source]
        dynamic = [address.address for address in adapter.addresses if address.dynamic]
        for candidate in (self.facts.expected.ip, *answered, adapter.lease_address, *dynamic, *plain):
            if candidate in held:
                return candidate
        return held[0] if held else None

    def default_gateway(self, adapter: Adapter) -> Optional[str]:
        """The next hop of the adapter's own default route of the least metric."""
        own = [
            route
            for route in self.routes
            if route.destination == "0.0.0.0/0" and route.gateway and self.adapter_named(route) == adapter and not route.dead
        ]
        best = min(own, key=lambda route: route.metric, default=None)
        return best.gateway if best else next(iter(adapter.gateways), None)

    @cached_property
    def gateway(self) -> Optional[str]:
        """The gateway of the primary NIC's subnet: what its lease says, else the first address of the subnet that IMDS
        reports, else the default route's (unless it is dead), else the first address of the subnet that the NIC has.
        Azure keeps a subnet's first address for it (https://learn.microsoft.com/azure/virtual-network/virtual-networks-faq).
        """
        if self.primary is None:
            return None
        adapter = self.primary.adapter
        default = self.default_gateway(adapter)
        alive = default if default and not self.is_dead(default) else None
        return adapter.lease_gateway or self.reported_gateway(adapter) or alive or self.first_address(adapter) or default

    def is_dead(self, address: str) -> bool:
        """Whether an address did not answer ARP."""
        return any(item.address == address and item.state in ARP_DEAD for item in self.facts.neighbours or ())

    def reported_gateway(self, adapter: Adapter) -> Optional[str]:
        for interface in self.instance.interfaces if self.instance else ():
            if interface.mac == adapter.mac and interface.subnet and prefix_length(interface.subnet) < 31:
                return str(network(interface.subnet).network_address + 1)
        return None

    def first_address(self, adapter: Adapter) -> Optional[str]:
        """The first host address of the adapter's subnet."""
        primary_ip = self.primary.ip if self.primary else None
        for address in adapter.addresses:
            if address.address == primary_ip and address.prefix < 31:
                return str(network(f"{address.address}/{address.prefix}").network_address + 1)
        return None

    # --- the way ---

    @cached_property
    def path(self) -> Path:
        """The way to IMDS."""
        return self._path(IMDS_ADDRESS)

    @cached_property
    def wireserver_path(self) -> Path:
        return self._path(WIRESERVER_ADDRESS)

    def _path(self, destination: str) -> Path:
        lookup = next((lookup for lookup in self.facts.lookups or () if lookup.destination == destination), None)
        known = lookup is not None or self.facts.routes is not None
        lookup = lookup or Lookup(destination)  # type: ignore[arg-type]
        route = lookup.route or self._longest_match(destination, lookup)
        error = lookup.error
        if route is None and self.facts.routes is not None and not error:
            error = "ENETUNREACH"
        if route is not None and route.kind in NO_ROUTE_KINDS and not error:
            error = {"prohibit": "EACCES", "blackhole": "EINVAL", "throw": "ENETUNREACH"}.get(route.kind, "EHOSTUNREACH")
        return Path(destination, route, lookup.source, error, known)

    def _longest_match(self, destination: str, lookup: Lookup) -> Optional[Route]:
        """What the table says, where the system itself did not: longest prefix, then least metric."""
        held = any(address.address == destination for adapter in self.adapters for address in adapter.addresses)
        if held:
            return Route(f"{destination}/32", kind="local", table="local")  # type: ignore[arg-type]
        rows = [
            route
            for route in self.routes
            if route.table in ("main", "default", "local") and not route.dead and contains(route.destination, destination)
        ]
        if lookup.error:
            rows = [route for route in rows if route.kind in NO_ROUTE_KINDS]
        return min(rows, key=lambda route: (-prefix_length(route.destination), route.metric), default=None)

    def denying_rule(self, destination: str) -> Optional[RoutingRule]:
        """The policy rule that denies the way: the first one to match, unless a table before it knows a route."""
        for rule in sorted(self.facts.routing_rules or (), key=lambda rule: rule.priority):
            if rule.selector or rule.source != "all" or not (
                rule.destination == "all" or contains(rule.destination, destination)
            ):
                continue
            if rule.action in NO_ROUTE_KINDS:
                return rule
            if any(row.table == rule.table and contains(row.destination, destination) for row in self.routes):
                return None
        return None

    @cached_property
    def egress(self) -> Optional[Adapter]:
        """The adapter by which packets to IMDS leave."""
        return self.adapter_named(self.path.route) if not self.path.error else None

    @property
    def next_hop(self) -> Optional[str]:
        """The address that must answer ARP for a packet to IMDS: the gateway, or IMDS itself where it is on-link."""
        route = self.path.route
        if route is None or self.path.error or route.kind != "unicast":
            return None
        return route.gateway or IMDS_ADDRESS

    @cached_property
    def next_hop_neighbour(self) -> Optional[Neighbour]:
        route = self.path.route
        for neighbour in self.facts.neighbours or ():
            if neighbour.address == self.next_hop and route and _same_link(neighbour, route):
                return neighbour
        return None

    @property
    def next_hop_is_dead(self) -> bool:
        """Whether the next hop did not answer ARP while the plain request waited for it."""
        neighbour = self.next_hop_neighbour
        return bool(neighbour and neighbour.state in ARP_DEAD and self.silent)

    @property
    def next_hop_is_forged(self) -> bool:
        """Whether the next hop has an ARP entry set by hand that is not Azure's, and nothing comes back."""
        neighbour = self.next_hop_neighbour
        return bool(neighbour and "PERMANENT" in neighbour.state and neighbour.mac != AZURE_ARP_MAC and self.silent)

    # --- words ---

    def looked(self) -> str:
        """A sentence of what was looked at on the VM without finding the fault, or could not be looked at."""
        known = {
            "routes": self.path.known,
            "adapters": self.facts.adapters is not None,
            "the primary NIC": self.primary is not None,
        }
        unknown = [name for name, is_known in known.items() if not is_known]
        if unknown:
            return f"Not known on this VM, so not checked: {', '.join(unknown)}."
        tried = len({trial.connection.source for trial in self.trials})
        ways = f", and no local address gets an answer ({tried} tried)" if tried else ""
        return f"Nothing on the VM explains it: route, source address, next hop and NIC are right{ways}."

    def told_by_proof(self) -> str:
        """A sentence of what the differential showed; empty where it showed nothing."""
        if self.proof:
            return f" IMDS answered when asked from {self.proof.connection.local_address}."
        return ""

    def in_words(self, outcome: Exchange, with_source: bool = True) -> str:
        """How an exchange ended: ``timed out after 3.0 s from 10.1.0.5``."""
        origin = f" from {outcome.connection.local_address}" if with_source and outcome.connection.local_address else ""
        if outcome.outcome is Outcome.HTTP:
            return f"HTTP {outcome.status}{origin} in {milliseconds(outcome.elapsed_s)}"
        if outcome.outcome is Outcome.TIMED_OUT:
            accepted = "connected, but silent, and " if outcome.connection.outcome is Outcome.ANSWERED else ""
            return f"{accepted}timed out after {outcome.elapsed_s:.1f} s{origin}"
        words = {Outcome.UNREACHABLE: "unreachable", Outcome.FORBIDDEN: "forbidden locally", Outcome.GARBLED: "not HTTP"}
        error = f": {short(outcome.connection.error, 100)}" if outcome.connection.error else ""
        return f"{words.get(outcome.outcome, outcome.outcome.value)}{origin}{error}"


def nic(adapter: Adapter, address: Optional[str] = None) -> str:
    """An adapter in a sentence: ``"eth1" (10.0.1.5)``"""
    held = address or next((item.address for item in adapter.addresses), None)
    return f"{quoted(adapter.name)} ({held})" if held else quoted(adapter.name)


def _same_link(neighbour: Neighbour, route: Route) -> bool:
    if neighbour.interface_index is not None and route.interface_index is not None:
        return neighbour.interface_index == route.interface_index
    return neighbour.interface in (None, route.interface)


def is_azure_mac(mac: Optional[str]) -> bool:
    return bool(mac and mac.startswith(AZURE_MAC_PREFIXES))


def milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"


def in_subnet(adapter: Adapter, address: str) -> bool:
    """Whether an address is on one of the adapter's own subnets."""
    return any(contains(f"{held.address}/{held.prefix}", address) for held in adapter.addresses)


def is_on_link_link_local(route: Optional[Route]) -> bool:
    """Whether a route is on-link within 169.254.0.0/16, and broader than the one address."""
    return (
        route is not None
        and route.kind == "unicast"
        and route.gateway is None
        and 16 <= prefix_length(route.destination) < 32
        and network(route.destination).subnet_of(network(LINK_LOCAL))
    )


def is_down(adapter: Adapter) -> bool:
    return adapter.state in (LinkState.DOWN, LinkState.NO_CARRIER)

