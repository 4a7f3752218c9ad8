"""The network adapters of this machine."""

from __future__ import annotations

from enum import Enum
from typing import Optional, Tuple

from ..frozen import dataclass
from .addresses import Address, Mac, PrefixLength
from .kinds import NicName, Phrase, Term


class LinkState(str, Enum):
    UP = "up"
    DOWN = "down"  # administratively
    NO_CARRIER = "no-carrier"  # up, but there is no medium
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class InterfaceAddress:
    """One IPv4 address of an adapter. ``secondary`` is Linux' flag, ``skip_as_source`` Windows'."""

    address: Address
    prefix: PrefixLength
    secondary: bool = False
    skip_as_source: bool = False
    dynamic: Optional[bool] = None  # from DHCP


@dataclass(frozen=True)
class Adapter:
    index: int
    name: NicName
    description: Phrase = ""
    # Linux link kind ("ethernet", "loopback", "bridge", "tun", ...), Windows IfType by name
    kind: Term = "ethernet"
    # backed by a device (a synthetic or virtual function NIC), not made by software
    physical: bool = False
    mac: Optional[Mac] = None
    state: LinkState = LinkState.UNKNOWN
    driver: Optional[Term] = None
    master: Optional[NicName] = None  # the bridge, bond or synthetic NIC that it belongs to
    metric: Optional[int] = None
    addresses: Tuple[InterfaceAddress, ...] = ()
    gateways: Tuple[Address, ...] = ()  # Windows: of the adapter's own configuration
    dhcp: Optional[bool] = None
    dhcp_server: Optional[Address] = None
    lease_address: Optional[Address] = None
    lease_gateway: Optional[Address] = None
    managed_by: Optional[Term] = None  # "systemd-networkd", "NetworkManager"
    profile: Optional[Phrase] = None  # the manager's own name for the configuration in use
