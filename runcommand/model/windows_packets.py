"""What Windows Firewall is asked beside the packet itself."""

from __future__ import annotations

from typing import Dict, Optional, Sequence

from ..facts import (
    IMDS_ADDRESS,
    Exchange,
    Facts,
    Firewall,
    Outcome,
    Service,
    ServiceState,
    contains,
)
from ..firewall.windows import WindowsFirewall


def windows_firewall(
    firewall: Firewall, service: Optional[Service], answer: Optional[Exchange]
) -> WindowsFirewall:
    """The packet filter of Windows.

    :param service: its own
    :param answer: the plain request's; one that was forbidden shows that the firewall runs
    """
    return WindowsFirewall(firewall, _is_running(service, answer))


def _is_running(service: Optional[Service], answer: Optional[Exchange]) -> Optional[bool]:
    state = service.state if service else None
    if state in (ServiceState.STOPPED, ServiceState.FAILED):
        return False
    is_forbidden = answer is not None and answer.outcome is Outcome.FORBIDDEN
    if state is ServiceState.RUNNING or is_forbidden:
        return True
    return None


def keywords(facts: Facts, address: str, gateways: Sequence[Optional[str]]) -> Dict[str, bool]:
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
