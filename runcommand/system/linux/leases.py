"""What DHCP gave each NIC, from the files in which the usual clients keep it."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Callable, Dict, Iterable, Iterator, List, Optional, Tuple

from ...facts import Adapter, Address, if_valid, parse_address
from ...frozen import dataclass
from .files import Note, key_values, read

FILES = 200  # of one folder, the newest
SIZE_LIMIT = 256 * 1024  # bytes of one file: the last ones, where the newest leases stand
FOLDER_LIMIT = 1024 * 1024  # of all files of a folder
# ISC dhclient's file, as far as it is looked at. A string is one piece, so that what is in it is no
# statement. Nothing in a pattern is without a bound but what ends at its first other character, so
# the time grows with the file alone.
STATEMENT = re.compile(
    r""""[^"\n]*" | (?P<end>\}) | \b(?P<begin>lease)\s{0,16}\{
    | \binterface\s{1,16}"(?P<interface>[^"\n]{1,64})"
    | \b(?P<option>fixed-address|routers|dhcp-server-identifier)\s{1,16}(?P<value>[0-9.]{7,15})""",
    re.VERBOSE | re.ASCII,
)


@dataclass(frozen=True)
class Lease:
    """One lease, of the adapter of ``index`` or, where that is None, of ``interface``."""

    interface: Optional[str]
    index: Optional[int]
    address: Optional[Address]
    server: Optional[Address]
    gateway: Optional[Address]
    current: bool = (
        False  # of a manager that runs now; the others are files that may be of another time
    )


def of_adapter(leases: Iterable[Lease], adapter: Adapter) -> Optional[Lease]:
    """The lease of an adapter: a running manager's, else the newest file whose address the adapter
    still holds.

    An image, a moved disk or a DHCP client that is no longer used leave lease files behind that are
    of no meaning.
    """
    held = {address.address for address in adapter.addresses}
    for lease in leases:
        own = lease.index == adapter.index if lease.index else lease.interface == adapter.name
        if own and (lease.current or lease.address in held):
            return lease
    return None


def read_all(note: Note = lambda text: None) -> List[Lease]:
    """Every lease that this machine's files tell of, the running managers' first, then the newest
    first.

    :param note: is told of what is not read
    """
    current = [
        *_each("/run/systemd/netif/leases", "[0-9]*", _networkd, note),
        *_each("/run/NetworkManager/devices", "[0-9]*", _networkmanager, note),
    ]
    stored = [
        *_each("/var/lib/NetworkManager", "internal-*.lease", _networkd, note),
        *_each("/var/lib/NetworkManager", "dhclient-*.lease", _dhclient, note),
        *_each("/var/lib/dhcp", "*.lease*", _dhclient, note),
        *_each("/var/lib/dhclient", "*.lease*", _dhclient, note),
        *_each("/var/lib/wicked", "lease-*-dhcp-ipv4.xml", _wicked, note),
    ]
    stored.sort(key=lambda found: -found[0])
    return [replace(lease, current=True) for _, lease in current] + [lease for _, lease in stored]


def _each(
    folder: str, pattern: str, parse: Callable[[Path, str], Iterator[Lease]], note: Note
) -> Iterator[Tuple[float, Lease]]:
    """(time of the file, lease)"""
    try:
        paths = list(Path(folder).glob(pattern))
    except OSError:
        return
    dated = sorted(
        ((_changed(path), path) for path in paths), key=lambda found: (-found[0], found[1])
    )
    if len(dated) > FILES:
        note(f"{folder}: of {len(dated)} lease files the newest {FILES} are read")
    size = 0
    for number, (changed, path) in enumerate(dated[:FILES]):
        if size >= FOLDER_LIMIT:
            note(f"{folder}: of {len(dated)} lease files the newest {number} are read")
            break
        text = read(path, SIZE_LIMIT, note, last=True)
        size += len(text or "")
        for lease in parse(path, text) if text else ():
            yield changed, lease


def _changed(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def _networkd(path: Path, text: str) -> Iterator[Lease]:
    """systemd-networkd's lease, named by the index; NetworkManager's internal client writes the
    same, by UUID and name.
    """
    values = key_values(text)
    index = _index(path)
    interface = _after_uuid(path.stem) if index is None else None
    yield _lease(
        interface, index, values.get("ADDRESS"), values.get("SERVER_ADDRESS"), values.get("ROUTER")
    )


def _networkmanager(path: Path, text: str) -> Iterator[Lease]:
    """NetworkManager's run state of a device, which holds the DHCP options."""
    values = {key.rpartition("dhcp4.")[2]: value for key, value in key_values(text).items()}
    index = _index(path)
    if index is not None and "dhcp_server_identifier" in values:
        found = (values.get(key) for key in ("ip_address", "dhcp_server_identifier", "routers"))
        yield _lease(None, index, *found)


def _index(path: Path) -> Optional[int]:
    """The interface index that a file is named by; None where its name is no number."""
    return int(path.name) if re.fullmatch("[0-9]{1,9}", path.name) else None


def _dhclient(path: Path, text: str) -> Iterator[Lease]:
    """ISC dhclient: a file holds many leases, the last of an interface counts."""
    last: Dict[str, Lease] = {}
    values: Optional[Dict[str, str]] = None  # of the lease that is being read
    for match in STATEMENT.finditer(text):
        if match.group("begin"):  # also where the one before it has no end
            values = {}
        elif match.group("end") and values is not None:
            name = values.pop("interface", None)
            if name:
                address, server = values.get("fixed-address"), values.get("dhcp-server-identifier")
                lease = _lease(name, None, address, server, values.get("routers"))
                if (
                    lease.address or name not in last
                ):  # a damaged one does not hide the one before it
                    last[name] = lease
            values = None
        elif values is not None and match.group("interface"):
            values.setdefault("interface", match.group("interface"))
        elif values is not None and match.group("option"):
            values.setdefault(match.group("option"), match.group("value"))
    yield from last.values()


def _wicked(path: Path, text: str) -> Iterator[Lease]:
    """wicked (SUSE): XML; only these elements are looked for."""
    yield _lease(
        path.name[len("lease-") : -len("-dhcp-ipv4.xml")],
        None,
        _match(r"<(?:local|address)>([\d.]{7,15})", text),
        _match(r"<server-(?:id|address|identifier)>([\d.]{7,15})", text),
        _match(r"<gateway>([\d.]{7,15})", text),
    )


def _after_uuid(stem: str) -> str:
    return re.sub(r"^internal-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}-", "", stem)


def _match(pattern: str, text: str) -> Optional[str]:
    match = re.search(pattern, text, re.ASCII)
    return match.group(1) if match else None


def _lease(
    interface: Optional[str],
    index: Optional[int],
    address: Optional[str],
    server: Optional[str],
    router: Optional[str],
) -> Lease:
    first_router = re.match(r"[\s,]*([0-9.]{7,15})(?![^\s,])", router or "")
    gateway = if_valid(parse_address, first_router.group(1)) if first_router else None
    return Lease(
        interface, index, if_valid(parse_address, address), if_valid(parse_address, server), gateway
    )
