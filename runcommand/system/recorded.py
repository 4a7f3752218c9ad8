"""Windows as the PowerShell script saw it: the same interface as a live system, over raw material.

The material is a list of records, each a tuple of texts: its kind, then its fields. These are read
here; ``probes/recorded.py`` has those of the network. Numbers are decimal and as Windows gives
them, lists stand between blanks, and a field that is empty is not known::

    run         version, host, UTC time of the beginning, seconds, the script's process
    given       --expected-mac, --expected-ip
    adapter     index, GUID, name, description, type, MAC (12 hex digits), operational status,
                addresses (ADDRESS/PREFIX/SUFFIX ORIGIN/DAD STATE), gateways, DHCP servers, DHCP on
    route       destination, mask, next hop ("": on-link), address of the interface, metric
    source      destination, source address, number of Winsock's error
    neighbour   index, address, MAC (with hyphens), its type in the words of Windows' language
    device      GUID, name, description, type, characteristics, instance and flags of a NIC that the
                registry knows, also where it is disabled
    listed      the lines of route print and netsh that have a number, where .NET may not be asked
    skip        address, netsh's word for whether it has SkipAsSource
    filter      a blocking filter of the Windows Filtering Platform, as netsh's XML has it
    key         root, path, then (name, type, value) of each of its values; a type is a member of
                RegistryValueKind, or as reg.exe writes it
    rule        path below HKLM, name, value: one value of a key that has many
    rules       path, values that the script read, those that it did not bring
    nokey       root, path, why it could not be read
    profiles    combination of NET_FW_PROFILE_TYPE2, or why it is not known
    service     name, state, start type
    tcp         state, local address, local port, remote address, remote port, process, its name
    variable    name and value in the script's own environment
    elevated    1 or 0
    chain       "hand" or "net" (with fetching), status flags of the whole chain, then of each
                certificate: status flags, thumbprint, subject, issuer, not before, not after
    certificate DER in base64
    extension   thumbprint of the certificate, identifier of the extension, its DER in base64
    missing     part, why it could not be collected
    left        part, how many of its records the output had no room for
    done        the parts that were collected to their end
"""

from __future__ import annotations

import base64
import binascii
import re
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any, Dict, FrozenSet, List, Mapping, Optional, Sequence, Tuple

from ..attest.der import Malformed, Unsupported
from ..attest.x509 import (
    AUTHORITY_INFO,
    DNS_NAME,
    NAMES_KEPT,
    SUBJECT_NAMES,
    authority_info,
    general_names,
    readable,
)
from ..collect import Board, Collector, NoFact
from ..facts import (
    Address,
    Certificate,
    CertificateChain,
    ChainError,
    Instant,
    if_valid,
    parse_address,
    parse_instant,
    parse_mac,
)
from ..facts.untrusted import decimal
from ..network import error_name
from ..winsock import posix_code
from . import listed
from .windows import (
    adapters,
    crypt32,
    firewall,
    machine,
    netfw,
    proxies,
    registry,
    routes,
    services,
    wfp,
)
from .windows.iphlpapi import (
    AdapterRow,
    BestRoute,
    ForwardRow,
    InterfaceRow,
    NeighbourRow,
    TcpRow,
    UnicastAddress,
)
from .windows.registry import Root
from .windows.service_control import ServiceRow
from .windows.source import values_if_any
from .windows.winhttp import DefaultProxy

Record = Tuple[str, ...]

