"""What was seen: frozen dataclasses that hold every fact of a run, to JSON and back without loss.

A field that is ``None`` could not be found out; ``Facts.unavailable`` says why. An empty tuple was
found out: there are none. Addresses are dotted IPv4 unless a field says otherwise, times are UTC in
ISO 8601, durations are seconds.
"""

from __future__ import annotations

import dataclasses
import ipaddress
import json
import re
import sys
from dataclasses import dataclass
from datetime import datetime, timezone
from enum import Enum
from functools import lru_cache
from typing import (
    Any,
    Callable,
    Dict,
    List,
    NewType,
    Optional,
    Tuple,
    Type,
    TypeVar,
    Union,
    get_type_hints,
)

IMDS_ADDRESS = "169.254.169.254"
WIRESERVER_ADDRESS = "168.63.129.16"
PLATFORM_ADDRESSES = (IMDS_ADDRESS, WIRESERVER_ADDRESS)
HOST_PLUGIN_PORT = 32526
PROXY_AGENT_PORT = 3080  # Metadata Security Protocol's agent in the guest, on loopback
UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")

Address = NewType("Address", str)  # "10.0.0.4"
NextHop = NewType(
    "NextHop", str
)  # the same, or IPv6: a next hop or neighbour of an IPv4 route may be one (RFC 5549)
Cidr = NewType("Cidr", str)  # an IPv4 network: "169.254.0.0/16"
PrefixLength = NewType("PrefixLength", int)  # 0 to 32
Mac = NewType("Mac", str)  # "00-0D-3A-E5-1C-C0"
Instant = NewType("Instant", str)  # "2026-11-23T01:44:05Z", with or without a fraction


LINK_LOCAL = Cidr("169.254.0.0/16")  # RFC 3927
LOOPBACK = Cidr("127.0.0.0/8")


class Outcome(str, Enum):
    """How an attempt to connect, or the exchange after it, ended."""

    ANSWERED = "answered"  # the TCP handshake was completed
    HTTP = "http"  # a whole HTTP head came back
    GARBLED = "garbled"  # bytes came back, and they are not HTTP
    TIMED_OUT = "timed-out"
    REFUSED = "refused"
    UNREACHABLE = "unreachable"
    FORBIDDEN = "forbidden"  # refused locally: EACCES, EPERM, WSAEACCES
    RESET = "reset"  # cut by the other side before the answer was whole
    FAILED = "failed"  # another local error, which ``error`` names


class Body(str, Enum):
    """What the body of an HTTP answer turned out to be."""

    JSON = "json"
    HTML = "html"
    TEXT = "text"
    EMPTY = "empty"
    BROKEN = "broken"  # announced or begun as JSON, and it does not parse
    ENDLESS = "endless"  # past 1 MiB, or not finished in time
    CUT = "cut"  # the connection ended before the announced length


class RouteKind(str, Enum):
    """What a row does with a packet (rtnetlink's types; Windows knows only the first two)."""

    UNICAST = "unicast"
    LOCAL = "local"
    UNREACHABLE = "unreachable"
    BLACKHOLE = "blackhole"
    PROHIBIT = "prohibit"
    THROW = "throw"
    OTHER = "other"


class RuleAction(str, Enum):
    """What a policy rule does with a packet that it matches."""

    TABLE = "table"
    UNREACHABLE = "unreachable"
    BLACKHOLE = "blackhole"
    PROHIBIT = "prohibit"
    OTHER = "other"


class NeighbourState(str, Enum):
    """The state of an ARP entry (rtnetlink's names; Windows' static, dynamic and invalid are the
    last three).
    """

    INCOMPLETE = "incomplete"
    STALE = "stale"
    DELAY = "delay"
    PROBE = "probe"
    NOARP = "noarp"
    UNKNOWN = "unknown"
    PERMANENT = "permanent"
    REACHABLE = "reachable"
    FAILED = "failed"


class ServiceState(str, Enum):
    RUNNING = "running"
    STOPPED = "stopped"
    FAILED = "failed"
    STARTING = "starting"
    STOPPING = "stopping"
    UNKNOWN = "unknown"


class LinkState(str, Enum):
    UP = "up"
    DOWN = "down"  # administratively
    NO_CARRIER = "no-carrier"  # up, but there is no medium
    UNKNOWN = "unknown"


class ProxyKind(str, Enum):
    """Whose rules say what bypasses a proxy."""

    WINHTTP = "winhttp"
    INTERNET_SETTINGS = "internet-settings"
    ENVIRONMENT = "environment"
    GUEST_AGENT = "guest-agent"


class Scope(str, Enum):
    """Whom a setting concerns."""

    MACHINE = "machine"
    SYSTEM = "system"  # the accounts of services
    USER = "user"


