"""The primary NIC itself: its link, its MAC, its address, its DHCP."""

from __future__ import annotations

from typing import List, Optional, Tuple

from ..facts import Adapter, LinkState, prefix_length
from .case import BECAUSE, Case, KnownFrom, is_down, nic, same_nic
from .finding import Fix, Seen, Severity, Verdict, advice, listed, quoted, rule
from ..fixes.remedies import remedies, routes_anew, set_address, set_mac

CHECK_VALUE = "Check the value first: az vm nic show, or the portal's Properties page of the VM."


@rule(Verdict.BROKEN)
def nic_down(case: Case) -> Optional[Seen]:
    """The primary NIC is down

    Azure answers only the primary IP address of the primary NIC. When that NIC is disabled in the guest, or has no
    link, nothing reaches IMDS.

    Recognised by: the state of the adapter that is the primary NIC. Another adapter with the same MAC (a virtual
    function and its synthetic NIC, a bridge and its member) that is up takes its place. Where nothing proves which NIC is
    the primary one, a NIC that is down counts for it when it comes before all that are up, unless the leases say otherwise.

    Mended by: enabling the adapter; the lease then brings its routes back. A NIC without a link is mended from outside:
    by redeploying the VM.
    https://learn.microsoft.com/troubleshoot/azure/virtual-machines/windows/reset-network-interface
    """
    adapter, because = _down(case)
    if adapter is None:
        return None
    if adapter.state is LinkState.NO_CARRIER:
        fixes: List[Fix] = [
            advice(
                "The NIC has no link, and no command on the VM can mend that: check in Azure that the NIC is attached, then "
                "redeploy the VM."
            )
        ]
    else:
        commands = remedies(case)
        fixes = [*commands.bring_up(adapter), *commands.renew_lease(adapter), *routes_anew(case, adapter)]
    words = "is disabled" if adapter.state is LinkState.DOWN else "is enabled, but has no link"
    return case.local(
        f"The primary NIC {nic(adapter)} {words}. It is taken for the primary one because {because}.", fixes
    )


def _down(case: Case) -> Tuple[Optional[Adapter], str]:
    """The NIC that is down and counts as the primary one, and why."""
    primary = case.primary
    if primary and is_down(primary.adapter) and not _is_up(case, primary.adapter):
        return primary.adapter, BECAUSE[primary.known_from]
    if not case.silent or (primary and primary.is_proven):
        return None, ""
    first = next(iter(case.nics), None)
    leases_tell = primary is not None and primary.known_from is KnownFrom.DHCP_LEASE
    if leases_tell and first and first.dhcp_server and not first.lease_gateway:
        return None, ""  # both leases are known, and the other one names the gateway
    others_up = [other for other in case.nics[1:] if not is_down(other)]
    if first and is_down(first) and not _is_up(case, first) and (others_up or primary is None):
        return first, "it comes before the others, and none of those gets an answer"
    return None, ""


def _is_up(case: Case, adapter: Adapter) -> bool:
    """Whether another face of the NIC is up."""
    return any(
        face.state is LinkState.UP and face.addresses and same_nic(adapter, face) and face.index != adapter.index
        for face in case.adapters
    )


def _by_answer(case: Case) -> Verdict:
    return Verdict.DEGRADED if case.imds_answers else Verdict.BROKEN


@rule(Verdict.DEGRADED, Verdict.BROKEN)
def nic_mac_mismatch(case: Case) -> Optional[Seen]:
    """No NIC of the guest has the MAC address that Azure knows

    Azure forwards frames of a NIC only from the MAC address that it gave to it. A MAC that was overridden in the guest, or
    a NIC that was replaced in Azure and not in the guest, cuts the VM off, or leaves features that check the MAC failing.

    Recognised by: none of the guest's adapters has the MAC of --expected-mac or, without it, any that IMDS reports.
    Degraded while IMDS answers, else broken.

    Mended by: taking the override away; or, when the NIC was replaced, stopping (deallocating) and starting the VM.
    https://learn.microsoft.com/troubleshoot/azure/virtual-machines/windows/reset-network-interface
    """
    own = {adapter.mac for adapter in case.adapters if adapter.mac}
    reported = {interface.mac for interface in (case.instance.interfaces if case.instance else ()) if interface.mac}
    expected = case.facts.expected.mac
    wanted = sorted([expected] if expected else reported)
    if not own or not wanted or own & set(wanted):
        return None
    if any(adapter.physical and adapter.mac is None for adapter in case.adapters):
        return None  # the one that is not known may be it
    strays = [adapter for adapter in case.nics if adapter.mac not in reported] or case.nics
    if case.primary and case.primary.adapter in strays:
        strays = [case.primary.adapter]
    held = listed([f"{quoted(adapter.name)} {adapter.mac}" for adapter in strays]) or listed(sorted(map(str, own)))
    detail = (
        f"Azure ({'--expected-mac' if expected else 'IMDS'}) knows this VM by {listed(wanted)}; the guest has {held}."
    )
    if own & reported:
        return Seen(
            f"{detail} But IMDS reports {listed(sorted(own & reported))}, which the guest has.",
            (advice(f"--expected-mac is most likely mistyped, or of another VM. {CHECK_VALUE}"),),
            verdict=_by_answer(case),
        )
    fixes: List[Fix] = [advice(CHECK_VALUE)] if expected else []
    if len(strays) == 1 and len(wanted) == 1:
        fixes += set_mac(case, strays[0], wanted[0])
    fixes.append(
        advice("If the NIC was replaced in Azure instead: stop (deallocate) and start the VM, then run again.")
    )
    return Seen(detail, tuple(fixes), verdict=_by_answer(case))


