"""The primary NIC itself: its link, its MAC, its address, its DHCP."""

from __future__ import annotations

from typing import List, Optional, Sequence, Set, Tuple

from ..facts import Adapter, InterfaceAddress, LinkState, Outcome, prefix_length
from ..fixes.remedies import remedies, routes_anew, set_address, set_mac
from ..model.adapters import is_down, same_nic
from ..model.model import Model
from ..model.primary_nic import BECAUSE, WHERE_AZURE_SAYS, KnownFrom, PrimaryNic
from ..model.sentences import nic
from ..model.words import listed, quoted
from .finding import Fix, Seen, Severity, Verdict, advice, rule
from .seen import check_first, local_fault

CHECK_VALUE = f"Before you change anything, check the value given: {WHERE_AZURE_SAYS}."
CHECK_ONLY = f"Check the value given: {WHERE_AZURE_SAYS}. Nothing on the VM needs to change."
NO_LINK = (
    "No command on the VM can restore the link: check in Azure that the NIC is attached, then "
    "redeploy the VM."
)
NIC_REPLACED = (
    "If the NIC was replaced in Azure instead, stop (deallocate) and start the VM, then run again."
)
USUAL_PREFIX = 24  # where nothing says how large the subnet is


@rule(Verdict.BROKEN, after="not-azure", explains=("route-missing",), shown_by="nic.primary")
def nic_down(model: Model) -> Optional[Seen]:
    """The primary NIC is down

    Azure answers only the primary IP address of the primary NIC. If that NIC is disabled in the
    guest, or has no link, nothing reaches IMDS.

    Recognised by: the state of the primary NIC's adapter. If another adapter with the same MAC is
    up (a virtual function and its synthetic NIC, a bridge and its member), it counts instead. When
    nothing proves which NIC is primary, a NIC that is down and comes before all those that are up
    is taken to be the primary one, unless the leases say otherwise.

    Fix: enable the adapter; its lease then restores the routes. If the NIC has no link, no command
    on the VM helps: redeploy the VM.
    https://learn.microsoft.com/troubleshoot/azure/virtual-machines/windows/reset-network-interface
    """
    adapter, because = _down(model)
    if adapter is None:
        return None
    words = "is disabled"
    if adapter.state is LinkState.NO_CARRIER:
        words = "is enabled, but has no link"
    assumed = f"Assumed to be the primary NIC because {because}."
    fixes = check_first(model, _bring_up(model, adapter))
    return local_fault(model, f"The primary NIC {nic(adapter)} {words}. {assumed}", fixes)


def _bring_up(model: Model, adapter: Adapter) -> List[Fix]:
    if adapter.state is LinkState.NO_CARRIER:
        return [advice(NO_LINK)]
    commands = remedies(model)
    fixes = commands.bring_up(adapter) + commands.renew_lease(adapter)
    return fixes + routes_anew(model, adapter)


def _down(model: Model) -> Tuple[Optional[Adapter], str]:
    """The NIC that is down and counts as the primary one, and why."""
    primary, nics = model.primary_nic, model.adapters.nics
    if primary and is_down(primary.adapter) and not _is_up(model, primary.adapter):
        return primary.adapter, BECAUSE[primary.known_from]
    if not model.answers.imds_is_silent or not nics or (primary and primary.is_proven):
        return None, ""
    first, *others = nics
    by_lease = primary is not None and primary.known_from is KnownFrom.DHCP_LEASE
    if by_lease and first.dhcp_server and not first.lease_gateway:
        return None, ""  # both leases are known, and the other one names the gateway
    if not is_down(first) or _is_up(model, first):
        return None, ""
    if primary is None or not all(is_down(other) for other in others):
        return first, "it comes before the others, and none of them gets an answer"
    return None, ""


def _is_up(model: Model, adapter: Adapter) -> bool:
    """Whether another face of the NIC is up."""
    return any(
        face.state is LinkState.UP
        and face.addresses
        and same_nic(adapter, face)
        and face.index != adapter.index
        for face in model.adapters.all
    )


def _by_answer(model: Model) -> Verdict:
    if model.answers.imds_gives_metadata:
        return Verdict.DEGRADED
    return Verdict.BROKEN


