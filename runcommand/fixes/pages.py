"""Microsoft's pages that exist once for Windows and once for Linux.

A rule names one page. Where Microsoft has its twin for the other system, the report of a VM names
the twin instead.
"""

from __future__ import annotations

from typing import Dict, NamedTuple, Tuple

SUPPORT = "https://learn.microsoft.com/troubleshoot/azure/virtual-machines"
VIRTUAL_MACHINES = "https://learn.microsoft.com/azure/virtual-machines"


class Pair(NamedTuple):
    """Two pages on one subject."""

    windows: str
    linux: str


PAIRS: Tuple[Pair, ...] = (
    Pair(f"{SUPPORT}/windows/windows-vm-imds-connection", f"{SUPPORT}/linux/linux-vm-imds-tool"),
    Pair(
        f"{SUPPORT}/windows/reset-network-interface",
        f"{SUPPORT}/linux/reset-network-interface-azure-linux-vm",
    ),
    Pair(
        f"{SUPPORT}/windows/redeploy-to-new-node-windows",
        f"{SUPPORT}/linux/redeploy-to-new-node-linux",
    ),
    Pair(f"{VIRTUAL_MACHINES}/windows/time-sync", f"{VIRTUAL_MACHINES}/linux/time-sync"),
)
_TWINS: Dict[str, Pair] = {page: pair for pair in PAIRS for page in pair}


def page_for(page: str, system: str) -> str:
    """The page on the same subject for one system; the page itself where it has no twin.

    :param system: as in ``Facts.system``; a system that is neither keeps the page
    """
    pair = _TWINS.get(page)
    if pair is None:
        return page
    return {"windows": pair.windows, "linux": pair.linux}.get(system, page)


def pages_of(page: str) -> Tuple[str, ...]:
    """The page, with its twin where it has one: Windows' first."""
    return tuple(_TWINS.get(page, [page]))