class FirewallPlace(str, Enum):
    """Where a rule lives; the fix differs."""

    LOCAL = "local"
    GROUP_POLICY = "group-policy"
    MDM = "mdm"  # mobile device management
    APP_ISOLATION = "app-isolation"  # of store apps and restricted services
    NFTABLES = "nftables"
    IPTABLES = "iptables"
    IPTABLES_LEGACY = "iptables-legacy"
    IPTABLES_NFT = "iptables-nft"
    WFP = "wfp"  # the Windows Filtering Platform itself


class RuleVerdict(str, Enum):
    """What a firewall rule does with a packet that it matches."""

    ALLOW = "allow"
    BLOCK = "block"
    BYPASS = "bypass"  # Windows: allowed, whatever blocks it
    ACCEPT = "accept"
    DROP = "drop"
    REJECT = "reject"
    JUMP = "jump"
    GOTO = "goto"
    RETURN = "return"
    REDIRECT = "redirect"  # network address translation of the destination
    MARK = "mark"  # writes a mark, or the state of connection tracking; the packet goes on
    OTHER = "other"  # the packet goes on, or nobody knows


class MatchField(str, Enum):
    """What a condition of a firewall rule looks at."""

    PROTOCOL = "protocol"  # "tcp", "udp", a number
    SOURCE = "source"
    DESTINATION = "destination"
    SOURCE_PORT = "source-port"
    DESTINATION_PORT = "destination-port"
    INTERFACE_IN = "interface-in"
    INTERFACE_OUT = "interface-out"
    INTERFACE_TYPE = "interface-type"  # Windows: Lan, Wireless, RemoteAccess
    DESTINATION_TYPE = "destination-type"  # rtnetlink's: unicast, local
    STATE = "state"  # of connection tracking
    TCP_FLAGS = "tcp-flags"  # "FIN,SYN,RST,ACK/SYN": of the first ones, these are set
    USER = "user"
    GROUP = "group"
    MARK = "mark"
    PROFILE = "profile"
    PROGRAM = "program"
    SERVICE = "service"
    PACKAGE = "package"  # of a store app
    OTHER = "other"  # what this version does not know


# The reason of a fact whose programs are not on the VM. A program that fails is told with its
# arguments: "nft -j list ruleset: exit status 1: x: not found" is none of these.
ABSENT = re.compile(r"[^\s:;]+: not found(; [^\s:;]+: not found)*")
# begins a note on the firewall of Windows, whose rules were read
PROFILE_UNKNOWN = "the active profile is not known"


@dataclass(frozen=True)
class Unavailable:
    """Why one fact could not be found out."""

    fact: str
    reason: str


@dataclass(frozen=True)
class Note:
    """How one fact was found out in another way than the usual one, and why."""

    fact: str
    text: str


@dataclass(frozen=True)
class Expected:
    """What the operator says that Azure says of the primary NIC (``--expected-mac``,
    ``--expected-ip``).
    """

    mac: Optional[Mac] = None
    ip: Optional[Address] = None


@dataclass(frozen=True)
class Machine:
    """The operating system and the chassis. ``asset_tag`` is the SMBIOS chassis asset tag."""

    os_name: Optional[str] = None  # "Windows Server 2022 Datacenter", "Ubuntu 24.04.1 LTS"
    os_id: Optional[str] = None  # "ubuntu", "rhel"
    os_version: Optional[str] = None
    edition: Optional[str] = None  # Windows EditionID: "ServerTurbine" is Azure Edition
    build: Optional[str] = None  # Windows: "20348.2402"
    kernel: Optional[str] = None
    architecture: Optional[str] = None
    vendor: Optional[str] = None
    product: Optional[str] = None
    asset_tag: Optional[str] = None
    smbios_uuid: Optional[str] = None
    elevated: Optional[bool] = None  # root, or an elevated administrator or SYSTEM


@dataclass(frozen=True)
class InterfaceAddress:
    """One IPv4 address of an adapter. ``secondary`` is Linux' flag, ``skip_as_source`` Windows'."""

    address: Address
    prefix: PrefixLength
    secondary: bool = False
    skip_as_source: bool = False
    dynamic: Optional[bool] = None  # from DHCP


@dataclass(frozen=True)
class Adapter:
    index: int
    name: str
    description: str = ""
    # Linux link kind ("ethernet", "loopback", "bridge", "tun", ...), Windows IfType by name
    kind: str = "ethernet"
    physical: bool = (
        False  # backed by a device (a synthetic or virtual function NIC), not made by software
    )
    mac: Optional[Mac] = None
    state: LinkState = LinkState.UNKNOWN
    driver: Optional[str] = None
    master: Optional[str] = None  # the bridge, bond or synthetic NIC that it belongs to
    metric: Optional[int] = None
    addresses: Tuple[InterfaceAddress, ...] = ()
    gateways: Tuple[Address, ...] = ()  # Windows: of the adapter's own configuration
    dhcp: Optional[bool] = None
    dhcp_server: Optional[Address] = None
    lease_address: Optional[Address] = None
    lease_gateway: Optional[Address] = None
    managed_by: Optional[str] = None  # "systemd-networkd", "NetworkManager"
    profile: Optional[str] = None  # the manager's own name for the configuration in use


