"""Packet filters of either system."""

from __future__ import annotations

from dataclasses import field
from enum import Enum
from typing import Optional, Tuple

from ..frozen import dataclass
from .kinds import JSON_ONLY, MatchValue, Phrase, RuleLine, RuleName, Term


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


# begins a note on the firewall of Windows, whose rules were read
PROFILE_UNKNOWN = "the active profile is not known"


@dataclass(frozen=True)
class FirewallMatch:
    """One condition of a rule, which holds where the packet's field is (``negated``: is not) one of
    the values.

    Addresses are single, a network (``10.0.0.0/8``), a range (``10.0.0.1-10.0.0.9``) or one of
    Windows' keywords (``LocalSubnet``); ports are single or a range. A value that begins with ``@``
    stands for elements of a set that are left out: none of them holds an address of the platform.
    """

    field: MatchField
    values: Tuple[MatchValue, ...]
    negated: bool = False


@dataclass(frozen=True)
class FirewallRule:
    """A rule that could concern TCP to the platform's addresses, on either system."""

    id: Phrase  # the name of the registry value, nftables' handle, iptables' "-A OUTPUT ..."
    place: FirewallPlace
    action: RuleVerdict
    name: RuleName = ""  # Windows' display name, a comment
    chain: Optional[Phrase] = None  # Linux: the ``FirewallChain.id`` that it stands in
    # of a jump: ``FirewallChain.id``; of a redirection: where to; of a mark: "mark", "state";
    # of source NAT (action ``other``): "source 10.0.0.4", "source of the interface"
    target: Optional[Phrase] = None
    matches: Tuple[FirewallMatch, ...] = ()
    packets: Optional[int] = None  # that its counter has seen
    is_name_unique: bool = True  # Windows: no other rule has this display name
    provider: Optional[Phrase] = None  # of a filter of the Windows Filtering Platform


@dataclass(frozen=True)
class FirewallChain:
    """A chain of nftables or iptables. Without a hook it is reached by jumps only."""

    # family or program, table and chain: "inet filter output", "ip filter OUTPUT", "iptables-legacy
    # filter OUTPUT"
    id: Phrase
    place: FirewallPlace
    hook: Optional[Term] = None  # "output", "input", ...
    kind: Term = "filter"  # filter, nat, route
    priority: int = 0
    policy: RuleVerdict = RuleVerdict.ACCEPT


@dataclass(frozen=True)
class FirewallProfile:
    """A profile of the Windows firewall.

    What is None is not set; Windows then takes the firewall to be on, outbound allowed.
    """

    name: Term  # domain, private, public
    enabled: Optional[bool] = None
    active: Optional[bool] = None  # None: could not be found out
    default_outbound: Optional[RuleVerdict] = None
    default_place: FirewallPlace = FirewallPlace.LOCAL  # which policy says so
    local_rules: bool = True  # False: Group Policy switches local rules off (AllowLocalPolicyMerge)


@dataclass(frozen=True)
class Firewall:
    """What filters packets on this machine.

    ``rules`` are those that could match a packet to the platform, or its answer; ``lines`` are all
    that were read (``firewall/record.py``), so that a newer version can judge the run again.
    """

    rules: Tuple[FirewallRule, ...] = ()  # in their order
    chains: Tuple[FirewallChain, ...] = ()  # Linux
    profiles: Tuple[FirewallProfile, ...] = ()  # Windows
    active_from: Optional[Term] = None  # where the active profile was read
    sources: Tuple[Term, ...] = ()  # that were read: "nftables", "iptables", "local policy"
    rules_read: int = 0  # in all, with those left out
    # rules that could concern the platform and are left out all the same: nothing is certain then
    cut_off: int = 0
    lines: Tuple[RuleLine, ...] = field(default=(), metadata=JSON_ONLY)
    # that did not fit in the report
    lines_cut: int = field(default=0, metadata=JSON_ONLY)
