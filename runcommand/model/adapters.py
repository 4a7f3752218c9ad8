"""The adapters of the VM.

Which are NICs, which are faces of one NIC, and which holds an address.
"""

from __future__ import annotations

from functools import cached_property
from typing import Iterable, List, Optional, Tuple

from ..facts import Adapter, Facts, LinkState, Route, contains
from .azure import is_azure_mac

NO_MAC = "00-00-00-00-00-00"
SOFTWARE_KINDS = (
    "loopback", "tun", "tap", "wireguard", "ipip", "gre", "sit", "dummy", "ifb", "veth", "tunnel",
    "ppp", "virtual",
)  # fmt: skip


class Adapters:
    """All adapters, and what is looked up among them."""

    def __init__(self, facts: Facts) -> None:
        self.all: Tuple[Adapter, ...] = facts.adapters or ()

    def holding(self, address: Optional[str]) -> Optional[Adapter]:
        """The adapter that holds a local address (not loopback)."""
        for adapter in self.all:
            if adapter.kind != "loopback" and holds(adapter, address):
                return adapter
        return None

    def with_mac(self, mac: Optional[str]) -> Optional[Adapter]:
        """The adapter with a MAC.

        A synthetic NIC and its virtual function share one: then the face with the addresses.
        """
        own = [adapter for adapter in self.all if mac and adapter.mac == mac]
        return max(own, key=_prominence, default=None)

    def egress(self, route: Optional[Route]) -> Optional[Adapter]:
        """The adapter through which packets leave that take a route."""
        if route is None:
            return None
        for adapter in self.all:
            if route.interface_index is not None and adapter.index == route.interface_index:
                return adapter
        for adapter in self.all:
            if adapter.name == route.interface:
                return adapter
        return None

    @cached_property
    def nics(self) -> List[Adapter]:
        """What Azure may know as a NIC of this VM.

        A device made it, or it has one of Azure's MAC addresses.

        Each NIC once, by the face that has its addresses; in the order of the index.
        """
        found: List[Adapter] = []
        for adapter in sorted(self.all, key=lambda adapter: adapter.index):
            if adapter.kind == "loopback" or not (adapter.physical or is_azure_mac(adapter.mac)):
                continue
            twin = next((known for known in found if same_nic(known, adapter)), None)
            if twin is None:
                found.append(adapter)
            elif not twin.addresses and adapter.addresses:
                found[found.index(twin)] = adapter
        return found

    def may_be_primary(self, adapter: Adapter) -> bool:
        """Whether an adapter is a NIC, or another face of one (a bridge over it).

        Where no NIC is known: whether it is not a tunnel.
        """
        if not self.nics:
            return adapter.kind not in SOFTWARE_KINDS
        return any(same_nic(adapter, nic) for nic in self.nics)

    def with_addresses(self, adapter: Adapter) -> Adapter:
        """The face of a NIC that carries its addresses; the adapter itself where none does."""
        if adapter.addresses:
            return adapter
        for other in self.all:
            if other.addresses and same_nic(adapter, other):
                return other
        return adapter


def _prominence(adapter: Adapter) -> Tuple[int, bool]:
    return len(adapter.addresses), adapter.master is None


def distinct(adapters: Iterable[Adapter]) -> List[Adapter]:
    """Each NIC once, by the first of its faces."""
    found: List[Adapter] = []
    for adapter in adapters:
        if not any(same_nic(adapter, known) for known in found):
            found.append(adapter)
    return found


def same_nic(one: Adapter, other: Adapter) -> bool:
    """Whether two adapters are faces of one NIC.

    A VF and its synthetic NIC are, or a vSwitch, bridge or bond and its member.
    """
    if one.index == other.index:
        return True
    if one.mac and one.mac == other.mac and one.mac != NO_MAC:
        return True
    return one.master == other.name or other.master == one.name


def holds(adapter: Adapter, address: Optional[str]) -> bool:
    """Whether an IPv4 address is one of the adapter's own."""
    return any(held.address == address for held in adapter.addresses)


def in_subnet(adapter: Adapter, address: str) -> bool:
    """Whether an IPv4 address is on one of the adapter's own subnets."""
    return any(contains(f"{held.address}/{held.prefix}", address) for held in adapter.addresses)


def is_down(adapter: Adapter) -> bool:
    return adapter.state in (LinkState.DOWN, LinkState.NO_CARRIER)
