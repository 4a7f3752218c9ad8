"""Windows' adapters as ``route print`` and ``netsh interface ipv4 show ipaddresses`` list them,
which is what PowerShell in ConstrainedLanguage mode can bring.

Only numbers and the order are read: the words are in Windows' language.
"""

from __future__ import annotations

import re
from typing import Any, Callable, Dict, Iterable, List, Mapping, NamedTuple, Sequence, Tuple

from ..facts import if_valid, parse_address
from .windows.iphlpapi import AdapterRow, UnicastAddress

#  7...00 0d 3a 7f 20 04 ......Microsoft Hyper-V Network Adapter
_OF_ROUTE = re.compile(r"(\d{1,9})\.{3}((?:[0-9A-Fa-f]{2} ){6})?\.*(.*)")
# Interface 7: Ethernet
_OF_NETSH = re.compile(r"\S.*? (\d{1,9}) ?: ?(.*\S)")
_ADDRESS = re.compile(r"(?:^|.* )(\d{1,3}(?:\.\d{1,3}){3}) ?")
ETHERNET, LOOPBACK, TUNNEL = 6, 24, 131  # IFTYPE, ipifcons.h
UP, PREFERRED = 1, 4  # IF_OPER_STATUS, NL_DAD_STATE
MANUAL, FROM_DHCP = 1, 3  # NL_SUFFIX_ORIGIN
HOST_MASK, DEFAULT = "255.255.255.255", "0.0.0.0"
MULTICAST = "224.0.0.0"
GATEWAYS = 20  # of one address; Windows has no more


class Row(NamedTuple):
    """A row of ``route print``."""

    destination: str
    mask: str
    next_hop: str  # "": on-link
    interface: str  # its address


def adapters(
    lines: Sequence[str],
    rows: Sequence[Row],
    guids: Mapping[str, str],
    lease: Callable[[str], Mapping[str, Any]],
) -> List[AdapterRow]:
    """The adapters that both programs list.

    :param lines: of both programs, those with a number
    :param guids: by the names of adapters
    :param lease: the values of an adapter's key under ``Tcpip\\\\Parameters\\\\Interfaces``, by its
        GUID
    """
    hardware: Dict[int, Tuple[bytes, str]] = {}
    held: Dict[int, Dict[str, None]] = {}  # in order, each once
    names: Dict[int, str] = {}
    index = None
    for line in map(str.strip, lines):
        by_route, by_netsh = _OF_ROUTE.fullmatch(line), _OF_NETSH.fullmatch(line)
        address = _ADDRESS.fullmatch(line)
        if by_route:
            hardware[int(by_route[1])] = (bytes.fromhex(by_route[2] or ""), by_route[3].strip())
        elif address and index is not None:
            if if_valid(parse_address, address[1]):
                held[index][address[1]] = None
        elif by_netsh:
            index = int(by_netsh[1])
            names[index], held[index] = by_netsh[2], {}
    masks, next_hops = _masks(rows), _default_next_hops(rows)
    found: List[AdapterRow] = []
    for index, name in names.items():
        mac, description = hardware.get(index, (b"", ""))
        guid = guids.get(name, "")
        leased = lease(guid).get("DhcpIPAddress")
        addresses: List[UnicastAddress] = []
        gateways: List[str] = []
        for own in held[index]:
            addresses.append(_unicast(own, own == leased, masks.get(own, HOST_MASK)))
            gateways += next_hops.get(own, [])
        kind = _kind(mac, held[index])
        found.append(
            AdapterRow(
                index, guid, name, description, mac, kind, UP, 0, False, None,
                tuple(addresses), tuple(parse_address(gateway) for gateway in gateways),
            )
        )  # fmt: skip
    return found


def _default_next_hops(rows: Sequence[Row]) -> Dict[str, List[str]]:
    """The next hops of the default routes, by the addresses of interfaces; a few of each."""
    found: Dict[str, List[str]] = {}
    for row in rows:
        if row.next_hop and (row.destination, row.mask) == (DEFAULT, DEFAULT):
            of_one = found.setdefault(row.interface, [])
            if len(of_one) < GATEWAYS:
                of_one.append(row.next_hop)
    return found


def _masks(rows: Sequence[Row]) -> Dict[str, str]:
    """The mask of the on-link route that an address makes, by the address."""
    found: Dict[str, str] = {}
    for row in rows:
        if not row.next_hop and row.mask != HOST_MASK and row.destination != MULTICAST:
            found[row.interface] = row.mask
    return found


def _kind(mac: bytes, held: Iterable[str]) -> int:
    if any(address.startswith("127.") for address in held):
        return LOOPBACK
    if mac:
        return ETHERNET
    return TUNNEL


def _unicast(address: str, leased: bool, mask: str) -> UnicastAddress:
    origin = MANUAL
    if leased:
        origin = FROM_DHCP
    return UnicastAddress(parse_address(address), prefix_of(mask), origin, PREFERRED)


def prefix_of(mask: str) -> int:
    """The number of set bits."""
    return sum(bin(int(part)).count("1") for part in parse_address(mask).split("."))
