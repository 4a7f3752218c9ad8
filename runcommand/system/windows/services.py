"""The agents and services that matter (advapi32), and who listens or asks where it matters
(``GetExtendedTcpTable``).
"""

from __future__ import annotations

import os
from ctypes import (
    POINTER,
    Structure,
    byref,
    cast,
    create_string_buffer,
    create_unicode_buffer,
    sizeof,
)
from ctypes.wintypes import BOOL, DWORD, HANDLE, LPCWSTR, LPWSTR
from typing import Optional, Tuple

from ...collect import Board, NoFact
from ...facts import IMDS_ADDRESS, Address, Listener, ProcessConnection, Service, ServiceState
from .. import LISTENED_PORTS
from . import iphlpapi
from .dll import close_handle, failed, function, last_error

NAMES = (
    "WindowsAzureGuestAgent",
    "RdAgent",
    "GuestProxyAgent",
    "himds",
    "Dhcp",
    "BFE",
    "MpsSvc",
    "W32Time",
)
SC_MANAGER_CONNECT, SERVICE_QUERY_CONFIG, SERVICE_QUERY_STATUS = 0x1, 0x1, 0x4  # winsvc.h
SC_STATUS_PROCESS_INFO = 0
ERROR_SERVICE_DOES_NOT_EXIST = 1060
STATES = {
    1: ServiceState.STOPPED,
    2: ServiceState.STARTING,
    3: ServiceState.STOPPING,
    4: ServiceState.RUNNING,
    5: ServiceState.STARTING,
    6: ServiceState.STOPPING,
    7: ServiceState.STOPPED,  # SERVICE_PAUSED: it serves nobody
}
STARTS = {
    0: "boot",
    1: "system",
    2: "auto",
    3: "demand",
    4: "disabled",
}  # SERVICE_AUTO_START and its neighbours
TCP_STATES = (
    "", "closed", "listen", "syn-sent", "syn-received", "established", "fin-wait-1", "fin-wait-2",
    "close-wait", "closing", "last-ack", "time-wait", "delete-tcb",
)  # fmt: skip
LISTEN, TIME_WAIT = TCP_STATES.index("listen"), TCP_STATES.index("time-wait")
PROCESS_QUERY_LIMITED_INFORMATION = 0x1000
KERNEL, KERNEL_NAME = (
    4,
    "System",
)  # the process of the kernel, http.sys's listeners among it: it has no program file


class SERVICE_STATUS_PROCESS(Structure):
    _fields_ = [
        ("dwServiceType", DWORD),
        ("dwCurrentState", DWORD),
        ("dwControlsAccepted", DWORD),
        ("dwWin32ExitCode", DWORD),
        ("dwServiceSpecificExitCode", DWORD),
        ("dwCheckPoint", DWORD),
        ("dwWaitHint", DWORD),
        ("dwProcessId", DWORD),
        ("dwServiceFlags", DWORD),
    ]


class QUERY_SERVICE_CONFIGW(Structure):
    _fields_ = [
        ("dwServiceType", DWORD),
        ("dwStartType", DWORD),
        ("dwErrorControl", DWORD),
        ("lpBinaryPathName", LPWSTR),
        ("lpLoadOrderGroup", LPWSTR),
        ("dwTagId", DWORD),
        ("lpDependencies", LPWSTR),
        ("lpServiceStartName", LPWSTR),
        ("lpDisplayName", LPWSTR),
    ]


def collect(board: Board) -> Tuple[Service, ...]:
    """The services of the list that are installed."""
    open_manager = function("advapi32", "OpenSCManagerW", HANDLE, LPCWSTR, LPCWSTR, DWORD)
    close = function("advapi32", "CloseServiceHandle", BOOL, HANDLE)
    manager = open_manager(None, None, SC_MANAGER_CONNECT)
    if not manager:
        raise failed("OpenSCManagerW", last_error())
    try:
        return tuple(service for service in (_service(manager, name) for name in NAMES) if service)
    finally:
        close(manager)


def _service(manager: int, name: str) -> Optional[Service]:
    open_service = function("advapi32", "OpenServiceW", HANDLE, HANDLE, LPCWSTR, DWORD)
    close = function("advapi32", "CloseServiceHandle", BOOL, HANDLE)
    handle = open_service(manager, name, SERVICE_QUERY_STATUS | SERVICE_QUERY_CONFIG)
    if not handle:
        code = last_error()
        return None if code == ERROR_SERVICE_DOES_NOT_EXIST else Service(name, ServiceState.UNKNOWN)
    try:
        return Service(name, _state(handle), _start(handle))
    finally:
        close(handle)


def _state(handle: int) -> ServiceState:
    query = function(
        "advapi32",
        "QueryServiceStatusEx",
        BOOL,
        HANDLE,
        DWORD,
        POINTER(SERVICE_STATUS_PROCESS),
        DWORD,
        POINTER(DWORD),
    )
    status, needed = SERVICE_STATUS_PROCESS(), DWORD()
    done = query(handle, SC_STATUS_PROCESS_INFO, byref(status), sizeof(status), byref(needed))
    return STATES.get(status.dwCurrentState, ServiceState.UNKNOWN) if done else ServiceState.UNKNOWN


def _start(handle: int) -> Optional[str]:
    config = POINTER(QUERY_SERVICE_CONFIGW)
    query = function("advapi32", "QueryServiceConfigW", BOOL, HANDLE, config, DWORD, POINTER(DWORD))
    buffer, needed = create_string_buffer(8192), DWORD()  # the largest that there is
    if not query(handle, cast(buffer, config), len(buffer), byref(needed)):
        return None
    return STARTS.get(cast(buffer, config).contents.dwStartType)


def collect_listeners(board: Board) -> Tuple[Listener, ...]:
    """IPv4 listeners on the ports that matter, with the programs that they are of."""
    rows = [
        row
        for row in iphlpapi.tcp_table()
        if row.state == LISTEN and row.local_port in LISTENED_PORTS
    ]
    return tuple(
        Listener(
            Address(row.local_address), row.local_port, _process_name(row.pid), row.pid or None
        )
        for row in rows
    )


def collect_connections(board: Board) -> Tuple[ProcessConnection, ...]:
    """Connections to IMDS that a process still has, other than this one."""
    return tuple(
        ProcessConnection(
            _process_name(row.pid),
            row.pid,
            row.local_port,
            TCP_STATES[row.state] if row.state < len(TCP_STATES) else str(row.state),
        )
        for row in iphlpapi.tcp_table()
        if row.remote_address == IMDS_ADDRESS and row.pid != os.getpid() and row.state != TIME_WAIT
    )


def _process_name(pid: int) -> str:
    """The file name of a process's program, without its folder; ``-`` where it has ended or may not
    be asked.
    """
    if pid == KERNEL:
        return KERNEL_NAME
    try:
        open_process = function("kernel32", "OpenProcess", HANDLE, DWORD, BOOL, DWORD)
        query = function(
            "kernel32", "QueryFullProcessImageNameW", BOOL, HANDLE, DWORD, LPWSTR, POINTER(DWORD)
        )
    except NoFact:
        return "-"
    handle = open_process(PROCESS_QUERY_LIMITED_INFORMATION, False, pid) if pid else None
    if not handle:
        return "-"
    try:
        buffer, size = create_unicode_buffer(32768), DWORD(32768)
        found = query(handle, 0, buffer, byref(size))
        return buffer.value.rpartition("\\")[2] or "-" if found else "-"
    finally:
        close_handle(handle)