@dataclass(frozen=True)
class Route:
    """One row of a routing table. A multipath route is one row for each of its next hops."""

    destination: Cidr
    gateway: Optional[NextHop] = None  # None: on-link
    interface: Optional[str] = None
    interface_index: Optional[int] = None
    metric: int = 0
    source: Optional[Address] = None
    table: str = "main"
    kind: RouteKind = RouteKind.UNICAST
    protocol: Optional[str] = None
    dead: bool = False  # the kernel does not use it: its link is down


@dataclass(frozen=True)
class RoutingRule:
    """One policy routing rule (``ip rule``). What is None is not asked for."""

    priority: int
    source: Optional[Cidr] = None
    destination: Optional[Cidr] = None
    inverted: bool = False  # "not": it matches what the rest does not
    iif: Optional[str] = None
    oif: Optional[str] = None
    fwmark: Optional[str] = None  # "0x10/0xff"
    uid_start: Optional[int] = None
    uid_end: Optional[int] = None
    ipproto: Optional[str] = None
    sport: Optional[str] = None
    dport: Optional[str] = None  # "80", "1-1024"
    suppress_prefix_length: Optional[int] = None
    table: Optional[str] = None
    action: RuleAction = RuleAction.TABLE


@dataclass(frozen=True)
class Lookup:
    """What the system itself says it would do with a packet to ``destination`` (no packet is sent)."""

    destination: Address
    source: Optional[Address] = None
    error: Optional[str] = None  # POSIX' name of what a connect would say: "ENETUNREACH", "EACCES"
    route: Optional[Route] = None  # the row that wins


@dataclass(frozen=True)
class Neighbour:
    address: NextHop
    interface: Optional[str] = None
    interface_index: Optional[int] = None
    mac: Optional[Mac] = None
    state: NeighbourState = NeighbourState.UNKNOWN


@dataclass(frozen=True)
class PersistentRoute:
    """A row of HKLM\\SYSTEM\\CurrentControlSet\\Services\\Tcpip\\Parameters\\PersistentRoutes."""

    destination: Cidr
    gateway: Address
    metric: int = 0


@dataclass(frozen=True)
class Service:
    name: str
    state: ServiceState
    start: Optional[str] = None  # auto, demand, disabled, or systemd's UnitFileState


@dataclass(frozen=True)
class Listener:
    """A local TCP endpoint that accepts connections (only the ports that matter here are kept)."""

    address: Address
    port: int
    process: Optional[str] = (
        None  # the file name of the program, without its folder; None: not known
    )
    pid: Optional[int] = None


@dataclass(frozen=True)
class ProcessConnection:
    """A TCP connection of a process of this machine to IMDS."""

    process: str
    pid: int
    local_port: int
    state: str


@dataclass(frozen=True)
class Proxy:
    """A proxy setting. Credentials and query strings are never kept."""

    place: str  # where it is set: "WinHTTP", "Internet Settings", "/etc/environment"
    kind: ProxyKind
    scope: Scope
    user: Optional[str] = None  # whose it is: an account's name or SID; None: everybody's
    server: Optional[str] = (
        # of http:// addresses: "10.1.2.3:3128"; another protocol is told: "socks5://10.1.2.3:1080"
        None
    )
    variable: Optional[str] = (
        None  # of an environment: "http_proxy"; of a key, where it is not the usual one
    )
    # False: the setting says more (proxies of single protocols, a second list): not to be written
    # anew
    is_whole: bool = True
    undecided: Optional[str] = (
        None  # why it cannot be said what the setting comes to: "in a condition"
    )
    bypass: Tuple[str, ...] = ()
    bypass_capitals: Optional[Tuple[str, ...]] = None  # of NO_PROXY, where it differs from no_proxy
    rivals: Tuple[str, ...] = ()  # variables of the same environment that name another proxy
    pac_url: Optional[str] = None
    auto_detect: bool = False


@dataclass(frozen=True)
class PacFile:
    """A proxy auto-configuration file: fetched, searched for the platform's addresses, never
    evaluated.
    """

    url: str  # without its query
    outcome: Outcome  # ``http``: the file is here
    error: Optional[str] = None
    size: int = 0  # bytes
    mentions: Tuple[
        str, ...
    ] = ()  # of the addresses, and of what a pattern for them begins with, those that its text holds