@rule(Verdict.DEGRADED, Verdict.BROKEN, after="nic-down", shown_by="nic.identity")
def nic_mac_mismatch(model: Model) -> Optional[Seen]:
    """The primary NIC does not have the MAC address that Azure expects

    Azure forwards a NIC's frames only if they carry the MAC address that Azure assigned to it. If
    the MAC is overridden in the guest, or the NIC was replaced in Azure but not in the guest, the
    VM is cut off, or features that check the MAC fail.

    Recognised by: no adapter in the guest has any of the MACs that IMDS reports (degraded while
    IMDS answers, otherwise broken). If neither IMDS nor the WireServer answers: no adapter has the
    MAC given with --expected-mac (broken). If either of them answers a NIC, that NIC has the right
    MAC, so a different --expected-mac is only a warning: it is probably mistyped, or belongs to
    another NIC or VM.

    Fix: remove the override. If the NIC was replaced, stop (deallocate) the VM and start it again.
    https://learn.microsoft.com/troubleshoot/azure/virtual-machines/windows/reset-network-interface
    """
    own = _own_macs(model)
    is_unsure = any(item.physical and item.mac is None for item in model.adapters.all)
    if not own or is_unsure:  # the one that is not known may be it
        return None
    reported = _reported_macs(model)
    if reported and not own & reported:
        return _has_other_mac(model, "IMDS", sorted(reported), [])
    expected = model.facts.expected.mac
    if expected is None:
        return None
    if model.answers.from_platform:
        return _mac_refuted(model, expected)
    if expected in own:
        return None
    seen = _has_other_mac(model, "--expected-mac", [expected], [advice(CHECK_VALUE)])
    return _unless_it_never_left(model, seen)


def _unless_it_never_left(model: Model, seen: Optional[Seen]) -> Optional[Seen]:
    """What rests on the operator's word; a warning without commands where the VM itself stopped the
    request: no packet left it, so that neither the MAC nor the address can be the reason.
    """
    answer = model.answers.imds
    forbidden = answer is not None and answer.outcome is Outcome.FORBIDDEN
    if seen is None or not (forbidden or model.filtering.stopped_by):
        return seen
    reason = (
        "But this VM itself stopped the request, so this is not the cause, and the value may be "
        "mistyped."
    )
    return Seen(f"{seen.detail} {reason}", (advice(CHECK_VALUE),), Severity.WARN)


def _own_macs(model: Model) -> Set[str]:
    return {adapter.mac for adapter in model.adapters.all if adapter.mac}


def _reported_macs(model: Model) -> Set[str]:
    instance = model.answers.instance
    if instance is None:
        return set()
    return {interface.mac for interface in instance.interfaces if interface.mac}


def _has_other_mac(model: Model, source: str, wanted: List[str], first: List[Fix]) -> Seen:
    """The finding that no NIC has one of these MACs.

    :param source: who says that Azure expects them
    :param first: what comes before the commands
    """
    strays = model.adapters.nics
    if model.primary_nic and model.primary_nic.adapter in strays:
        strays = [model.primary_nic.adapter]
    fixes = list(first)
    if len(strays) == 1 and len(wanted) == 1:
        fixes += set_mac(model, strays[0], wanted[0])
    fixes.append(advice(NIC_REPLACED))
    detail = _differs("MAC", wanted, source, _macs_of(model, strays))
    return Seen(detail, tuple(fixes), verdict=_by_answer(model))


def _differs(what: str, wanted: Sequence[str], source: str, has: str) -> str:
    """``Azure expects MAC X (--expected-mac); the guest has Y.``"""
    return f"Azure expects {what} {listed(wanted)} ({source}); the guest has {has}."


def _macs_of(model: Model, adapters: Sequence[Adapter]) -> str:
    named = [f"{quoted(adapter.name)} {adapter.mac}" for adapter in adapters]
    return listed(named) or listed(sorted(_own_macs(model)))


def _mac_refuted(model: Model, expected: str) -> Optional[Seen]:
    """The warning that --expected-mac is not the MAC of the NIC that the platform answers; None
    where it is.
    """
    named = model.adapters.with_mac(expected)
    if named and model.detection.expected.mac == expected:
        return None
    whose = "another VM"
    if named:
        whose = "another NIC"
    return _mistaken(model, _other_mac_than(model, expected), whose)


def _other_mac_than(model: Model, expected: str) -> str:
    """The sentence that --expected-mac is not the MAC of the primary NIC."""
    named = model.adapters.with_mac(expected)
    if named:
        whose = f"the MAC of {nic(named)}, which is not the primary NIC"
        return f"--expected-mac {expected} is {whose}."
    strays = model.adapters.nics
    if model.primary_nic:
        strays = [model.primary_nic.adapter]
    return _differs("MAC", [expected], "--expected-mac", _macs_of(model, strays))


def _mistaken(model: Model, detail: str, whose: str) -> Seen:
    """The warning that a value of the operator is contradicted by the platform's own answer."""
    answer = model.answers.from_platform[0]
    answered = "this VM"
    if answer.adapter:
        answered = nic(answer.adapter, answer.address)
    refuted = (
        f"But {answer.by} answered {answered}, so the value given is most likely mistyped, or "
        f"belongs to {whose}."
    )
    return Seen(f"{detail} {refuted}", (advice(CHECK_ONLY),), Severity.WARN)


