"""Agents and services (advapi32), and the processes that listen locally or use IMDS."""

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
# SERVICE_AUTO_START and its neighbours
STARTS = {0: "boot", 1: "system", 2: "auto", 3: "demand", 4: "disabled"}
TCP_STATES = (
    "", "closed", "listen", "syn-sent", "syn-received", "established", "fin-wait-1", "fin-wait-2",
    "close-wait", "closing", "last-ack", "time-wait", "delete-tcb",
)  # fmt: skip
LISTEN, TIME_WAIT = TCP_STATES.index("listen"), TCP_STATES.index("time-wait")
PROCESS_QUERY_LIMITED_INFORMATION = 0x1000
# The process of the kernel, which has http.sys's listeners. It has no program file.
KERNEL, KERNEL_NAME = 4, "System"


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
        found = [_service(manager, name) for name in NAMES]
    finally:
        close(manager)
    return tuple(service for service in found if service)


def _service(manager: int, name: str) -> Optional[Service]:
    open_service = function("advapi32", "OpenServiceW", HANDLE, HANDLE, LPCWSTR, DWORD)
    close = function("advapi32", "CloseServiceHandle", BOOL, HANDLE)
    handle = open_service(manager, name, SERVICE_QUERY_STATUS | SERVICE_QUERY_CONFIG)
    if not handle:
        if last_error() == ERROR_SERVICE_DOES_NOT_EXIST:
            return None
        return Service(name, ServiceState.UNKNOWN)
    try:
        return Service(name, _state(handle), _start(handle))
    finally:
        close(handle)


def _state(handle: int) -> ServiceState:
    query = function(
        "advapi32", "QueryServiceStatusEx", BOOL,
        HANDLE, DWORD, POINTER(SERVICE_STATUS_PROCESS), DWORD, POINTER(DWORD),
    )  # fmt: skip
    status, needed = SERVICE_STATUS_PROCESS(), DWORD()
    if not query(handle, SC_STATUS_PROCESS_INFO, byref(status), sizeof(status), byref(needed)):
        return ServiceState.UNKNOWN
    return STATES.get(status.dwCurrentState, ServiceState.UNKNOWN)


def _start(handle: int) -> Optional[str]:
    config = POINTER(QUERY_SERVICE_CONFIGW)
    query = function("advapi32", "QueryServiceConfigW", BOOL, HANDLE, config, DWORD, POINTER(DWORD))
    # no configuration is larger
    buffer, needed = create_string_buffer(8192), DWORD()
    if not query(handle, cast(buffer, config), len(buffer), byref(needed)):
        return None
    return STARTS.get(cast(buffer, config).contents.dwStartType)


def collect_listeners(board: Board) -> Tuple[Listener, ...]:
    """IPv4 listeners on the ports that matter, with their programs."""
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
    """Connections to IMDS that other processes still have."""
    rows = [
        row
        for row in iphlpapi.tcp_table()
        if row.remote_address == IMDS_ADDRESS and row.pid != os.getpid() and row.state != TIME_WAIT
    ]
    return tuple(
        ProcessConnection(_process_name(row.pid), row.pid, row.local_port, _tcp_state(row.state))
        for row in rows
    )


def _tcp_state(number: int) -> str:
    if number >= len(TCP_STATES):
        return str(number)
    return TCP_STATES[number]


def _process_name(pid: int) -> str:
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
