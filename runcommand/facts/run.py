"""All that one run has seen."""

from __future__ import annotations

import re
from dataclasses import field
from typing import Optional, Tuple

from ..frozen import dataclass
from .adapters import Adapter
from .addresses import Address, Mac
from .certificates import CertificateChain
from .endpoints import EndpointTrial
from .firewall import Firewall, FirewallRule
from .kinds import JSON_ONLY, Output, Reason, Term, VmName
from .machine import Listener, Machine, ProcessConnection, Service
from .platform import Imds, Trial, WireServer
from .proxy import PacFile, Proxy, ProxyTrial
from .routing import Lookup, Neighbour, PersistentRoute, Route, RoutingRule
from .times import Instant

# The reason of a fact whose programs are not on the VM. A program that fails is named with
# its arguments: "nft -j list ruleset: exit status 1: x: not found" is none of these.
ABSENT = re.compile(r"[^\s:;]+: not found(; [^\s:;]+: not found)*")


@dataclass(frozen=True)
class Unavailable:
    """Why one fact could not be found out."""

    fact: Term
    reason: Reason


@dataclass(frozen=True)
class Note:
    """How one fact was collected in another way than usual, and why."""

    fact: Term
    text: Reason


@dataclass(frozen=True)
class Expected:
    """What the operator says of the primary NIC (``--expected-mac``, ``--expected-ip``)."""

    mac: Optional[Mac] = None
    ip: Optional[Address] = None


@dataclass(frozen=True)
class RawText:
    """What a command of the article printed, for the full report."""

    command: Term
    text: Output
    truncated: bool = False


@dataclass(frozen=True)
class Facts:
    system: Term  # "windows", "linux", or what Python calls another system
    host: VmName
    collected_at: Instant
    elapsed_s: float = 0.0
    deadline_s: float = field(default=0.0, metadata=JSON_ONLY)
    tool_version: Term = ""
    interrupted: bool = False
    redacted: bool = False  # names, ids and addresses are pseudonyms
    expected: Expected = Expected()
    machine: Optional[Machine] = None
    activation: Optional[Term] = None  # Windows: "genuine", "not-genuine", "tampered", "offline"
    adapters: Optional[Tuple[Adapter, ...]] = None
    routes: Optional[Tuple[Route, ...]] = None
    routing_rules: Optional[Tuple[RoutingRule, ...]] = None
    lookups: Optional[Tuple[Lookup, ...]] = None
    neighbours: Optional[Tuple[Neighbour, ...]] = None
    persistent_routes: Optional[Tuple[PersistentRoute, ...]] = None
    services: Optional[Tuple[Service, ...]] = None
    listeners: Optional[Tuple[Listener, ...]] = None
    connections: Optional[Tuple[ProcessConnection, ...]] = None
    proxies: Optional[Tuple[Proxy, ...]] = None
    # of the proxies that some client does not bypass
    proxy_trials: Optional[Tuple[ProxyTrial, ...]] = None
    pac_files: Optional[Tuple[PacFile, ...]] = None
    firewall: Optional[Firewall] = None
    # Windows; None: not asked, because no connect was forbidden
    wfp_filters: Optional[Tuple[FirewallRule, ...]] = None
    # from what is at hand; then, if need be, with fetching
    certificate_chains: Optional[Tuple[CertificateChain, ...]] = None
    # None: not asked, because no certificate problem makes them matter
    endpoints: Optional[Tuple[EndpointTrial, ...]] = None
    raw: Optional[Tuple[RawText, ...]] = None
    imds: Optional[Imds] = None
    wireserver: Optional[WireServer] = None
    # None: not asked, because the plain request was answered
    differential: Optional[Tuple[Trial, ...]] = None
    unavailable: Tuple[Unavailable, ...] = ()
    notes: Tuple[Note, ...] = ()
