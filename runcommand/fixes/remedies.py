"""What mends a VM, in the commands of the system that the facts came from.

A durable fix (the lease, the manager that owns the NIC) comes before the immediate one. A manager's
command is given only where that manager runs on this VM and owns the NIC.
"""

from __future__ import annotations

from typing import List, Optional, Sequence, Tuple

from ..facts import (
    Adapter,
    RouteKind,
    contains,
    prefix_length,
)
from ..firewall.verdict import Match
from ..model.adapters import same_nic
from ..model.coverage import is_incomplete
from ..model.evidence import what_was_checked
from ..model.model import Model
from ..model.policy_routing import longest_match
from ..model.routing import RouteLookup
from ..model.words import quoted, short
from .commands import Fix, advice
from .pages import page_for
from .steps import Remedies

REDEPLOY_PAGE = "https://learn.microsoft.com/troubleshoot/azure/virtual-machines/windows/redeploy-to-new-node-windows"
REDEPLOY_WARNING = "(Redeploying restarts the VM and empties its temporary disk.)"


def remedies(model: Model) -> Remedies:
    """The commands for the system that the facts came from.

    Advice alone where the system is unknown.
    """
    if model.facts.system == "windows":
        from .windows import WindowsRemedies  # here: neither system's program carries the other's

        return WindowsRemedies(model)
    if model.facts.system == "linux":
        from .linux import LinuxRemedies

        return LinuxRemedies(model)
    from .elsewhere import AdviceOnly

    return AdviceOnly()


def let_pass(model: Model, match: Match, addresses: Sequence[str]) -> Tuple[Fix, ...]:
    """Lets packets to these addresses of the platform pass what stands before them."""
    return tuple(remedies(model).let_pass(match, addresses))


def route_through_primary_nic(model: Model, *lookups: RouteLookup) -> Tuple[Fix, ...]:
    """Routes packets through the primary NIC and its gateway.

    What leads them elsewhere is removed.

    :param lookups: by default that of IMDS, and the WireServer's too where it goes astray
    """
    if model.primary_nic is None:
        return (
            advice(
                "Could not determine the primary NIC: run again with --expected-mac (from az vm "
                "nic show)."
            ),
        )
    adapter = model.primary_nic.adapter
    commands = remedies(model)
    fixes = commands.renew_lease(adapter)
    if model.routing.gateway is None:
        no_gateway = (
            f"Could not determine the gateway of {quoted(adapter.name)}: the NIC has no "
            "lease, no default route and no subnet."
        )
        return (*fixes, advice(f"{no_gateway} Once it has an address, run again."))
    gateway, route = model.routing.gateway, model.routing.to_imds.route
    wrong_hop = None
    if route and route.gateway != gateway:
        wrong_hop = route.gateway
    if not model.route_table.default_routes() or (
        wrong_hop and model.route_table.default_gateway(adapter) == wrong_hop
    ):
        fixes += commands.add_default_route(gateway, adapter)
    if not lookups:
        lookups = (model.routing.to_imds,)
        if model.routing.goes_astray(model.routing.to_wireserver):
            lookups += (model.routing.to_wireserver,)
    for lookup in lookups:
        fixes += _mend(model, lookup, gateway, adapter)
    table = "main"
    if route and model.routing.to_imds.rule is None:
        table = route.table
    return (*fixes, *commands.keep_routes(gateway, adapter, table))


def _mend(model: Model, lookup: RouteLookup, gateway: str, adapter: Adapter) -> List[Fix]:
    """Fixes the route to one address.

    The rule or row that decides wrongly goes, and the right row is put in its table.
    """
    commands = remedies(model)
    fixes: List[Fix] = []
    if lookup.rule:
        fixes += commands.pass_rule(lookup.rule, lookup.destination)
        rows = [
            row
            for row in model.route_table.rows
            if row.table == "main"
            and not row.dead
            and contains(row.destination, lookup.destination)
        ]
        best = longest_match(rows)
        owner = model.adapters.egress(best)
        if best and owner and best.gateway == gateway and same_nic(owner, adapter):
            return fixes  # the main table leads right
    route = lookup.route
    if route and prefix_length(route.destination) == 32 and route.kind is not RouteKind.LOCAL:
        fixes += commands.delete_route(route)
    table = "main"
    if route and route.table not in ("local", "?"):
        table = route.table
    return fixes + commands.add_route(lookup.destination, gateway, adapter, table)


