"""A simulated VM and the network to its host: sockets on loopback are real, the way between is a
model of Azure's.

The model: the host answers only what leaves by the primary NIC with its primary address, through a
next hop that lives. What the simulated VM's routes do to a packet follows from the facts that the
diagnosis sees, by routing code of the simulator's own: a fault in the product's must not hide
itself.
"""

from __future__ import annotations

import errno
import os
import socket
from dataclasses import dataclass, field, fields, replace
from ipaddress import IPv4Address, IPv4Network
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence, Tuple
from weakref import WeakKeyDictionary

from ..attest import chain
from ..attest.x509 import X509
from ..check import Target, run
from ..collect import Board, Collector, NoFact, RunOptions
from ..diagnosis import Diagnosis
from ..facts import (
    IMDS_ADDRESS,
    PLATFORM_ADDRESSES,
    WIRESERVER_ADDRESS,
    Adapter,
    Address,
    CertificateChain,
    ChainError,
    ChainFault,
    Cidr,
    Facts,
    Instant,
    LinkState,
    Lookup,
    NeighbourState,
    Route,
    RouteKind,
    RoutingRule,
    if_valid,
    is_distrusting,
    parse_address,
)
from ..probes.tcp import Attempt, Connector
from . import pki
from .host import Behaviour, Host, Vm

ROOTS = {"windows": "LocalMachine\\Root", "linux": "/etc/ssl/certs/ca-certificates.crt"}
PROBED = (
    "imds",
    "wireserver",
    "differential",
    "proxy_trials",
    "pac_files",
    "certificate_chains",
    "endpoints",
)
GIVEN = (
    "system",
    "host",
    "collected_at",
    "elapsed_s",
    "deadline_s",
    "tool_version",
    "interrupted",
    "redacted",
    "expected",
    "unavailable",
    "notes",
)
UNRESOLVED = (NeighbourState.FAILED, NeighbourState.INCOMPLETE)  # no answer to ARP
# What a connect says where the row that wins denies (ip-route(8)).
DENIALS = {
    RouteKind.UNREACHABLE: "EHOSTUNREACH",
    RouteKind.BLACKHOLE: "EINVAL",
    RouteKind.PROHIBIT: "EACCES",
}
MAIN_ONLY = (RoutingRule(0, table="main"),)  # Windows has no policy rules
Place = Tuple[str, int]  # address and port of a service of the host


@dataclass(frozen=True)
class Scenario:
    """One simulated VM: what Azure knows of it, what its system says, and how the host behaves."""

    name: str
    cause: Optional[str]  # that the diagnosis must name
    title: str
    vm: Vm
    facts: Facts  # of the operating system; the probes' are found out
    behaviour: Behaviour = Behaviour()
    # of services: drops, refuses, forbids, fails
    outcomes: Mapping[Place, str] = field(default_factory=dict)
    # other hosts, by name or address: how they answer, as ``ANSWERS`` has it, or "drops"
    web: Mapping[str, str] = field(default_factory=dict)
    # of ``pki.ISSUERS``: where the VM holds them; None: the root, as it should be
    stores: Optional[Mapping[str, str]] = None


class SimulatedSystem:
    """The operating system of the simulated VM: its facts are given."""

    fetches_itself = False  # its engine is ``chain``, for which this program fetches

    def __init__(self, facts: Facts, stores: Optional[Mapping[str, str]]) -> None:
        """:param stores: as ``Scenario`` has it"""
        self._facts = facts
        if stores is None:
            stores = {"root": ROOTS[facts.system]}
        self._stores = stores
        self.name = facts.system
        self.by_device = facts.system == "linux"

    def collectors(self) -> Mapping[str, Collector]:
        names = [item.name for item in fields(Facts) if item.name not in (*PROBED, *GIVEN)]
        given = {name: getattr(self._facts, name) for name in names}
        missing = {item.fact: item.reason for item in self._facts.unavailable}
        return {
            **{name: _gives(value) for name, value in given.items() if value is not None},
            **{name: _refuses(reason) for name, reason in missing.items() if name not in PROBED},
        }

    def cleanup(self) -> None:
        pass

    def judge_chain(
        self, certificates: Sequence[bytes], at: Instant, fetch: bool, seconds: float
    ) -> CertificateChain:
        held = {X509(pki.ISSUERS[name]()): store for name, store in self._stores.items()}
        stores = {item.thumbprint: (store,) for item, store in held.items()}
        trusted = frozenset(
            item.thumbprint for item, store in held.items() if store == ROOTS[self.name]
        )
        found = chain.judge(certificates, list(held), trusted, stores, at)
        distrusted = [
            ChainError(ChainFault.DISTRUSTED, "explicitly distrusted (EXPLICIT_DISTRUST)", number)
            for number, item in enumerate(found.certificates)
            if any(map(is_distrusting, item.stores))
        ]
        engine = {"windows": "crypt32, simulated", "linux": "openssl verify, simulated"}[self.name]
        found = replace(found, engine=engine, errors=(*found.errors, *distrusted))
        if found.errors:
            return replace(found, trusted=False)
        return found


