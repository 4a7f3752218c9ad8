"""The primary NIC itself: its link, its MAC, its address, its DHCP."""

from __future__ import annotations

from typing import List, Optional

from ..facts import Adapter, ImdsInterface, LinkState, prefix_length
from .case import KNOWN_FROM, Case, is_down, nic
from .finding import Fix, Seen, Severity, Verdict, advice, listed, quoted, rule
from .remedies import remedies, routes_anew


@rule(Verdict.BROKEN)
def nic_down(case: Case) -> Optional[Seen]:
    """The primary NIC is down

    Azure answers only the primary IP address of the primary NIC. When that NIC is disabled in the guest, or has no
    medium, nothing reaches IMDS.

    Recognised by: the state of the adapter that is the primary NIC. Another adapter with the same MAC (a virtual
    function and its synthetic NIC, a bridge and its member) that is up takes its place.

    Mended by: enabling the adapter; the lease then brings its routes back. A NIC without a medium is mended from outside:
    by redeploying the VM.
    https://learn.microsoft.com/troubleshoot/azure/virtual-machines/windows/reset-network-interface
    """
    if case.primary is None:
        return None
    adapter = case.primary.adapter
    faces = [other for other in case.adapters if case.same_nic(adapter, other)]
    if not is_down(adapter) or any(face.state is LinkState.UP and face.addresses for face in faces):
        return None
    if adapter.state is LinkState.NO_CARRIER:
        fixes: List[Fix] = [
            advice("The medium is missing, which no command on the VM mends: check that the NIC is attached, then redeploy the VM.")
        ]
    else:
        commands = remedies(case)
        fixes = [*commands.bring_up(adapter), *commands.renew_lease(adapter), *routes_anew(case, adapter)]
    words = "is disabled" if adapter.state is LinkState.DOWN else "is enabled, but has no medium"
    return Seen(
        f"The primary NIC {nic(adapter, case.primary.ip)} {words}. (It is the primary one, {KNOWN_FROM[case.primary.known_from]}.)",
        tuple(fixes),
        case.local_severity,
    )


def _reported(case: Case, adapter: Adapter) -> Optional[ImdsInterface]:
    interfaces = case.instance.interfaces if case.instance else ()
    return next((interface for interface in interfaces if interface.mac and interface.mac == adapter.mac), None)


def _by_answer(case: Case) -> Verdict:
    return Verdict.DEGRADED if case.imds_answers else Verdict.BROKEN


@rule(Verdict.BROKEN)
def nic_mac_mismatch(case: Case) -> Optional[Seen]:
    """No NIC of the guest has the MAC address that Azure knows

    Azure forwards frames of a NIC only from the MAC address that it gave to it. A MAC that was overridden in the guest, or
    a NIC that was replaced in Azure and not in the guest, cuts the VM off, or leaves features that check the MAC failing.

    Recognised by: none of the guest's adapters has the MAC of --expected-mac or, without it, any that IMDS reports.

    Mended by: taking the override away; or, when the NIC was replaced, stopping (deallocating) and starting the VM.
    https://learn.microsoft.com/troubleshoot/azure/virtual-machines/windows/reset-network-interface
    """
    if not case.adapters:
        return None
    own = {adapter.mac for adapter in case.adapters if adapter.mac}
    reported = [interface.mac for interface in (case.instance.interfaces if case.instance else ()) if interface.mac]
    expected = case.facts.expected.mac
    wanted = [expected] if expected else reported
    if not wanted or own & set(wanted):
        return None
    strays = [adapter for adapter in case.nics if adapter.mac not in reported] or case.nics
    if case.primary and case.primary.adapter in strays:
        strays = [case.primary.adapter]
    held = listed([f"{quoted(adapter.name)} {adapter.mac}" for adapter in strays]) or "no NIC"
    fixes: List[Fix] = []
    if len(strays) == 1 and len(wanted) == 1:
        fixes = [*remedies(case).set_mac(strays[0], str(wanted[0])), *routes_anew(case, strays[0])]
    fixes.append(advice("If the NIC was replaced in Azure instead: stop (deallocate) and start the VM, then run again."))
    source = "--expected-mac" if expected else "IMDS"
    return Seen(
        f"Azure ({source}) knows this VM by {listed([str(mac) for mac in wanted])}; the guest has {held}.",
        tuple(fixes),
        verdict=_by_answer(case),
    )


@rule(Verdict.BROKEN)
def nic_ip_mismatch(case: Case) -> Optional[Seen]:
    """The primary NIC does not hold the address that Azure knows

    Azure forwards packets of a NIC only from the addresses that its IP configurations have. A static address in the guest
    that differs from them cuts the VM off from IMDS.

    Recognised by: the NIC with the expected MAC (else the primary NIC) holds none of the addresses of --expected-ip or,
    without it, of what IMDS reports for that MAC.

    Mended by: giving the NIC back to DHCP. A static private address is set in Azure, on the NIC's IP configuration, never
    in the guest.
    https://learn.microsoft.com/azure/virtual-network/ip-services/virtual-networks-static-private-ip-arm-pportal
    """
    expected = case.facts.expected
    adapter = case.adapter_with_mac(expected.mac) if expected.mac else case.primary.adapter if case.primary else None
    if expected.ip and not expected.mac and case.adapter_of(expected.ip):
        return None
    if adapter is None or is_down(adapter):
        return None
    reported = _reported(case, adapter)
    wanted = [expected.ip] if expected.ip else list(reported.addresses) if reported else []
    held = [item for face in case.adapters if case.same_nic(adapter, face) for item in face.addresses]
    if not wanted or any(item.address in wanted for item in held):
        return None
    source = "--expected-ip" if expected.ip else "IMDS"
    own = listed([item.address for item in held]) or "no IPv4 address"
    subnet = reported.subnet if reported else None
    prefix = prefix_length(subnet) if subnet else held[0].prefix if held else 24
    fixes = [*remedies(case).set_address(adapter, str(wanted[0]), prefix), *routes_anew(case, adapter)]
    return Seen(
        f"Azure ({source}) gives {quoted(adapter.name)} the address {listed([str(ip) for ip in wanted])}; in the guest it holds "
        f"{own}.",
        tuple(fixes),
        verdict=_by_answer(case),
    )


@rule(None)
def nic_dhcp_disabled(case: Case) -> Optional[Seen]:
    """DHCP is off on the primary NIC

    Azure hands out the routes to IMDS and to the WireServer with the DHCP lease, and asks for DHCP to be enabled. A static
    configuration works until the address, the gateway or the NIC changes in Azure.

    Recognised by: the DHCP flag of the primary NIC. Information when IMDS answers, else a warning.

    Mended by: giving the NIC back to DHCP.
    https://learn.microsoft.com/azure/virtual-machines/instance-metadata-service
    """
    if case.primary is None or case.primary.adapter.dhcp is not False:
        return None
    return Seen(
        f"The address of {nic(case.primary.adapter, case.primary.ip)} is set in the guest.",
        tuple(remedies(case).renew_lease(case.primary.adapter)),
        Severity.INFO if case.imds_answers else Severity.WARN,
    )
