"""WinHTTP's default proxy (winhttp.dll), for services that have no proxy setting of their own."""

from __future__ import annotations

from ctypes import POINTER, Structure, byref, c_void_p, cast
from ctypes.wintypes import BOOL, DWORD, LPWSTR
from typing import NamedTuple, Optional

from .dll import failed, function, last_error

WINHTTP_ACCESS_TYPE_NAMED_PROXY = 3  # winhttp.h


class WINHTTP_PROXY_INFO(Structure):
    _fields_ = [("dwAccessType", DWORD), ("lpszProxy", c_void_p), ("lpszProxyBypass", c_void_p)]


class DefaultProxy(NamedTuple):
    servers: str
    bypass: str


def default_proxy() -> Optional[DefaultProxy]:
    """``WinHttpGetDefaultProxyConfiguration``; None where requests use no proxy.

    Raises ``NoFact``.
    """
    get = function(
        "winhttp", "WinHttpGetDefaultProxyConfiguration", BOOL, POINTER(WINHTTP_PROXY_INFO)
    )
    free = function("kernel32", "GlobalFree", c_void_p, c_void_p)
    info = WINHTTP_PROXY_INFO()
    if not get(byref(info)):
        raise failed("WinHttpGetDefaultProxyConfiguration", last_error())
    pointers = (info.lpszProxy, info.lpszProxyBypass)
    try:
        found = DefaultProxy(*map(_text, pointers))
    finally:
        for pointer in pointers:
            if pointer:
                free(pointer)
    if info.dwAccessType != WINHTTP_ACCESS_TYPE_NAMED_PROXY:
        return None
    return found


def _text(pointer: Optional[int]) -> str:
    if not pointer:
        return ""
    return cast(pointer, LPWSTR).value or ""
