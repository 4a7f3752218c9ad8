"""What was seen: frozen dataclasses that hold every fact of a run, to JSON and back without loss.

A field that is ``None`` could not be found out; ``Facts.unavailable`` says why. An empty tuple was
found out: there are none. Addresses are dotted IPv4 unless a field says otherwise, times are UTC in
ISO 8601, durations are seconds.

Everybody outside takes the names from here, so that a class can move between the rooms.
"""

# ruff: noqa: F401

from .adapters import (
    Adapter,
    InterfaceAddress,
    LinkState,
)
from .addresses import (
    HOST_PLUGIN_PORT,
    IMDS_ADDRESS,
    LINK_LOCAL,
    LOOPBACK,
    PLATFORM_ADDRESSES,
    PROXY_AGENT_PORT,
    WIRESERVER_ADDRESS,
    Address,
    Cidr,
    Mac,
    NextHop,
    PrefixLength,
    contains,
    network,
    parse_address,
    parse_cidr,
    parse_host_address,
    parse_mac,
    parse_next_hop,
    parse_nic_mac,
    prefix_length,
)
from .certificates import (
    LACKING,
    AttestedDocument,
    Certificate,
    CertificateChain,
    ChainError,
    ChainFault,
    IssuerFetch,
    SignatureState,
    is_distrusting,
)
from .codec import (
    to_json,
)
from .connection import (
    Connection,
    Outcome,
)
from .endpoints import (
    EndpointTrial,
)
from .firewall import (
    PROFILE_UNKNOWN,
    Firewall,
    FirewallChain,
    FirewallMatch,
    FirewallPlace,
    FirewallProfile,
    FirewallRule,
    MatchField,
    RuleVerdict,
)
from .kinds import (
    UUID,
)
from .machine import (
    Listener,
    Machine,
    ProcessConnection,
    Service,
    ServiceState,
)
from .platform import (
    Body,
    Exchange,
    Imds,
    ImdsInterface,
    Instance,
    Trial,
    WireServer,
    is_from_imds,
    is_transient,
    refuses_version,
)
from .proxy import (
    PacFile,
    Proxy,
    ProxyKind,
    ProxyReach,
    ProxyTrial,
    Scope,
)
from .routing import (
    Lookup,
    Neighbour,
    NeighbourState,
    PersistentRoute,
    Route,
    RouteKind,
    RoutingRule,
    RuleAction,
)
from .run import (
    ABSENT,
    Expected,
    Facts,
    Note,
    RawText,
    Unavailable,
)
from .times import (
    Instant,
    instant,
    parse_instant,
)
from .untrusted import (
    dict_of,
    if_type,
    if_valid,
    list_of,
    parse_json,
)