@dataclass(frozen=True)
class FirewallMatch:
    """One condition of a rule, which holds where the packet's field is (``negated``: is not) one of
    the values.

    Addresses are single, a network (``10.0.0.0/8``), a range (``10.0.0.1-10.0.0.9``) or one of
    Windows' keywords (``LocalSubnet``); ports are single or a range. A value that begins with ``@``
    stands for elements of a set that are left out: none of them holds an address of the platform.
    """

    field: MatchField
    values: Tuple[str, ...]
    negated: bool = False


@dataclass(frozen=True)
class FirewallRule:
    """A rule that could concern TCP to the platform's addresses, on either system."""

    id: str  # the name of the registry value, nftables' handle, iptables' "-A OUTPUT ..."
    place: FirewallPlace
    action: RuleVerdict
    name: str = ""  # Windows' display name, a comment
    chain: Optional[str] = None  # Linux: the ``FirewallChain.id`` that it stands in
    target: Optional[str] = (
        # of a jump: ``FirewallChain.id``; of a redirection: where to; of a mark: "mark", "state"
        None
    )
    matches: Tuple[FirewallMatch, ...] = ()
    packets: Optional[int] = None  # that its counter has seen
    is_name_unique: bool = True  # Windows: no other rule has this display name
    provider: Optional[str] = None  # of a filter of the Windows Filtering Platform


@dataclass(frozen=True)
class FirewallChain:
    """A chain of nftables or iptables. Without a hook it is reached by jumps only."""

    # family or program, table and chain: "inet filter output", "ip filter OUTPUT", "iptables-legacy
    # filter OUTPUT"
    id: str
    place: FirewallPlace
    hook: Optional[str] = None  # "output", "input", ...
    kind: str = "filter"  # filter, nat, route
    priority: int = 0
    policy: RuleVerdict = RuleVerdict.ACCEPT


@dataclass(frozen=True)
class FirewallProfile:
    """A profile of the Windows firewall.

    What is None is not set; Windows then takes the firewall to be on, outbound allowed.
    """

    name: str  # domain, private, public
    enabled: Optional[bool] = None
    active: Optional[bool] = None  # None: could not be found out
    default_outbound: Optional[RuleVerdict] = None
    default_place: FirewallPlace = FirewallPlace.LOCAL  # which policy says so
    local_rules: bool = True  # False: Group Policy switches local rules off (AllowLocalPolicyMerge)


@dataclass(frozen=True)
class Firewall:
    """What filters packets on this machine.

    Rules that are inactive or cannot concern the platform's addresses are left out.
    """

    rules: Tuple[FirewallRule, ...] = ()  # in their order
    chains: Tuple[FirewallChain, ...] = ()  # Linux
    profiles: Tuple[FirewallProfile, ...] = ()  # Windows
    active_from: Optional[str] = None  # where the active profile was read
    sources: Tuple[str, ...] = ()  # that were read: "nftables", "iptables", "local policy"
    rules_read: int = 0  # in all, with those left out
    # rules that could concern the platform and are left out all the same: nothing is certain then
    cut_off: int = 0


@dataclass(frozen=True)
class Certificate:
    """An X.509 certificate (RFC 5280).

    ``thumbprint`` is the SHA-1 of its DER form, as Windows shows it.
    """

    subject: str
    issuer: str
    thumbprint: str
    serial: Optional[str] = None
    not_before: Optional[Instant] = None
    not_after: Optional[Instant] = None
    subject_key_id: Optional[str] = None
    authority_key_id: Optional[str] = None
    names: Tuple[str, ...] = ()
    issuer_urls: Tuple[str, ...] = ()  # authority information access: CA issuers
    crl_urls: Tuple[str, ...] = ()
    ocsp_urls: Tuple[str, ...] = ()
    stores: Tuple[
        str, ...
    ] = ()  # where it was found: this machine's stores, "the document", "fetched"
    key: str = ""  # "RSA 2048"
    signature: str = ""  # "SHA-384 with RSA"

    @property
    def is_self_issued(self) -> bool:
        """Whether it names itself as its issuer, as roots do."""
        return self.subject == self.issuer


def is_distrusting(store: str) -> bool:
    """Whether it is one of the Windows machine's stores for what is distrusted. (A user's counts
    for that user alone.)
    """
    place, _, name = store.rpartition("\\")
    return name == "Disallowed" and place in ("LocalMachine", "Group Policy", "Enterprise")


class SignatureState(str, Enum):
    """What came of verifying the attested document's signature."""

    VALID = "valid"
    INVALID = "invalid"
    MALFORMED = "malformed"  # it cannot be read at all
    UNVERIFIABLE = "unverifiable"  # of a kind that is not verified here


