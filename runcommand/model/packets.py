"""What the firewall of the VM is asked: the packet of a request, of what the facts say."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Dict, Optional, Sequence, Union

from ..facts import (
    IMDS_ADDRESS,
    Adapter,
    Exchange,
    Facts,
    Outcome,
    Service,
    ServiceState,
    contains,
)
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
    :param answer: the plain request's; one that was forbidden shows that the firewall runs
    """
    if facts.firewall is None:
        return None
    if facts.system != "windows":
        return Netfilter(facts.firewall)
    # here: the script for Linux does not carry it
    from ..firewall.windows import WindowsFirewall

    return WindowsFirewall(facts.firewall, _is_running(service, answer))


def _is_running(service: Optional[Service], answer: Optional[Exchange]) -> Optional[bool]:
    state = service.state if service else None
    if state in (ServiceState.STOPPED, ServiceState.FAILED):
        return False
    is_forbidden = answer is not None and answer.outcome is Outcome.FORBIDDEN
    return True if state is ServiceState.RUNNING or is_forbidden else None


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
    return replace(
        request(address, port),
        source=source,
        interface_out=adapter.name if adapter else None,
        uid=0 if facts.machine and facts.machine.elevated else None,
        keywords=_keywords(facts, address, gateways),
    )


def _keywords(facts: Facts, address: str, gateways: Sequence[Optional[str]]) -> Dict[str, bool]:
    """Which of Windows' keywords for remote addresses hold one address, as far as it is known
    ([MS-FASP] 2.2.21).
    """
    adapters = facts.adapters or ()
    subnets = [
        f"{held.address}/{held.prefix}"
        for adapter in adapters
        if adapter.kind != "loopback"
        for held in adapter.addresses
    ]
    found = {
        "localsubnet": any(contains(subnet, address) for subnet in subnets),
        "wins": False,
        "ply2renders": False,
        "dhcp": any(adapter.dhcp_server == address for adapter in adapters),
        "defaultgateway": address in gateways,
    }
    # Azure's DNS has the WireServer's address
    if address == IMDS_ADDRESS:
        found["dns"] = False
    return found
