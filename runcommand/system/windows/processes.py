"""This process's rights, and the programs of others (kernel32, shell32)."""

from __future__ import annotations

from ctypes import POINTER, byref, create_unicode_buffer
from ctypes.wintypes import BOOL, DWORD, HANDLE, LPWSTR
from typing import Optional

from ...collect import NoFact
from .dll import close_handle, function

PROCESS_QUERY_LIMITED_INFORMATION = 0x1000
# The process of the kernel, which has http.sys's listeners. It has no program file.
KERNEL, KERNEL_NAME = 4, "System"


def is_elevated() -> Optional[bool]:
    try:
        return bool(function("shell32", "IsUserAnAdmin", BOOL)())
    except NoFact:
        return None


def name(pid: int) -> str:
    """The file name of a process's program; ``-`` where it has ended or may not be queried."""
    if not pid:
        return "-"
    if pid == KERNEL:
        return KERNEL_NAME
    try:
        open_process = function("kernel32", "OpenProcess", HANDLE, DWORD, BOOL, DWORD)
        query = function(
            "kernel32", "QueryFullProcessImageNameW", BOOL, HANDLE, DWORD, LPWSTR, POINTER(DWORD)
        )
    except NoFact:
        return "-"
    handle = open_process(PROCESS_QUERY_LIMITED_INFORMATION, False, pid)
    if not handle:
        return "-"
    try:
        buffer, size = create_unicode_buffer(32768), DWORD(32768)
        if not query(handle, 0, buffer, byref(size)):
            return "-"
        return buffer.value.rpartition("\\")[2] or "-"
    finally:
        close_handle(handle)
