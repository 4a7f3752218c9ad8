"""What follows from the facts, worked out once for all rules: the primary NIC, the way to IMDS,
whether it answers.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum
from functools import cached_property
from typing import Dict, Iterable, List, Optional, Tuple

from ..facts import (
    IMDS_ADDRESS,
    LINK_LOCAL,
    LOOPBACK,
    PLATFORM_ADDRESSES,
    PROFILE_UNKNOWN,
    WIRESERVER_ADDRESS,
    Adapter,
    AttestedDocument,
    CertificateChain,
    ChainError,
    Cidr,
    Connection,
    Exchange,
    Expected,
    Facts,
    ImdsInterface,
    Instance,
    LinkState,
    Listener,
    Neighbour,
    NeighbourState,
    Outcome,
    Route,
    RouteKind,
    RoutingRule,
    Service,
    ServiceState,
    SignatureState,
    Trial,
    contains,
    is_from_imds,
    network,
    prefix_length,
)
from ..firewall.conditions import HTTP_PORT, PORTS
from ..firewall.filtering import Filtering, Obstacle, filtering, fits
from ..rules.finding import Fix, Seen, Severity, advice
from .errors import error_in_words
from .routing import DENYING_ACTIONS, DENYING_KINDS, ERRORS, longest_match, walk
from .words import quoted, short

AZURE_ASSET_TAG = "7783-7084-3265-9085-8269-3286-77"
AZURE_MAC_PREFIXES = (
    "00-0D-3A",
    "00-22-48",
    "60-45-BD",
    "7C-1E-52",
    "7C-ED-8D",
    "00-17-FA",
    "00-12-5A",
)
AZURE_ARP_MAC = "12-34-56-78-9A-BC"  # the virtual switch answers with it for every next hop
NO_MAC = "00-00-00-00-00-00"
GUEST_AGENTS = ("WindowsAzureGuestAgent", "RdAgent", "walinuxagent", "waagent")
PROXY_AGENTS = ("GuestProxyAgent", "azure-proxy-agent")
IMDS_SERVERS = (
    "IMDS/",
    "Microsoft-IIS/",
)  # how the Server header of IMDS begins; that of older hosts
WHERE_AZURE_SAYS = (
    "az vm nic show, or the portal's Properties page of the VM"  # what the primary NIC is
)
AZURE_EDITIONS = ("ServerTurbine", "ServerTurbineCor")  # EditionID
DEFAULT = "0.0.0.0/0"
MAIN_TABLES = ("main", "default")
SILENT_ARP = (NeighbourState.FAILED, NeighbourState.INCOMPLETE)
SOFTWARE_KINDS = (
    "loopback", "tun", "tap", "wireguard", "ipip", "gre", "sit", "dummy", "ifb", "veth", "tunnel", "ppp", "virtual",
)  # fmt: skip


class KnownFrom(str, Enum):
    """How the primary NIC is known, the surest first."""

    IMDS_ANSWER = "imds-answer"
    EXPECTED = "expected"
    WIRESERVER_ANSWER = "wireserver-answer"
    DHCP_LEASE = "dhcp-lease"
    DEFAULT_ROUTE = "default-route"
    LOWEST_METRIC = "lowest-metric"  # a guess: several have a default route
    ONLY_NIC = "only-nic"


BECAUSE = {
    KnownFrom.IMDS_ANSWER: "IMDS answers its address",
    KnownFrom.EXPECTED: "--expected-mac or --expected-ip names it",
    KnownFrom.WIRESERVER_ANSWER: "the WireServer answers its address",
    KnownFrom.DHCP_LEASE: "its DHCP lease names a gateway",
    KnownFrom.DEFAULT_ROUTE: "it has the only default route",
    KnownFrom.LOWEST_METRIC: "its default route has the lowest metric",
    KnownFrom.ONLY_NIC: "it is the only NIC",
}


@dataclass(frozen=True)
class PrimaryNic:
    """The primary NIC, its primary address, and how both are known."""

    adapter: Adapter
    ip: Optional[str]
    known_from: KnownFrom

    @property
    def is_proven(self) -> bool:
        """Whether the operator or an answer of the platform says so; else it is concluded from
        leases and routes.
        """
        return self.known_from in (
            KnownFrom.EXPECTED,
            KnownFrom.IMDS_ANSWER,
            KnownFrom.WIRESERVER_ANSWER,
        )


@dataclass(frozen=True)
class PlatformAnswer:
    """An answer that only Azure gives, and where it came to.

    ``adapter`` and ``address`` are both None where something on the VM stood between: the guest
    proxy agent, which asks in the client's place, or whatever holds the platform's address itself.
    """

    by: str  # "IMDS", "the WireServer"
    adapter: Optional[Adapter] = None
    address: Optional[str] = None


@dataclass(frozen=True)
class Way:
    """The way that a packet to one address takes: the row that wins, or why there is none."""

    destination: str
    route: Optional[Route] = None
    source: Optional[str] = None
    error: Optional[str] = None  # POSIX' name of what a connect says, where there is no way
    rule: Optional[RoutingRule] = None  # the policy rule that denies the way
    known: bool = False  # False: neither the system's own choice nor the table is known


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
        return (
            self.facts.imds.attempts[-1] if self.facts.imds and self.facts.imds.attempts else None
        )

    @cached_property
    def imds_answers(self) -> bool:
        """Whether the plain, unproxied request got this VM's metadata."""
        return bool(self.answer and self.answer.instance)

    @cached_property
    def reads_as_imds(self) -> bool:
        """Whether what came back, metadata or an error, is of the form that IMDS gives."""
        return bool(self.answer and is_from_imds(self.answer))

    @cached_property
    def silent(self) -> bool:
        """Whether the plain request was sent and brought nothing back."""
        heard = (Outcome.HTTP, Outcome.GARBLED)
        return bool(self.answer and self.answer.outcome not in (*heard, Outcome.FAILED))

    @cached_property
    def trials(self) -> Tuple[Trial, ...]:
        return self.facts.differential or ()

    @cached_property
    def proof(self) -> Optional[Trial]:
        """The way of the differential by which IMDS gave this VM's metadata."""
        return next(
            (trial for trial in self.trials if trial.exchange and trial.exchange.instance), None
        )

    @cached_property
    def genuine(self) -> Optional[Exchange]:
        """The exchange that brought this VM's metadata, by the plain request or by the
        differential.
        """
        return self.answer if self.imds_answers else self.proof.exchange if self.proof else None

    @cached_property
    def instance(self) -> Optional[Instance]:
        """What IMDS said of this VM."""
        return self.genuine.instance if self.genuine else None

    @cached_property
    def is_azure_edition(self) -> bool:
        """Whether this is Windows Server's Azure Edition, which is activated by the attested
        document.
        """
        machine = self.facts.machine
        return machine is not None and (
            machine.edition in AZURE_EDITIONS or "Azure Edition" in (machine.os_name or "")
        )

    @cached_property
    def document(self) -> Optional[AttestedDocument]:
        """The attested document of this VM; None where IMDS gave none, or does not answer."""
        return self.facts.imds.document if self.facts.imds and self.imds_answers else None

    @cached_property
    def read_document(self) -> Optional[AttestedDocument]:
        """The same, where what it says may be judged: its signature does not fail."""
        failed = (SignatureState.INVALID, SignatureState.MALFORMED)
        document = self.document
        return (
            document if document and document.signer and document.signature not in failed else None
        )

    @cached_property
    def chain(self) -> Optional[CertificateChain]:
        """The last word on the chain of the document's signer: from what is at hand, or with
        fetching where that was needed.

        It has no word (``trusted`` is None) where the system's own fetching did not end, and this
        program's was not in vain.
        """
        chains = self.facts.certificate_chains
        if not chains or not self.read_document:
            return None
        return (
            chains[-2]
            if chains[-1].trusted is None and len(chains) > 1 and not chains[-2].trusted
            else chains[-1]
        )

    @cached_property
    def chain_errors(self) -> Tuple[ChainError, ...]:
        """What is said against it; nothing where it is trusted."""
        return self.chain.errors if self.chain and self.chain.trusted is False else ()

    def reported(self, adapter: Adapter) -> Optional[ImdsInterface]:
        """What IMDS says of a NIC of the guest."""
        interfaces = self.instance.interfaces if self.instance else ()
        return next(
            (
                interface
                for interface in interfaces
                if interface.mac and interface.mac == adapter.mac
            ),
            None,
        )

    @cached_property
    def wireserver_speaks(self) -> bool:
        return bool(self.facts.wireserver and self.facts.wireserver.http.versions)

    @property
    def wireserver_can_be_judged(self) -> bool:
        """On Linux the agent's own firewall rule keeps the WireServer to root: to another user its
        silence says nothing.
        """
        machine = self.facts.machine
        return self.facts.wireserver is not None and not (machine and machine.elevated is False)

    @cached_property
    def wireserver_silent(self) -> bool:
        """Whether the WireServer would have to answer, and does on neither port."""
        server = self.facts.wireserver
        if server is None or not self.wireserver_can_be_judged:
            return False
        return (
            server.http.outcome is not Outcome.HTTP
            and server.host_plugin.outcome is not Outcome.ANSWERED
        )

    # --- services ---

    def service(self, *names: str) -> Optional[Service]:
        """The first of these services that is installed."""
        return next(
            (
                service
                for name in names
                for service in self.facts.services or ()
                if service.name == name
            ),
            None,
        )

    def runs(self, name: str) -> bool:
        service = self.service(name)
        return bool(service and service.state is ServiceState.RUNNING)

    # --- adapters ---

    def adapter_of(self, address: Optional[str]) -> Optional[Adapter]:
        """The adapter that holds a local address (not loopback)."""
        for adapter in self.adapters:
            if adapter.kind != "loopback" and holds(adapter, address):
                return adapter
        return None

    def adapter_with_mac(self, mac: Optional[str]) -> Optional[Adapter]:
        """The adapter with a MAC; of a synthetic NIC and its virtual function (one MAC), the one
        with the addresses.
        """
        own = [adapter for adapter in self.adapters if mac and adapter.mac == mac]
        return max(
            own, key=lambda adapter: (len(adapter.addresses), adapter.master is None), default=None
        )

    def adapter_by(self, route: Optional[Route]) -> Optional[Adapter]:
        """The adapter by which a route leaves."""
        if route is None:
            return None
        for adapter in self.adapters:
            if route.interface_index is not None and adapter.index == route.interface_index:
                return adapter
        return next((adapter for adapter in self.adapters if adapter.name == route.interface), None)

    @cached_property
    def nics(self) -> List[Adapter]:
        """What Azure may know as a NIC of this VM: made by a device, or with one of Azure's MAC
        addresses.

        Each NIC once, by the face that has its addresses; in the order of the index.
        """
        found: List[Adapter] = []
        for adapter in sorted(self.adapters, key=lambda adapter: adapter.index):
            if adapter.kind == "loopback" or not (adapter.physical or is_azure_mac(adapter.mac)):
                continue
            twin = next((known for known in found if same_nic(known, adapter)), None)
            if twin is None:
                found.append(adapter)
            elif not twin.addresses and adapter.addresses:
                found[found.index(twin)] = adapter
        return found

    def may_be_primary(self, adapter: Adapter) -> bool:
        """Whether an adapter is a NIC, or another face of one (a bridge over it); where none is
        known, not a tunnel.
        """
        if not self.nics:
            return adapter.kind not in SOFTWARE_KINDS
        return any(same_nic(adapter, nic) for nic in self.nics)

    # --- what the platform answered, and what the operator says ---

    @cached_property
    def platform_answers(self) -> Tuple[PlatformAnswer, ...]:
        """The platform's answers, the surest first; empty where it gave none.

        Azure answers the primary address of the primary NIC and no other, so the address that the
        metadata came to leaves nothing for the other answers to say.
        """
        found: List[PlatformAnswer] = []
        if self.genuine:
            found.append(self._answered("IMDS", self.genuine.connection))
            if found[0].adapter:
                return tuple(found)
        server = self.facts.wireserver
        if server and self.wireserver_speaks:
            found.append(self._answered("the WireServer", server.http.connection))
        elif server and server.host_plugin.outcome is Outcome.ANSWERED:
            found.append(self._answered("the WireServer", server.host_plugin))
        for exchange in [] if self.genuine else self._refusals():
            refusal = self._answered("IMDS", exchange.connection)
            found += [refusal] if refusal.adapter else []  # else the guest proxy agent's own
        return tuple(sorted(found, key=lambda item: item.adapter is None))

    def _refusals(self) -> List[Exchange]:
        """The answers of IMDS that are no metadata (429, 503, ...), to the plain requests and in
        the differential.
        """
        attempts = self.facts.imds.attempts if self.facts.imds else ()
        tried = [*attempts, *(trial.exchange for trial in self.trials if trial.exchange)]
        return [
            item
            for item in tried
            if is_from_imds(item) and (item.server or "").startswith(IMDS_SERVERS)
        ]

    def _answered(self, by: str, connection: Connection) -> PlatformAnswer:
        owner = self._owner(connection)
        return PlatformAnswer(by, owner, connection.local_address if owner else None)

    def _owner(self, connection: Connection) -> Optional[Adapter]:
        """The NIC that a connection left by; None where it did not leave the VM."""
        address = connection.local_address
        return None if address in PLATFORM_ADDRESSES else self.adapter_of(address)

    @cached_property
    def believed(self) -> Expected:
        """What the operator says of the primary NIC, without what the platform's answers refute.

        --expected-mac and --expected-ip are typed by hand: a value is refuted when the platform
        answered, and to no NIC with that MAC, or not to that address. Where the guest proxy agent
        relayed the answers, no NIC is known to have got them: leases and routes then say which NIC
        is the primary one, as they do without the operator.
        """
        said = self.facts.expected
        if not self.platform_answers:
            return said
        placed = [(item.adapter, item.address) for item in self.platform_answers if item.adapter]
        named = self.adapter_with_mac(said.mac)
        has_answer = named is not None and any(same_nic(named, adapter) for adapter, _ in placed)
        answered = [address for _, address in placed]
        return Expected(said.mac if has_answer else None, said.ip if said.ip in answered else None)

    @cached_property
    def rests_on_operator(self) -> bool:
        """Whether only the operator's word makes the primary NIC and its address what they are
        here.
        """
        if self.primary is None or self.primary.known_from is not KnownFrom.EXPECTED:
            return False
        other = Case(replace(self.facts, expected=Expected())).primary
        if other is None:
            return True
        return not same_nic(other.adapter, self.primary.adapter) or other.ip != self.primary.ip

    def check_first(self, fixes: Iterable[Fix]) -> Tuple[Fix, ...]:
        """These fixes, which go by the primary NIC; before them a check, where only the operator
        names it.
        """
        found = tuple(fixes)
        if not found or not self.rests_on_operator or self.primary is None:
            return found
        named = nic(self.primary.adapter, self.primary.ip)
        reason = f"only --expected-mac or --expected-ip says that the primary NIC is {named}"
        return (
            advice(f"Before you change anything, check the value: {reason} ({WHERE_AZURE_SAYS})."),
            *found,
        )

    # --- the primary NIC ---

    @cached_property
    def primary(self) -> Optional[PrimaryNic]:
        """The primary NIC, and how it is known; the first way that leads to exactly one."""
        for known_from, adapters in self._primary_candidates():
            if len(adapters) == 1:
                adapter = self._with_addresses(adapters[0])
                return PrimaryNic(adapter, self._primary_ip(adapter), known_from)
        return None

    def _primary_candidates(self) -> Iterable[Tuple[KnownFrom, List[Adapter]]]:
        server, said = self.facts.wireserver, self.believed
        if self.genuine:
            yield KnownFrom.IMDS_ANSWER, self._owners(self.genuine.connection)
        named = self.adapter_with_mac(said.mac) or self.adapter_of(said.ip)
        yield KnownFrom.EXPECTED, [named] if named and self.may_be_primary(named) else []
        if server and self.wireserver_speaks:
            yield KnownFrom.WIRESERVER_ANSWER, self._owners(server.http.connection)
        likely = self._distinct(
            adapter for adapter in self.adapters if self.may_be_primary(adapter)
        )
        leased = [adapter for adapter in likely if adapter.dhcp_server == WIRESERVER_ADDRESS]
        yield (
            KnownFrom.DHCP_LEASE,
            [nic for nic in leased if nic.lease_gateway or self.default_gateway(nic)],
        )
        routed = [adapter for adapter in likely if self.default_gateway(adapter)]
        yield KnownFrom.DEFAULT_ROUTE, routed
        metrics = [self._default_metric(adapter) for adapter in routed]
        yield (
            KnownFrom.LOWEST_METRIC,
            [nic for nic, own in zip(routed, metrics) if own == min(metrics)],
        )
        yield KnownFrom.ONLY_NIC, self.nics

    def _owners(self, connection: Connection) -> List[Adapter]:
        owner = self._owner(connection)
        return [owner] if owner else []

    def _distinct(self, adapters: Iterable[Adapter]) -> List[Adapter]:
        found: List[Adapter] = []
        for adapter in adapters:
            if not any(same_nic(adapter, known) for known in found):
                found.append(adapter)
        return found

    def _with_addresses(self, adapter: Adapter) -> Adapter:
        """The face of a NIC that carries its addresses."""
        faces = [other for other in self.adapters if same_nic(adapter, other) and other.addresses]
        return adapter if adapter.addresses or not faces else faces[0]

    def _primary_ip(self, adapter: Adapter) -> Optional[str]:
        held = [address.address for address in adapter.addresses]
        answered = self.genuine.connection.local_address if self.genuine else None
        answered = None if answered in PLATFORM_ADDRESSES else answered
        plain = [
            address.address
            for address in adapter.addresses
            if not address.secondary and not address.skip_as_source
        ]
        dynamic = [address.address for address in adapter.addresses if address.dynamic]
        for candidate in (answered, self.believed.ip, adapter.lease_address, *dynamic, *plain):
            if candidate in held:
                return candidate
        return held[0] if held else None

    # --- its gateway ---

    def default_routes(self) -> List[Route]:
        """The default routes that ordinary traffic uses (not those of policy tables)."""
        return [
            row
            for row in self.routes
            if row.destination == DEFAULT and row.table in MAIN_TABLES and not row.dead
        ]

    def default_gateway(self, adapter: Adapter) -> Optional[str]:
        """The next hop of the adapter's own default route of the least metric."""
        own = [
            row for row in self.default_routes() if row.gateway and self.adapter_by(row) == adapter
        ]
        best = longest_match(own)
        return best.gateway if best else next(iter(adapter.gateways), None)

    def _default_metric(self, adapter: Adapter) -> int:
        return min(
            (row.metric for row in self.default_routes() if self.adapter_by(row) == adapter),
            default=2**31,
        )

    @cached_property
    def gateway(self) -> Optional[str]:
        """The gateway of the primary NIC's subnet: the first address of the subnet that IMDS
        reports, else what the lease says, else the default route's (unless it is dead), else the
        first address of the subnet that the NIC has. Azure keeps a subnet's first address for it
        (https://learn.microsoft.com/azure/virtual-network/virtual-networks-faq).
        """
        if self.primary is None:
            return None
        adapter = self.primary.adapter
        default = self.default_gateway(adapter)
        alive = default if default and not self.is_silent(adapter, default) else None
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
            for item in self.facts.neighbours or ()
            if item.address == address and item.interface_index in (None, adapter.index)
        ]
        return bool(own) and all(state in SILENT_ARP for state in own)

    def reported_gateway(self, adapter: Adapter) -> Optional[str]:
        interface = self.reported(adapter)
        if interface and interface.subnet and prefix_length(interface.subnet) < 31:
            return str(network(interface.subnet).network_address + 1)
        return None

    def first_address(self, adapter: Adapter) -> Optional[str]:
        """The first host address of the adapter's own subnet (an automatic address has none)."""
        own = [
            held
            for held in adapter.addresses
            if held.prefix < 31 and not contains(LINK_LOCAL, held.address)
        ]
        own.sort(key=lambda held: self.primary is None or held.address != self.primary.ip)
        return (
            str(network(f"{own[0].address}/{own[0].prefix}").network_address + 1) if own else None
        )

    # --- the way ---

    @cached_property
    def way(self) -> Way:
        """The way to IMDS."""
        return self._way(IMDS_ADDRESS, self.answer)

    @cached_property
    def wireserver_way(self) -> Way:
        return self._way(
            WIRESERVER_ADDRESS, self.facts.wireserver.http if self.facts.wireserver else None
        )

    def _way(self, destination: str, exchange: Optional[Exchange]) -> Way:
        """What the system says it would do, corrected by what the plain connect really did,
        completed from the tables.
        """
        lookup = next(
            (lookup for lookup in self.facts.lookups or () if lookup.destination == destination),
            None,
        )
        used = exchange.connection.local_address if exchange else None
        source = (
            used if used and not contains(LOOPBACK, used) else lookup.source if lookup else None
        )
        if any(holds(adapter, destination) for adapter in self.adapters):
            return Way(
                destination,
                Route(Cidr(f"{destination}/32"), kind=RouteKind.LOCAL, table="local"),
                source,
                known=True,
            )
        rule, row = walk(self.facts.routing_rules, self.routes, destination, source)
        denies = (rule is not None and rule.action in DENYING_ACTIONS) or (
            row is not None and row.kind in DENYING_KINDS
        )
        error = self._error(lookup.error if lookup else None, denies, exchange)
        known = lookup is not None or self.facts.routes is not None
        if error or (denies and (lookup is None or lookup.route is None)):
            word = rule.action.value if rule and row is None else row.kind.value if row else ""
            row = row if denies else None
            return Way(
                destination,
                row,
                source,
                error or ERRORS.get(word, "ENETUNREACH"),
                rule if row is None else None,
                known,
            )
        route = (
            lookup.route if lookup and lookup.route else self._by_source(row, destination, source)
        )
        if route is None and lookup is None and self.facts.routes is not None:
            return Way(destination, None, source, "ENETUNREACH", known=True)
        return Way(destination, route, source, known=known)

    @staticmethod
    def _error(error: Optional[str], denies: bool, exchange: Optional[Exchange]) -> Optional[str]:
        """The system's error, where it means that there is no way. A filter (BPF, a security
        module) says EACCES or EPERM too; those, and a connect that failed at once, count only where
        a row or rule denies the way.
        """
        if error in ("ENETUNREACH", "EHOSTUNREACH", "ENETDOWN"):
            return error
        if not denies:
            return None
        at_once = exchange is not None and exchange.outcome in (
            Outcome.FORBIDDEN,
            Outcome.UNREACHABLE,
        )
        connect_error = (
            (exchange.connection.error or "EACCES").partition(" ")[0]
            if exchange and at_once
            else None
        )
        return error or connect_error

    def _by_source(
        self, row: Optional[Route], destination: str, source: Optional[str]
    ) -> Optional[Route]:
        """Without a lookup and rules, a source address of another NIC shows that a policy table
        took over that is not known.
        """
        owner, adapter = self.adapter_of(source), self.adapter_by(row)
        if (
            self.facts.routing_rules is not None
            or owner is None
            or adapter is None
            or same_nic(owner, adapter)
        ):
            return row
        own = [
            r
            for r in self.routes
            if self.adapter_by(r) == owner and contains(r.destination, destination)
        ]
        return longest_match(own) or Route(Cidr(DEFAULT), None, owner.name, owner.index, table="?")

    @cached_property
    def egress(self) -> Optional[Adapter]:
        """The adapter by which packets to IMDS leave."""
        return self.adapter_by(self.way.route) if not self.way.error else None

    @property
    def leaves_by_primary(self) -> bool:
        return bool(self.primary and self.egress and same_nic(self.egress, self.primary.adapter))

    @property
    def next_hop(self) -> Optional[str]:
        """The address that must answer ARP for a packet to IMDS: the gateway, or IMDS itself where
        it is on-link.
        """
        route = self.way.route
        if route is None or self.way.error or route.kind is not RouteKind.UNICAST:
            return None
        return route.gateway or IMDS_ADDRESS

    @cached_property
    def next_hop_neighbour(self) -> Optional[Neighbour]:
        route = self.way.route
        own = [
            neighbour
            for neighbour in self.facts.neighbours or ()
            if neighbour.address == self.next_hop and route and _same_link(neighbour, route)
        ]
        own.sort(
            key=lambda neighbour: neighbour.state in SILENT_ARP
        )  # Windows may keep a dead twin
        return own[0] if own else None

    @property
    def next_hop_is_dead(self) -> bool:
        """Whether the next hop did not answer ARP while the plain request waited for it."""
        neighbour = self.next_hop_neighbour
        return bool(neighbour and neighbour.state in SILENT_ARP and self.silent)

    @property
    def next_hop_is_forged(self) -> bool:
        """Whether the next hop has an ARP entry set by hand that is not Azure's, and nothing comes
        back.
        """
        neighbour = self.next_hop_neighbour
        is_permanent = neighbour is not None and neighbour.state is NeighbourState.PERMANENT
        return bool(is_permanent and neighbour and neighbour.mac != AZURE_ARP_MAC and self.silent)

    # --- the firewall ---

    @cached_property
    def imds_filtering(self) -> Optional[Filtering]:
        """What the firewall does with the requests to IMDS; None where it is not known."""
        return filtering(self, IMDS_ADDRESS, HTTP_PORT)

    @cached_property
    def wireserver_filtering(self) -> Dict[int, Optional[Filtering]]:
        """The same for both ports of the WireServer."""
        return {
            port: filtering(self, WIRESERVER_ADDRESS, port) for port in PORTS[WIRESERVER_ADDRESS]
        }

    @cached_property
    def stopped_by(self) -> Tuple[Obstacle, ...]:
        """What of the firewall stops the plain request, by all that is known; empty where it does
        not.
        """
        found, answer = self.imds_filtering, self.answer
        if found is None or answer is None or self.proof:
            return ()
        return (
            found.blocked
            if any(fits(item, answer.connection.outcome) for item in found.blocked)
            else ()
        )

    # --- what a rule says ---

    def local(self, detail: str, fixes: Iterable[Fix], works: bool = False) -> Seen:
        """A fault on the way out of the VM: a failure, unless IMDS answers as it is. What works
        needs no mending.

        :param works: the way leads to IMDS for another reason
        """
        if self.imds_answers or works:
            return Seen(detail, (), Severity.WARN)
        return Seen(detail + self.told_by_proof(), tuple(fixes))

    def told_by_proof(self) -> str:
        """A sentence of what the differential showed; empty where it showed nothing."""
        if self.proof is None:
            return ""
        connection = self.proof.connection
        bound = f' bound to "{short(connection.device)}"' if connection.device else ""
        return f" IMDS answered when asked from {connection.local_address}{bound}."

    @property
    def firewall_left_out(self) -> str:
        """What of the firewall was not read, or why; empty where all of it was, or nothing (then it
        is unavailable).
        """
        firewall = self.facts.firewall
        if firewall is None:
            return ""
        for note in self.facts.notes:
            if note.fact == "firewall" and not note.text.startswith(PROFILE_UNKNOWN):
                return note.text
        return f"{firewall.cut_off} rules are left out" if firewall.cut_off else ""

    def looked(self) -> str:
        """What was looked at on the VM without finding the fault, and what could not be."""
        if self.proof:
            return f"So IMDS itself works.{self.told_by_proof()} What differs lies on this VM."
        filtered = (
            self.imds_filtering if self.facts.firewall and not self.firewall_left_out else None
        )
        firewall = "all of the firewall" if self.firewall_left_out else "firewall"
        looks = {
            "route": self.way.known,
            "source address": self.primary is not None and self.way.source is not None,
            "next hop": self.facts.neighbours is not None and self.gateway is not None,
            "NIC": self.primary is not None,
            firewall: filtered is not None and not filtered.blocked and not filtered.possible,
        }
        right = [name for name, looked_at in looks.items() if looked_at]
        missing = [name for name in looks if name not in right]
        tried = len({trial.connection.source for trial in self.trials})
        ways = f"IMDS answered none of the {tried} local addresses tried. " if tried else ""
        refused = next(
            (
                trial.exchange
                for trial in self.trials
                if trial.exchange and is_from_imds(trial.exchange)
            ),
            None,
        )
        if refused:
            ways = f"Asked from {refused.connection.local_address}, IMDS answered HTTP {refused.status}. "
        found = f"Nothing wrong was found in: {', '.join(right)}. " if right else ""
        return (ways + found + (f"Not looked at: {', '.join(missing)}." if missing else "")).strip()

    def in_words(self, exchange: Exchange, with_source: bool = True) -> str:
        """How an exchange ended: ``timed out after 3.0 s from 10.1.0.5``."""
        source = exchange.connection.local_address
        origin = f" from {source}" if with_source and source else ""
        if exchange.outcome is Outcome.HTTP:
            to = f" to {source}" if origin else ""
            return f"HTTP {exchange.status}{to} in {milliseconds(exchange.elapsed_s)}"
        if exchange.outcome is Outcome.TIMED_OUT:
            accepted = (
                "connected, but silent, and "
                if exchange.connection.outcome is Outcome.ANSWERED
                else ""
            )
            return f"{accepted}timed out after {exchange.elapsed_s:.1f} s{origin}"
        error = exchange.connection.error
        words = f": {error_in_words(error, self.facts.system)}" if error else ""
        return f"{in_words(exchange.outcome)}{origin}{words}"


