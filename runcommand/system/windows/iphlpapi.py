"""The IP Helper functions of iphlpapi.dll: declarations, one call each, plain dataclasses out.

Structures are declared in full, with the names of iptypes.h, iprtrmib.h, ipmib.h, tcpmib.h,
netioapi.h and ws2ipdef.h (https://learn.microsoft.com/windows/win32/api/_iphlp/). Each function
raises ``NoFact`` where the system does not have it or it fails.
"""

from __future__ import annotations

import ctypes
import socket
import struct
import uuid
from ctypes import (
    POINTER,
    Structure,
    Union,
    byref,
    c_char_p,
    c_int,
    c_longlong,
    c_ubyte,
    c_ulonglong,
    c_void_p,
    c_wchar,
    c_wchar_p,
    sizeof,
)
from ctypes.wintypes import BOOL, DWORD, ULONG, USHORT
from typing import Any, Callable, Iterator, List, Optional, Tuple

from ...frozen import dataclass
from .dll import failed, function

DLL = "iphlpapi"
AF_INET = 2
NO_ERROR, ERROR_BUFFER_OVERFLOW, ERROR_INSUFFICIENT_BUFFER = 0, 111, 122
ERROR_NO_DATA, ERROR_NOT_FOUND = 232, 1168
GAA_FLAG_SKIP_ANYCAST, GAA_FLAG_SKIP_MULTICAST, GAA_FLAG_SKIP_DNS_SERVER = 0x2, 0x4, 0x8
GAA_FLAG_INCLUDE_GATEWAYS = 0x80
IP_ADAPTER_DHCP_ENABLED = 0x4
TCP_TABLE_OWNER_PID_ALL = 5
ULONG64, INT = c_ulonglong, c_int
GUID = c_ubyte * 16


# --- structures ---


class MIB_IPFORWARDROW(Structure):
    _fields_ = [
        ("dwForwardDest", DWORD),
        ("dwForwardMask", DWORD),
        ("dwForwardPolicy", DWORD),
        ("dwForwardNextHop", DWORD),
        ("dwForwardIfIndex", DWORD),
        ("dwForwardType", DWORD),
        ("dwForwardProto", DWORD),
        ("dwForwardAge", DWORD),
        ("dwForwardNextHopAS", DWORD),
        ("dwForwardMetric1", DWORD),
        ("dwForwardMetric2", DWORD),
        ("dwForwardMetric3", DWORD),
        ("dwForwardMetric4", DWORD),
        ("dwForwardMetric5", DWORD),
    ]


class MIB_IPNETROW(Structure):
    _fields_ = [
        ("dwIndex", DWORD),
        ("dwPhysAddrLen", DWORD),
        ("bPhysAddr", c_ubyte * 8),
        ("dwAddr", DWORD),
        ("dwType", DWORD),
    ]


class MIB_TCPROW_OWNER_PID(Structure):
    _fields_ = [
        ("dwState", DWORD),
        ("dwLocalAddr", DWORD),
        ("dwLocalPort", DWORD),
        ("dwRemoteAddr", DWORD),
        ("dwRemotePort", DWORD),
        ("dwOwningPid", DWORD),
    ]


class SOCKADDR_IN(Structure):
    _fields_ = [
        ("sin_family", USHORT),
        ("sin_port", USHORT),
        ("sin_addr", c_ubyte * 4),
        ("sin_zero", c_ubyte * 8),
    ]


class SOCKADDR_IN6(Structure):
    _fields_ = [
        ("sin6_family", USHORT),
        ("sin6_port", USHORT),
        ("sin6_flowinfo", ULONG),
        ("sin6_addr", c_ubyte * 16),
        ("sin6_scope_id", ULONG),
    ]


class SOCKADDR_INET(Union):
    _fields_ = [("Ipv4", SOCKADDR_IN), ("Ipv6", SOCKADDR_IN6), ("si_family", USHORT)]


class IP_ADDRESS_PREFIX(Structure):
    _fields_ = [("Prefix", SOCKADDR_INET), ("PrefixLength", c_ubyte)]


class MIB_IPFORWARD_ROW2(Structure):
    _fields_ = [
        ("InterfaceLuid", ULONG64),
        ("InterfaceIndex", ULONG),
        ("DestinationPrefix", IP_ADDRESS_PREFIX),
        ("NextHop", SOCKADDR_INET),
        ("SitePrefixLength", c_ubyte),
        ("ValidLifetime", ULONG),
        ("PreferredLifetime", ULONG),
        ("Metric", ULONG),
        ("Protocol", INT),
        ("Loopback", c_ubyte),
        ("AutoconfigureAddress", c_ubyte),
        ("Publish", c_ubyte),
        ("Immortal", c_ubyte),
        ("Age", ULONG),
        ("Origin", INT),
    ]