NOT_BY_SCRIPT = "PowerShell alone cannot see it: run imds-check.exe"
NOT_ASKED = "the Software Protection service tells it to programs alone: run imds-check.exe"
NO_TEXTS = "the script's output has room for their rows alone: run route print and ipconfig /all"
NO_DEVICE = "the registry names no network device"
NO_WORD = "netsh does not list 127.0.0.1"
NCF_PHYSICAL = 0x4  # Characteristics of a network device
ADMIN_UP, CONNECTED = 1, 1  # NET_IF_ADMIN_STATUS, NET_IF_MEDIA_CONNECT_STATE
LAST_INDEX = 2**31 - 1
NOT_BEGUN = "the script did not come to it"
NO_ROOM = "the script's output had no room for it"
LOOPBACK, LOOPBACK_INDEX = "127.0.0.1", 1
# What reg.exe writes for the types of values.
OF_REG = {
    "REG_SZ": "String",
    "REG_EXPAND_SZ": "ExpandString",
    "REG_DWORD": "DWord",
    "REG_QWORD": "QWord",
}
STATIC, MULTICAST = 4, ("224.", "239.")  # MIB_IPNET_TYPE
CERTIFICATE = 6  # fields of one in a chain
PATH_LIMIT = 1024  # characters of a key's path
# The facts that are in another part of the script than the one of their own name.
PARTS = {"persistent_routes": "routes", "connections": "listeners"}
SMBIOS = "SYSTEM\\CurrentControlSet\\Services\\mssmbios\\Data"
WINHTTP = "SOFTWARE\\Microsoft\\Windows\\CurrentVersion\\Internet Settings\\Connections"
# Bits of a chain's status that come of looking for revocations in the cache, which nobody asked for
# (RevocationStatusUnknown, OfflineRevocation of X509ChainStatusFlags).
REVOCATION = 0x40 | 0x1000000
NOT_KNOWN_STATE = 0  # of a TCP connection
NO_PROCESS = "0"  # of a connection that nobody owns any more
CHAIN_LIMIT = 20  # certificates; Windows builds no longer ones
BITS = {"DWord": 32, "QWord": 64}
SIGNED = re.compile(r"-?[0-9]{1,20}")


class Material:
    """The records by their kind, and what is missing."""

    def __init__(self, records: Sequence[Record]) -> None:
        self._records: Dict[str, List[Record]] = {}
        for kind, *fields in records:
            self._records.setdefault(kind, []).append(tuple(fields))

    def of(self, kind: str, fields: int) -> List[Record]:
        """The records of a kind, each with exactly so many fields.

        A newer script may bring more of them.
        """
        return [record[:fields] for record in self.lists(kind, fields)]

    def lists(self, kind: str, fields: int = 0) -> List[Record]:
        """The records of a kind that end with a list, each with at least so many fields."""
        found = self._records.get(kind, [])
        return [record + ("",) * (fields - len(record)) for record in found]

    def first(self, kind: str, fields: int) -> Record:
        """The first record of a kind; empty fields where there is none."""
        return next(iter(self.of(kind, fields)), ("",) * fields)

    def left_out(self, part: str) -> int:
        """How many records of a part there was no room for."""
        return sum(decimal(count) for name, count in self.of("left", 2) if name == part)

    def why_missing(self, part: str) -> Optional[str]:
        """Why nothing of a part is here; None where that is not known."""
        for name, reason in self.of("missing", 2):
            if name == part:
                return reason
        if self.left_out(part):
            return NO_ROOM
        if not any(part in parts for parts in self.lists("done")):
            return NOT_BEGUN
        return None


