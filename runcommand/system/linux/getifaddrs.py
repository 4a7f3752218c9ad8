"""IPv4 addresses from the C library, for a machine that has no ``ip`` (getifaddrs(3))."""

from __future__ import annotations

import ctypes
import socket
from typing import Iterator, List, Tuple

from ...facts import Address


class sockaddr_in(ctypes.Structure):
    _fields_ = [
        ("sin_family", ctypes.c_ushort),
        ("sin_port", ctypes.c_ushort),
        ("sin_addr", ctypes.c_ubyte * 4),
    ]


class ifaddrs(ctypes.Structure):
    pass


ifaddrs._fields_ = [
    ("ifa_next", ctypes.POINTER(ifaddrs)),
    ("ifa_name", ctypes.c_char_p),
    ("ifa_flags", ctypes.c_uint),
    ("ifa_addr", ctypes.POINTER(sockaddr_in)),
    ("ifa_netmask", ctypes.POINTER(sockaddr_in)),
    ("ifa_ifu", ctypes.c_void_p),
    ("ifa_data", ctypes.c_void_p),
]


def ipv4() -> List[Tuple[str, Address, int]]:
    """(name, address, prefix length) of each, in the kernel's order.

    None of them where the library cannot be asked.
    """
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        getifaddrs, freeifaddrs = libc.getifaddrs, libc.freeifaddrs
    except (OSError, AttributeError):
        return []
    getifaddrs.restype = ctypes.c_int
    getifaddrs.argtypes = [ctypes.POINTER(ctypes.POINTER(ifaddrs))]
    freeifaddrs.restype = None
    freeifaddrs.argtypes = [ctypes.POINTER(ifaddrs)]
    first = ctypes.POINTER(ifaddrs)()
    if getifaddrs(ctypes.byref(first)):
        return []
    try:
        return list(_walk(first))
    finally:
        freeifaddrs(first)


def _walk(entry: ctypes._Pointer[ifaddrs]) -> Iterator[Tuple[str, Address, int]]:
    while entry:
        item = entry.contents
        if (
            item.ifa_addr
            and item.ifa_netmask
            and item.ifa_addr.contents.sin_family == socket.AF_INET
        ):
            bits = sum(bin(byte).count("1") for byte in item.ifa_netmask.contents.sin_addr)
            address = socket.inet_ntoa(bytes(item.ifa_addr.contents.sin_addr))
            label = item.ifa_name.decode("utf-8", "surrogateescape")
            # eth0:1 is a label of eth0
            name = label.partition(":")[0]
            yield name, Address(address), bits
        entry = item.ifa_next
