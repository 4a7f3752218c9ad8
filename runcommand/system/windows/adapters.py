"""Network adapters, from the IP Helper functions, and their DHCP leases, from the registry."""

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
from . import registry
from .iphlpapi import AdapterRow, InterfaceRow
from .source import Source

INTERFACES = "SYSTEM\\CurrentControlSet\\Services\\Tcpip\\Parameters\\Interfaces"
# IFTYPE, ipifcons.h
KINDS = {6: "ethernet", 23: "ppp", 24: "loopback", 53: "virtual", 71: "wifi", 131: "tunnel"}
ETHERNET = 6
# The device class of NICs.
NETWORK = "SYSTEM\\CurrentControlSet\\Control\\Network\\{4D36E972-E325-11CE-BFC1-08002BE10318}"
ENUM = "SYSTEM\\CurrentControlSet\\Enum"
CONFIGFLAG_DISABLED = 0x1  # regstr.h
# IF_OPER_STATUS; the first two also in NET_IF_ADMIN_STATUS
UP, DOWN, NOT_PRESENT, LOWER_LAYER_DOWN = 1, 2, 6, 7
MEDIA_DISCONNECTED = 2  # NET_IF_MEDIA_CONNECT_STATE
FROM_DHCP = 3  # NL_SUFFIX_ORIGIN
DUPLICATE = 2  # NL_DAD_STATE
# In the registry when there is no lease.
NO_SERVER = ("0.0.0.0", "255.255.255.255")


def collect(source: Source, board: Board) -> Tuple[Adapter, ...]:
    rows = [_usable(row, board) for row in source.adapters()]
    leases = {row.index: _lease(source, row.guid) for row in rows}
    # in case a driver hangs one of the next calls
    board.draft("adapters", tuple(adapter(row, None, (), leases[row.index]) for row in rows))
    interfaces: Dict[int, InterfaceRow] = {}
    skipped: Sequence[Tuple[int, str]] = ()
    try:
        interfaces = {row.index: row for row in source.interfaces()}
    except NoFact as missing:
        unknown = "which of them are hardware, and disabled ones, are not known"
        board.note("adapters", f"{missing}; {unknown}")
    try:
        skipped = source.addresses_to_skip()
    except NoFact as missing:
        board.note("adapters", f"{missing}; SkipAsSource is not known")
    found = [adapter(row, interfaces.get(row.index), skipped, leases[row.index]) for row in rows]
    for interface in interfaces.values():
        if interface.index in leases:
            continue
        lease = _lease(source, interface.guid)
        if is_disabled(interface, lease, _device_is_disabled(source, interface.guid)):
            found.append(disabled(interface, lease))
    return tuple(found)


def _usable(row: AdapterRow, board: Board) -> AdapterRow:
    """The adapter without addresses that another machine has, which Windows does not use."""
    for item in row.addresses:
        if item.dad_state == DUPLICATE:
            board.note("adapters", f"{item.address} is not used: another machine has it too")
    usable = tuple(item for item in row.addresses if item.dad_state != DUPLICATE)
    return replace(row, addresses=usable)


def adapter(
    row: AdapterRow,
    interface: Optional[InterfaceRow],
    skipped: Sequence[Tuple[int, str]],
    lease: Mapping[str, Any],
) -> Adapter:
    """One adapter that has IPv4.

    :param skipped: (interface index, address) with SkipAsSource
    :param lease: the values of its key under ``Tcpip\\Parameters\\Interfaces``
    """
    dhcp = None
    if row.type == ETHERNET:
        dhcp = row.dhcp or lease.get("EnableDHCP") == 1
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
        dhcp=dhcp,
    )
    return with_lease(base, row.dhcp_server, lease)


def with_lease(adapter: Adapter, server: Optional[str], lease: Mapping[str, Any]) -> Adapter:
    """Adds the lease where DHCP is on. (When it is off, Windows keeps values of an old lease.)"""
    if not adapter.dhcp:
        return adapter
    gateways = map(_leased, registry.texts(lease.get("DhcpDefaultGateway")))
    return replace(
        adapter,
        dhcp_server=_leased(server) or _leased(lease.get("DhcpServer")),
        lease_address=_leased(lease.get("DhcpIPAddress")),
        lease_gateway=next(filter(None, gateways), None),
    )


def is_disabled(
    row: InterfaceRow, lease: Mapping[str, Any], device_is_disabled: Optional[bool]
) -> bool:
    """Whether an interface that no protocol is bound to is a NIC that an administrator disabled.

    Other such interfaces are NICs that are gone (Azure gave the VM new ones), and filter drivers'
    views of a NIC.

    :param device_is_disabled: whether the registry says so of its device; None: not known
    """
    if not row.hardware or row.filter or row.type != ETHERNET:
        return False
    has_mac = _mac(row.mac) is not None
    if device_is_disabled is None:
        return row.admin_status == DOWN and row.oper_status != NOT_PRESENT and has_mac
    return device_is_disabled and (has_mac or "EnableDHCP" in lease)


def _device_is_disabled(source: Source, guid: str) -> Optional[bool]:
    try:
        connection = source.values(f"{NETWORK}\\{guid}\\Connection")
        instance = registry.text(connection.get("PnpInstanceID"))
        if not instance:
            return None
        flags = source.values(f"{ENUM}\\{instance}").get("ConfigFlags", 0)
    except NoFact:
        return None
    if not isinstance(flags, int):
        return None
    return bool(flags & CONFIGFLAG_DISABLED)


def disabled(row: InterfaceRow, lease: Mapping[str, Any]) -> Adapter:
    """A NIC that an administrator disabled."""
    dhcp = None
    if "EnableDHCP" in lease:
        dhcp = lease["EnableDHCP"] == 1
    base = Adapter(
        row.index,
        row.name,
        row.description,
        physical=True,
        mac=_mac(row.mac),
        state=LinkState.DOWN,
        dhcp=dhcp,
    )
    return with_lease(base, None, lease)


def _state(oper_status: int, interface: Optional[InterfaceRow]) -> LinkState:
    if oper_status == UP:
        return LinkState.UP
    if interface is None or interface.admin_status == DOWN:
        return LinkState.DOWN
    is_disconnected = interface.media_connect_state == MEDIA_DISCONNECTED
    if is_disconnected or oper_status in (DOWN, LOWER_LAYER_DOWN):
        return LinkState.NO_CARRIER
    return LinkState.UNKNOWN


def _mac(address: bytes) -> Optional[Mac]:
    if len(address) != 6 or not any(address):
        return None
    return if_valid(parse_mac, address.hex())


def _leased(value: Any) -> Optional[Address]:
    found = if_valid(parse_address, registry.text(value))
    if found in NO_SERVER:
        return None
    return found


def _lease(source: Source, guid: str) -> Mapping[str, Any]:
    try:
        return source.values(f"{INTERFACES}\\{guid}")
    except NoFact:
        return {}
