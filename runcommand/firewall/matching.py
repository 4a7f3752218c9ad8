"""Whether the conditions of a firewall rule hold for a packet: yes, no, or undecided."""

from __future__ import annotations

import ipaddress
import re
from functools import lru_cache
from typing import Any, Callable, Dict, Iterable, Optional, Sequence, Tuple, Union

from ..facts import PLATFORM_ADDRESSES, FirewallMatch, FirewallRule, MatchField
from .packet import Packet

PROFILES = ("domain", "private", "public")
# Where a client's own port lies, on any system and by any setting.
EPHEMERAL = (1024, 65535)
# An SDDL that lets every user match.
EVERYBODY = re.compile(r"(?:O:\w+)?(?:G:\w+)?D:\w*(?:\(A;;CC;;;(?:WD|S-1-1-0)\))+")
PROTOCOLS = ("tcp", "6", "all", "any", "256", "ip")
# The TCP flags of a request's packets, and of an answer's.
FLAGS = {"new": ({"syn"},), "established": ({"syn", "ack"}, {"ack"}, {"ack", "psh"})}
NUMBERS = re.compile(r"(\d{1,10})(?:[-:](\d{1,10}))?", re.ASCII)

IpAddress = Union[ipaddress.IPv4Address, ipaddress.IPv6Address]


def could_match(conditions: Sequence[FirewallMatch], packets: Iterable[Packet]) -> bool:
    """Whether the conditions could all hold for at least one of the packets."""
    for packet in packets:
        if all(holds(condition, packet) is not False for condition in conditions):
            return True
    return False


def matches(rule: FirewallRule, packet: Packet) -> Optional[bool]:
    """Whether all conditions of a rule hold.

    None: at least one is undecided, and no other fails.
    """
    return _all_of([holds(condition, packet) for condition in rule.matches])


def undecided(rule: FirewallRule, packet: Packet) -> Tuple[FirewallMatch, ...]:
    """The conditions of a rule that are undecided for a packet."""
    return tuple(condition for condition in rule.matches if holds(condition, packet) is None)


def holds(condition: FirewallMatch, packet: Packet) -> Optional[bool]:
    """Whether one condition holds for a packet; None: undecided."""
    if condition.field is MatchField.PROFILE:
        return _profile(condition.values, packet)
    look_at = _FIELDS.get(condition.field, _unknown)
    found = _any_of([look_at(value, packet) for value in condition.values])
    if found is None:
        return None
    return found is not condition.negated


def _all_of(answers: Sequence[Optional[bool]]) -> Optional[bool]:
    if False in answers:
        return False
    if None in answers:
        return None
    return True


def _any_of(answers: Sequence[Optional[bool]]) -> Optional[bool]:
    if True in answers:
        return True
    if None in answers:
        return None
    return False


def _destination(value: str, packet: Packet) -> Optional[bool]:
    known = packet.keywords.get(value.lower())
    if known is not None:
        return known
    return _address(value, packet.destination)


def _address(value: str, address: Optional[str]) -> Optional[bool]:
    if value.lower() in ("any", "*"):
        return True
    # the rest of a set, without any address of the platform
    if value.startswith("@"):
        if address in PLATFORM_ADDRESSES:
            return False
        return None
    try:
        first, last = ends(value)
    except ValueError:
        return None
    if first.version != 4:
        return False
    if address is None:
        return None
    return int(first) <= int(ends(address)[0]) <= int(last)


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
    if first <= EPHEMERAL[0] and last >= EPHEMERAL[1]:
        return True
    return None


def _interface(value: str, name: Optional[str]) -> Optional[bool]:
    if name is None:
        return None
    if value[-1:] in ("*", "+"):
        return name.startswith(value[:-1])
    return value == name


def _interface_type(value: str, packet: Packet) -> Optional[bool]:
    # a NIC in Azure is an Ethernet adapter
    return value.lower() == "lan"


def _destination_type(value: str, packet: Packet) -> Optional[bool]:
    if packet.state != "new":
        return None
    return value.lower() == "unicast"


def _protocol(value: str, packet: Packet) -> Optional[bool]:
    return value.lower() in PROTOCOLS


def _flags(value: str, packet: Packet) -> Optional[bool]:
    mask, _, wanted = (part.lower() for part in value.partition("/"))
    looked_at, are_set = set(mask.split(",")), set(wanted.split(",")) - {"", "none"}
    answers = {flags & looked_at == are_set for flags in FLAGS.get(packet.state, ())}
    if len(answers) == 1:
        return answers.pop()
    return None


def _state(value: str, packet: Packet) -> Optional[bool]:
    if packet.is_untracked:
        return None
    return value.lower() == packet.state


def _user(value: str, packet: Packet) -> Optional[bool]:
    if EVERYBODY.fullmatch(value):
        return True
    # an answer belongs to no user
    if packet.uid is None or packet.state != "new":
        return None
    if value == "root":
        value = "0"
    match = NUMBERS.fullmatch(value)
    if not match:
        return None
    first = int(match.group(1))
    return first <= packet.uid <= int(match.group(2) or first)


def _profile(values: Sequence[str], packet: Packet) -> Optional[bool]:
    """Whether a profile applies to the packet.

    Several may be active, each for its own networks. One applies to IMDS, and it is not known
    which.
    """
    if set(values) >= set(PROFILES):
        return True
    if packet.profiles is None:
        return None
    hit = [profile in values for profile in packet.profiles]
    if not any(hit):
        return False
    if all(hit):
        return True
    return None


def _mark(value: str, packet: Packet) -> Optional[bool]:
    if packet.is_marked:
        return None
    try:
        return int(value.partition("/")[0], 0) == 0
    except ValueError:
        return None


def _unknown(value: str, packet: Packet) -> Optional[bool]:
    return None


Look = Callable[[str, Packet], Optional[bool]]


def _of(name: str, look: Callable[[str, Any], Optional[bool]]) -> Look:
    """Looks at one field of the packet."""
    return lambda value, packet: look(value, getattr(packet, name))


# A program, a service, an app or what this version does not know is undecided.
_FIELDS: Dict[MatchField, Look] = {
    MatchField.PROTOCOL: _protocol,
    MatchField.SOURCE: _of("source", _address),
    MatchField.DESTINATION: _destination,
    MatchField.SOURCE_PORT: _of("source_port", _port),
    MatchField.DESTINATION_PORT: _of("destination_port", _port),
    MatchField.INTERFACE_IN: _of("interface_in", _interface),
    MatchField.INTERFACE_OUT: _of("interface_out", _interface),
    MatchField.INTERFACE_TYPE: _interface_type,
    MatchField.DESTINATION_TYPE: _destination_type,
    MatchField.TCP_FLAGS: _flags,
    MatchField.STATE: _state,
    MatchField.USER: _user,
    MatchField.GROUP: _user,
    MatchField.MARK: _mark,
}