class MIB_UNICASTIPADDRESS_ROW(Structure):
    _fields_ = [
        ("Address", SOCKADDR_INET),
        ("InterfaceLuid", ULONG64),
        ("InterfaceIndex", ULONG),
        ("PrefixOrigin", INT),
        ("SuffixOrigin", INT),
        ("ValidLifetime", ULONG),
        ("PreferredLifetime", ULONG),
        ("OnLinkPrefixLength", c_ubyte),
        ("SkipAsSource", c_ubyte),
        ("DadState", INT),
        ("ScopeId", ULONG),
        ("CreationTimeStamp", c_longlong),
    ]


class MIB_IF_ROW2(Structure):
    _fields_ = [
        ("InterfaceLuid", ULONG64),
        ("InterfaceIndex", ULONG),
        ("InterfaceGuid", GUID),
        ("Alias", c_wchar * 257),
        ("Description", c_wchar * 257),
        ("PhysicalAddressLength", ULONG),
        ("PhysicalAddress", c_ubyte * 32),
        ("PermanentPhysicalAddress", c_ubyte * 32),
        ("Mtu", ULONG),
        ("Type", ULONG),
        ("TunnelType", INT),
        ("MediaType", INT),
        ("PhysicalMediumType", INT),
        ("AccessType", INT),
        ("DirectionType", INT),
        ("InterfaceAndOperStatusFlags", c_ubyte),
        ("OperStatus", INT),
        ("AdminStatus", INT),
        ("MediaConnectState", INT),
        ("NetworkGuid", GUID),
        ("ConnectionType", INT),
        ("TransmitLinkSpeed", ULONG64),
        ("ReceiveLinkSpeed", ULONG64),
        ("InOctets", ULONG64),
        ("InUcastPkts", ULONG64),
        ("InNUcastPkts", ULONG64),
        ("InDiscards", ULONG64),
        ("InErrors", ULONG64),
        ("InUnknownProtos", ULONG64),
        ("InUcastOctets", ULONG64),
        ("InMulticastOctets", ULONG64),
        ("InBroadcastOctets", ULONG64),
        ("OutOctets", ULONG64),
        ("OutUcastPkts", ULONG64),
        ("OutNUcastPkts", ULONG64),
        ("OutDiscards", ULONG64),
        ("OutErrors", ULONG64),
        ("OutUcastOctets", ULONG64),
        ("OutMulticastOctets", ULONG64),
        ("OutBroadcastOctets", ULONG64),
        ("OutQLen", ULONG64),
    ]


HARDWARE_INTERFACE, FILTER_INTERFACE = 0x01, 0x02  # bits of InterfaceAndOperStatusFlags


class SOCKET_ADDRESS(Structure):
    _fields_ = [("lpSockaddr", POINTER(SOCKADDR_IN)), ("iSockaddrLength", INT)]


class IP_ADAPTER_UNICAST_ADDRESS(Structure):
    pass


IP_ADAPTER_UNICAST_ADDRESS._fields_ = [
    ("Length", ULONG),
    ("Flags", DWORD),
    ("Next", POINTER(IP_ADAPTER_UNICAST_ADDRESS)),
    ("Address", SOCKET_ADDRESS),
    ("PrefixOrigin", INT),
    ("SuffixOrigin", INT),
    ("DadState", INT),
    ("ValidLifetime", ULONG),
    ("PreferredLifetime", ULONG),
    ("LeaseLifetime", ULONG),
    ("OnLinkPrefixLength", c_ubyte),
]


class IP_ADAPTER_GATEWAY_ADDRESS(Structure):
    pass


IP_ADAPTER_GATEWAY_ADDRESS._fields_ = [
    ("Length", ULONG),
    ("Reserved", DWORD),
    ("Next", POINTER(IP_ADAPTER_GATEWAY_ADDRESS)),
    ("Address", SOCKET_ADDRESS),
]


class IP_ADAPTER_ADDRESSES(Structure):
    pass