@dataclass(frozen=True)
class AttestedDocument:
    """What ``/metadata/attested/document`` signs.

    What is None is not in it, or could not be read.
    """

    signature: SignatureState
    reason: Optional[str] = None  # why it is not valid
    algorithm: Optional[str] = None  # "RSA 2048, SHA-256"
    signer: Optional[Certificate] = None
    embedded: int = 0  # certificates in the document
    asked_nonce: str = ""
    nonce: Optional[str] = None
    created_on: Optional[Instant] = None
    expires_on: Optional[Instant] = None
    vm_id: Optional[str] = None
    subscription_id: Optional[str] = None
    sku: Optional[str] = None
    # The signed message itself, in base64, so that a newer version can judge it again; empty where
    # it was too long to keep, and in a redacted report: it names the VM and its subscription.
    pkcs7: str = ""
    pkcs7_length: int = 0  # characters of it that IMDS gave; 0: no base64, or an older version


@dataclass(frozen=True)
class IssuerFetch:
    """One try to fetch an issuer's certificate from where a certificate says that it is (authority
    information access).
    """

    url: str
    outcome: Outcome  # ``http``: there was an answer
    proxy: Optional[str] = None  # through which it was asked: ``Proxy.server``
    status: Optional[int] = None
    error: Optional[str] = None
    is_name_unknown: bool = False  # the host's name has no address
    certificate: Optional[Certificate] = None  # the issuer, where it came


class ChainFault(str, Enum):
    """What can be wrong with a chain."""

    ISSUER_MISSING = "issuer-missing"
    ROOT_UNTRUSTED = "root-untrusted"
    OUTSIDE_DATES = "outside-dates"
    SIGNATURE = "signature"  # a certificate's own does not verify
    DISTRUSTED = "distrusted"  # explicitly, or revoked
    OTHER = "other"


LACKING = frozenset(
    {ChainFault.ISSUER_MISSING, ChainFault.ROOT_UNTRUSTED}
)  # what another certificate may mend


@dataclass(frozen=True)
class ChainError:
    """What an engine says against a chain."""

    fault: ChainFault
    text: str  # in its words
    certificate: Optional[int] = None  # counted from the leaf, 0; None: not of one


@dataclass(frozen=True)
class CertificateChain:
    """What this machine makes of the attested document's signer, with or without fetching issuers.

    The leaf comes first.
    """

    fetched: bool
    engine: str = ""  # "crypt32", "openssl verify", ...
    trusted: Optional[bool] = None  # None: could not be found out
    errors: Tuple[ChainError, ...] = ()
    certificates: Tuple[Certificate, ...] = ()
    judged_at: Optional[Instant] = None  # the time for which it was judged
    fetches: Tuple[IssuerFetch, ...] = ()  # that this program made


@dataclass(frozen=True)
class RawText:
    """What a command of the article printed, for the full report."""

    command: str
    text: str
    truncated: bool = False


@dataclass(frozen=True)
class Connection:
    """One TCP connect. ``source`` and ``device`` are what it was bound to, ``local_address`` what
    the system used.
    """

    address: Address
    port: int
    outcome: Outcome
    source: Optional[Address] = None
    device: Optional[str] = None
    local_address: Optional[Address] = None
    error: Optional[str] = None
    elapsed_s: float = 0.0
    allowed_s: float = 0.0  # that it could have taken


@dataclass(frozen=True)
class ProxyReach:
    """What a request for a host brought through a proxy."""

    server: str  # ``Proxy.server``
    outcome: Outcome
    status: Optional[int] = None
    error: Optional[str] = None


@dataclass(frozen=True)
class EndpointTrial:
    """Whether a host of certificates, revocation lists or OCSP can be reached on TCP 80."""

    host: str
    purposes: Tuple[str, ...]  # "AIA", "CRL", "OCSP"
    connection: Optional[Connection] = None  # None: not tried; ``error`` says why
    error: Optional[str] = None
    is_name_unknown: bool = False
    proxies: Tuple[ProxyReach, ...] = ()


@dataclass(frozen=True)
class ImdsInterface:
    """One NIC as IMDS reports it.

    IMDS gives them in no particular order and marks none as primary.
    """

    mac: Optional[Mac]
    addresses: Tuple[Address, ...] = ()
    subnet: Optional[Cidr] = None


@dataclass(frozen=True)
class Instance:
    """What ``/metadata/instance`` says of this VM.

    Secrets (customData, userData, publicKeys, tags) are never read.
    """

    vm_id: str
    az_environment: str = ""
    location: str = ""
    name: str = ""
    offer: str = ""
    sku: str = ""
    publisher: str = ""
    version: str = ""
    license_type: str = ""
    is_host_compatibility_layer_vm: str = ""
    os_type: str = ""
    vm_size: str = ""
    zone: str = ""
    subscription_id: str = ""
    resource_group_name: str = ""
    resource_id: str = ""
    interfaces: Tuple[ImdsInterface, ...] = ()


