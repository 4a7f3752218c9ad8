"""Numbers and addresses as files of /proc write them (proc(5))."""

from __future__ import annotations

import re
import socket
import sys

HEX = re.compile("[0-9A-Fa-f]{1,8}")


def hex_number(text: str) -> int:
    """A number of at most 8 hexadecimal digits. Raises ``ValueError``."""
    if not HEX.fullmatch(text):
        raise ValueError(f"not a hexadecimal number: {text[:40]!r}")
    return int(text, 16)


def hex_address(text: str) -> str:
    """An IPv4 address, in the byte order of the machine. Raises ``ValueError``."""
    return socket.inet_ntoa(hex_number(text).to_bytes(4, sys.byteorder))