def _gives(value: Any) -> Collector:
    return lambda board: value


def _refuses(reason: str) -> Collector:
    def collector(board: Board) -> Any:
        raise NoFact(reason)

    return collector


class LoopbackConnector(Connector):
    """Leads each connect to where it would get in the simulated world: the host's service on
    loopback, or nowhere.
    """

    def __init__(self, scenario: Scenario, service: Place, web: Mapping[str, Place]) -> None:
        """:param web: where the other hosts of the scenario are served, by their addresses"""
        self._scenario = scenario
        self._service = service
        self._web = web
        self._facts = scenario.facts
        self._adapters = scenario.facts.adapters or ()
        self._sources: WeakKeyDictionary[socket.socket, Optional[str]] = WeakKeyDictionary()
        self._other_ends: List[socket.socket] = []
        self._closed = socket.socket()
        self._closed.bind(("127.0.0.1", 0))  # bound and not listening: refuses

    def resolve(self, host: str) -> List[Address]:
        """The names of the scenario's other hosts; they are where their addresses would be."""
        if host not in self._scenario.web:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [places(self._scenario)[host]]

    def begin(self, attempt: Attempt) -> socket.socket:
        if attempt.address in self._web:
            return super().begin(
                Attempt(Address(self._web[attempt.address][0]), self._web[attempt.address][1])
            )
        if attempt.address not in PLATFORM_ADDRESSES:
            return self._never_connects()
        adapter, source = self._egress(attempt)
        outcome = self._scenario.outcomes.get((attempt.address, attempt.port), "answers")
        if outcome == "fails":
            raise RuntimeError("the simulated network stack is broken")
        if outcome == "forbids":
            raise OSError(errno.EACCES, os.strerror(errno.EACCES))
        claimed = holder_of(attempt.address, self._adapters) is not None
        if outcome == "refuses" or claimed:
            sock = super().begin(Attempt(Address("127.0.0.1"), self._closed.getsockname()[1]))
        elif outcome == "answers" and self._is_heard(adapter, source):
            sock = super().begin(Attempt(Address(self._service[0]), self._service[1]))
        else:
            sock = self._never_connects()
        self._sources[sock] = source
        return sock

    def local_address(self, sock: socket.socket) -> Optional[Address]:
        source = self._sources.get(sock)
        return Address(source) if source else None

    def close(self) -> None:
        for sock in (*self._other_ends, self._closed):
            sock.close()

    def _egress(self, attempt: Attempt) -> Tuple[Optional[Adapter], Optional[str]]:
        """By which adapter, and from which address, the packet leaves.

        Raises ``OSError`` where no route leads there.
        """
        lookup = self._lookup(attempt.address)
        if attempt.device:
            # Bound to a device, Linux takes the destination for on-link where it has no route.
            named = (item for item in self._adapters if item.name == attempt.device)
            return next(named, None), attempt.source
        if attempt.source and self._facts.system != "linux":
            return holder_of(attempt.source, self._adapters), attempt.source  # strong host model
        if lookup.error:
            code = getattr(errno, lookup.error, errno.ENETUNREACH)
            raise OSError(code, os.strerror(code))
        return leaves_by(lookup.route, self._adapters), attempt.source or lookup.source

    def _lookup(self, address: str) -> Lookup:
        """What the simulated system does with a packet: what the scenario says, else what its
        routes do.
        """
        for lookup in self._facts.lookups or ():
            if lookup.destination == address:
                return lookup
        return route_lookup(self._facts, address)

    def _is_heard(self, adapter: Optional[Adapter], source: Optional[str]) -> bool:
        if not self._scenario.vm.nics or adapter is None or adapter.state is not LinkState.UP:
            return False
        primary = self._scenario.vm.nics[0]
        is_primary = adapter.mac == primary.mac and source == primary.addresses[0]
        return is_primary and not self._ends_at_dead_hop(adapter, source)

    def _ends_at_dead_hop(self, adapter: Adapter, source: Optional[str]) -> bool:
        lookup = self._lookup(IMDS_ADDRESS)
        if lookup.route is None or source != lookup.source:
            return False
        if leaves_by(lookup.route, self._adapters) != adapter:
            return False
        neighbours = self._facts.neighbours or ()
        silent = [item.address for item in neighbours if item.state in UNRESOLVED]
        return lookup.route.gateway in silent

    def _never_connects(self) -> socket.socket:
        """A real socket that never becomes writable: one end of a full pipe."""
        one, other = socket.socketpair()
        one.setblocking(False)
        try:
            while True:
                one.send(bytes(65536))
        except (BlockingIOError, InterruptedError):
            pass
        self._other_ends.append(other)
        return one


