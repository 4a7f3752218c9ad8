"""The platform beside IMDS's instance metadata: WireServer, attested document, clock; is this
Azure; and this program.
"""

from __future__ import annotations

from typing import List, Optional, Tuple

from ..facts import (
    HOST_PLUGIN_PORT,
    PLATFORM_ADDRESSES,
    WIRESERVER_ADDRESS,
    Outcome,
    RouteKind,
    WireServer,
)
from ..firewall.verdict import Match
from ..fixes.remedies import REDEPLOY_WARNING, let_pass, route_through_primary_nic
from ..model.azure import AZURE_ASSET_TAG, GUEST_AGENTS, NO_TAG, is_azure_mac
from ..model.coverage import failed_to_read, is_incomplete
from ..model.errors import error_in_words
from ..model.model import Model
from ..model.routing import RouteLookup
from ..model.sentences import in_words
from ..model.words import listed, short
from .finding import Finding, Fix, Seen, Severity, Verdict, advice, rule
from .firewall import described
from .seen import check_first

ARC_AGENTS = ("himds", "himdsd")
AGAIN = (
    advice("Run again with --deadline 60."),
    advice(
        "If it fails again, open an issue at the project's issue tracker, with report.json "
        "attached."
    ),
)
LET_BOTH_PORTS_PASS = (
    "Allow TCP 80 and 32526 to 168.63.129.16 in the VM's firewall or security product, and exclude "
    "the address from transparent proxies."
)
ASK_ARC = "On an Arc-enabled server, use http://127.0.0.1:40342. imds-check is for Azure VMs."
LET_IT_FINISH = (advice("Run again and let it finish."),)


@rule(Verdict.DEGRADED, after="clock-skew", shown_by="wireserver.reachable")
def wireserver_unreachable(model: Model) -> Optional[Seen]:
    """IMDS answers, but the WireServer does not

    The guest agent talks to 168.63.129.16 on ports 80 and 32526. Without it, extensions, goal
    states, Run Command and VM health reporting fail, although IMDS works.

    Recognised by: port 80 or 32526 of 168.63.129.16 does not answer the way the WireServer does,
    when asked by root or an administrator (on Linux, the agent's own rule restricts the address to
    root).

    Fix: route the address through the primary NIC, as for IMDS, and allow both ports in the VM's
    firewall.
    https://learn.microsoft.com/azure/virtual-network/what-is-ip-address-168-63-129-16
    """
    server, answers = model.facts.wireserver, model.answers
    if server is None or not answers.imds_gives_metadata or not answers.wireserver_is_conclusive:
        return None
    closed = _closed_ports(model, server)
    if not closed:
        return None
    verb = "does not"
    if len(closed) == 1:
        verb = "answers only in part"
    detail = f"IMDS answers, but the WireServer, {WIRESERVER_ADDRESS}, {verb}: {'; '.join(closed)}."
    lookup = model.routing.to_wireserver
    is_astray = model.routing.goes_astray(lookup)
    if is_astray:
        what = _route_in_words(model, lookup)
        fixes = check_first(model, route_through_primary_nic(model, lookup))
        astray = "Packets to it do not leave through the primary NIC and its gateway"
        return Seen(f"{detail} {astray} ({what}).", fixes)
    blocked = _blocked(model)
    if blocked:
        what = listed([described(obstacle) for obstacle in blocked])
        passing: List[Fix] = []
        for obstacle in blocked:
            passing += let_pass(model, obstacle, [WIRESERVER_ADDRESS])
        return Seen(f"{detail} Blocked by: {what}.", tuple(dict.fromkeys(passing)))
    own_fixes = [advice(LET_BOTH_PORTS_PASS)]
    if not is_incomplete(model):  # else what blocks it may as well lie on this VM
        redeploy = f"If nothing on the VM blocks it, redeploy the VM. {REDEPLOY_WARNING}"
        own_fixes.append(advice(redeploy))
    route = "is correct"
    if is_astray is None:
        route = "could not be checked"
    return Seen(f"{detail} Its route {route}.", tuple(own_fixes))


def _closed_ports(model: Model, server: WireServer) -> List[str]:
    """What each port did that did not answer as the WireServer does."""
    closed: List[str] = []
    if not model.answers.wireserver_gives_versions:
        http = f"port 80 {model.answers.in_words(server.http)}"
        if server.http.outcome is Outcome.HTTP:
            http += ", which is not the WireServer's answer"
        closed.append(http)
    if server.host_plugin.outcome is not Outcome.ANSWERED:
        closed.append(f"port {HOST_PLUGIN_PORT} {in_words(server.host_plugin.outcome)}")
    return closed


def _route_in_words(model: Model, lookup: RouteLookup) -> str:
    if lookup.error:
        return error_in_words(lookup.error, model.facts.system)
    if lookup.route:
        return f"route {lookup.route.destination}"
    return "no route"