@rule(Verdict.DEGRADED, Verdict.BROKEN)
def nic_ip_mismatch(case: Case) -> Optional[Seen]:
    """The primary NIC does not hold the address that Azure knows

    Azure forwards packets of a NIC only from the addresses that its IP configurations have. A static address in the guest
    that differs from them cuts the VM off from IMDS.

    Recognised by: the NIC with the expected MAC (else the primary NIC) holds none of the addresses of --expected-ip or,
    without it, of what IMDS reports for that MAC or the running lease from 168.63.129.16 names. Degraded while IMDS
    answers, else broken.

    Mended by: giving the NIC back to DHCP. A static private address is set in Azure, on the NIC's IP configuration, never
    in the guest.
    https://learn.microsoft.com/azure/virtual-network/ip-services/virtual-networks-static-private-ip-arm-pportal
    """
    expected = case.facts.expected
    adapter = case.adapter_with_mac(expected.mac) if expected.mac else case.primary.adapter if case.primary else None
    if adapter is None or is_down(adapter):
        return None
    reported = case.reported(adapter)
    leased = [adapter.lease_address] if adapter.dhcp_server and adapter.lease_address and not case.imds_answers else []
    wanted = [expected.ip] if expected.ip else list(reported.addresses) if reported else leased
    held = [item for face in case.adapters if same_nic(adapter, face) for item in face.addresses]
    if not wanted or any(item.address in wanted for item in held):
        return None
    owner = case.adapter_of(expected.ip)
    if owner and not expected.mac:
        return None
    source = "--expected-ip" if expected.ip else "IMDS" if reported else "its DHCP lease"
    own = listed([item.address for item in held]) or "no IPv4 address"
    names = listed([str(address) for address in wanted])
    detail = f"Azure ({source}) gives {quoted(adapter.name)} the address {names}; in the guest it holds {own}."
    known = [item.address for item in held if reported and item.address in reported.addresses]
    if owner or known:
        said = (
            f"{quoted(owner.name)} holds it"
            if owner
            else f"IMDS reports {listed(known)} for this NIC, as the guest has it"
        )
        return Seen(
            f"{detail} But {said}.",
            (advice(f"--expected-ip is most likely mistyped, or of another NIC. {CHECK_VALUE}"),),
            verdict=_by_answer(case),
        )
    subnet = reported.subnet if reported else None
    prefix = prefix_length(subnet) if subnet else held[0].prefix if held else 24
    fixes = [advice(CHECK_VALUE)] if expected.ip else []
    fixes += set_address(case, adapter, str(wanted[0]), prefix)
    return Seen(detail, tuple(fixes), verdict=_by_answer(case))


@rule()
def nic_dhcp_disabled(case: Case) -> Optional[Seen]:
    """DHCP is off on the primary NIC

    Azure hands out the routes to IMDS and to the WireServer with the DHCP lease, and asks for DHCP to be enabled. A static
    configuration works until the address, the gateway or the NIC changes in Azure.

    Recognised by: the DHCP flag of the primary NIC. Information when IMDS answers, else a warning.

    Mended by: giving the NIC back to DHCP. (On Windows a NIC with several IP configurations has to be static.)
    https://learn.microsoft.com/azure/virtual-machines/instance-metadata-service
    """
    if case.primary is None or case.primary.adapter.dhcp is not False:
        return None
    return Seen(
        f"The address of {nic(case.primary.adapter, case.primary.ip)} is set in the guest.",
        tuple(remedies(case).renew_lease(case.primary.adapter)),
        Severity.INFO if case.imds_answers else Severity.WARN,
    )
