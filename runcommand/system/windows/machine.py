"""The Windows edition and build, the chassis (SMBIOS), and the raw text of the article's steps."""

from __future__ import annotations

import codecs
import struct
import uuid
from ctypes.wintypes import UINT
from typing import Dict, Iterator, List, Optional, Tuple

from ...collect import Board, NoFact
from ...facts import Machine, RawText
from ..program import Programs
from . import registry
from .dll import function
from .source import Source

CURRENT_VERSION = "SOFTWARE\\Microsoft\\Windows NT\\CurrentVersion"
FIRST_WINDOWS_11 = 22000  # its ProductName still says Windows 10
SYSTEM, CHASSIS, END = 1, 3, 127  # structure types, DMTF DSP0134
COMMANDS = (("route.exe", "print"), ("ipconfig.exe", "/all"))


def collect(source: Source, board: Board) -> Machine:
    version: Dict[str, object] = {}
    chassis = Machine()
    try:
        version = source.values(CURRENT_VERSION)
    except NoFact as missing:
        board.note("machine", str(missing))
    try:
        chassis = parse_smbios(source.firmware_table())
    except NoFact as missing:
        board.note("machine", str(missing))
    texts = {name: registry.text(value) for name, value in version.items()}
    build = texts.get("CurrentBuildNumber") or texts.get("CurrentBuild")
    os_name = product_name(texts.get("ProductName"), build)
    revision = version.get("UBR")
    if build and type(revision) is int:
        build += f".{revision}"
    return Machine(
        os_name=os_name,
        os_version=texts.get("DisplayVersion") or texts.get("ReleaseId"),
        edition=texts.get("EditionID"),
        build=build,
        architecture=source.environment().get("PROCESSOR_ARCHITECTURE"),
        vendor=chassis.vendor,
        product=chassis.product,
        asset_tag=chassis.asset_tag,
        smbios_uuid=chassis.smbios_uuid,
        elevated=source.is_elevated(),
    )


def product_name(name: Optional[str], build: Optional[str]) -> Optional[str]:
    """The product's name; for Windows 11 the registry still has Windows 10."""
    if not name or not name.startswith("Windows 10"):
        return name
    if not build or not build.isdecimal() or int(build) < FIRST_WINDOWS_11:
        return name
    return name.replace("Windows 10", "Windows 11", 1)


# --- SMBIOS ---


def parse_smbios(raw: bytes) -> Machine:
    """Vendor, product, UUID and chassis asset tag from RawSMBIOSData.

    That is a header of 8 bytes, then the structures. What is cut or makes no sense is left out.
    https://www.dmtf.org/standards/smbios
    """
    vendor = product = identity = tag = None
    for kind, body, strings in _structures(raw[8:]):
        if kind == SYSTEM and not vendor:
            vendor = _string(body, 4, strings)
            product = _string(body, 5, strings)
            identity = _uuid(body[8:24])
        if kind == CHASSIS and not tag:
            tag = _string(body, 8, strings)
    return Machine(vendor=vendor, product=product, smbios_uuid=identity, asset_tag=tag)


def _structures(table: bytes) -> Iterator[Tuple[int, bytes, List[bytes]]]:
    """(type, formatted part, its strings) of each."""
    at = 0
    while at + 4 <= len(table):
        kind, length = struct.unpack_from("BB", table, at)
        end = table.find(b"\0\0", at + length)
        if length < 4 or end < 0 or kind == END:
            return
        yield kind, table[at : at + length], table[at + length : end].split(b"\0")
        at = end + 2


def _string(body: bytes, offset: int, strings: List[bytes]) -> Optional[str]:
    """The string whose number, from 1, is the byte at ``offset``."""
    if offset >= len(body):
        return None
    number = body[offset]
    if not 0 < number <= len(strings):
        return None
    return strings[number - 1].decode("ascii", "replace").strip() or None


def _uuid(field: bytes) -> Optional[str]:
    if len(field) != 16 or field in (bytes(16), b"\xff" * 16):
        return None
    return str(uuid.UUID(bytes_le=field)).upper()


# --- the article's steps ---


def collect_raw(programs: Programs, board: Board) -> Tuple[RawText, ...]:
    encoding = console_encoding()
    return tuple(
        programs.raw_text(f"{program[:-4]} {argument}", program, [argument], encoding)
        for program, argument in COMMANDS
    )


def console_encoding() -> str:
    """The OEM code page: the system's programs run in a console of their own, which starts with it.

    ``latin-1`` where it is not known.
    """
    try:
        return codecs.lookup(f"cp{function('kernel32', 'GetOEMCP', UINT)()}").name
    except (NoFact, LookupError):
        return "latin-1"
