"""The packets that a firewall is asked about."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import FrozenSet, Mapping, Optional

from ..facts import HOST_PLUGIN_PORT, IMDS_ADDRESS, WIRESERVER_ADDRESS

HTTP_PORT = 80
# The ports that the platform listens on.
PORTS = {IMDS_ADDRESS: (HTTP_PORT,), WIRESERVER_ADDRESS: (HTTP_PORT, HOST_PLUGIN_PORT)}


@dataclass(frozen=True)
class Packet:
    """A TCP packet that a client on this machine sends or receives.

    None: not known. A packet starts without a mark.
    """

    source: Optional[str] = None
    destination: Optional[str] = None
    # None: a client's port
    source_port: Optional[int] = None
    destination_port: Optional[int] = None
    interface_in: Optional[str] = None
    interface_out: Optional[str] = None
    # of connection tracking
    state: str = "new"
    uid: Optional[int] = None
    # a rule may have written a mark
    is_marked: bool = False
    # a rule may have changed what connection tracking knows
    is_untracked: bool = False
    # the active profiles of Windows Firewall
    profiles: Optional[FrozenSet[str]] = None
    # Windows' keywords for addresses, in lower case: does the remote address match?
    keywords: Mapping[str, bool] = field(default_factory=dict)


def request(address: str, port: int = HTTP_PORT) -> Packet:
    """The first packet of a connection to a service of the platform."""
    return Packet(destination=address, destination_port=port)


def reply_to(packet: Packet) -> Packet:
    """The answer to a request, as it comes in."""
    return Packet(
        source=packet.destination,
        source_port=packet.destination_port,
        destination=packet.source,
        interface_in=packet.interface_out,
        state="established",
        is_marked=packet.is_marked,
        is_untracked=packet.is_untracked,
    )


# Any request to the platform, whatever rules have done to it before.
REQUESTS = tuple(
    replace(request(address, port), is_marked=True, is_untracked=True)
    for address, ports in PORTS.items()
    for port in ports
)
REPLIES = tuple(map(reply_to, REQUESTS))
