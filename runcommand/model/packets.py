"""What the firewall of the VM is asked: the packet of a request, of what the facts say."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Optional, Sequence, Union

from ..facts import Adapter, Exchange, Facts, Service
from ..firewall.netfilter import Netfilter
from ..firewall.packet import Packet, request

if TYPE_CHECKING:
    from ..firewall.windows import WindowsFirewall

PacketFilter = Union[Netfilter, "WindowsFirewall"]


def packet_filter(
    facts: Facts, service: Optional[Service], answer: Optional[Exchange]
) -> Optional[PacketFilter]:
    """The VM's packet filter; None where it is not known.

    :param service: Windows Firewall's own
    :param answer: the plain request's
    """
    if facts.firewall is None:
        return None
    if facts.system != "windows":
        return Netfilter(facts.firewall)
    # here: the script for Linux does not carry it
    from .windows_packets import windows_firewall

    return windows_firewall(facts.firewall, service, answer)


def packet_to(
    facts: Facts,
    address: str,
    port: int,
    source: Optional[str],
    adapter: Optional[Adapter],
    gateways: Sequence[Optional[str]],
) -> Packet:
    """The first packet of SYSTEM or root to a service of the platform.

    :param adapter: by which it leaves
    :param gateways: of the default routes
    """
    packet = replace(
        request(address, port),
        source=source,
        interface_out=adapter.name if adapter else None,
        uid=0 if facts.machine and facts.machine.elevated else None,
    )
    if facts.system != "windows":
        return packet
    from .windows_packets import keywords

    return replace(packet, keywords=keywords(facts, address, gateways))