@rule(Verdict.DEGRADED, Verdict.BROKEN, after="nic-mac-mismatch", shown_by="nic.identity")
def nic_ip_mismatch(model: Model) -> Optional[Seen]:
    """The primary NIC does not have the address that Azure expects

    Azure forwards a NIC's packets only if they come from one of the addresses in its IP
    configurations. A different static address in the guest cuts the VM off from IMDS.

    Recognised by: the primary NIC has none of the addresses that IMDS reports for its MAC (degraded
    while IMDS answers, otherwise broken). If neither IMDS nor the WireServer answers: it does not
    have the address given with --expected-ip or, without that option, the address of its current
    lease from 168.63.129.16 (broken). If either of them answers an address, that address is right,
    so a different --expected-ip is only a warning: it is probably mistyped, or belongs to another
    NIC, IP configuration or VM.

    Fix: let DHCP configure the NIC. Set a static private address in Azure, on the NIC's IP
    configuration, never in the guest.
    https://learn.microsoft.com/azure/virtual-network/ip-services/virtual-networks-static-private-ip-arm-pportal
    """
    expected = model.facts.expected.ip
    if expected is None:
        return _unlike_azure(model)
    if model.answers.from_platform:
        return _unlike_azure(model) or _address_refuted(model, expected)
    return _unless_it_never_left(model, _unlike_operator(model, expected))


def _unlike_azure(model: Model) -> Optional[Seen]:
    """The finding that the primary NIC holds no address that IMDS reports for it.

    Where IMDS is silent: that it does not hold the one that its lease names.
    """
    if model.primary_nic is None or is_down(model.primary_nic.adapter):
        return None
    adapter = model.primary_nic.adapter
    reported = model.answers.reported_interface(adapter)
    if reported:
        return _has_other_address(model, adapter, "IMDS", reported.addresses, [])
    if not adapter.dhcp_server or not adapter.lease_address:
        return None
    # The address that gets an answer is right, and another one in the lease is old.
    if model.answers.imds_gives_metadata or _is_answered(model, adapter):
        return None
    return _has_other_address(model, adapter, "its DHCP lease", [adapter.lease_address], [])


def _is_answered(model: Model, adapter: Adapter) -> bool:
    """Whether the platform answered this NIC."""
    return any(
        answer.adapter is not None and same_nic(answer.adapter, adapter)
        for answer in model.answers.from_platform
    )


def _unlike_operator(model: Model, expected: str) -> Optional[Seen]:
    """The finding that the NIC that the operator means does not hold --expected-ip."""
    mac = model.facts.expected.mac
    adapter = model.adapters.with_mac(mac)
    if mac is None and model.primary_nic:
        adapter = model.primary_nic.adapter
    if adapter is None or is_down(adapter):
        return None
    owner = model.adapters.holding(expected)
    if owner is None:
        check = [advice(CHECK_VALUE)]
        return _has_other_address(model, adapter, "--expected-ip", [expected], check)
    if mac is None or same_nic(owner, adapter):
        return None
    detail = _differs("address", [expected], "--expected-ip", _holds(model, adapter))
    held = (
        f"But {quoted(owner.name)} holds it: the value given is most likely mistyped, or belongs "
        "to another NIC."
    )
    return Seen(f"{detail} {held}", (advice(CHECK_VALUE),), verdict=Verdict.BROKEN)


def _has_other_address(
    model: Model, adapter: Adapter, source: str, wanted: Sequence[str], first: List[Fix]
) -> Optional[Seen]:
    """The finding that a NIC holds none of these addresses; None where it holds one.

    :param source: who says that Azure expects them
    :param first: what comes before the commands
    """
    held = _held(model, adapter)
    if not wanted or any(item.address in wanted for item in held):
        return None
    prefix = USUAL_PREFIX
    reported = model.answers.reported_interface(adapter)
    if reported and reported.subnet:
        prefix = prefix_length(reported.subnet)
    elif held:
        prefix = held[0].prefix
    fixes = [*first, *set_address(model, adapter, wanted[0], prefix)]
    detail = _differs("address", wanted, source, _holds(model, adapter))
    return Seen(detail, tuple(fixes), verdict=_by_answer(model))


def _held(model: Model, adapter: Adapter) -> List[InterfaceAddress]:
    """The IPv4 addresses of all faces of a NIC."""
    found: List[InterfaceAddress] = []
    for face in model.adapters.all:
        if same_nic(adapter, face):
            found += face.addresses
    return found


def _holds(model: Model, adapter: Adapter) -> str:
    """``10.0.0.4, 10.0.0.5 on "eth0"``"""
    addresses = listed([item.address for item in _held(model, adapter)]) or "no IPv4 address"
    return f"{addresses} on {quoted(adapter.name)}"


