"""Network adapters: ``ip -j addr`` and sysfs (without ``ip``: ``getifaddrs``), and what DHCP gave
them.
"""

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
    PrefixLength,
    contains,
    dict_of,
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
STATE_LIMIT = 64 * 1024  # bytes of what a manager says of one NIC


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
    return Adapter(
        index,
        name,
        kind=_kind(row, str(dict_of(row.get("linkinfo")).get("info_kind") or "")),
        mac=if_valid(parse_mac, row.get("address")) if row.get("link_type") == "ether" else None,
        state=_state("UP" in flags, "LOWER_UP" in flags or "NO-CARRIER" not in flags),
        master=row["master"] if isinstance(row.get("master"), str) else None,
        addresses=tuple(addresses),
    )


def _kind(row: Dict[str, Any], info_kind: str) -> str:
    if row.get("link_type") == "loopback":
        return "loopback"
    return info_kind or {"ether": "ethernet", "none": "tun"}.get(
        str(row.get("link_type")), str(row.get("link_type"))
    )


def _state(up: bool, carrier: bool) -> LinkState:
    return LinkState.DOWN if not up else LinkState.UP if carrier else LinkState.NO_CARRIER


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
        loopback = read(SYS_CLASS_NET / name / "type") == "772"  # ARPHRD_LOOPBACK
        yield Adapter(
            index,
            name,
            kind="loopback" if loopback else "ethernet",
            mac=None if loopback else if_valid(parse_mac, read(SYS_CLASS_NET / name / "address")),
            state=_state(bool(flags & 0x1), read(SYS_CLASS_NET / name / "carrier") != "0"),
            addresses=tuple(addresses.get(name, ())),
        )


def _number(name: str, file: str, otherwise: int) -> int:
    """A number that sysfs tells of an adapter, decimal or with 0x."""
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
        return replace(adapter, dhcp=True if dynamic else None)
    return replace(
        adapter,
        dhcp=True,
        dhcp_server=lease.server,
        lease_address=lease.address,
        lease_gateway=lease.gateway,
    )


def _with_manager(adapter: Adapter) -> Adapter:
    """Who looks after the NIC, from the run state that the two managers publish."""
    networkd = key_values(read(NETWORKD_LINKS / str(adapter.index), STATE_LIMIT) or "")
    if networkd.get("ADMIN_STATE") in ("configured", "configuring"):
        dhcp = adapter.dhcp or (
            False if networkd["ADMIN_STATE"] == "configured" else None
        )  # configured, and no lease
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
