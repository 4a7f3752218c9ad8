"""IPv4 addresses, networks and MAC addresses."""

from __future__ import annotations

import ipaddress
import re
from functools import lru_cache
from typing import NewType

Address = NewType("Address", str)  # "10.0.0.4"
# the same, or IPv6: a next hop or neighbour of an IPv4 route may be one (RFC 5549)
NextHop = NewType("NextHop", str)
Cidr = NewType("Cidr", str)  # an IPv4 network: "169.254.0.0/16"
PrefixLength = NewType("PrefixLength", int)  # 0 to 32
Mac = NewType("Mac", str)  # "00-0D-3A-E5-1C-C0"
IMDS_ADDRESS = "169.254.169.254"
WIRESERVER_ADDRESS = "168.63.129.16"
PLATFORM_ADDRESSES = (IMDS_ADDRESS, WIRESERVER_ADDRESS)
HOST_PLUGIN_PORT = 32526
PROXY_AGENT_PORT = 3080  # Metadata Security Protocol's agent in the guest, on loopback
LINK_LOCAL = Cidr("169.254.0.0/16")  # RFC 3927
LOOPBACK = Cidr("127.0.0.0/8")


@lru_cache(maxsize=65536)
def network(cidr: str) -> ipaddress.IPv4Network:
    """A ``Cidr`` as an object to ask (host bits are masked away)."""
    return ipaddress.IPv4Network(cidr, strict=False)


def contains(cidr: str, address: str) -> bool:
    """Whether an IPv4 network holds an IPv4 address."""
    return _address(address) in network(cidr)


@lru_cache(maxsize=1024)  # few addresses are looked for in each of thousands of routes
def _address(address: str) -> ipaddress.IPv4Address:
    return ipaddress.IPv4Address(address)


def prefix_length(cidr: str) -> int:
    return int(cidr.rpartition("/")[2])


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
