"""The service control manager (advapi32): the state and the start type of services."""

from __future__ import annotations

from ctypes import POINTER, Structure, byref, cast, create_string_buffer, sizeof
from ctypes.wintypes import BOOL, DWORD, HANDLE, LPCWSTR, LPWSTR
from typing import List, NamedTuple, Optional, Sequence

from .dll import failed, function, last_error

SC_MANAGER_CONNECT, SERVICE_QUERY_CONFIG, SERVICE_QUERY_STATUS = 0x1, 0x1, 0x4  # winsvc.h
SC_STATUS_PROCESS_INFO = 0
ERROR_SERVICE_DOES_NOT_EXIST = 1060


class ServiceRow(NamedTuple):
    """An installed service. What is None could not be queried."""

    name: str
    state: Optional[int] = None  # SERVICE_STATUS_PROCESS.dwCurrentState
    start: Optional[int] = None  # QUERY_SERVICE_CONFIGW.dwStartType


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


def services(names: Sequence[str]) -> List[ServiceRow]:
    """Those of these services that are installed. Raises ``NoFact``."""
    open_manager = function("advapi32", "OpenSCManagerW", HANDLE, LPCWSTR, LPCWSTR, DWORD)
    close = function("advapi32", "CloseServiceHandle", BOOL, HANDLE)
    manager = open_manager(None, None, SC_MANAGER_CONNECT)
    if not manager:
        raise failed("OpenSCManagerW", last_error())
    try:
        found = [_service(manager, name) for name in names]
    finally:
        close(manager)
    return [service for service in found if service]


def _service(manager: int, name: str) -> Optional[ServiceRow]:
    open_service = function("advapi32", "OpenServiceW", HANDLE, HANDLE, LPCWSTR, DWORD)
    close = function("advapi32", "CloseServiceHandle", BOOL, HANDLE)
    handle = open_service(manager, name, SERVICE_QUERY_STATUS | SERVICE_QUERY_CONFIG)
    if not handle:
        if last_error() == ERROR_SERVICE_DOES_NOT_EXIST:
            return None
        return ServiceRow(name)
    try:
        return ServiceRow(name, _state(handle), _start(handle))
    finally:
        close(handle)


def _state(handle: int) -> Optional[int]:
    query = function(
        "advapi32", "QueryServiceStatusEx", BOOL,
        HANDLE, DWORD, POINTER(SERVICE_STATUS_PROCESS), DWORD, POINTER(DWORD),
    )  # fmt: skip
    status, needed = SERVICE_STATUS_PROCESS(), DWORD()
    if not query(handle, SC_STATUS_PROCESS_INFO, byref(status), sizeof(status), byref(needed)):
        return None
    return int(status.dwCurrentState)


def _start(handle: int) -> Optional[int]:
    config = POINTER(QUERY_SERVICE_CONFIGW)
    query = function("advapi32", "QueryServiceConfigW", BOOL, HANDLE, config, DWORD, POINTER(DWORD))
    # no configuration is larger
    buffer, needed = create_string_buffer(8192), DWORD()
    if not query(handle, cast(buffer, config), len(buffer), byref(needed)):
        return None
    return int(cast(buffer, config).contents.dwStartType)