@dataclass(frozen=True)
class Exchange:
    """One HTTP GET, from its connect to the end of its body (or to where it failed)."""

    path: str
    connection: Connection
    outcome: Outcome
    status: Optional[int] = None
    server: Optional[str] = None
    via: Optional[str] = None
    content_type: Optional[str] = None
    location: Optional[str] = None  # of a redirect, without its query
    date: Optional[Instant] = None  # the host's clock, from the Date header
    read_at: Optional[Instant] = None  # this machine's clock when the head had been read
    body: Optional[Body] = None
    body_bytes: int = 0
    says: Optional[str] = (
        None  # the error text of the answer, or the title of its page; never metadata
    )
    versions: Tuple[
        str, ...
    ] = ()  # api-versions, or WireServer protocol versions, that the answer names
    instance: Optional[Instance] = None  # set when the answer is IMDS's metadata of this VM
    elapsed_s: float = 0.0
    allowed_s: float = 0.0  # that request and answer could have taken, after the connect


@dataclass(frozen=True)
class Imds:
    """The plain, unproxied requests to IMDS.

    The last of ``attempts`` (``/metadata/instance``) decides.
    """

    attempts: Tuple[Exchange, ...]
    api_version: Optional[str] = None
    versions: Optional[Exchange] = None
    attested: Optional[Exchange] = None
    attested_document: Optional[bool] = None  # the answer holds an encoding and a signature
    document: Optional[AttestedDocument] = None  # what it holds
    identity: Optional[Exchange] = None
    identity_present: Optional[bool] = None
    requests: int = 0  # HTTP requests sent to IMDS, up to the end of these


@dataclass(frozen=True)
class WireServer:
    http: Exchange  # port 80, /?comp=versions
    host_plugin: Connection  # port 32526


@dataclass(frozen=True)
class ProxyTrial:
    """The same requests as the plain ones, through a proxy.

    An exchange that is None was not tried; ``error`` says why.
    """

    server: str  # ``Proxy.server``
    imds: Optional[Exchange] = None
    wireserver: Optional[Exchange] = None
    error: Optional[str] = None
    is_nowhere: bool = False  # its name has no address: no request gets through


@dataclass(frozen=True)
class Trial:
    """One way of the differential: from one local address, perhaps bound to its device."""

    connection: Connection
    exchange: Optional[Exchange] = None


@dataclass(frozen=True)
class Facts:
    system: str  # "windows", "linux", or what Python calls another system
    host: str
    collected_at: Instant
    elapsed_s: float = 0.0
    deadline_s: float = 0.0
    tool_version: str = ""
    interrupted: bool = False
    redacted: bool = False  # names, ids and addresses are pseudonyms
    expected: Expected = Expected()
    machine: Optional[Machine] = None
    activation: Optional[str] = None  # Windows: "genuine", "not-genuine", "tampered", "offline"
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
    proxy_trials: Optional[Tuple[ProxyTrial, ...]] = (
        None  # of the proxies that some client does not bypass
    )
    pac_files: Optional[Tuple[PacFile, ...]] = None
    firewall: Optional[Firewall] = None
    wfp_filters: Optional[Tuple[FirewallRule, ...]] = (
        None  # Windows; None: not asked, because no connect was forbidden
    )
    certificate_chains: Optional[Tuple[CertificateChain, ...]] = (
        None  # from what is at hand; then, if need be, with fetching
    )
    endpoints: Optional[Tuple[EndpointTrial, ...]] = (
        None  # None: not asked, because no certificate problem makes them matter
    )
    raw: Optional[Tuple[RawText, ...]] = None
    imds: Optional[Imds] = None
    wireserver: Optional[WireServer] = None
    differential: Optional[Tuple[Trial, ...]] = (
        None  # None: not asked, because the plain request was answered
    )
    unavailable: Tuple[Unavailable, ...] = ()
    notes: Tuple[Note, ...] = ()


def refuses_version(exchange: Exchange) -> bool:
    """Whether IMDS says that it does not know the api-version that was asked for."""
    return exchange.status == 400 and (
        bool(exchange.versions) or "api-version" in (exchange.says or "")
    )


def is_transient(exchange: Exchange) -> bool:
    """Whether the answer is one that IMDS asks its clients to retry: 410, 429 and 5xx."""
    return exchange.status in (410, 429) or 500 <= (exchange.status or 0) <= 599


def is_from_imds(exchange: Exchange) -> bool:
    """Whether IMDS itself gave this answer to ``/metadata/instance``: the metadata, or one of its
    documented errors.

    A page for people (HTML) is IMDS's only with a status that a web server's own error page has,
    and never from a proxy.
    """
    if exchange.instance:
        return True
    if exchange.outcome is not Outcome.HTTP or exchange.via:
        return False
    if is_transient(exchange):
        return exchange.body is not Body.ENDLESS
    return exchange.status in (400, 401, 403) and exchange.body in (
        Body.JSON,
        Body.TEXT,
        Body.EMPTY,
    )


