"""The active profiles of the Windows firewall: ``INetFwPolicy2``, a COM interface (netfw.h)."""

from __future__ import annotations

import ctypes
from ctypes import POINTER, byref, c_long, c_void_p, cast
from ctypes.wintypes import DWORD
from typing import Any, FrozenSet

from .dll import failed, function
from .guid import GUID

SOURCE = "INetFwPolicy2"
COINIT_MULTITHREADED, CLSCTX_INPROC_SERVER = 0x0, 0x1  # objbase.h, wtypesbase.h
NET_FW_PROFILE2 = {"domain": 0x1, "private": 0x2, "public": 0x4}  # icftypes.h
# Places in the table of methods: IUnknown has 3, IDispatch 4 more.
RELEASE, GET_CURRENT_PROFILE_TYPES = 2, 7
CLSID_NET_FW_POLICY2 = GUID.of("e2b3c97f-6ae1-41ac-817a-f6f92166d7dd")
IID_INET_FW_POLICY2 = GUID.of("98325047-c671-4174-8d81-defcd3f03186")


def active_profiles() -> FrozenSet[str]:
    """The names of the active profiles: each connected network has one. Raises ``NoFact``.

    https://learn.microsoft.com/windows/win32/api/netfw/nf-netfw-inetfwpolicy2-get_currentprofiletypes
    """
    initialize = function("ole32", "CoInitializeEx", c_long, c_void_p, DWORD)
    uninitialize = function("ole32", "CoUninitialize", None)
    result = initialize(None, COINIT_MULTITHREADED)
    if result < 0:
        raise failed("CoInitializeEx", result & 0xFFFFFFFF)
    try:
        return _profiles()
    finally:
        uninitialize()


def named(types: int) -> FrozenSet[str]:
    """The profiles in a combination of NET_FW_PROFILE_TYPE2."""
    return frozenset(name for name, bit in NET_FW_PROFILE2.items() if types & bit)


def _profiles() -> FrozenSet[str]:
    create = function(
        "ole32", "CoCreateInstance", c_long,
        POINTER(GUID), c_void_p, DWORD, POINTER(GUID), POINTER(c_void_p),
    )  # fmt: skip
    policy = c_void_p()
    clsid, iid = byref(CLSID_NET_FW_POLICY2), byref(IID_INET_FW_POLICY2)
    result = create(clsid, None, CLSCTX_INPROC_SERVER, iid, byref(policy))
    if result < 0 or not policy:
        raise failed("CoCreateInstance(NetFwPolicy2)", result & 0xFFFFFFFF)
    try:
        types = c_long()
        result = _method(policy, GET_CURRENT_PROFILE_TYPES, POINTER(c_long))(policy, byref(types))
        if result < 0:
            raise failed(SOURCE, result & 0xFFFFFFFF)
        return named(types.value)
    finally:
        _method(policy, RELEASE)(policy)


def _method(interface: c_void_p, number: int, *argtypes: Any) -> Any:
    """A method of a COM interface, by its place in the interface's table of methods."""
    # the first field of the interface points to the table
    table = cast(interface, POINTER(POINTER(c_void_p))).contents
    prototype = getattr(ctypes, "WINFUNCTYPE")(c_long, c_void_p, *argtypes)
    return prototype(table[number])