def _address_refuted(model: Model, expected: str) -> Optional[Seen]:
    """The warning that --expected-ip is not the address that the platform answers; None where it
    is.
    """
    owner = model.adapters.holding(expected)
    if owner and model.detection.expected.ip == expected:
        return None
    whose = "another IP configuration or VM"
    if owner is not None:
        whose = "another NIC"
        if model.primary_nic is not None and same_nic(owner, model.primary_nic.adapter):
            whose = "another IP configuration"
    return _mistaken(model, _other_address_than(model, expected), whose)


def _other_address_than(model: Model, expected: str) -> str:
    """The sentence that --expected-ip is not the primary address."""
    owner = model.adapters.holding(expected)
    adapter = None
    if model.primary_nic:
        adapter = model.primary_nic.adapter
    if owner is None:
        has = "others"
        if adapter:
            has = _holds(model, adapter)
        return _differs("address", [expected], "--expected-ip", has)
    what = f"--expected-ip {expected} is an address of {quoted(owner.name)}"
    if adapter and same_nic(owner, adapter):
        return f"{what}, not its primary one."
    return f"{what}, which is not the primary NIC."


def compared(model: Model) -> Tuple[str, ...]:
    """What Azure expects beside what the guest has: each difference, then what agrees.

    Empty where nobody says what Azure expects.
    """
    primary = model.primary_nic
    if primary is None:
        return ()
    other_macs, same_mac = _compared_macs(model, primary)
    other_addresses, same_address = _compared_addresses(model, primary)
    return (*other_macs, *other_addresses, *same_mac, *same_address)


def _compared_macs(model: Model, primary: PrimaryNic) -> Tuple[List[str], List[str]]:
    expected = model.facts.expected.mac
    agree: List[str] = []
    found: List[str] = []
    named = model.adapters.with_mac(expected)
    if named and same_nic(named, primary.adapter):
        agree.append("--expected-mac")
    elif expected:
        found.append(_other_mac_than(model, expected))
    reported = _reported_macs(model)
    faces = {face.mac for face in model.adapters.all if same_nic(face, primary.adapter)}
    if faces & reported:
        agree.append("IMDS")
    elif reported:
        has = _macs_of(model, [primary.adapter])
        found.append(_differs("MAC", sorted(reported), "IMDS", has))
    return _without_stops(found), _agreed("MAC", primary.adapter.mac, agree)


def _compared_addresses(model: Model, primary: PrimaryNic) -> Tuple[List[str], List[str]]:
    expected = model.facts.expected.ip
    agree: List[str] = []
    found: List[str] = []
    if expected and expected == primary.ip:
        agree.append("--expected-ip")
    elif expected:
        found.append(_other_address_than(model, expected))
    reported = model.answers.reported_interface(primary.adapter)
    wanted: Sequence[str] = ()
    if reported:
        wanted = reported.addresses
    if any(item.address in wanted for item in _held(model, primary.adapter)):
        agree.append("IMDS")
    elif wanted:
        found.append(_differs("address", wanted, "IMDS", _holds(model, primary.adapter)))
    return _without_stops(found), _agreed("address", primary.ip, agree)


def _without_stops(sentences: List[str]) -> List[str]:
    """Sentences as they stand in a list of several."""
    return [sentence.rstrip(".") for sentence in sentences]


def _agreed(what: str, value: Optional[str], sources: List[str]) -> List[str]:
    """``MAC X matches IMDS``, and whoever else says so; nothing where nobody does."""
    if not sources:
        return []
    return [f"{what} {value} matches {' and '.join(sources)}"]


@rule(after="route-stale-persistent", shown_by="nic.dhcp")
def nic_dhcp_disabled(model: Model) -> Optional[Seen]:
    """DHCP is disabled on the primary NIC

    Azure delivers the routes to IMDS and to the WireServer with the DHCP lease, and expects DHCP to
    be enabled. A static configuration works until the address, the gateway or the NIC changes in
    Azure.

    Recognised by: the primary NIC's DHCP flag. Information if IMDS answers, otherwise a warning.

    Fix: enable DHCP on the NIC. (On Windows, a NIC with several IP configurations has to be
    static.)
    https://learn.microsoft.com/azure/virtual-machines/instance-metadata-service
    """
    primary = model.primary_nic
    if primary is None or primary.adapter.dhcp is not False:
        return None
    severity = Severity.WARN
    if model.answers.imds_gives_metadata:
        severity = Severity.INFO
    fixes = check_first(model, remedies(model).renew_lease(primary.adapter))
    where = nic(primary.adapter, primary.ip)
    return Seen(f"The address of {where} is set statically in the guest.", fixes, severity)