# --- JSON
# -----------------------------------------------------------------------------------------------------------

T = TypeVar("T")
JSON = Union[None, bool, int, float, str, List["JSON"], Dict[str, "JSON"]]


class FactsError(ValueError):
    """Facts that cannot be read; the message names the path and what was wrong there."""


def to_json(value: Any) -> Any:
    """A fact (dataclass, tuple, enum or plain value) as what ``json.dumps`` takes."""
    if dataclasses.is_dataclass(value):
        return {
            field.name: to_json(getattr(value, field.name)) for field in dataclasses.fields(value)
        }
    if isinstance(value, tuple):
        return [to_json(item) for item in value]
    return value.value if isinstance(value, Enum) else value


def facts_from_json(value: Any) -> Facts:
    """Facts from parsed JSON.

    Unknown keys are passed over; anything of the wrong type raises ``FactsError``.
    """
    facts: Facts = _decode(Facts, value, "facts")
    return facts


def parse_json(text: Union[str, bytes]) -> Any:
    """``json.loads`` held to RFC 8259 (no NaN).

    Raises ``ValueError``, also where the nesting is too deep.
    """

    def refuse(constant: str) -> None:
        raise ValueError(f"{constant} is not JSON")

    def integer(digits: str) -> int:
        if len(digits) > 20:  # a conversion of a million digits takes for ever
            raise ValueError("a number is too long")
        return int(digits)

    try:
        return json.loads(text, parse_constant=refuse, parse_int=integer)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _is_instant(text: str) -> bool:
    try:
        parse_instant(text)
    except ValueError:
        return False
    return True


def _is_mac(text: str) -> bool:
    return bool(re.fullmatch(r"[0-9A-F]{2}(-[0-9A-F]{2}){5}", text))


# What a value of each NewType is called, is made of, and must satisfy.
_FORMS: Dict[Any, Tuple[str, type, Callable[[Any], bool]]] = {
    Address: ("IPv4 address", str, lambda text: if_valid(parse_address, text) is not None),
    NextHop: ("IP address", str, lambda text: if_valid(parse_next_hop, text) is not None),
    Cidr: ("IPv4 network", str, lambda text: if_valid(parse_cidr, text) is not None),
    PrefixLength: ("prefix length", int, lambda length: 0 <= length <= 32),
    Mac: ("MAC address", str, _is_mac),
    Instant: ("UTC time", str, _is_instant),
}


@lru_cache(maxsize=None)
def _fields(cls: Type[Any]) -> Tuple[Tuple[str, Any, bool], ...]:
    hints = get_type_hints(cls, vars(sys.modules[__name__]))
    return tuple(
        (
            field.name,
            hints[field.name],
            field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING,
        )
        for field in dataclasses.fields(cls)
    )


def _decode(expected: Any, value: Any, path: str) -> Any:  # noqa: C901
    origin = getattr(expected, "__origin__", None)
    if origin is Union:  # Optional is the only union in the schema
        return None if value is None else _decode(expected.__args__[0], value, path)
    if origin is tuple:
        if not isinstance(value, list):
            raise _mismatch(path, "list", value)
        return tuple(
            _decode(expected.__args__[0], item, f"{path}[{number}]")
            for number, item in enumerate(value)
        )
    if isinstance(expected, type) and dataclasses.is_dataclass(expected):
        if not isinstance(value, dict):
            raise _mismatch(path, "object", value)
        known = {}
        for name, kind, required in _fields(expected):
            if name in value:
                known[name] = _decode(kind, value[name], f"{path}.{name}")
            elif required:
                raise FactsError(f"{path}.{name}: missing")
        return expected(**known)
    form = _FORMS.get(expected)
    if form:
        if type(value) is not form[1] or not form[2](value):
            raise FactsError(f"{path}: expected {form[0]}, got {_show(value)}")
        return value
    if issubclass(expected, Enum):
        try:
            return expected(value)
        except ValueError:
            allowed = ", ".join(member.value for member in expected)
            raise FactsError(f"{path}: expected one of {allowed}, got {_show(value)}") from None
    if expected is float and type(value) is int and abs(value) < 2**53:
        return float(value)
    if type(value) is not expected:
        raise _mismatch(path, expected.__name__, value)
    if expected in (int, float) and not abs(value) < 2**63:
        raise FactsError(f"{path}: {expected.__name__} out of range")
    return value


def _mismatch(path: str, expected: str, value: Any) -> FactsError:
    return FactsError(f"{path}: expected {expected}, got {_type_name(value)}")


def _type_name(value: Any) -> str:
    return {type(None): "null", dict: "object"}.get(type(value), type(value).__name__)


