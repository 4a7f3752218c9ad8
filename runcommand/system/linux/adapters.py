"""Network adapters: ``ip -j addr`` and sysfs (without ``ip``: ``getifaddrs``), and DHCP leases."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional, Tuple

from ...collect import Board, NoFact
from ...facts import (
    Adapter,
    InterfaceAddress,
    LinkState,
    Mac,
    PrefixLength,
    contains,
    dict_of,
    if_type,
    if_valid,
    list_of,
    parse_address,
    parse_mac,
)
from ..program import Programs
from . import getifaddrs, leases
from .files import key_values, read
from .iproute import ip, left_out

FILE_NAME = re.compile(r"[^/\0]{1,64}")
SYS_CLASS_NET = Path("/sys/class/net")
NETWORKD_LINKS = Path("/run/systemd/netif/links")
NETWORKMANAGER_DEVICES = Path("/run/NetworkManager/devices")
STATE_LIMIT = 64 * 1024  # bytes of a network manager's state file for one NIC
ARPHRD_LOOPBACK = "772"  # linux/if_arp.h


def collect(programs: Programs, board: Board) -> Tuple[Adapter, ...]:
    def note(text: str) -> None:
        board.note("adapters", text)

    try:
        rows = ip(programs, "-d", "addr", "show", note=note)
        found = [adapter for adapter in map(parse_adapter, rows) if adapter]
        if not found:  # there is always a loopback
            raise NoFact("ip -j addr: printed nothing that reads as an adapter")
        if len(found) < len(rows):
            note(f"ip -j addr: {left_out(len(rows) - len(found), len(rows))}")
    except NoFact as missing:
        found = list(_from_sysfs())
        if not found:
            raise missing
        note(f"{missing}; taken from {SYS_CLASS_NET} and the C library")
    known = leases.read_all(note)
    return tuple(_with_manager(_with_lease(_with_sysfs(adapter), known)) for adapter in found)


def parse_adapter(row: Dict[str, Any]) -> Optional[Adapter]:
    """One object of ``ip -j -d addr``."""
    name, index = row.get("ifname"), row.get("ifindex")
    if not isinstance(name, str) or not FILE_NAME.fullmatch(name) or type(index) is not int:
        return None
    flags = list_of(str, row.get("flags"))
    addresses = []
    for entry in list_of(dict, row.get("addr_info")):
        local = if_valid(parse_address, entry.get("local"))
        if local and entry.get("family") == "inet" and entry.get("prefixlen") in range(33):
            secondary, dynamic = entry.get("secondary") is True, entry.get("dynamic") is True
            addresses.append(
                InterfaceAddress(
                    local, PrefixLength(entry["prefixlen"]), secondary, dynamic=dynamic
                )
            )
    mac = None
    if row.get("link_type") == "ether":
        mac = if_valid(parse_mac, row.get("address"))
    return Adapter(
        index,
        name,
        kind=_kind(row, str(dict_of(row.get("linkinfo")).get("info_kind") or "")),
        mac=mac,
        state=_state("UP" in flags, "LOWER_UP" in flags or "NO-CARRIER" not in flags),
        master=if_type(str, row.get("master")),
        addresses=tuple(addresses),
    )


def _kind(row: Dict[str, Any], info_kind: str) -> str:
    link_type = str(row.get("link_type"))
    if link_type == "loopback":
        return "loopback"
    return info_kind or {"ether": "ethernet", "none": "tun"}.get(link_type, link_type)


def _state(is_up: bool, has_carrier: bool) -> LinkState:
    if not is_up:
        return LinkState.DOWN
    if not has_carrier:
        return LinkState.NO_CARRIER
    return LinkState.UP


def _from_sysfs() -> Iterator[Adapter]:
    """Adapters without ``ip``: names and states from sysfs, addresses from the C library."""
    addresses: Dict[str, List[InterfaceAddress]] = {}
    for name, address, prefix in getifaddrs.ipv4():
        held = addresses.setdefault(name, [])
        secondary = any(
            other.prefix == prefix and contains(f"{other.address}/{prefix}", address)
            for other in held
        )
        held.append(InterfaceAddress(address, PrefixLength(prefix), secondary))
    try:
        names = sorted(os.listdir(SYS_CLASS_NET))
    except OSError:
        names = sorted(addresses)
    for name in names:
        index, flags = _number(name, "ifindex", 0), _number(name, "flags", 0x1)
        if not index:
            continue  # bonding_masters and the like
        kind = "loopback"
        mac: Optional[Mac] = None
        if read(SYS_CLASS_NET / name / "type") != ARPHRD_LOOPBACK:
            kind = "ethernet"
            mac = if_valid(parse_mac, read(SYS_CLASS_NET / name / "address"))
        yield Adapter(
            index,
            name,
            kind=kind,
            mac=mac,
            state=_state(bool(flags & 0x1), read(SYS_CLASS_NET / name / "carrier") != "0"),
            addresses=tuple(addresses.get(name, ())),
        )


def _number(name: str, file: str, otherwise: int) -> int:
    """A number from an adapter's sysfs file, decimal or with 0x."""
    try:
        return int(read(SYS_CLASS_NET / name / file) or "", 0)
    except ValueError:
        return otherwise


def _with_sysfs(adapter: Adapter) -> Adapter:
    device = SYS_CLASS_NET / adapter.name / "device"
    try:
        driver: Optional[str] = os.path.basename(os.readlink(device / "driver"))
    except OSError:
        driver = None
    return replace(adapter, physical=device.exists(), driver=driver)


def _with_lease(adapter: Adapter, known: List[leases.Lease]) -> Adapter:
    lease = leases.of_adapter(known, adapter)
    if lease is None:
        dynamic = any(address.dynamic for address in adapter.addresses)
        return replace(adapter, dhcp=dynamic or None)
    return replace(
        adapter,
        dhcp=True,
        dhcp_server=lease.server,
        lease_address=lease.address,
        lease_gateway=lease.gateway,
    )


def _with_manager(adapter: Adapter) -> Adapter:
    """Adds the network manager of the NIC, from the run state that the two managers publish."""
    networkd = key_values(read(NETWORKD_LINKS / str(adapter.index), STATE_LIMIT) or "")
    if networkd.get("ADMIN_STATE") in ("configured", "configuring"):
        dhcp = adapter.dhcp
        # configured without a lease
        if not dhcp and networkd["ADMIN_STATE"] == "configured":
            dhcp = False
        return replace(
            adapter,
            managed_by="systemd-networkd",
            profile=networkd.get("NETWORK_FILE") or None,
            dhcp=dhcp,
        )
    manager = key_values(read(NETWORKMANAGER_DEVICES / str(adapter.index), STATE_LIMIT) or "")
    if manager.get("managed") in ("1", "true"):
        return replace(
            adapter, managed_by="NetworkManager", profile=manager.get("connection-uuid") or None
        )
    return adapter
