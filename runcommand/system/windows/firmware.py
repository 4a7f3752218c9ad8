"""The machine's SMBIOS table (kernel32)."""

from __future__ import annotations

from ctypes import c_void_p, create_string_buffer
from ctypes.wintypes import DWORD, UINT

from .dll import failed, function, last_error

RSMB = int.from_bytes(b"RSMB", "big")  # the signature of the raw SMBIOS table


def firmware_table() -> bytes:
    """``GetSystemFirmwareTable``: the RawSMBIOSData. Raises ``NoFact``."""
    call = function("kernel32", "GetSystemFirmwareTable", UINT, DWORD, DWORD, c_void_p, DWORD)
    size = call(RSMB, 0, None, 0)
    if not size:
        raise failed("GetSystemFirmwareTable", last_error())
    buffer = create_string_buffer(min(size, 1024 * 1024))
    written = call(RSMB, 0, buffer, len(buffer))
    if not 0 < written <= len(buffer):
        raise failed("GetSystemFirmwareTable", last_error())
    return buffer.raw[:written]
