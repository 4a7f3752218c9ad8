"""Routes, policy routing rules and neighbours of this machine."""

from __future__ import annotations

from enum import Enum
from typing import Optional

from ..frozen import dataclass
from .addresses import Address, Cidr, Mac, NextHop
from .kinds import NicName, Phrase, TableName, Term


class RouteKind(str, Enum):
    """What a row does with a packet (rtnetlink's types; Windows knows only the first two)."""

    UNICAST = "unicast"
    LOCAL = "local"
    UNREACHABLE = "unreachable"
    BLACKHOLE = "blackhole"
    PROHIBIT = "prohibit"
    THROW = "throw"
    OTHER = "other"


@dataclass(frozen=True)
class Route:
    """One row of a routing table. A multipath route is one row for each of its next hops."""

    destination: Cidr
    gateway: Optional[NextHop] = None  # None: on-link
    interface: Optional[NicName] = None
    interface_index: Optional[int] = None
    metric: int = 0
    source: Optional[Address] = None
    table: TableName = "main"
    kind: RouteKind = RouteKind.UNICAST
    protocol: Optional[Phrase] = None
    dead: bool = False  # the kernel does not use it: its link is down


class RuleAction(str, Enum):
    """What a policy rule does with a packet that it matches."""

    TABLE = "table"
    UNREACHABLE = "unreachable"
    BLACKHOLE = "blackhole"
    PROHIBIT = "prohibit"
    OTHER = "other"


@dataclass(frozen=True)
class RoutingRule:
    """One policy routing rule (``ip rule``). What is None is not asked for."""

    priority: int
    source: Optional[Cidr] = None
    destination: Optional[Cidr] = None
    inverted: bool = False  # "not": it matches what the rest does not
    iif: Optional[NicName] = None
    oif: Optional[NicName] = None
    fwmark: Optional[Term] = None  # "0x10/0xff"
    uid_start: Optional[int] = None
    uid_end: Optional[int] = None
    ipproto: Optional[Term] = None
    sport: Optional[Term] = None
    dport: Optional[Term] = None  # "80", "1-1024"
    suppress_prefix_length: Optional[int] = None
    table: Optional[TableName] = None
    action: RuleAction = RuleAction.TABLE


@dataclass(frozen=True)
class Lookup:
    """What the system itself would do with a packet to ``destination`` (none is sent)."""

    destination: Address
    source: Optional[Address] = None
    error: Optional[Term] = None  # POSIX' name of what a connect would say: "ENETUNREACH", "EACCES"
    route: Optional[Route] = None  # the row that wins


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


@dataclass(frozen=True)
class Neighbour:
    address: NextHop
    interface: Optional[NicName] = None
    interface_index: Optional[int] = None
    mac: Optional[Mac] = None
    state: NeighbourState = NeighbourState.UNKNOWN


@dataclass(frozen=True)
class PersistentRoute:
    """A row of HKLM\\SYSTEM\\CurrentControlSet\\Services\\Tcpip\\Parameters\\PersistentRoutes."""

    destination: Cidr
    gateway: Address
    metric: int = 0
