"""Network adapters: ``GetAdaptersAddresses``, ``GetIfTable2``, ``GetUnicastIpAddressTable``, and
the lease in the registry.
"""

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
KINDS = {
    6: "ethernet",
    23: "ppp",
    24: "loopback",
    53: "virtual",
    71: "wifi",
    131: "tunnel",
}  # IFTYPE, ipifcons.h
ETHERNET = 6
# the class of NICs
NETWORK = "SYSTEM\\CurrentControlSet\\Control\\Network\\{4D36E972-E325-11CE-BFC1-08002BE10318}"
ENUM = "SYSTEM\\CurrentControlSet\\Enum"
CONFIGFLAG_DISABLED = 0x1  # regstr.h
UP, DOWN, NOT_PRESENT, LOWER_LAYER_DOWN = (
    1,
    2,
    6,
    7,
)  # IF_OPER_STATUS; the first two of NET_IF_ADMIN_STATUS
MEDIA_DISCONNECTED = 2  # NET_IF_MEDIA_CONNECT_STATE
FROM_DHCP = 3  # NL_SUFFIX_ORIGIN
DUPLICATE = 2  # NL_DAD_STATE
NO_SERVER = ("0.0.0.0", "255.255.255.255")  # what stands in the registry when there is no lease


def collect(board: Board) -> Tuple[Adapter, ...]:
    rows = [_usable(row, board) for row in iphlpapi.adapters()]
    leases = {row.index: _lease(row.guid) for row in rows}
    # what there is if a driver hangs the rest
    board.draft("adapters", tuple(adapter(row, None, (), leases[row.index]) for row in rows))
    interfaces: Dict[int, InterfaceRow] = {}
    skipped: Sequence[Tuple[int, str]] = ()
    try:
        interfaces = {row.index: row for row in iphlpapi.interfaces()}
    except NoFact as missing:
        board.note(
            "adapters", f"{missing}; which of them are hardware, and disabled ones, are not known"
        )
    try:
        skipped = iphlpapi.addresses_to_skip()
    except NoFact as missing:
        board.note("adapters", f"{missing}; SkipAsSource is not known")
    found = [adapter(row, interfaces.get(row.index), skipped, leases[row.index]) for row in rows]
    others = [(row, _lease(row.guid)) for row in interfaces.values() if row.index not in leases]
    off = [
        disabled(row, lease)
        for row, lease in others
        if is_disabled(row, lease, _device_is_disabled(row.guid))
    ]
    return (*found, *off)


def _usable(row: AdapterRow, board: Board) -> AdapterRow:
    """The adapter without the addresses that Windows leaves unused: another machine has them."""
    for item in row.addresses:
        if item.dad_state == DUPLICATE:
            board.note("adapters", f"{item.address} is not used: another machine has it too")
    return replace(
        row, addresses=tuple(item for item in row.addresses if item.dad_state != DUPLICATE)
    )


def adapter(
    row: AdapterRow,
    interface: Optional[InterfaceRow],
    skipped: Sequence[Tuple[int, str]],
    lease: Mapping[str, Any],
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
    """Adds what DHCP gave, where DHCP is on. (Windows leaves the values of an old lease in place
    when it is off.)
    """
    if not adapter.dhcp:
        return adapter
    gateways = [
        if_valid(parse_address, item) for item in registry.texts(lease.get("DhcpDefaultGateway"))
    ]
    return replace(
        adapter,
        dhcp_server=_leased(server) or _leased(lease.get("DhcpServer")),
        lease_address=_leased(lease.get("DhcpIPAddress")),
        lease_gateway=next((item for item in gateways if item and item not in NO_SERVER), None),
    )


def is_disabled(
    row: InterfaceRow, lease: Mapping[str, Any], device_is_disabled: Optional[bool]
) -> bool:
    """Whether an interface that no protocol is bound to is a NIC that an administrator disabled.

    Others of that kind are NICs that are no longer there (Azure gave the VM new ones), and filters'
    views of a NIC.

    :param device_is_disabled: what the registry says of its device; None: not known
    """
    if not row.hardware or row.filter or row.type != ETHERNET:
        return False
    if device_is_disabled is None:
        return (
            row.admin_status == DOWN
            and row.oper_status != NOT_PRESENT
            and _mac(row.mac) is not None
        )
    return device_is_disabled and (_mac(row.mac) is not None or "EnableDHCP" in lease)


def _device_is_disabled(guid: str) -> Optional[bool]:
    try:
        instance = registry.text(
            registry.values(f"{NETWORK}\\{guid}\\Connection").get("PnpInstanceID")
        )
        flags = registry.values(f"{ENUM}\\{instance}").get("ConfigFlags", 0) if instance else None
    except NoFact:
        return None
    return bool(flags & CONFIGFLAG_DISABLED) if isinstance(flags, int) else None


def disabled(row: InterfaceRow, lease: Mapping[str, Any]) -> Adapter:
    base = Adapter(
        row.index,
        row.name,
        row.description,
        physical=True,
        mac=_mac(row.mac),
        state=LinkState.DOWN,
        dhcp=lease["EnableDHCP"] == 1 if "EnableDHCP" in lease else None,
    )
    return with_lease(base, None, lease)


def _state(oper_status: int, interface: Optional[InterfaceRow]) -> LinkState:
    if oper_status == UP:
        return LinkState.UP
    if interface and interface.admin_status != DOWN:  # enabled
        has_no_link = interface.media_connect_state == MEDIA_DISCONNECTED or oper_status in (
            DOWN,
            LOWER_LAYER_DOWN,
        )
        return LinkState.NO_CARRIER if has_no_link else LinkState.UNKNOWN
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