def route_lookup(facts: Facts, destination: str, source: str = "") -> Lookup:
    """What the simulated system answers when it is asked for the route to an address.

    :param source: the address that it chooses; empty: that of the route, else the first of the
        adapter by which the packet leaves
    """
    route = winning_route(facts, destination)
    if route is None:
        return Lookup(Address(destination), error="ENETUNREACH")
    if route.kind in DENIALS:
        return Lookup(Address(destination), error=DENIALS[route.kind])
    adapter = leaves_by(route, facts.adapters or ())
    chosen = source or route.source
    if not chosen and adapter and adapter.addresses:
        chosen = adapter.addresses[0].address
    if not chosen:
        return Lookup(Address(destination), route=route)
    return Lookup(Address(destination), Address(chosen), route=route)


def winning_route(facts: Facts, destination: str) -> Optional[Route]:
    """The row that decides about an address before a source is chosen: the first policy rule whose
    table knows it; there the longest prefix, then the lowest metric. None: none knows it.
    """
    if holder_of(destination, facts.adapters or ()):
        return Route(Cidr(f"{destination}/32"), kind=RouteKind.LOCAL, table="local")
    target = IPv4Address(destination)
    for rule in sorted(facts.routing_rules or MAIN_ONLY, key=lambda rule: rule.priority):
        if rule.source or target not in IPv4Network(rule.destination or "0.0.0.0/0"):
            continue
        best: Optional[Route] = None
        for row in facts.routes or ():
            if row.table != rule.table or row.dead or target not in IPv4Network(row.destination):
                continue
            if best is None or _precedence(row) > _precedence(best):
                best = row
        if best and best.kind is not RouteKind.THROW:
            return best
    return None


def _precedence(row: Route) -> Tuple[int, int]:
    return IPv4Network(row.destination).prefixlen, -row.metric


def leaves_by(route: Optional[Route], adapters: Sequence[Adapter]) -> Optional[Adapter]:
    """The adapter of a route."""
    for adapter in adapters:
        if route and adapter.index == route.interface_index:
            return adapter
    return None


def holder_of(address: str, adapters: Sequence[Adapter]) -> Optional[Adapter]:
    """The adapter that has an address; None: it is not one of this VM's."""
    for adapter in adapters:
        if any(held.address == address for held in adapter.addresses):
            return adapter
    return None


def places(scenario: Scenario) -> Dict[str, Address]:
    """The addresses of a scenario's other hosts: themselves, or of the range kept for documentation
    (RFC 5737).
    """
    numbered = enumerate(scenario.web, 1)
    return {
        name: if_valid(parse_address, name) or Address(f"192.0.2.{number}")
        for number, name in numbered
    }


def simulate(
    scenario: Scenario,
    interrupted: Callable[[], bool] = lambda: False,
    progress: Callable[[str, float], None] = lambda name, elapsed: None,
    log: Optional[List[Tuple[float, str]]] = None,
    redact: bool = False,
) -> Diagnosis:
    """Runs the real pipeline against the scenario. ``log`` receives what the host was asked."""
    if log is None:
        log = []
    host = Host(scenario.vm, scenario.behaviour, log)
    others = {
        place: Host(scenario.vm, Behaviour(everything=scenario.web[name]))
        for name, place in places(scenario).items()
        if scenario.web[name] != "drops"
    }
    web: Dict[str, Place] = {address: other.listen() for address, other in others.items()}
    connector = LoopbackConnector(scenario, host.listen(), web)
    facts = scenario.facts
    options = RunOptions(
        facts.system, facts.host, expected_mac=facts.expected.mac, expected_ip=facts.expected.ip
    )
    try:
        target = Target(SimulatedSystem(facts, scenario.stores), connector)
        return run(target, options, interrupted, progress, redact)
    finally:
        for server in (host, *others.values()):
            server.close()
        connector.close()


def services(address: str = WIRESERVER_ADDRESS) -> Dict[Place, str]:
    """Both ports of the WireServer, dark."""
    return {(address, 80): "drops", (address, 32526): "drops"}
