"""What was seen: frozen dataclasses that hold every fact of a run, to JSON and back without loss.

A field that is ``None`` could not be found out; ``Facts.unavailable`` says why. An empty tuple was
found out: there are none. Addresses are dotted IPv4 unless a field says otherwise, times are UTC in
ISO 8601, durations are seconds.

Everybody outside takes the names from here, so that a class can move between the rooms.
"""

from .adapters import (
    Adapter as Adapter,
    InterfaceAddress as InterfaceAddress,
    LinkState as LinkState,
)
from .addresses import (
    HOST_PLUGIN_PORT as HOST_PLUGIN_PORT,
    IMDS_ADDRESS as IMDS_ADDRESS,
    LINK_LOCAL as LINK_LOCAL,
    LOOPBACK as LOOPBACK,
    PLATFORM_ADDRESSES as PLATFORM_ADDRESSES,
    PROXY_AGENT_PORT as PROXY_AGENT_PORT,
    WIRESERVER_ADDRESS as WIRESERVER_ADDRESS,
    Address as Address,
    Cidr as Cidr,
    Mac as Mac,
    NextHop as NextHop,
    PrefixLength as PrefixLength,
    contains as contains,
    network as network,
    parse_address as parse_address,
    parse_cidr as parse_cidr,
    parse_host_address as parse_host_address,
    parse_mac as parse_mac,
    parse_next_hop as parse_next_hop,
    parse_nic_mac as parse_nic_mac,
    prefix_length as prefix_length,
)
from .certificates import (
    LACKING as LACKING,
    AttestedDocument as AttestedDocument,
    Certificate as Certificate,
    CertificateChain as CertificateChain,
    ChainError as ChainError,
    ChainFault as ChainFault,
    IssuerFetch as IssuerFetch,
    SignatureState as SignatureState,
    is_distrusting as is_distrusting,
)
from .codec import (
    FactsError as FactsError,
    facts_from_json as facts_from_json,
    to_json as to_json,
)
from .connection import (
    Connection as Connection,
    Outcome as Outcome,
)
from .endpoints import (
    EndpointTrial as EndpointTrial,
)
from .firewall import (
    PROFILE_UNKNOWN as PROFILE_UNKNOWN,
    Firewall as Firewall,
    FirewallChain as FirewallChain,
    FirewallMatch as FirewallMatch,
    FirewallPlace as FirewallPlace,
    FirewallProfile as FirewallProfile,
    FirewallRule as FirewallRule,
    MatchField as MatchField,
    RuleVerdict as RuleVerdict,
)
from .kinds import (
    UUID as UUID,
)
from .machine import (
    Listener as Listener,
    Machine as Machine,
    ProcessConnection as ProcessConnection,
    Service as Service,
    ServiceState as ServiceState,
)
from .platform import (
    Body as Body,
    Exchange as Exchange,
    Imds as Imds,
    ImdsInterface as ImdsInterface,
    Instance as Instance,
    Trial as Trial,
    WireServer as WireServer,
    is_from_imds as is_from_imds,
    is_transient as is_transient,
    refuses_version as refuses_version,
)
from .proxy import (
    PacFile as PacFile,
    Proxy as Proxy,
    ProxyKind as ProxyKind,
    ProxyReach as ProxyReach,
    ProxyTrial as ProxyTrial,
    Scope as Scope,
)
from .routing import (
    Lookup as Lookup,
    Neighbour as Neighbour,
    NeighbourState as NeighbourState,
    PersistentRoute as PersistentRoute,
    Route as Route,
    RouteKind as RouteKind,
    RoutingRule as RoutingRule,
    RuleAction as RuleAction,
)
from .run import (
    ABSENT as ABSENT,
    Expected as Expected,
    Facts as Facts,
    Note as Note,
    RawText as RawText,
    Unavailable as Unavailable,
)
from .times import (
    Instant as Instant,
    instant as instant,
    parse_instant as parse_instant,
)
from .untrusted import (
    dict_of as dict_of,
    if_valid as if_valid,
    list_of as list_of,
    parse_json as parse_json,
)