def same_nic(one: Adapter, other: Adapter) -> bool:
    """Whether two adapters are faces of one NIC: a VF and its synthetic NIC, a vSwitch, bridge or
    bond and its member.
    """
    if one.index == other.index or (one.mac and one.mac == other.mac and one.mac != NO_MAC):
        return True
    return one.master == other.name or other.master == one.name


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


def in_words(outcome: Outcome) -> str:
    """The name of an outcome as it stands in a sentence."""
    special = {
        Outcome.FORBIDDEN: "forbidden on this VM",
        Outcome.GARBLED: "not HTTP",
        Outcome.TIMED_OUT: "timed out",
    }
    return special.get(outcome, outcome.value)


def program_in_words(process: Optional[str], pid: Optional[int]) -> str:
    """A process by its program and its number: ``nginx (pid 812)``"""
    name = short(process, 60) if process and process != "-" else "a program that is not known"
    return f"{name} (pid {pid})" if pid else name


def listener_in_words(listener: Listener) -> str:
    """Who listens on a local port."""
    return program_in_words(listener.process, listener.pid)


def says(answer: Exchange) -> str:
    """What the answer says of itself, as a sentence; empty where it says nothing."""
    return f' It says: "{short(answer.says, 120).rstrip(".")}".' if answer.says else ""


def milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"


def holds(adapter: Adapter, address: Optional[str]) -> bool:
    """Whether an IPv4 address is one of the adapter's own."""
    return any(held.address == address for held in adapter.addresses)


def matches_platform(cidr: Cidr) -> bool:
    """Whether an IPv4 network holds the address of IMDS or of the WireServer."""
    return any(contains(cidr, address) for address in PLATFORM_ADDRESSES)


def in_subnet(adapter: Adapter, address: str) -> bool:
    """Whether an IPv4 address is on one of the adapter's own subnets."""
    return any(contains(f"{held.address}/{held.prefix}", address) for held in adapter.addresses)


def is_link_local_shadow(route: Optional[Route]) -> bool:
    """Whether a route is on-link within 169.254.0.0/16, and broader than the one address."""
    return (
        route is not None
        and route.kind is RouteKind.UNICAST
        and route.gateway is None
        and 16 <= prefix_length(route.destination) < 32
        and network(route.destination).subnet_of(network(LINK_LOCAL))
    )


def is_down(adapter: Adapter) -> bool:
    return adapter.state in (LinkState.DOWN, LinkState.NO_CARRIER)