def _show(value: Any) -> str:
    return repr(value)[:60] if isinstance(value, (str, int, float)) else _type_name(value)


# --- Addresses and times
# --------------------------------------------------------------------------------------------


@lru_cache(maxsize=65536)
def network(cidr: str) -> ipaddress.IPv4Network:
    """A ``Cidr`` as an object to ask (host bits are masked away)."""
    return ipaddress.IPv4Network(cidr, strict=False)


def contains(cidr: str, address: str) -> bool:
    """Whether an IPv4 network holds an IPv4 address."""
    return ipaddress.IPv4Address(address) in network(cidr)


def prefix_length(cidr: str) -> int:
    return int(cidr.rpartition("/")[2])


def parse_cidr(text: str) -> Cidr:
    """An IPv4 network as ``10.0.0.0/24``; host bits may be set. Raises ``ValueError``."""
    address, slash, length = text.partition("/")
    parse_address(address)
    if not slash or not re.fullmatch(r"\d{1,2}", length, re.ASCII) or int(length) > 32:
        raise ValueError(f"not an IPv4 network: {text[:40]!r}")
    return Cidr(text)


def parse_mac(text: str) -> Mac:
    """A MAC address in any usual notation, as ``00-0D-3A-E5-1C-C0``. Raises ``ValueError``."""
    digits = re.sub(r"[-:.]", "", text)
    plain = re.fullmatch(r"[0-9A-Fa-f]{12}", text)
    grouped = re.fullmatch(r"([0-9A-Fa-f]{2}([-:]))([0-9A-Fa-f]{2}\2){4}[0-9A-Fa-f]{2}", text)
    dotted = re.fullmatch(r"([0-9A-Fa-f]{4}\.){2}[0-9A-Fa-f]{4}", text)
    if not (plain or grouped or dotted):
        raise ValueError(f"not a MAC address: {text[:40]!r}")
    return Mac("-".join(digits[i : i + 2] for i in range(0, 12, 2)).upper())


def parse_nic_mac(text: str) -> Mac:
    """A MAC address that a NIC can have: not a group's, not all zeros. Raises ``ValueError``."""
    mac = parse_mac(text)
    if int(mac[:2], 16) & 1 or mac == "00-00-00-00-00-00":
        raise ValueError(f"no NIC has this MAC address: {text[:40]!r}")
    return mac


def parse_host_address(text: str) -> Address:
    """An IPv4 address that Azure can give to a NIC. Raises ``ValueError``."""
    address = ipaddress.IPv4Address(parse_address(text))
    if (
        address.is_loopback
        or address.is_multicast
        or address.is_link_local
        or address.is_reserved
        or address.is_unspecified
    ):
        raise ValueError(f"no NIC has this IPv4 address in Azure: {text[:40]!r}")
    return Address(str(address))


def parse_address(text: str) -> Address:
    """An IPv4 address in dotted form. Raises ``ValueError``."""
    try:
        return Address(str(ipaddress.IPv4Address(text)))
    except ipaddress.AddressValueError:
        raise ValueError(f"not an IPv4 address: {text[:40]!r}") from None


def parse_next_hop(text: str) -> NextHop:
    """An IPv4 or IPv6 address, without a zone. Raises ``ValueError``."""
    if "%" in text:
        raise ValueError("an address with a zone")
    return NextHop(str(ipaddress.ip_address(text)))


def list_of(kind: Type[T], value: Any) -> List[T]:
    """The items of a parsed JSON list that are of one type; none where it is no list (data from the
    VM or the network).
    """
    return [item for item in value if isinstance(item, kind)] if isinstance(value, list) else []


def dict_of(value: Any) -> Dict[str, Any]:
    """A parsed JSON object; an empty one where it is something else."""
    return value if isinstance(value, dict) else {}


def if_valid(parse: Callable[[str], T], value: Any) -> Optional[T]:
    """``parse(value)``; None where the value is no text or ``parse`` refuses it (data from the VM
    or the network).
    """
    try:
        return parse(value) if isinstance(value, str) else None
    except ValueError:
        return None


def instant(when: datetime) -> Instant:
    """A point in time (aware) as its UTC text, to the microsecond where it has any."""
    return Instant(when.astimezone(timezone.utc).replace(tzinfo=None).isoformat() + "Z")


def parse_instant(text: str) -> datetime:
    """The point in time that an ``Instant`` names. Raises ``ValueError``."""
    match = re.fullmatch(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,6}))?Z", text, re.ASCII)
    if not match:
        raise ValueError(f"not a UTC time: {text[:40]!r}")
    whole = datetime.strptime(match.group(1), "%Y-%m-%dT%H:%M:%S")
    return whole.replace(
        microsecond=int((match.group(2) or "0").ljust(6, "0")), tzinfo=timezone.utc
    )