def routes_anew(model: Model, adapter: Adapter) -> List[Fix]:
    """The routes that go away with a link. The default route only where no other NIC has one."""
    gateway = gateway_of(model, adapter)
    if not gateway:
        return []
    return remedies(model).routes_anew(gateway, adapter, is_only_way_out(model, adapter))


def gateway_of(model: Model, adapter: Adapter) -> Optional[str]:
    """The gateway of a NIC's subnet, as far as it is known."""
    if model.primary_nic is not None and same_nic(adapter, model.primary_nic.adapter):
        return model.routing.gateway
    return model.route_table.default_gateway(adapter) or model.routing.first_address(adapter)


def is_only_way_out(model: Model, adapter: Adapter) -> bool:
    """Whether no other NIC has a default route."""
    return not [
        row
        for row in model.route_table.default_routes()
        if model.adapters.egress(row) not in (None, adapter)
    ]


def set_mac(model: Model, adapter: Adapter, mac: str) -> List[Fix]:
    """Gives a NIC its MAC, and the routes that go away while its link is down."""
    return remedies(model).set_mac(
        adapter, mac, gateway_of(model, adapter), is_only_way_out(model, adapter)
    )


def set_address(model: Model, adapter: Adapter, address: str, prefix: int) -> List[Fix]:
    """Gives a NIC its address, and routes to the platform that send from it."""
    return remedies(model).set_address(adapter, address, prefix, gateway_of(model, adapter))


def escalate(model: Model) -> Tuple[Fix, ...]:
    """What is left when nothing on the VM explains it.

    What could not be checked, then another host, then the ticket.
    """
    fixes: List[Fix] = []
    if model.answers.proof:
        fixes.append(advice("Run again: if IMDS answers now, it was only slow."))
    if model.primary_nic is None or not model.primary_nic.is_proven:
        fixes.append(
            advice(
                "Nothing proves which NIC and address are the primary ones: run again with "
                "--expected-mac and "
                "--expected-ip (az vm nic show)."
            )
        )
    if model.facts.firewall is None or model.filtering.left_out:
        fixes += remedies(model).show_firewall()
    if not model.answers.imds_is_genuine and not model.answers.proof:
        fixes.append(
            advice("Check that no network security group denies the service tag AzurePlatformIMDS.")
        )
    # else the fault may as well lie on this VM
    is_seen = model.answers.imds_is_genuine or not is_incomplete(model)
    if is_seen and not model.answers.proof:
        page = page_for(REDEPLOY_PAGE, model.facts.system)
        where = "portal: Help > Redeploy + reapply; or az vm redeploy"
        fixes.append(advice(f"Redeploy the VM ({where}): {page} {REDEPLOY_WARNING}"))
    return (
        *fixes,
        advice(
            "If that does not help, open a support request with this report. Suggested text: "
            f"{_ticket(model)}"
        ),
    )


def _ticket(model: Model) -> str:
    facts, answers = model.facts, model.answers
    name = facts.host
    if answers.instance:
        name = answers.instance.name
    vm = f"VM {quoted(name)}"
    if facts.machine and facts.machine.smbios_uuid:
        vm += f", SMBIOS UUID {short(facts.machine.smbios_uuid)}"
    if model.primary_nic:
        vm += f", primary NIC {model.primary_nic.adapter.mac} {model.primary_nic.ip}"
    answer = "IMDS: not asked"
    if answers.imds:
        answer = f"IMDS: {answers.in_words(answers.imds)}"
    if facts.wireserver:
        answer += f"; WireServer: {answers.in_words(facts.wireserver.http)}"
    return f"{vm} at {facts.collected_at}. {answer}. {what_was_checked(model)}"
