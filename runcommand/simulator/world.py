"""A simulated VM and the network to its host: sockets on loopback are real, the way between is a
model of Azure's.

The model: the host answers only what leaves by the primary NIC with its primary address, through a
next hop that lives. What the simulated VM's routes do to a packet is read from the very facts that
the diagnosis sees.
"""

from __future__ import annotations

import errno
import os
import socket
from dataclasses import dataclass, field, fields, replace
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
    Facts,
    Instant,
    LinkState,
    if_valid,
    is_distrusting,
    parse_address,
)
from ..model.adapters import holds
from ..model.model import Model
from ..model.routing import SILENT_ARP
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
Place = Tuple[str, int]  # address and port of a service of the host


@dataclass(frozen=True)
class Scenario:
    """One simulated VM: what Azure knows of it, what its own system says, and how the host behaves."""

    name: str
    cause: Optional[str]  # that the diagnosis must name
    title: str
    vm: Vm
    facts: Facts  # of the operating system; the probes' are found out
    behaviour: Behaviour = Behaviour()
    outcomes: Mapping[Place, str] = field(
        default_factory=dict
    )  # of services: drops, refuses, forbids, fails
    web: Mapping[str, str] = field(
        default_factory=dict
    )  # other hosts, by name or address: how they answer, as ``ANSWERS`` has it, or "drops"
    stores: Optional[Mapping[str, str]] = (
        None  # of ``pki.ISSUERS``: where the VM holds them; None: the root, as it should be
    )


class SimulatedSystem:
    """The operating system of the simulated VM: its facts are given."""

    fetches_itself = False  # its engine is ``chain``, for which this program fetches

    def __init__(self, facts: Facts, stores: Optional[Mapping[str, str]]) -> None:
        """:param stores: as ``Scenario`` has it"""
        self._facts = facts
        self._stores = {"root": ROOTS[facts.system]} if stores is None else stores
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
        judged = chain.judge(certificates, list(held), trusted, stores, at)
        distrusted = (
            ChainError(ChainFault.DISTRUSTED, "explicitly distrusted (EXPLICIT_DISTRUST)", number)
            for number, item in enumerate(judged.certificates)
            if any(map(is_distrusting, item.stores))
        )
        errors = (*judged.errors, *distrusted)
        engine = {"windows": "crypt32, simulated", "linux": "openssl verify, simulated"}[self.name]
        return replace(
            judged, engine=engine, trusted=False if errors else judged.trusted, errors=errors
        )


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
        self._model = Model(scenario.facts)
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
        adapter, source = self._way(attempt)
        outcome = self._scenario.outcomes.get((attempt.address, attempt.port), "answers")
        if outcome == "fails":
            raise RuntimeError("the simulated network stack is broken")
        if outcome == "forbids":
            raise OSError(errno.EACCES, os.strerror(errno.EACCES))
        claimed = any(holds(adapter, attempt.address) for adapter in self._model.adapters.all)
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

    def _way(self, attempt: Attempt) -> Tuple[Optional[Adapter], Optional[str]]:
        """By which adapter, and from which address, the packet leaves.

        Raises ``OSError`` where there is no way.
        """
        model = self._model
        lookup = (
            model.routing.to_imds
            if attempt.address == IMDS_ADDRESS
            else model.routing.to_wireserver
        )
        if (
            attempt.device
        ):  # bound to a device, Linux takes the destination as on-link where it has no route
            return next(
                (item for item in model.adapters.all if item.name == attempt.device), None
            ), attempt.source
        if attempt.source and self._scenario.facts.system != "linux":
            return model.adapters.holding(attempt.source), attempt.source  # the strong host model
        if lookup.error:
            code = getattr(errno, lookup.error, errno.ENETUNREACH)
            raise OSError(code, os.strerror(code))
        return model.adapters.egress(lookup.route), attempt.source or lookup.source

    def _is_heard(self, adapter: Optional[Adapter], source: Optional[str]) -> bool:
        primary = self._scenario.vm.nics[0] if self._scenario.vm.nics else None
        if primary is None or adapter is None or adapter.state is not LinkState.UP:
            return False
        return (
            adapter.mac == primary.mac
            and source == primary.addresses[0]
            and not self._strays(adapter, source)
        )

    def _strays(self, adapter: Adapter, source: Optional[str]) -> bool:
        """Whether the next hop is dead."""
        lookup = self._model.routing.to_imds
        if (
            lookup.route is None
            or self._model.adapters.egress(lookup.route) != adapter
            or source != lookup.source
        ):
            return False
        silent = [
            item.address for item in self._model.facts.neighbours or () if item.state in SILENT_ARP
        ]
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
    host = Host(scenario.vm, scenario.behaviour, log if log is not None else [])
    others = {
        place: Host(scenario.vm, Behaviour(everything=scenario.web[name]))
        for name, place in places(scenario).items()
        if scenario.web[name] != "drops"
    }
    web: Dict[str, Place] = {address: other.listen() for address, other in others.items()}
    connector = LoopbackConnector(scenario, host.listen(), web)
    facts = scenario.facts
    conditions = RunOptions(
        facts.system, facts.host, expected_mac=facts.expected.mac, expected_ip=facts.expected.ip
    )
    try:
        target = Target(SimulatedSystem(facts, scenario.stores), connector)
        return run(target, conditions, interrupted, progress, redact)
    finally:
        for server in (host, *others.values()):
            server.close()
        connector.close()


def services(address: str = WIRESERVER_ADDRESS) -> Dict[Place, str]:
    """Both ports of the WireServer, dark."""
    return {(address, 80): "drops", (address, 32526): "drops"}