class RecordedWindows:
    """A Windows VM, for those who ask it what they would ask Windows."""

    name = "windows"
    by_device = False
    fetches_itself = True

    def __init__(self, material: Material) -> None:
        self._material = material
        self._keys: Dict[Tuple[Root, str], Dict[str, Any]] = {}
        self._unreadable: Dict[Tuple[Root, str], str] = {}
        self._left_out: Dict[str, int] = {}
        self._subkeys: Dict[Tuple[Root, str], List[str]] = {}
        self._programs = {pid: name for *_, pid, name in material.of("tcp", 7) if name}
        self._read_registry()

    # --- as a system ---

    def collectors(self) -> Mapping[str, Collector]:
        by_part = {
            "machine": machine.collect,
            "adapters": adapters.collect,
            "routes": routes.collect,
            "lookups": routes.collect_lookups,
            "neighbours": routes.collect_neighbours,
            "persistent_routes": routes.collect_persistent_routes,
            "services": services.collect,
            "listeners": services.collect_listeners,
            "connections": services.collect_connections,
            "proxies": proxies.collect,
            "firewall": firewall.collect,
        }
        found: Dict[str, Collector] = {
            part: partial(self._collected, part, collector) for part, collector in by_part.items()
        }
        found["wfp_filters"] = partial(self._collected, "wfp_filters", _filters)
        found["activation"] = partial(_unavailable, NOT_ASKED)
        found["raw"] = partial(_unavailable, NO_TEXTS)
        return found

    def _collected(self, part: str, collector: Any, board: Board) -> Any:
        """What a collector makes of the records, with a note where the script brought not all."""
        missing = self._material.why_missing(PARTS.get(part, part))
        if missing == NOT_BEGUN:
            raise NoFact(missing)
        if missing:
            board.note(part, f"not all is known: {missing}")
        return collector(self, board)

    def cleanup(self) -> None:
        pass

    def judge_chain(
        self, certificates: Sequence[bytes], at: Instant, fetch: bool, seconds: float
    ) -> CertificateChain:
        """The chain as Windows built it on the VM."""
        kind = "hand"
        if fetch:
            kind = "net"
        found = [fields for fields in self._material.lists("chain", 2) if fields[0] == kind]
        if not found:
            raise NoFact(self._material.why_missing("certificate_chains") or NOT_BY_SCRIPT)
        _, flags_of_all, *fields = found[0][: 2 + CHAIN_LIMIT * CERTIFICATE]
        known = self._shown()
        for item in readable([*certificates, *self._certificates()]):
            known[item.thumbprint] = item.fact
        in_stores = crypt32.stores_of(self)
        facts: List[Certificate] = []
        errors: List[ChainError] = []
        explained = 0
        for begin in range(0, len(fields) - CERTIFICATE + 1, CERTIFICATE):
            status = decimal(fields[begin]) & ~REVOCATION
            explained |= status
            errors += crypt32.in_words(status, begin // CERTIFICATE)
            fact = self._certificate(*fields[begin + 1 : begin + CERTIFICATE])
            fact = known.get(fact.thumbprint, fact)
            facts.append(replace(fact, stores=in_stores(fact.thumbprint)))
        whole = decimal(flags_of_all) & ~REVOCATION
        errors += crypt32.in_words(whole & ~explained, None)
        return crypt32.chain_of(facts, errors, at, fetch)

    def _shown(self) -> Dict[str, Certificate]:
        """The certificates of all chains as Windows showed them, by their thumbprints."""
        found: Dict[str, Certificate] = {}
        for record in self._material.lists("chain", 2):
            fields = record[2 : 2 + CHAIN_LIMIT * CERTIFICATE]
            for begin in range(1, len(fields) - CERTIFICATE + 2, CERTIFICATE):
                fact = self._certificate(*fields[begin : begin + CERTIFICATE - 1])
                # the second chain has no more than the thumbprint of what is in the first
                found.setdefault(fact.thumbprint, fact)
        return found

    def signer(self) -> Optional[Certificate]:
        """The attested document's signer, as Windows showed it; None where it was not brought."""
        for kind, _, *fields in self._material.lists("chain", 2 + CERTIFICATE):
            if kind == "hand":
                return self._certificate(*fields[1:CERTIFICATE])
        return None

    def _certificate(
        self, thumbprint: str, subject: str, issuer: str, begins: str, ends: str
    ) -> Certificate:
        """A certificate whose bytes were not brought, as Windows showed it."""
        extensions = {
            oid: base64.b64decode(content)
            for own, oid, content in self._material.of("extension", 3)
            if own == thumbprint
        }
        issuers: Tuple[str, ...] = ()
        ocsp: Tuple[str, ...] = ()
        names: Tuple[str, ...] = ()
        # what cannot be read is left out
        with suppress(Malformed, Unsupported):
            names = general_names(extensions.get(SUBJECT_NAMES), DNS_NAME, NAMES_KEPT)
            issuers, ocsp = authority_info(extensions.get(AUTHORITY_INFO))
        return Certificate(
            subject,
            issuer,
            thumbprint.upper(),
            not_before=_instant(begins),
            not_after=_instant(ends),
            names=names,
            issuer_urls=issuers,
            ocsp_urls=ocsp,
        )

    def _certificates(self) -> List[bytes]:
        return [base64.b64decode(text) for (text,) in self._material.of("certificate", 1)]

    # --- the network ---

    def adapters(self) -> Sequence[AdapterRow]:
        rows = [_adapter_row(fields) for fields in self._material.of("adapter", 11)]
        if not rows:
            rows = self._listed()
        if not rows:
            raise NoFact(self._material.why_missing("adapters") or NO_ROOM)
        return rows

    def _listed(self) -> List[AdapterRow]:
        rows = [listed.Row(*fields[:4]) for fields in self._material.of("route", 5)]
        guids = {name: guid for guid, name, *_ in self._material.of("device", 2)}

        def lease(guid: str) -> Mapping[str, Any]:
            return values_if_any(self, f"{adapters.INTERFACES}\\{guid}", lambda note: None)

        text, *_ = self._material.first("listed", 1)
        lines = [line.strip() for line in text.split("\n")]
        return listed.adapters(lines, rows, guids, lease)

    def interfaces(self) -> Sequence[InterfaceRow]:
        """The NICs that the registry knows.

        The index of one that is disabled is not known there: it is negative where the driver of
        that NIC was installed before those of the others, else larger than any.
        """
        devices = self._material.of("device", 7)
        if not devices:
            raise NoFact(self._material.why_missing("devices") or NO_DEVICE)
        by_guid = {row.guid.lower(): row for row in self.adapters()}
        found: List[InterfaceRow] = []
        for number, fields in enumerate(devices):
            own = by_guid.get(fields[0].lower())
            index = number - len(devices)
            if any(earlier[0].lower() in by_guid for earlier in devices[:number]):
                index += LAST_INDEX
            found.append(_interface_row(fields, own, index))
        return found

    def addresses_to_skip(self) -> Sequence[Tuple[int, str]]:
        words = {address: word for address, word, *_ in self._material.of("skip", 2)}
        if not words:
            raise NoFact(self._material.why_missing("skipped") or NO_ROOM)
        # nobody can set it for that address, so its word is the one for no
        no = words.get(LOOPBACK)
        if no is None:
            raise NoFact(NO_WORD)
        return [
            (row.index, address.address)
            for row in self.adapters()
            for address in row.addresses
            if words.get(address.address, no) != no
        ]

    def filters(self) -> str:
        """The filters, as XML that the reader of netsh's takes."""
        return f"<filters>{''.join(text for text, *_ in self._material.of('filter', 1))}</filters>"

    def forward_table(self) -> Sequence[ForwardRow]:
        records = self._material.of("route", 5)
        if not records:
            missing = self._material.why_missing("routes")
            if missing:
                raise NoFact(missing)
        by_address = {
            address.address: row.index for row in self._adapters() for address in row.addresses
        }
        return [_forward_row(fields, by_address) for fields in records]

    def _adapters(self) -> Sequence[AdapterRow]:
        try:
            return self.adapters()
        except NoFact:
            return ()

    def best_route2(self, destination: str) -> BestRoute:
        raise NoFact("GetBestRoute2 is not for PowerShell")

    def best_route(self, destination: str) -> BestRoute:
        raise NoFact("GetBestRoute is not for PowerShell")

    def udp_source(self, destination: Address) -> Tuple[Optional[Address], Optional[str]]:
        for to, chosen, code in self._material.of("source", 3):
            if to != destination:
                continue
            if chosen:
                return parse_address(chosen), None
            return None, error_name(posix_code(decimal(code)))
        raise NoFact(self._material.why_missing("lookups") or NO_ROOM)

    def neighbours(self) -> Sequence[NeighbourRow]:
        records = self._material.of("neighbour", 4)
        missing = self._material.why_missing("neighbours")
        if missing and not records:
            raise NoFact(missing)
        # what Windows calls static: its own entries for multicast are
        static = {word for _, address, _, word in records if address.startswith(MULTICAST)}
        rows: List[NeighbourRow] = []
        for index, address, mac, word in records:
            kind = routes.DYNAMIC
            if word in static:
                kind = STATIC
            rows.append(NeighbourRow(decimal(index), parse_address(address), _mac(mac), kind))
        return rows

    def tcp_table(self) -> Sequence[TcpRow]:
        rows = [_tcp_row(fields) for fields in self._material.of("tcp", 7)]
        missing = self._material.why_missing("listeners")
        if missing and not rows:
            raise NoFact(missing)
        return rows

    def process_name(self, pid: int) -> str:
        return self._programs.get(str(pid), "-")

    def own_process(self) -> int:
        process = self._material.first("run", 5)[4]
        if not process:
            return -1
        return decimal(process)

    # --- the registry ---

    def _read_registry(self) -> None:
        for root, path, *fields in self._material.lists("key", 2):
            values = self._values_of(Root(root), path)
            for name, kind, text in zip(fields[::3], fields[1::3], fields[2::3]):
                values[name] = registry_value(kind, text)
        for guid, _, _, _, _, instance, flags, *_ in self._material.of("device", 7):
            connection = self._values_of(Root.MACHINE, f"{adapters.NETWORK}\\{guid}\\Connection")
            if instance:
                connection["PnpInstanceID"] = instance
                device = self._values_of(Root.MACHINE, f"{adapters.ENUM}\\{instance}")
                device["ConfigFlags"] = decimal(flags or "0")
        for path, name, text in self._material.of("rule", 3):
            self._values_of(Root.MACHINE, path)[name] = text
        for path, read, left in self._material.of("rules", 3):
            brought = len(self._values_of(Root.MACHINE, path))
            if read:
                # those that the script left out, and those that had no room
                self._left_out[path.lower()] = max(decimal(left), decimal(read) - brought)
        for root, path, reason in self._material.of("nokey", 3):
            self._unreadable[Root(root), path.lower()] = f"{root}\\{path}: {reason}"

    def _values_of(self, root: Root, path: str) -> Dict[str, Any]:
        if len(path) > PATH_LIMIT:
            raise ValueError("the path of a key is too long")
        parent, _, name = path.rpartition("\\")
        while name:
            held = self._subkeys.setdefault((root, parent.lower()), [])
            if name not in held:
                held.append(name)
            parent, _, name = parent.rpartition("\\")
        return self._keys.setdefault((root, path.lower()), {})

    def values(self, key: str, root: Root = Root.MACHINE) -> Dict[str, Any]:
        place = (root, key.lower())
        if place in self._unreadable:
            raise NoFact(self._unreadable[place])
        if place not in self._keys:
            raise registry.NoKey(f"{root.value}\\{key}: no such key")
        return dict(self._keys[place])

    def subkeys(self, key: str, root: Root = Root.MACHINE) -> List[str]:
        place = (root, key.lower())
        if place in self._unreadable:
            raise NoFact(self._unreadable[place])
        if place not in self._subkeys and key:
            raise registry.NoKey(f"{root.value}\\{key}: no such key")
        return list(self._subkeys.get(place, ()))

    def values_left_out(self, key: str) -> int:
        return self._left_out.get(key.lower(), 0)

    # --- what else Windows knows ---

    def default_proxy(self) -> Optional[DefaultProxy]:
        try:
            raw = self.values(WINHTTP).get("WinHttpSettings")
        except registry.NoKey:
            return None
        blob = proxies.parse_blob(raw)
        if not blob.servers:
            return None
        return DefaultProxy(blob.servers, blob.bypass)

    def active_profiles(self) -> FrozenSet[str]:
        for types, reason in self._material.of("profiles", 2):
            if not types:
                raise NoFact(reason or f"{netfw.SOURCE}: no answer")
            return netfw.named(decimal(types))
        raise NoFact(self._material.why_missing("firewall") or NO_ROOM)

    def services(self, names: Sequence[str]) -> Sequence[ServiceRow]:
        rows = self._material.of("service", 3)
        missing = self._material.why_missing("services")
        if missing and not rows:
            raise NoFact(missing)
        return [
            ServiceRow(name, if_valid(decimal, state), if_valid(decimal, start))
            for name, state, start in rows
            if name in names
        ]

    def firmware_table(self) -> bytes:
        try:
            raw = self.values(SMBIOS).get("SMBiosData")
        except registry.NoKey:
            raise NoFact(self._material.why_missing("machine") or "no SMBIOS table") from None
        if not isinstance(raw, bytes):
            raise NoFact("SMBiosData has a value of another type")
        return raw

    def environment(self) -> Mapping[str, str]:
        return {name: value for name, value in self._material.of("variable", 2)}

    def is_elevated(self) -> Optional[bool]:
        (found,) = self._material.first("elevated", 1)
        if not found:
            return None
        return found == "1"


def _unavailable(reason: str, board: Board) -> Any:
    raise NoFact(reason)


def _filters(source: RecordedWindows, board: Board) -> Any:
    return wfp.collect(source.filters, board)


def registry_value(kind: str, text: str) -> Any:
    """A value as ``winreg`` gives it.

    :param kind: a member of RegistryValueKind, or as reg.exe writes it
    """
    if kind == "REG_BINARY":
        return bytes.fromhex(text)
    if kind == "REG_MULTI_SZ":
        return text.split("\\0")
    kind = OF_REG.get(kind, kind)
    if kind in BITS:
        return _unsigned(text, BITS[kind])
    if kind == "MultiString":
        return text.split("\0")
    if kind in ("String", "ExpandString"):
        return text
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        return None


def _unsigned(text: str, bits: int) -> Optional[int]:
    """A number that .NET prints with a sign; None where the text is no such number."""
    if not SIGNED.fullmatch(text):
        return None
    return int(text) & ((1 << bits) - 1)


def _interface_row(fields: Record, own: Optional[AdapterRow], index: int) -> InterfaceRow:
    """A NIC of the registry, with the state of its adapter where it has one."""
    guid, name, description, kind, traits, *_ = fields
    status, media, mac = adapters.NOT_PRESENT, 0, b""
    if own:
        index, status, mac = own.index, own.oper_status, own.mac
        # Windows lists no adapter that is disabled: one that is not up has no link
        media = adapters.MEDIA_DISCONNECTED
        if status == adapters.UP:
            media = CONNECTED
    return InterfaceRow(
        index,
        guid,
        name,
        description,
        mac,
        decimal(kind or str(adapters.ETHERNET)),
        bool(decimal(traits or "0") & NCF_PHYSICAL),
        False,
        status,
        ADMIN_UP,
        media,
    )


def _adapter_row(fields: Record) -> AdapterRow:
    index, guid, name, description, kind, mac, status, held, gateways, servers, dhcp = fields[:11]
    leased = [parse_address(server) for server in servers.split()]
    return AdapterRow(
        decimal(index),
        guid,
        name,
        description,
        bytes.fromhex(mac),
        decimal(kind),
        decimal(status),
        0,
        dhcp == "1",
        next(iter(leased), None),
        tuple(_unicast(item) for item in held.split()),
        tuple(parse_address(gateway) for gateway in gateways.split()),
    )


def _unicast(item: str) -> UnicastAddress:
    address, prefix, origin, state = item.split("/")
    return UnicastAddress(parse_address(address), decimal(prefix), decimal(origin), decimal(state))


def _forward_row(fields: Record, by_address: Mapping[str, int]) -> ForwardRow:
    destination, mask, next_hop, interface, metric = fields[:5]
    kind = 4
    if not next_hop:
        kind, next_hop = routes.DIRECT, routes.ON_LINK
    index = by_address.get(interface, 0)
    if interface.startswith("127."):
        index = LOOPBACK_INDEX
    return ForwardRow(
        parse_address(destination),
        parse_address(mask),
        parse_address(next_hop),
        index,
        kind,
        0,
        decimal(metric),
    )


def _tcp_row(fields: Record) -> TcpRow:
    state, local, port, remote, remote_port, process, _ = fields
    known = state.lower().replace("_", "-")
    code = NOT_KNOWN_STATE
    if remote_port == "0":
        code = services.LISTEN
    elif process == NO_PROCESS:
        # netstat says so in the words of Windows' language
        code = services.TIME_WAIT
    elif known in services.TCP_STATES:
        code = services.TCP_STATES.index(known)
    return TcpRow(
        code, parse_address(local), decimal(port), parse_address(remote), decimal(process)
    )


def _mac(text: str) -> bytes:
    found = if_valid(parse_mac, text)
    if found is None:
        return b""
    return bytes.fromhex(found.replace("-", ""))


def _instant(text: str) -> Optional[Instant]:
    if if_valid(parse_instant, text) is None:
        return None
    return Instant(text)
