"""Network adapters: ``GetAdaptersAddresses``, ``GetIfTable2``, ``GetUnicastIpAddressTable``, and the lease in the registry."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Dict, Mapping, Optional, Sequence, Tuple

from ...collect import Board, NoFact
from ...facts import (
    Adapter,
    Address,
    InterfaceAddress,
    LinkState,
    Mac,
    PrefixLength,
    if_valid,
    parse_address,
    parse_mac,
)
from . import iphlpapi, registry
from .iphlpapi import AdapterRow, InterfaceRow

INTERFACES = "SYSTEM\\CurrentControlSet\\Services\\Tcpip\\Parameters\\Interfaces"
KINDS = {6: "ethernet", 23: "ppp", 24: "loopback", 53: "virtual", 71: "wifi", 131: "tunnel"}  # IFTYPE, ipifcons.h
ETHERNET = 6
UP, DOWN = 1, 2  # IF_OPER_STATUS and NET_IF_ADMIN_STATUS
MEDIA_DISCONNECTED = 2  # NET_IF_MEDIA_CONNECT_STATE
FROM_DHCP = 3  # NL_SUFFIX_ORIGIN
NO_SERVER = ("0.0.0.0", "255.255.255.255")  # what stands in the registry when there is no lease


def collect(board: Board) -> Tuple[Adapter, ...]:
    rows = iphlpapi.adapters()
    interfaces: Dict[int, InterfaceRow] = {}
    skipped: Sequence[Tuple[int, str]] = ()
    try:
        interfaces = {row.index: row for row in iphlpapi.interfaces()}
    except NoFact as missing:
        board.note("adapters", f"{missing}; which of them are hardware, and disabled ones, are not known")
    try:
        skipped = iphlpapi.addresses_to_skip()
    except NoFact as missing:
        board.note("adapters", f"{missing}; SkipAsSource is not known")
    found = [adapter(row, interfaces.get(row.index), skipped, _lease(row.guid)) for row in rows]
    off = [disabled(row, _lease(row.guid)) for row in interfaces.values() if is_disabled(row, rows)]
    return (*found, *off)


def adapter(
    row: AdapterRow, interface: Optional[InterfaceRow], skipped: Sequence[Tuple[int, str]], lease: Mapping[str, Any]
) -> Adapter:
    """One adapter that has IPv4.

    :param skipped: (interface index, address) of those that are no source addresses
    :param lease: the values of its key under ``Tcpip\\Parameters\\Interfaces``
    """
    addresses = tuple(
        InterfaceAddress(
            Address(item.address),
            PrefixLength(min(item.prefix, 32)),
            skip_as_source=(row.index, item.address) in skipped,
            dynamic=item.suffix_origin == FROM_DHCP,
        )
        for item in row.addresses
    )
    base = Adapter(
        row.index,
        row.name,
        row.description,
        KINDS.get(row.type, f"type {row.type}"),
        bool(interface and interface.hardware),
        _mac(row.mac),
        _state(row.oper_status, interface),
        metric=row.metric,
        addresses=addresses,
        gateways=tuple(Address(gateway) for gateway in dict.fromkeys(row.gateways)),
        dhcp=row.dhcp or lease.get("EnableDHCP") == 1 if row.type == ETHERNET else None,
    )
    return with_lease(base, row.dhcp_server, lease)


def with_lease(adapter: Adapter, server: Optional[str], lease: Mapping[str, Any]) -> Adapter:
    """Adds what DHCP gave, where DHCP is on. (Windows leaves the values of an old lease in place when it is off.)"""
    if not adapter.dhcp:
        return adapter
    gateways = [if_valid(parse_address, item) for item in registry.texts(lease.get("DhcpDefaultGateway"))]
    return replace(
        adapter,
        dhcp_server=_leased(server) or _leased(lease.get("DhcpServer")),
        lease_address=_leased(lease.get("DhcpIPAddress")),
        lease_gateway=next((item for item in gateways if item and item not in NO_SERVER), None),
    )


def is_disabled(row: InterfaceRow, rows: Sequence[AdapterRow]) -> bool:
    """Whether it is a NIC that an administrator disabled: no protocol is bound to it, so only the interface table has it."""
    is_nic = row.hardware and not row.filter and row.type == ETHERNET and _mac(row.mac) is not None
    return is_nic and row.admin_status == DOWN and row.index not in {bound.index for bound in rows}


def disabled(row: InterfaceRow, lease: Mapping[str, Any]) -> Adapter:
    base = Adapter(
        row.index,
        row.name,
        row.description,
        physical=True,
        mac=_mac(row.mac),
        state=LinkState.DOWN,
        dhcp=lease.get("EnableDHCP") == 1,
    )
    return with_lease(base, None, lease)


def _state(oper_status: int, interface: Optional[InterfaceRow]) -> LinkState:
    if oper_status == UP:
        return LinkState.UP
    if interface and interface.admin_status != DOWN and interface.media_connect_state == MEDIA_DISCONNECTED:
        return LinkState.NO_CARRIER
    return LinkState.DOWN


def _mac(address: bytes) -> Optional[Mac]:
    return if_valid(parse_mac, address.hex()) if len(address) == 6 and any(address) else None


def _leased(value: Any) -> Optional[Address]:
    found = if_valid(parse_address, registry.text(value))
    return None if found in NO_SERVER else found


def _lease(guid: str) -> Mapping[str, Any]:
    try:
        return registry.values(f"{INTERFACES}\\{guid}")
    except NoFact:
        return {}
