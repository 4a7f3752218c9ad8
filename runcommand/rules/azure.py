"""The platform beside IMDS's instance metadata: WireServer, attested document, clock; is this
Azure; and this program.
"""

from __future__ import annotations

from typing import Optional

from ..facts import (
    HOST_PLUGIN_PORT,
    PLATFORM_ADDRESSES,
    WIRESERVER_ADDRESS,
    Outcome,
    RouteKind,
    Unavailable,
)
from ..fixes.remedies import REDEPLOY_WARNING, goes_astray, let_pass, route_through_primary_nic
from ..model.azure import AZURE_ASSET_TAG, GUEST_AGENTS, NO_TAG, is_azure_mac
from ..model.coverage import failed_to_read, is_incomplete
from ..model.errors import error_in_words
from ..model.model import Model
from ..model.sentences import in_words
from ..model.words import listed, short
from .finding import Finding, Seen, Severity, Verdict, advice, rule
from .firewall import described
from .seen import check_first

ARC_AGENTS = ("himds", "himdsd")
AGAIN = (
    advice("Run again, with --deadline 60."),
    advice(
        "If it fails again, open an issue at the project's issue tracker, with report.json attached."
    ),
)
LET_IT_FINISH = (advice("Run again, and let it finish."),)


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
    server = model.facts.wireserver
    if (
        server is None
        or not model.answers.imds_gives_metadata
        or not model.answers.wireserver_is_conclusive
    ):
        return None
    plugin_works = server.host_plugin.outcome is Outcome.ANSWERED
    if model.answers.wireserver_gives_versions and plugin_works:
        return None
    stranger = (
        ", which is not the WireServer's answer" if server.http.outcome is Outcome.HTTP else ""
    )
    closed = (
        []
        if model.answers.wireserver_gives_versions
        else [f"port 80 {model.answers.in_words(server.http)}{stranger}"]
    )
    closed += (
        [] if plugin_works else [f"port {HOST_PLUGIN_PORT} {in_words(server.host_plugin.outcome)}"]
    )
    verb = "answers in part" if len(closed) == 1 else "does not"
    detail = f"IMDS answers, but the WireServer, {WIRESERVER_ADDRESS}, {verb}: {'; '.join(closed)}."
    lookup, astray = model.routing.to_wireserver, goes_astray(model, model.routing.to_wireserver)
    if astray:
        what = f"route {lookup.route.destination}" if lookup.route else "no route"
        if lookup.error:
            what = error_in_words(lookup.error, model.facts.system)
        return Seen(
            f"{detail} Its way does not lead through the primary NIC and its gateway ({what}).",
            check_first(model, route_through_primary_nic(model, lookup)),
        )
    blocked = dict.fromkeys(
        item for found in model.filtering.to_wireserver.values() if found for item in found.blocked
    )
    if blocked:
        what = f"In the way: {listed([described(obstacle) for obstacle in blocked])}."
        fixes = dict.fromkeys(
            fix for item in blocked for fix in let_pass(model, item, [WIRESERVER_ADDRESS])
        )
        return Seen(f"{detail} {what}", tuple(fixes))
    own_fixes = [
        advice(
            "Allow TCP 80 and 32526 to 168.63.129.16 in the VM's firewall or security product, and exclude the address from "
            "transparent proxies."
        )
    ]
    if not is_incomplete(model):  # else what blocks it may as well lie on this VM
        own_fixes.append(
            advice(f"If nothing on the VM blocks it, redeploy the VM. {REDEPLOY_WARNING}")
        )
    return Seen(
        f"{detail} Its route {'could not be checked' if astray is None else 'is right'}.",
        tuple(own_fixes),
    )


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
    tag = (machine.asset_tag or "").strip() if machine else ""
    foreign = tag.lower() not in NO_TAG and tag != AZURE_ASSET_TAG
    if (
        model.answers.instance
        or model.answers.wireserver_gives_versions
        or (not foreign and _azure_signs(model))
    ):
        return None
    if model.answers.imds is None and not foreign:
        return None  # nothing was asked: that the program failed is the finding
    if not foreign and failed_to_read(model, "machine", "adapters", "routes", "services"):
        return None  # what says Azure may be there
    arc = model.services.installed(*ARC_AGENTS)
    if arc:
        return Seen(
            f"This is an Azure Arc-enabled server (service {arc.name}): its metadata service is at 127.0.0.1:40342.",
            (
                advice(
                    "Ask http://127.0.0.1:40342 on an Arc-enabled server; imds-check is for Azure VMs."
                ),
            ),
        )
    if foreign:
        vendor = f" (vendor {short(machine.vendor)})" if machine and machine.vendor else ""
        detail = f'Its chassis asset tag is "{short(tag)}"{vendor}, not Azure\'s {AZURE_ASSET_TAG}.'
    else:
        detail = "No asset tag, lease, route, agent or MAC address of Azure was found, and nothing answers."
    return Seen(detail, (advice("Run this on the Azure VM itself."),))


def _azure_signs(model: Model) -> bool:
    hosts = [f"{address}/32" for address in PLATFORM_ADDRESSES]
    answers = [model.answers.imds, model.facts.wireserver.http if model.facts.wireserver else None]
    return any(
        (
            model.facts.machine is not None and model.facts.machine.asset_tag == AZURE_ASSET_TAG,
            any(
                adapter.dhcp_server == WIRESERVER_ADDRESS or is_azure_mac(adapter.mac)
                for adapter in model.adapters.all
            ),
            any(
                route.destination in hosts and route.kind is not RouteKind.LOCAL
                for route in model.route_table.rows
            ),
            model.services.installed(*GUEST_AGENTS) is not None,
            any(answer and answer.outcome in (Outcome.HTTP, Outcome.GARBLED) for answer in answers),
        )
    )


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
    again = LET_IT_FINISH if model.facts.interrupted else AGAIN
    if model.facts.interrupted and (
        answer is None or (model.answers.imds_gives_metadata and imds and imds.attested is None)
    ):
        return Seen("The check of IMDS did not finish: the run was interrupted.", again)
    if answer is None:
        missing = Unavailable("imds", "it was not asked")
        reason = next(
            (item for item in model.facts.unavailable if item.fact == "imds"), missing
        ).reason
        return Seen(f"The check of IMDS did not finish: {short(reason, 200)}.", again)
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
