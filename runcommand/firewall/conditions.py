"""Whether a firewall rule's conditions hold for one packet: yes, no, or it cannot be said."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import (
    Callable,
    Dict,
    FrozenSet,
    Iterable,
    List,
    Mapping,
    Optional,
    Sequence,
    Tuple,
    Union,
)

from ..facts import (
    HOST_PLUGIN_PORT,
    IMDS_ADDRESS,
    PLATFORM_ADDRESSES,
    WIRESERVER_ADDRESS,
    FirewallMatch,
    FirewallRule,
    MatchField,
)

HTTP_PORT = 80
PROFILES = ("domain", "private", "public")
EPHEMERAL = (1024, 65535)  # where a client's own port lies, on any system and by any setting
EVERYBODY = re.compile(
    r"(?:O:\w+)?(?:G:\w+)?D:\w*(?:\(A;;CC;;;(?:WD|S-1-1-0)\))+"
)  # an SDDL that lets each user match
PROTOCOLS = {"tcp": True, "6": True, "all": True, "any": True, "256": True, "ip": True}


@dataclass(frozen=True)
class Packet:
    """A TCP packet of a client on this machine or an answer to it.

    What is None is not known. It begins without a mark.
    """

    source: Optional[str] = None
    destination: Optional[str] = None
    source_port: Optional[int] = None  # None: some client's port
    destination_port: Optional[int] = None
    interface_in: Optional[str] = None
    interface_out: Optional[str] = None
    state: str = "new"  # of connection tracking
    uid: Optional[int] = None
    is_marked: bool = False  # a rule may have written a mark
    is_untracked: bool = False  # a rule may have changed what connection tracking knows
    profiles: Optional[FrozenSet[str]] = None  # of the Windows firewall, active ones
    keywords: Mapping[str, bool] = field(
        default_factory=dict
    )  # Windows' words for addresses, in lower case: the remote one?


def request(address: str, port: int = HTTP_PORT) -> Packet:
    """The first packet of a connect to a service of the platform."""
    return Packet(destination=address, destination_port=port)


def reply(address: str, port: int = HTTP_PORT) -> Packet:
    """What comes back."""
    return Packet(source=address, source_port=port, state="established")


PORTS = {
    IMDS_ADDRESS: (HTTP_PORT,),
    WIRESERVER_ADDRESS: (HTTP_PORT, HOST_PLUGIN_PORT),
}  # that the platform listens on
PLACES = tuple((address, port) for address, ports in PORTS.items() for port in ports)
# Whatever may have been done to them on the way.
REQUESTS = tuple(
    replace(request(address, port), is_marked=True, is_untracked=True) for address, port in PLACES
)
REPLIES = tuple(
    replace(reply(address, port), is_marked=True, is_untracked=True) for address, port in PLACES
)


def could_hold(matches: Sequence[FirewallMatch], packets: Iterable[Packet]) -> bool:
    """Whether conditions could hold for one of some packets."""
    return any(all(holds(match, packet) is not False for match in matches) for packet in packets)


def applies(rule: FirewallRule, packet: Packet) -> Optional[bool]:
    """Whether all conditions of a rule hold.

    None: at least one cannot be decided, and no other fails.
    """
    answers = [holds(match, packet) for match in rule.matches]
    return False if False in answers else None if None in answers else True


def undecided(rule: FirewallRule, packet: Packet) -> Tuple[FirewallMatch, ...]:
    """The conditions of a rule that cannot be decided."""
    return tuple(match for match in rule.matches if holds(match, packet) is None)


def holds(match: FirewallMatch, packet: Packet) -> Optional[bool]:
    """Whether one condition holds for a packet; None: it cannot be said."""
    if match.field is MatchField.PROFILE:
        return _profile(match.values, packet)
    answers: List[Optional[bool]] = [_FIELDS[match.field](value, packet) for value in match.values]
    found = True if True in answers else None if None in answers else False
    return found if found is None or not match.negated else not found


def _address(value: str, address: Optional[str], keywords: Mapping[str, bool]) -> Optional[bool]:
    word = value.lower()
    if word in ("any", "*"):
        return True
    if word in keywords:
        return keywords[word]
    if value.startswith("@"):  # elements of a set that hold no address of the platform
        return False if address in PLATFORM_ADDRESSES else None
    try:
        first, last = ends(value)
    except ValueError:
        return None
    if first.version != 4:
        return False
    if address is None:
        return None
    return int(first) <= int(ipaddress.IPv4Address(address)) <= int(last)


IpAddress = Union[ipaddress.IPv4Address, ipaddress.IPv6Address]


@lru_cache(maxsize=65536)
def ends(value: str) -> Tuple[IpAddress, IpAddress]:
    """The first and the last address of a single one, a network or a range.

    Raises ``ValueError``.
    """
    if "-" in value:
        low, high = map(ipaddress.ip_address, value.split("-", 1))
        if low.version != high.version:
            raise ValueError("a range of two kinds of addresses")
        return low, high
    net = ipaddress.ip_network(value, strict=False)
    return net[0], net[-1]


def _port(value: str, port: Optional[int]) -> Optional[bool]:
    match = re.fullmatch(r"(\d{1,5})(?:[-:](\d{1,5}))?", value, re.ASCII)
    if not match:
        return None
    first = int(match.group(1))
    last = int(match.group(2) or first)
    if port is not None:
        return first <= port <= last
    if last < EPHEMERAL[0] or first > EPHEMERAL[1]:
        return False
    return True if first <= EPHEMERAL[0] and last >= EPHEMERAL[1] else None


def _interface(value: str, name: Optional[str]) -> Optional[bool]:
    if name is None:
        return None
    if value[-1:] in ("*", "+"):
        return name.startswith(value[:-1])
    return value == name


def _protocol(value: str, packet: Packet) -> Optional[bool]:
    return PROTOCOLS.get(value.lower(), False)


FLAGS = {
    "new": ({"syn"},),
    "established": ({"syn", "ack"}, {"ack"}, {"ack", "psh"}),
}  # of a request's packets, of an answer's


def _flags(value: str, packet: Packet) -> Optional[bool]:
    mask, _, wanted = (part.lower() for part in value.partition("/"))
    looked_at, are_set = set(mask.split(",")), set(wanted.split(",")) - {"", "none"}
    answers = {flags & looked_at == are_set for flags in FLAGS.get(packet.state, ())}
    return answers.pop() if len(answers) == 1 else None


def _user(value: str, packet: Packet) -> Optional[bool]:
    if EVERYBODY.fullmatch(value):
        return True
    if packet.uid is None or packet.state != "new":  # an answer belongs to no user
        return None
    text = "0" if value == "root" else value
    match = re.fullmatch(r"(\d{1,10})(?:[-:](\d{1,10}))?", text, re.ASCII)
    return (
        int(match.group(1)) <= packet.uid <= int(match.group(2) or match.group(1))
        if match
        else None
    )


def _profile(values: Sequence[str], packet: Packet) -> Optional[bool]:
    """Where several profiles are active, each for networks of its own, one of them decides for
    IMDS's, and it is not known which.
    """
    if set(values) >= set(PROFILES):
        return True
    if packet.profiles is None:
        return None
    hit = [profile in values for profile in packet.profiles]
    return True if hit and all(hit) else None if any(hit) else False


def _mark(value: str, packet: Packet) -> Optional[bool]:
    try:
        return None if packet.is_marked else int(value.partition("/")[0], 0) == 0
    except ValueError:
        return None


def _unknown(value: str, packet: Packet) -> Optional[bool]:
    return None


_FIELDS: Dict[MatchField, Callable[[str, Packet], Optional[bool]]] = {
    MatchField.PROTOCOL: _protocol,
    MatchField.SOURCE: lambda value, packet: _address(value, packet.source, {}),
    MatchField.DESTINATION: lambda value, packet: _address(
        value, packet.destination, packet.keywords
    ),
    MatchField.SOURCE_PORT: lambda value, packet: _port(value, packet.source_port),
    MatchField.DESTINATION_PORT: lambda value, packet: _port(value, packet.destination_port),
    MatchField.INTERFACE_IN: lambda value, packet: _interface(value, packet.interface_in),
    MatchField.INTERFACE_OUT: lambda value, packet: _interface(value, packet.interface_out),
    MatchField.INTERFACE_TYPE: lambda value, packet: (
        value.lower() == "lan"
    ),  # what a NIC in Azure is
    MatchField.DESTINATION_TYPE: lambda value, packet: (
        value.lower() == "unicast" if packet.state == "new" else None
    ),
    MatchField.TCP_FLAGS: _flags,
    MatchField.STATE: lambda value, packet: (
        None if packet.is_untracked else value.lower() == packet.state
    ),
    MatchField.USER: _user,
    MatchField.GROUP: _user,
    MatchField.MARK: _mark,
    MatchField.PROGRAM: _unknown,
    MatchField.SERVICE: _unknown,
    MatchField.PACKAGE: _unknown,
    MatchField.OTHER: _unknown,
}