IP_ADAPTER_ADDRESSES._fields_ = [
    ("Length", ULONG),
    ("IfIndex", DWORD),
    ("Next", POINTER(IP_ADAPTER_ADDRESSES)),
    ("AdapterName", c_char_p),
    ("FirstUnicastAddress", POINTER(IP_ADAPTER_UNICAST_ADDRESS)),
    ("FirstAnycastAddress", c_void_p),
    ("FirstMulticastAddress", c_void_p),
    ("FirstDnsServerAddress", c_void_p),
    ("DnsSuffix", c_wchar_p),
    ("Description", c_wchar_p),
    ("FriendlyName", c_wchar_p),
    ("PhysicalAddress", c_ubyte * 8),
    ("PhysicalAddressLength", ULONG),
    ("Flags", ULONG),
    ("Mtu", ULONG),
    ("IfType", ULONG),
    ("OperStatus", INT),
    ("Ipv6IfIndex", DWORD),
    ("ZoneIndices", ULONG * 16),
    ("FirstPrefix", c_void_p),
    ("TransmitLinkSpeed", ULONG64),
    ("ReceiveLinkSpeed", ULONG64),
    ("FirstWinsServerAddress", c_void_p),
    ("FirstGatewayAddress", POINTER(IP_ADAPTER_GATEWAY_ADDRESS)),
    ("Ipv4Metric", ULONG),
    ("Ipv6Metric", ULONG),
    ("Luid", ULONG64),
    ("Dhcpv4Server", SOCKET_ADDRESS),
    ("CompartmentId", ULONG),
    ("NetworkGuid", GUID),
    ("ConnectionType", INT),
    ("TunnelType", INT),
    ("Dhcpv6Server", SOCKET_ADDRESS),
    ("Dhcpv6ClientDuid", c_ubyte * 130),
    ("Dhcpv6ClientDuidLength", ULONG),
    ("Dhcpv6Iaid", ULONG),
    ("FirstDnsSuffix", c_void_p),
]


# --- what comes out ---


@dataclass(frozen=True)
class ForwardRow:
    """A row of the IPv4 routing table.

    ``metric``: the route's and the interface's together, as Windows compares them.
    """

    destination: str
    mask: str
    next_hop: str
    index: int
    type: int  # MIB_IPROUTE_TYPE: 3 direct, 4 indirect
    protocol: int  # MIB_IPPROTO
    metric: int


@dataclass(frozen=True)
class UnicastAddress:
    address: str
    prefix: int
    suffix_origin: int  # NL_SUFFIX_ORIGIN: 1 manual, 3 DHCP, 4 link-layer address, 5 random
    dad_state: int  # NL_DAD_STATE: 2 duplicate, 4 preferred


@dataclass(frozen=True)
class AdapterRow:
    """An adapter that has IPv4."""

    index: int
    guid: str  # "{4D36E972-...}"
    name: str
    description: str
    mac: bytes
    type: int  # IFTYPE
    oper_status: int
    metric: int
    dhcp: bool
    dhcp_server: Optional[str]
    addresses: Tuple[UnicastAddress, ...]
    gateways: Tuple[str, ...]


@dataclass(frozen=True)
class InterfaceRow:
    """An interface, whether or not a protocol is bound to it."""

    index: int
    guid: str
    name: str
    description: str
    mac: bytes
    type: int
    hardware: bool
    filter: bool  # a filter driver's view of another interface
    oper_status: int  # IF_OPER_STATUS: 1 up, 2 down, 6 not present, 7 lower layer down
    admin_status: int  # NET_IF_ADMIN_STATUS: 1 up, 2 down
    media_connect_state: int  # NET_IF_MEDIA_CONNECT_STATE: 0 unknown, 1 connected, 2 disconnected


@dataclass(frozen=True)
class BestRoute:
    """What ``GetBestRoute2`` or ``GetBestRoute`` chooses.

    ``source`` is None where the older one was called.
    """

    destination: str
    prefix: int
    next_hop: str
    index: int
    metric: int
    source: Optional[str] = None


@dataclass(frozen=True)
class NeighbourRow:
    index: int
    address: str
    mac: bytes
    type: int  # MIB_IPNET_TYPE: 1 other, 2 invalid, 3 dynamic, 4 static


@dataclass(frozen=True)
class TcpRow:
    state: int  # MIB_TCP_STATE
    local_address: str
    local_port: int
    remote_address: str
    pid: int


# --- calls ---


def forward_table() -> List[ForwardRow]:
    """``GetIpForwardTable``."""
    call = function(DLL, "GetIpForwardTable", DWORD, c_void_p, POINTER(ULONG), BOOL)
    rows = _rows(
        "GetIpForwardTable", MIB_IPFORWARDROW, lambda buffer, size: call(buffer, size, True)
    )
    return [
        ForwardRow(
            _dotted(row.dwForwardDest),
            _dotted(row.dwForwardMask),
            _dotted(row.dwForwardNextHop),
            row.dwForwardIfIndex,
            row.dwForwardType,
            row.dwForwardProto,
            row.dwForwardMetric1,
        )
        for row in rows
    ]


