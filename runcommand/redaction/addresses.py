"""Pseudonyms for addresses, which keep shared prefixes.

They are bijections with a secret key: two addresses that share a prefix still share one of that
length.

So routes, subnets and what is on-link keep their meaning (J. Xu et al., "Prefix-preserving IP
address anonymization", ICNP 2002). What everybody has (loopback, link-local, the platform's own
addresses, masks) keeps its name, and nothing else takes it.

What remains visible: which addresses lie in one network, whether they are private, the length of
each network, its first, second and last address, and between which powers of two an address lies in
its network (in a /29 that is nearly all). Of a MAC address: its vendor, and whether two of them
follow each other.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Dict, List, Optional, Set, Tuple

from ..facts import IMDS_ADDRESS, WIRESERVER_ADDRESS
from ..model.azure import AZURE_ARP_MAC
from .key import Key

# Networks whose addresses all keep their names.
EVERYBODYS = (
    "0.0.0.0/8",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "224.0.0.0/3",
    f"{IMDS_ADDRESS}/32",
    f"{WIRESERVER_ADDRESS}/32",
)
EVERYBODYS_6 = (
    "::/127",
    "ff01::/16",
    "ff02::/112",
    "ff02::1:0/112",
    "ff05::/16",
    "fe80::1234:5678:9abc/128",
)
# Those whose addresses remain in them: private ones (RFC 1918, 6598, 4193), global ones, link-local
# and solicited-node ones. And single addresses: the first of a network, a mask.
KEPT = (
    "10.0.0.0/8",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "100.64.0.0/10",
    "128.0.0.0/32",
    "192.0.0.0/32",
)
KEPT_6 = (
    "fc00::/8",
    "fd00::/8",
    "2000::/3",
    "fe80::/64",
    "ff02::1:ff00:0/104",
    "ff00::/128",
    "::ffff:0:0/96",
)
# Bits of a MAC address that stay: its vendor; of one that was given locally, only what says so.
VENDOR, LOCAL = 24, 8
LOCALLY_GIVEN = 0x02 << 40  # the bit that says so (IEEE 802)
FOUR = re.compile(r"([0-9]{1,3})\.([0-9]{1,3})\.([0-9]{1,3})\.([0-9]{1,3})")
STEP = 8  # bits that one digest tells the flips of


class PrefixMap:
    """A bijection of the numbers of some bits.

    A keyed function of the bits before it decides whether a bit is flipped.

    :param begin: the bits before it are never flipped
    """

    def __init__(self, bits: int, key: Key, begin: int = 0) -> None:
        self.bits, self._key, self._begin = bits, key, begin
        # nodes of the tree of prefixes (a 1, then the prefix) after which no bit is flipped
        self._still: Set[int] = set()
        self._flips: Dict[int, int] = {}
        self._same: List[Tuple[int, int]] = []

    def keep(self, value: int, length: int, begin: int = 0) -> None:
        """No flip on the way to the first ``length`` bits of ``value``, from bit ``begin`` on."""
        self._still.update(
            1 << depth | value >> self.bits - depth for depth in range(begin, length)
        )

    def keep_all(self, value: int, length: int) -> None:
        """All numbers with this prefix are mapped to themselves."""
        self.keep(value, length)
        self._same.append((self.bits - length, value >> self.bits - length))

    def keep_ends(self, value: int, length: int) -> None:
        """Keeps the first, second and last number with this prefix in their places."""
        rest = (1 << self.bits - length) - 1
        self.keep(value & ~rest, self.bits, length)
        self.keep(value | rest, self.bits, length)

    def __call__(self, value: int) -> int:
        if any(value >> shift == prefix for shift, prefix in self._same):
            return value
        mapped, node = 0, 1
        for left in range(self.bits - 1, -1, -1):
            bit = value >> left & 1
            depth = self.bits - 1 - left
            if depth % STEP == 0:
                flips, inner = self._tree(node), 1
            flipped = depth >= self._begin and node not in self._still and flips >> inner & 1
            mapped = mapped << 1 | bit ^ flipped
            node, inner = node << 1 | bit, inner << 1 | bit
        return mapped

    def _tree(self, node: int) -> int:
        """The flips of the next bits, by their place in the tree that begins at a node."""
        if node not in self._flips:
            self._flips[node] = int.from_bytes(
                self._key.digest(node.to_bytes(self.bits // 8 + 1, "big")), "big"
            )
        return self._flips[node]


class Addresses:
    """The maps of one report."""

    def __init__(self, key: Key) -> None:
        # what was asked for: thousands of routes have one gateway
        self._made: Dict[Tuple[str, Optional[int]], str] = {}
        self._four = PrefixMap(32, key.derived("IPv4"))
        self._six = PrefixMap(128, key.derived("IPv6"))
        self._mac = PrefixMap(48, key.derived("MAC"), VENDOR)
        self._local_mac = PrefixMap(48, key.derived("MAC"), LOCAL)
        for map, alike, kept in ((self._four, EVERYBODYS, KEPT), (self._six, EVERYBODYS_6, KEPT_6)):
            for network in (ipaddress.ip_network(text) for text in alike):
                map.keep_all(int(network.network_address), network.prefixlen)
            for network in (ipaddress.ip_network(text) for text in kept):
                map.keep(int(network.network_address), network.prefixlen)
        for mac in (AZURE_ARP_MAC, "00-00-00-00-00-00", "FF-FF-FF-FF-FF-FF"):
            for macs in (self._mac, self._local_mac):
                macs.keep(int(mac.replace("-", ""), 16), 48)

    def know(self, address: str, length: int) -> None:
        """A network of this VM.

        The pseudonyms of its first, second and last address keep their place, as a gateway's must.

        :param address: one of its addresses, IPv4 or IPv6; what is none is passed over
        """
        value, six = parse(address)
        numbers = self._numbers(six)
        if value is not None and 0 <= length <= numbers.bits:
            numbers.keep_ends(value, length)
            self._made.clear()

    def _numbers(self, six: bool) -> PrefixMap:
        """The map of the addresses of one version."""
        if six:
            return self._six
        return self._four

    def __call__(self, address: str, length: Optional[int] = None) -> str:
        """Another name for an IPv4 or IPv6 address; what is none stays.

        :param length: it stands for a network of this prefix length, if it is the first one of it
        """
        made = self._made.get((address, length))
        if made is None:
            made = self._made[address, length] = self._map(address, length)
        return made

    def _map(self, address: str, length: Optional[int]) -> str:
        value, six = parse(address)
        if value is None:
            return address
        if six and value >> 32 == 0xFFFF:  # IPv4-mapped (RFC 4291, 2.5.5.2)
            return f"::ffff:{self(str(ipaddress.IPv4Address(value & 0xFFFFFFFF)))}"
        numbers = self._numbers(six)
        mapped = numbers(value)
        if length is not None:
            rest = (1 << max(0, numbers.bits - length)) - 1
            if value & rest == 0:
                mapped &= ~rest
        if six:
            return str(ipaddress.IPv6Address(mapped))
        return str(ipaddress.IPv4Address(mapped))

    def network(self, cidr: str) -> str:
        """The same for ``10.0.0.0/24``; with a mask instead of the length, that stays."""
        address, slash, length = cidr.partition("/")
        mask, _ = parse(length)
        size = None
        if re.fullmatch("[0-9]{1,3}", length):
            size = int(length)
        elif mask is not None:
            size = f"{mask:b}".count("1")
        return self(address, size) + slash + length

    def mac(self, mac: str) -> str:
        """A pseudonym for a MAC address, in its own notation.

        The vendor's bytes stay where a vendor assigned the address.
        """
        number = int(re.sub("[^0-9A-Fa-f]", "", mac), 16)
        macs = self._mac
        if number & LOCALLY_GIVEN:
            macs = self._local_mac
        made = in_form_of(mac, f"{macs(number):012x}")
        if re.search("[A-F]", mac) or ("-" in mac and mac == mac.upper()):
            return made.upper()
        return made


def in_form_of(text: str, digits: str) -> str:
    """The digits with the separators that stand in a text of as many."""
    rest = iter(digits)
    made = list(text)
    for number, character in enumerate(text):
        if character.isalnum():
            made[number] = next(rest)
    return "".join(made)


def parse(address: str) -> Tuple[Optional[int], bool]:
    """An address as a number, None where it is none; and whether it is IPv6."""
    if ":" in address:
        try:
            return int(ipaddress.IPv6Address(address)), True
        except ValueError:
            return None, True
    match = FOUR.fullmatch(address)
    if match is None:
        return None, False
    one, two, three, four = map(int, match.groups())
    if max(one, two, three, four) > 255:
        return None, False
    return one << 24 | two << 16 | three << 8 | four, False