def _blocked(model: Model) -> List[Match]:
    """What in the firewall blocks either port, each once."""
    found: List[Match] = []
    for filtering in model.filtering.to_wireserver.values():
        if filtering is not None:
            found += filtering.blocked
    return list(dict.fromkeys(found))


@rule(Verdict.INCONCLUSIVE, shown_by="vm.azure")
def not_azure(model: Model) -> Optional[Seen]:
    """This machine is not an Azure VM

    Nothing suggests that this machine runs on Azure, so there is no IMDS to reach. Other clouds run
    their own metadata service at the same address. On an Azure Arc-enabled server it is at
    127.0.0.1:40342.

    Recognised by: no Azure chassis asset tag, no DHCP lease from 168.63.129.16, no specific route
    to either platform address, no guest agent, no NIC with one of Azure's MAC prefixes, and no
    answer. An asset tag that belongs to another vendor settles the question, unless an answer
    arrives that only Azure gives.

    Fix: run this on the Azure VM itself.
    https://learn.microsoft.com/azure/virtual-machines/instance-metadata-service
    """
    machine = model.facts.machine
    tag = ""
    if machine:
        tag = (machine.asset_tag or "").strip()
    is_foreign = tag.lower() not in NO_TAG and tag != AZURE_ASSET_TAG
    if model.answers.instance or model.answers.wireserver_gives_versions:
        return None
    if not is_foreign:
        if _azure_signs(model):
            return None
        if model.answers.imds is None:
            return None  # nothing was asked: that the program failed is the finding
        if failed_to_read(model, "machine", "adapters", "routes", "services"):
            return None  # what says Azure may be there
    arc = model.services.installed(*ARC_AGENTS)
    if arc:
        where = "its metadata service is at 127.0.0.1:40342"
        detail = f"This is an Azure Arc-enabled server (service {arc.name}): {where}."
        return Seen(detail, (advice(ASK_ARC),))
    detail = (
        "No Azure asset tag, DHCP lease, route, agent or MAC address was found, and nothing "
        "answers."
    )
    if is_foreign:
        vendor = ""
        if machine and machine.vendor:
            vendor = f" (vendor {short(machine.vendor)})"
        whose = f"not Azure's {AZURE_ASSET_TAG}"
        detail = f'Its chassis asset tag is "{short(tag)}"{vendor}, {whose}.'
    return Seen(detail, (advice("Run this on the Azure VM itself."),))


def _azure_signs(model: Model) -> bool:
    machine = model.facts.machine
    if machine is not None and machine.asset_tag == AZURE_ASSET_TAG:
        return True
    if model.services.installed(*GUEST_AGENTS):
        return True
    for adapter in model.adapters.all:
        if adapter.dhcp_server == WIRESERVER_ADDRESS or is_azure_mac(adapter.mac):
            return True
    hosts = [f"{address}/32" for address in PLATFORM_ADDRESSES]
    for route in model.route_table.rows:
        if route.destination in hosts and route.kind is not RouteKind.LOCAL:
            return True
    answers = [model.answers.imds]
    if model.facts.wireserver:
        answers.append(model.facts.wireserver.http)
    heard = (Outcome.HTTP, Outcome.GARBLED)
    return any(answer is not None and answer.outcome in heard for answer in answers)


@rule(Verdict.INCONCLUSIVE, after="proxy-intercepts-imds")
def tool_failed(model: Model) -> Optional[Seen]:
    """imds-check itself failed

    Part of imds-check failed, was interrupted or did not finish in time, so it cannot name a cause.

    Recognised by: the request to IMDS has no outcome or could not be sent for a local reason (no
    file descriptors, no time), or a rule failed. The report says where.

    Fix: run it again with a longer --deadline. If it fails again, open an issue and attach this
    report.
    https://learn.microsoft.com/troubleshoot/azure/virtual-machines/windows/windows-vm-imds-connection
    """
    answer, imds = model.answers.imds, model.facts.imds
    again: Tuple[Fix, ...] = AGAIN
    if model.facts.interrupted:
        again = LET_IT_FINISH
        is_half_done = imds is not None and imds.attested is None
        if answer is None or (model.answers.imds_gives_metadata and is_half_done):
            return Seen("The IMDS check did not finish: the run was interrupted.", again)
    if answer is None:
        reason = "no request was sent"
        for item in model.facts.unavailable:
            if item.fact == "imds":
                reason = item.reason
                break
        return Seen(f"The IMDS check did not finish: {short(reason, 200)}.", again)
    if answer.outcome is Outcome.FAILED:
        error = error_in_words(answer.connection.error or "unknown", model.facts.system, 160)
        return Seen(f"The request to IMDS could not be sent: {error}.", again)
    return None


def failure(what: str, error: Exception) -> Finding:
    """The finding of a part of this program that failed."""
    detail = f"{what} failed: {short(f'{type(error).__name__}: {error}', 160)}."
    return Finding(
        tool_failed.cause,
        Severity.FAIL,
        Verdict.INCONCLUSIVE,
        tool_failed.title,
        detail,
        AGAIN,
        tool_failed.doc,
    )