def adapters() -> List[AdapterRow]:
    """``GetAdaptersAddresses`` for IPv4, with gateways."""
    call = function(
        DLL, "GetAdaptersAddresses", ULONG, ULONG, ULONG, c_void_p, c_void_p, POINTER(ULONG)
    )
    flags = (
        GAA_FLAG_SKIP_ANYCAST
        | GAA_FLAG_SKIP_MULTICAST
        | GAA_FLAG_SKIP_DNS_SERVER
        | GAA_FLAG_INCLUDE_GATEWAYS
    )
    buffer = _filled(
        "GetAdaptersAddresses", lambda buffer, size: call(AF_INET, flags, None, buffer, size)
    )
    if buffer is None:
        return []
    first = ctypes.cast(buffer, POINTER(IP_ADAPTER_ADDRESSES))
    return [_adapter_row(item) for item in _linked(first)]


def _adapter_row(item: IP_ADAPTER_ADDRESSES) -> AdapterRow:
    return AdapterRow(
        item.IfIndex,
        (item.AdapterName or b"").decode("ascii", "replace"),
        item.FriendlyName or "",
        item.Description or "",
        bytes(item.PhysicalAddress[: min(item.PhysicalAddressLength, 8)]),
        item.IfType,
        item.OperStatus,
        item.Ipv4Metric,
        bool(item.Flags & IP_ADAPTER_DHCP_ENABLED),
        _address(item.Dhcpv4Server),
        tuple(
            UnicastAddress(address, held.OnLinkPrefixLength, held.SuffixOrigin, held.DadState)
            for address, held in _with_addresses(item.FirstUnicastAddress)
        ),
        tuple(address for address, _ in _with_addresses(item.FirstGatewayAddress)),
    )


def _linked(entry: Any) -> Iterator[Any]:
    """The structures of a linked list, each of which points to the ``Next``."""
    while entry:
        yield entry.contents
        entry = entry.contents.Next


def _with_addresses(entry: Any) -> Iterator[Tuple[str, Any]]:
    """(IPv4 address, structure) of each that has one."""
    for item in _linked(entry):
        address = _address(item.Address)
        if address:
            yield address, item


def interfaces() -> List[InterfaceRow]:
    """``GetIfTable2``."""
    return [
        InterfaceRow(
            row.InterfaceIndex,
            "{" + str(uuid.UUID(bytes_le=bytes(row.InterfaceGuid))).upper() + "}",
            row.Alias,
            row.Description,
            bytes(row.PhysicalAddress[: min(row.PhysicalAddressLength, 32)]),
            row.Type,
            bool(row.InterfaceAndOperStatusFlags & HARDWARE_INTERFACE),
            bool(row.InterfaceAndOperStatusFlags & FILTER_INTERFACE),
            row.OperStatus,
            row.AdminStatus,
            row.MediaConnectState,
        )
        for row in _allocated_rows("GetIfTable2", MIB_IF_ROW2)
    ]


def addresses_to_skip() -> List[Tuple[int, str]]:
    """``GetUnicastIpAddressTable``: (interface index, address) of those with SkipAsSource."""
    rows = _allocated_rows("GetUnicastIpAddressTable", MIB_UNICASTIPADDRESS_ROW, AF_INET)
    return [(row.InterfaceIndex, _inet(row.Address)) for row in rows if row.SkipAsSource]


def best_route2(destination: str) -> BestRoute:
    """``GetBestRoute2``: the row and the source address that Windows would choose."""
    row_pointer, inet = POINTER(MIB_IPFORWARD_ROW2), POINTER(SOCKADDR_INET)
    call = function(
        DLL, "GetBestRoute2", DWORD, c_void_p, ULONG, inet, inet, ULONG, row_pointer, inet
    )
    to, source, row = SOCKADDR_INET(), SOCKADDR_INET(), MIB_IPFORWARD_ROW2()
    to.Ipv4.sin_family, to.Ipv4.sin_addr = AF_INET, (c_ubyte * 4)(*socket.inet_aton(destination))
    code = call(None, 0, None, byref(to), 0, byref(row), byref(source))
    if code != NO_ERROR:
        raise failed("GetBestRoute2", code)
    prefix = row.DestinationPrefix
    return BestRoute(
        _inet(prefix.Prefix),
        prefix.PrefixLength,
        _inet(row.NextHop),
        row.InterfaceIndex,
        row.Metric,
        _inet(source),
    )


