"""Whom the readers ask: Windows itself, or what the PowerShell script brought of it.

The rows are as Windows gives them, and the readers beside this module make the facts of them,
whoever brought them.
"""

from __future__ import annotations

import os
from typing import (
    Any,
    Callable,
    Dict,
    FrozenSet,
    List,
    Mapping,
    Optional,
    Protocol,
    Sequence,
    Tuple,
)

from ...collect import NoFact
from ...facts import Address
from .. import udp_source
from . import firmware, iphlpapi, netfw, processes, registry, service_control, winhttp
from .iphlpapi import AdapterRow, BestRoute, ForwardRow, InterfaceRow, NeighbourRow, TcpRow
from .registry import Root
from .service_control import ServiceRow
from .winhttp import DefaultProxy


class Source(Protocol):
    """Each method raises ``NoFact`` where the answer cannot be had."""

    def adapters(self) -> Sequence[AdapterRow]:
        """Those that have IPv4."""

    def interfaces(self) -> Sequence[InterfaceRow]:
        """All, whether or not a protocol is bound to them."""

    def addresses_to_skip(self) -> Sequence[Tuple[int, str]]:
        """(interface index, address) of those with SkipAsSource."""

    def forward_table(self) -> Sequence[ForwardRow]: ...

    def best_route2(self, destination: str) -> BestRoute: ...

    def best_route(self, destination: str) -> BestRoute: ...

    def udp_source(self, destination: Address) -> Tuple[Optional[Address], Optional[str]]:
        """The source address that Windows chooses, or the error's POSIX name."""

    def neighbours(self) -> Sequence[NeighbourRow]: ...

    def tcp_table(self) -> Sequence[TcpRow]: ...

    def process_name(self, pid: int) -> str:
        """The file name of a process's program; ``-`` where it is not known."""

    def own_process(self) -> int:
        """The number of the process that asked."""

    def values(self, key: str, root: Root = Root.MACHINE) -> Dict[str, Any]:
        """The values of a registry key. Raises ``registry.NoKey`` where there is none."""

    def subkeys(self, key: str, root: Root = Root.MACHINE) -> List[str]:
        """The names of the keys below a key (an empty one: of the root)."""

    def values_left_out(self, key: str) -> int:
        """How many values of a key of HKLM were read and not brought."""

    def default_proxy(self) -> Optional[DefaultProxy]:
        """WinHTTP's; None where requests use no proxy."""

    def active_profiles(self) -> FrozenSet[str]:
        """The names of the firewall's active profiles."""

    def services(self, names: Sequence[str]) -> Sequence[ServiceRow]:
        """Those of them that are installed."""

    def firmware_table(self) -> bytes:
        """The RawSMBIOSData."""

    def environment(self) -> Mapping[str, str]:
        """The environment of the process that asked."""

    def is_elevated(self) -> Optional[bool]:
        """Whether that process has an administrator's rights; None: not known."""


def values_if_any(
    source: Source, key: str, note: Callable[[str], None], root: Root = Root.MACHINE
) -> Dict[str, Any]:
    """The values of a registry key; none where it does not exist or cannot be read.

    :param note: is called where it cannot be read
    """
    try:
        return source.values(key, root)
    except registry.NoKey:
        return {}
    except NoFact as missing:
        note(str(missing))
        return {}


class Live:
    """Windows itself."""

    def adapters(self) -> Sequence[AdapterRow]:
        return iphlpapi.adapters()

    def interfaces(self) -> Sequence[InterfaceRow]:
        return iphlpapi.interfaces()

    def addresses_to_skip(self) -> Sequence[Tuple[int, str]]:
        return iphlpapi.addresses_to_skip()

    def forward_table(self) -> Sequence[ForwardRow]:
        return iphlpapi.forward_table()

    def best_route2(self, destination: str) -> BestRoute:
        return iphlpapi.best_route2(destination)

    def best_route(self, destination: str) -> BestRoute:
        return iphlpapi.best_route(destination)

    def udp_source(self, destination: Address) -> Tuple[Optional[Address], Optional[str]]:
        return udp_source(destination)

    def neighbours(self) -> Sequence[NeighbourRow]:
        return iphlpapi.neighbours()

    def tcp_table(self) -> Sequence[TcpRow]:
        return iphlpapi.tcp_table()

    def process_name(self, pid: int) -> str:
        return processes.name(pid)

    def own_process(self) -> int:
        return os.getpid()

    def values(self, key: str, root: Root = Root.MACHINE) -> Dict[str, Any]:
        return registry.values(key, root)

    def subkeys(self, key: str, root: Root = Root.MACHINE) -> List[str]:
        return registry.subkeys(key, root)

    def values_left_out(self, key: str) -> int:
        return 0

    def default_proxy(self) -> Optional[DefaultProxy]:
        return winhttp.default_proxy()

    def active_profiles(self) -> FrozenSet[str]:
        return netfw.active_profiles()

    def services(self, names: Sequence[str]) -> Sequence[ServiceRow]:
        return service_control.services(names)

    def firmware_table(self) -> bytes:
        return firmware.firmware_table()

    def environment(self) -> Mapping[str, str]:
        return dict(os.environ)

    def is_elevated(self) -> Optional[bool]:
        return processes.is_elevated()
