"""What DHCP gave each NIC, from the files in which the usual clients keep it."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Callable, Dict, Iterable, Iterator, List, Optional, Tuple

from ...facts import Adapter, Address, if_valid, parse_address
from .files import key_values, read


@dataclass(frozen=True)
class Lease:
    """One lease. It belongs to the adapter of ``index`` or, where that is None, of ``interface``."""

    interface: Optional[str]
    index: Optional[int]
    address: Optional[Address]
    server: Optional[Address]
    gateway: Optional[Address]
    current: bool = False  # of a manager that runs now; the others are files that may be of another time


def of_adapter(leases: Iterable[Lease], adapter: Adapter) -> Optional[Lease]:
    """The lease of an adapter: a running manager's, else the newest file whose address the adapter still holds.

    An image, a moved disk or a DHCP client that is no longer used leave lease files behind that are of no meaning.
    """
    held = {address.address for address in adapter.addresses}
    for lease in leases:
        own = lease.index == adapter.index if lease.index else lease.interface == adapter.name
        if own and (lease.current or lease.address in held):
            return lease
    return None


def read_all() -> List[Lease]:
    """Every lease that this machine's files tell of, the running managers' first, then the newest first."""
    current = [
        *_each("/run/systemd/netif/leases", "[0-9]*", _networkd),
        *_each("/run/NetworkManager/devices", "[0-9]*", _networkmanager),
    ]
    stored = [
        *_each("/var/lib/NetworkManager", "internal-*.lease", _networkd),
        *_each("/var/lib/NetworkManager", "dhclient-*.lease", _dhclient),
        *_each("/var/lib/dhcp", "*.lease*", _dhclient),
        *_each("/var/lib/dhclient", "*.lease*", _dhclient),
        *_each("/var/lib/wicked", "lease-*-dhcp-ipv4.xml", _wicked),
    ]
    stored.sort(key=lambda found: -found[0])
    return [replace(lease, current=True) for _, lease in current] + [lease for _, lease in stored]


def _each(folder: str, pattern: str, parse: Callable[[Path, str], Iterator[Lease]]) -> Iterator[Tuple[float, Lease]]:
    """(time of the file, lease)"""
    try:
        paths = sorted(Path(folder).glob(pattern))
    except OSError:
        return
    for path in paths[:1000]:
        text = read(path)
        try:
            changed = path.stat().st_mtime
        except OSError:
            changed = 0.0
        for lease in parse(path, text) if text else ():
            yield changed, lease


def _networkd(path: Path, text: str) -> Iterator[Lease]:
    """systemd-networkd's lease, named by the index; NetworkManager's internal client writes the same, by UUID and name."""
    values = key_values(text)
    interface = None if path.name.isdigit() else _after_uuid(path.stem)
    index = int(path.name) if path.name.isdigit() else None
    yield _lease(interface, index, values.get("ADDRESS"), values.get("SERVER_ADDRESS"), values.get("ROUTER"))


def _networkmanager(path: Path, text: str) -> Iterator[Lease]:
    """NetworkManager's run state of a device, which holds the DHCP options."""
    values = {key.rpartition("dhcp4.")[2]: value for key, value in key_values(text).items()}
    if "dhcp_server_identifier" in values:
        found = (values.get(key) for key in ("ip_address", "dhcp_server_identifier", "routers"))
        yield _lease(None, int(path.name), *found)


def _dhclient(path: Path, text: str) -> Iterator[Lease]:
    """ISC dhclient: a file holds many leases, the last of an interface counts."""
    last: Dict[str, Lease] = {}
    for block in re.findall(r"lease\s*\{([^}]*)\}", text):
        name = _match(r'interface\s+"([^"]*)"', block)
        if name:
            last[name] = _lease(
                name,
                None,
                _match(r"fixed-address\s+([\d.]+)", block),
                _match(r"option\s+dhcp-server-identifier\s+([\d.]+)", block),
                _match(r"option\s+routers\s+([\d.]+)", block),
            )
    yield from last.values()


def _wicked(path: Path, text: str) -> Iterator[Lease]:
    """wicked (SUSE): XML; only these elements are looked for."""
    yield _lease(
        path.name[len("lease-") : -len("-dhcp-ipv4.xml")],
        None,
        _match(r"<(?:local|address)>([\d.]+)", text),
        _match(r"<server-(?:id|address|identifier)>([\d.]+)", text),
        _match(r"<gateway>([\d.]+)", text),
    )


def _after_uuid(stem: str) -> str:
    return re.sub(r"^internal-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}-", "", stem)


def _match(pattern: str, text: str) -> Optional[str]:
    match = re.search(pattern, text, re.ASCII)
    return match.group(1) if match else None


def _lease(
    interface: Optional[str], index: Optional[int], address: Optional[str], server: Optional[str], router: Optional[str]
) -> Lease:
    first_router = (router or "").replace(",", " ").split()[:1]
    gateway = if_valid(parse_address, first_router[0]) if first_router else None
    return Lease(interface, index, if_valid(parse_address, address), if_valid(parse_address, server), gateway)