def best_route(destination: str) -> BestRoute:
    """``GetBestRoute``: the row only."""
    call = function(DLL, "GetBestRoute", DWORD, DWORD, DWORD, POINTER(MIB_IPFORWARDROW))
    row = MIB_IPFORWARDROW()
    code = call(struct.unpack("=I", socket.inet_aton(destination))[0], 0, byref(row))
    if code != NO_ERROR:
        raise failed("GetBestRoute", code)
    return BestRoute(
        _dotted(row.dwForwardDest),
        bin(row.dwForwardMask).count("1"),
        _dotted(row.dwForwardNextHop),
        row.dwForwardIfIndex,
        row.dwForwardMetric1,
    )


def neighbours() -> List[NeighbourRow]:
    """``GetIpNetTable``: the ARP table."""
    call = function(DLL, "GetIpNetTable", ULONG, c_void_p, POINTER(ULONG), BOOL)
    rows = _rows("GetIpNetTable", MIB_IPNETROW, lambda buffer, size: call(buffer, size, True))
    return [
        NeighbourRow(
            row.dwIndex,
            _dotted(row.dwAddr),
            bytes(row.bPhysAddr[: min(row.dwPhysAddrLen, 8)]),
            row.dwType,
        )
        for row in rows
    ]


def tcp_table() -> List[TcpRow]:
    """``GetExtendedTcpTable``: IPv4 endpoints with the processes that own them."""
    call = function(
        DLL, "GetExtendedTcpTable", DWORD, c_void_p, POINTER(DWORD), BOOL, ULONG, INT, ULONG
    )
    rows = _rows(
        "GetExtendedTcpTable",
        MIB_TCPROW_OWNER_PID,
        lambda buffer, size: call(buffer, size, True, AF_INET, TCP_TABLE_OWNER_PID_ALL, 0),
    )
    return [
        TcpRow(
            row.dwState,
            _dotted(row.dwLocalAddr),
            socket.ntohs(row.dwLocalPort & 0xFFFF),
            _dotted(row.dwRemoteAddr),
            row.dwOwningPid,
        )
        for row in rows
    ]


def _filled(name: str, call: Callable[[Any, Any], int]) -> Any:
    """A buffer that a function filled, as large as it asks for; None where it has no data."""
    size = ULONG(16 * 1024)
    code = ERROR_INSUFFICIENT_BUFFER
    # the table may grow between two calls
    for _ in range(8):
        buffer = ctypes.create_string_buffer(max(size.value, 16))
        code = call(buffer, byref(size))
        if code == NO_ERROR:
            return buffer
        if code in (ERROR_NO_DATA, ERROR_NOT_FOUND):
            return None
        if code not in (ERROR_INSUFFICIENT_BUFFER, ERROR_BUFFER_OVERFLOW):
            break
    raise failed(name, code)


def _rows(name: str, row: Any, call: Callable[[Any, Any], int]) -> Any:
    """The rows of a table that begins with their number, in a buffer of ours."""
    buffer = _filled(name, call)
    if buffer is None:
        return ()
    room = (len(buffer) - sizeof(DWORD)) // sizeof(row)
    return (row * min(DWORD.from_buffer(buffer).value, room)).from_buffer(buffer, sizeof(DWORD))


def _allocated_rows(name: str, row: Any, *family: int) -> List[Any]:
    """Copies of the rows of a table that the system allocates (aligned to 8 bytes) and frees again.

    :param family: an ADDRESS_FAMILY, for the functions that take one
    """
    table = c_void_p()
    call = function(DLL, name, DWORD, *[USHORT for _ in family], POINTER(c_void_p))
    free = function(DLL, "FreeMibTable", None, c_void_p)
    code = call(*family, byref(table))
    if code == ERROR_NOT_FOUND:
        return []
    if code != NO_ERROR or not table.value:
        raise failed(name, code)
    try:
        number = ULONG.from_address(table.value).value
        rows = (row * number).from_address(table.value + 8)
        return [row.from_buffer_copy(item) for item in rows]
    finally:
        free(table)


def _dotted(number: int) -> str:
    """An address that Windows keeps in network order."""
    return socket.inet_ntoa(struct.pack("=I", number))


def _address(found: SOCKET_ADDRESS) -> Optional[str]:
    if not found.lpSockaddr or found.iSockaddrLength < 8:
        return None
    address = found.lpSockaddr.contents
    if address.sin_family != AF_INET:
        return None
    return socket.inet_ntoa(bytes(address.sin_addr))


def _inet(found: SOCKADDR_INET) -> str:
    return socket.inet_ntoa(bytes(found.Ipv4.sin_addr))
