"""Whether Windows is genuine: ``SLIsGenuineLocal`` of slwga.dll (slpublic.h).

It asks the Software Protection service.
"""

from __future__ import annotations

from ctypes import POINTER, byref, c_int, c_long, c_void_p
from typing import List

from ...collect import Board, NoFact, side_by_side
from .dll import failed, function
from .guid import GUID

# The application that Windows itself is a product of.
# https://learn.microsoft.com/windows/win32/api/slpublic/nf-slpublic-slisgenuinelocal
WINDOWS_SLID = GUID.of("55c92734-d682-4d71-983e-d6ec3f16059f")
SL_GENUINE_STATE = {0: "genuine", 1: "not-genuine", 2: "tampered", 3: "offline"}
WAIT_S = 2.0  # the service may have to be started


def collect(board: Board) -> str:
    """``genuine``, ``not-genuine``, ``tampered`` or ``offline``."""
    found: List[str] = []
    (reason,) = side_by_side.run(
        [lambda: found.append(is_genuine_local())], board.remaining(WAIT_S)
    )
    if not found:
        raise NoFact(f"SLIsGenuineLocal: {reason}")
    return found[0]


def is_genuine_local() -> str:
    """Raises ``NoFact``."""
    ask = function("slwga", "SLIsGenuineLocal", c_long, POINTER(GUID), POINTER(c_int), c_void_p)
    value = c_int(-1)
    result = ask(byref(WINDOWS_SLID), byref(value), None)
    if result < 0:
        raise failed("SLIsGenuineLocal", result & 0xFFFFFFFF)
    if value.value not in SL_GENUINE_STATE:
        raise NoFact(f"SLIsGenuineLocal: state {value.value}")
    return SL_GENUINE_STATE[value.value]
