"""What was seen: frozen dataclasses that hold every fact of a run, to JSON and back without loss.

A field that is ``None`` could not be found out; ``Facts.unavailable`` says why. An empty tuple was
found out: there are none. Addresses are dotted IPv4 unless a field says otherwise, times are UTC in
ISO 8601, durations are seconds.

Everybody outside takes the names from here, so that a class can move between the rooms.
"""

from .adapters import (
    Adapter as Adapter,
)
from .adapters import (
    InterfaceAddress as InterfaceAddress,
)
from .adapters import (
    LinkState as LinkState,
)
from .addresses import (
    HOST_PLUGIN_PORT as HOST_PLUGIN_PORT,
)
from .addresses import (
    IMDS_ADDRESS as IMDS_ADDRESS,
)
from .addresses import (
    LINK_LOCAL as LINK_LOCAL,
)
from .addresses import (
    LOOPBACK as LOOPBACK,
)
from .addresses import (
    PLATFORM_ADDRESSES as PLATFORM_ADDRESSES,
)
from .addresses import (
    PROXY_AGENT_PORT as PROXY_AGENT_PORT,
)
from .addresses import (
    WIRESERVER_ADDRESS as WIRESERVER_ADDRESS,
)
from .addresses import (
    Address as Address,
)
from .addresses import (
    Cidr as Cidr,
)
from .addresses import (
    Mac as Mac,
)
from .addresses import (
    NextHop as NextHop,
)
from .addresses import (
    PrefixLength as PrefixLength,
)
from .addresses import (
    contains as contains,
)
from .addresses import (
    network as network,
)
from .addresses import (
    parse_address as parse_address,
)
from .addresses import (
    parse_cidr as parse_cidr,
)
from .addresses import (
    parse_host_address as parse_host_address,
)
from .addresses import (
    parse_mac as parse_mac,
)
from .addresses import (
    parse_next_hop as parse_next_hop,
)
from .addresses import (
    parse_nic_mac as parse_nic_mac,
)
from .addresses import (
    prefix_length as prefix_length,
)
from .certificates import (
    LACKING as LACKING,
)
from .certificates import (
    AttestedDocument as AttestedDocument,
)
from .certificates import (
    Certificate as Certificate,
)
from .certificates import (
    CertificateChain as CertificateChain,
)
from .certificates import (
    ChainError as ChainError,
)
from .certificates import (
    ChainFault as ChainFault,
)
from .certificates import (
    IssuerFetch as IssuerFetch,
)
from .certificates import (
    SignatureState as SignatureState,
)
from .certificates import (
    is_distrusting as is_distrusting,
)
from .codec import (
    FactsError as FactsError,
)
from .codec import (
    facts_from_json as facts_from_json,
)
from .codec import (
    to_json as to_json,
)
from .connection import (
    Connection as Connection,
)
from .connection import (
    Outcome as Outcome,
)
from .endpoints import (
    EndpointTrial as EndpointTrial,
)
from .firewall import (
    PROFILE_UNKNOWN as PROFILE_UNKNOWN,
)
from .firewall import (
    Firewall as Firewall,
)
from .firewall import (
    FirewallChain as FirewallChain,
)
from .firewall import (
    FirewallMatch as FirewallMatch,
)
from .firewall import (
    FirewallPlace as FirewallPlace,
)
from .firewall import (
    FirewallProfile as FirewallProfile,
)
from .firewall import (
    FirewallRule as FirewallRule,
)
from .firewall import (
    MatchField as MatchField,
)
from .firewall import (
    RuleVerdict as RuleVerdict,
)
from .kinds import (
    UUID as UUID,
)
from .machine import (
    Listener as Listener,
)
from .machine import (
    Machine as Machine,
)
from .machine import (
    ProcessConnection as ProcessConnection,
)
from .machine import (
    Service as Service,
)
from .machine import (
    ServiceState as ServiceState,
)
from .platform import (
    Body as Body,
)
from .platform import (
    Exchange as Exchange,
)
from .platform import (
    Imds as Imds,
)
from .platform import (
    ImdsInterface as ImdsInterface,
)
from .platform import (
    Instance as Instance,
)
from .platform import (
    Trial as Trial,
)
from .platform import (
    WireServer as WireServer,
)
from .platform import (
    is_from_imds as is_from_imds,
)
from .platform import (
    is_transient as is_transient,
)
from .platform import (
    refuses_version as refuses_version,
)
from .proxy import (
    PacFile as PacFile,
)
from .proxy import (
    Proxy as Proxy,
)
from .proxy import (
    ProxyKind as ProxyKind,
)
from .proxy import (
    ProxyReach as ProxyReach,
)
from .proxy import (
    ProxyTrial as ProxyTrial,
)
from .proxy import (
    Scope as Scope,
)
from .routing import (
    Lookup as Lookup,
)
from .routing import (
    Neighbour as Neighbour,
)
from .routing import (
    NeighbourState as NeighbourState,
)
from .routing import (
    PersistentRoute as PersistentRoute,
)
from .routing import (
    Route as Route,
)
from .routing import (
    RouteKind as RouteKind,
)
from .routing import (
    RoutingRule as RoutingRule,
)
from .routing import (
    RuleAction as RuleAction,
)
from .run import (
    ABSENT as ABSENT,
)
from .run import (
    Expected as Expected,
)
from .run import (
    Facts as Facts,
)
from .run import (
    Note as Note,
)
from .run import (
    RawText as RawText,
)
from .run import (
    Unavailable as Unavailable,
)
from .times import (
    Instant as Instant,
)
from .times import (
    instant as instant,
)
from .times import (
    parse_instant as parse_instant,
)
from .untrusted import (
    dict_of as dict_of,
)
from .untrusted import (
    if_valid as if_valid,
)
from .untrusted import (
    list_of as list_of,
)
from .untrusted import (
    parse_json as parse_json,
)
