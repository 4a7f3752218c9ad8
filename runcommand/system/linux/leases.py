"""The DHCP lease of each NIC, from the files in which the usual clients keep it."""

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
FOLDER_LIMIT = 1024 * 1024  # bytes of all files of a folder
# The statements of ISC dhclient's file that matter. A string is one piece, so that its content is
# no statement. Every repetition has a bound, or ends at the first other character, so the time is
# linear in the size of the file.
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
    # of a manager that runs now; files of others may be old
    current: bool = False


def of_adapter(leases: Iterable[Lease], adapter: Adapter) -> Optional[Lease]:
    """The lease of an adapter: a running manager's, else the newest one whose address it holds.

    Images, moved disks and DHCP clients that are no longer used leave meaningless lease files.
    """
    held = {address.address for address in adapter.addresses}
    for lease in leases:
        if _is_of(lease, adapter) and (lease.current or lease.address in held):
            return lease
    return None


def _is_of(lease: Lease, adapter: Adapter) -> bool:
    if lease.index:
        return lease.index == adapter.index
    return lease.interface == adapter.name


def read_all(note: Note = lambda text: None) -> List[Lease]:
    """Every lease in this machine's files: those of running managers, then the newest first.

    :param note: is called with what is not read
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
    dated = [(_changed(path), path) for path in paths]
    dated.sort(key=lambda found: (-found[0], found[1]))
    if len(dated) > FILES:
        note(f"{folder}: of {len(dated)} lease files the newest {FILES} are read")
    size = 0
    for number, (changed, path) in enumerate(dated[:FILES]):
        if size >= FOLDER_LIMIT:
            note(f"{folder}: of {len(dated)} lease files the newest {number} are read")
            break
        text = read(path, SIZE_LIMIT, note, last=True)
        size += len(text or "")
        if text:
            for lease in parse(path, text):
                yield changed, lease


def _changed(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def _networkd(path: Path, text: str) -> Iterator[Lease]:
    """A lease of systemd-networkd, whose file is named by the interface index.

    NetworkManager's internal client writes the same, in a file named by UUID and interface.
    """
    values = key_values(text)
    index = _index(path)
    interface = None
    if index is None:
        interface = _after_uuid(path.stem)
    yield _lease(
        interface, index, values.get("ADDRESS"), values.get("SERVER_ADDRESS"), values.get("ROUTER")
    )


def _networkmanager(path: Path, text: str) -> Iterator[Lease]:
    """NetworkManager's run state of a device, which holds the DHCP options."""
    values = {key.rpartition("dhcp4.")[2]: value for key, value in key_values(text).items()}
    index = _index(path)
    if index is not None and "dhcp_server_identifier" in values:
        server = values["dhcp_server_identifier"]
        yield _lease(None, index, values.get("ip_address"), server, values.get("routers"))


def _index(path: Path) -> Optional[int]:
    """The interface index that a file is named by; None where its name is no number."""
    if not re.fullmatch("[0-9]{1,9}", path.name):
        return None
    return int(path.name)


def _dhclient(path: Path, text: str) -> Iterator[Lease]:
    """ISC dhclient: a file holds many leases, the last of an interface counts."""
    last: Dict[str, Lease] = {}
    values: Optional[Dict[str, str]] = None  # of the lease that is being read
    for match in STATEMENT.finditer(text):
        # also where the lease before it has no end
        if match.group("begin"):
            values = {}
        elif match.group("end") and values is not None:
            name = values.pop("interface", None)
            if name:
                address, server = values.get("fixed-address"), values.get("dhcp-server-identifier")
                lease = _lease(name, None, address, server, values.get("routers"))
                # a damaged lease does not hide the one before it
                if lease.address or name not in last:
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
    if match is None:
        return None
    return match.group(1)


def _lease(
    interface: Optional[str],
    index: Optional[int],
    address: Optional[str],
    server: Optional[str],
    router: Optional[str],
) -> Lease:
    first_router = re.match(r"[\s,]*([0-9.]{7,15})(?![^\s,])", router or "")
    gateway = None
    if first_router:
        gateway = if_valid(parse_address, first_router.group(1))
    return Lease(
        interface, index, if_valid(parse_address, address), if_valid(parse_address, server), gateway
    )
