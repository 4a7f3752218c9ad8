"""The way to 169.254.169.254: which route wins, by which NIC, through which next hop, from which
address.
"""

from __future__ import annotations

from typing import List, Optional

from ..facts import (
    IMDS_ADDRESS,
    LINK_LOCAL,
    Route,
    RouteKind,
    RoutingRule,
    RuleAction,
    contains,
    prefix_length,
)
from ..firewall.packet import HTTP_PORT
from ..firewall.verdict import Match
from ..fixes.remedies import escalate, let_pass, remedies, route_through_primary_nic
from ..model.adapters import holds, in_subnet, is_down
from ..model.azure import AZURE_ARP_MAC, matches_platform
from ..model.errors import error_in_words
from ..model.model import Model
from ..model.policy_routing import USUAL_RULES, walk
from ..model.primary_nic import BECAUSE
from ..model.route_table import is_link_local_shadow
from ..model.routing import RouteLookup
from ..model.sentences import listener_in_words, nic
from ..model.words import capital, listed, quoted, short
from .finding import Fix, Kind, Seen, Severity, Verdict, advice, rule
from .firewall import described as described_obstacle
from .seen import check_first, local_fault

ANY_ADDRESS = "0.0.0.0"  # of a listener for every address of the machine


def described(route: Route) -> str:
    """A route in a sentence: ``169.254.0.0/16 on-link, metric 5``"""
    via = f"via {route.gateway}" if route.gateway else "on-link"
    table = f", table {short(route.table, 24)}" if route.table not in ("main", "local") else ""
    return f"{route.destination} {via}, metric {route.metric}{table}"


def policy_rule(model: Model, lookup: RouteLookup) -> Optional[RoutingRule]:
    """The policy rule that leads packets this way, or denies the way. None: one of the three that
    every Linux has, or it is not known.
    """
    if lookup.rule:
        return lookup.rule
    if model.facts.routing_rules is None or lookup.route is None:
        return None
    rule, _ = walk(
        model.facts.routing_rules, model.route_table.rows, lookup.destination, lookup.source
    )
    if rule is None or rule in USUAL_RULES or rule.table != lookup.route.table:
        return None
    return rule


def rule_in_words(rule: RoutingRule) -> str:
    """A policy rule as ``ip rule`` prints it: ``100: from all to 169.254.169.254 lookup 100``"""
    words = [f"{rule.priority}:"]
    if rule.inverted:
        words.append("not")
    words.append(f"from {_host_or_network(rule.source)}")
    if rule.destination:
        words.append(f"to {_host_or_network(rule.destination)}")
    selectors = {
        "fwmark": rule.fwmark,
        "iif": rule.iif,
        "oif": rule.oif,
        "ipproto": rule.ipproto,
        "sport": rule.sport,
        "dport": rule.dport,
    }
    words += [
        f"{name} {short(value, 24)}" for name, value in selectors.items() if value is not None
    ]
    if rule.uid_start is not None:
        words.append(f"uidrange {rule.uid_start}-{rule.uid_end}")
    if rule.action is RuleAction.TABLE:
        words.append(f"lookup {short(rule.table or '?', 24)}")
    else:
        words.append(rule.action.value)
    if rule.suppress_prefix_length is not None:
        words.append(f"suppress_prefixlength {rule.suppress_prefix_length}")
    return " ".join(words)


def _host_or_network(cidr: Optional[str]) -> str:
    if cidr is None:
        return "all"
    address, _, length = cidr.partition("/")
    return address if length == "32" else cidr


def _chosen_by(model: Model) -> str:
    """A sentence on the policy rule that chooses the way to IMDS; empty where none does."""
    rule = policy_rule(model, model.routing.to_imds)
    return f' The policy rule "{rule_in_words(rule)}" chooses that route.' if rule else ""


@rule(Verdict.BROKEN, after="nic-ip-mismatch", explains=(Kind.ANSWER,), shown_by="firewall.imds")
def address_claimed_locally(model: Model) -> Optional[Seen]:
    """169.254.169.254 belongs to this machine itself

    Either an adapter of the VM has IMDS's address (a container platform's metadata proxy, an
    address added by hand, an image from another cloud), or a NAT rule redirects it. Requests end up
    somewhere else and never reach the host.

    Recognised by: an adapter with that address, a local route to it, or a matching rule in an
    output chain of a NAT table.

    Fix: remove the address or the rule, and whatever configures it.
    https://learn.microsoft.com/azure/virtual-machines/instance-metadata-service
    """
    holder = next((adapter for adapter in model.adapters.all if holds(adapter, IMDS_ADDRESS)), None)
    route = model.routing.to_imds.route
    redirected = model.filtering.to_imds.redirected if model.filtering.to_imds else None
    if holder is None and not (route and route.kind is RouteKind.LOCAL):
        if (
            redirected is None or model.answers.proof
        ):  # what one address is answered is redirected for none
            return None
        to = f" to {short(redirected.target)}" if redirected.target else ""
        detail = f"{described_obstacle(Match(redirected))} redirects connections to 169.254.169.254 port 80{to}."
        return local_fault(
            model, capital(detail), let_pass(model, Match(redirected), [IMDS_ADDRESS])
        )
    commands = remedies(model)
    fixes = [
        advice(
            "For good: remove what configures the address (a metadata proxy, a container platform, a start script)."
        )
    ]
    if holder:
        prefix = next(held.prefix for held in holder.addresses if held.address == IMDS_ADDRESS)
        fixes += commands.delete_address(holder, IMDS_ADDRESS, prefix)
        detail = f"{quoted(holder.name)} holds 169.254.169.254/{prefix}: requests to IMDS end on this VM.{_who_listens(model)}"
    else:
        assert route is not None
        fixes += commands.delete_route(route)
        detail = f"A local route claims {route.destination}: requests to IMDS end on this VM.{_who_listens(model)}"
    return local_fault(model, detail, fixes)


def _who_listens(model: Model) -> str:
    """A sentence on the programs that answer in IMDS's place; empty where none is known."""
    listeners = [item for item in model.facts.listeners or () if item.port == HTTP_PORT]
    known = [item for item in listeners if item.address in (IMDS_ADDRESS, ANY_ADDRESS)]
    who = dict.fromkeys(listener_in_words(item) for item in known if item.process)
    return f" Listening there: {listed(list(who))}." if who else ""


@rule(Verdict.BROKEN, after="address-claimed-locally", shown_by="route.imds")
def route_missing(model: Model) -> Optional[Seen]:
    """There is no route to IMDS

    No row of the routing table matches 169.254.169.254, or the row or rule that does is of type
    unreachable, blackhole or prohibit.

    Recognised by: the system's own route lookup (which sends no packet), and the row or rule that
    denies it.

    Fix: renew the lease, which brings the route back. For an immediate fix, add a /32 route through
    the primary NIC's gateway.
    https://learn.microsoft.com/azure/virtual-machines/instance-metadata-service
    """
    lookup = model.routing.to_imds
    if not lookup.known or not lookup.error:
        return None
    if lookup.route:
        table = f"table {short(lookup.route.table, 24)}"
        detail = (
            f"The route {lookup.route.destination} ({table}) is of type {lookup.route.kind.value}."
        )
    elif lookup.rule:
        detail = (
            f'The policy rule "{rule_in_words(lookup.rule)}" denies the way to 169.254.169.254.'
        )
    else:
        error = error_in_words(lookup.error, model.facts.system)
        detail = f"No route matches 169.254.169.254: connecting fails with {error}."
    return local_fault(model, detail, check_first(model, route_through_primary_nic(model)))


@rule(
    Verdict.BROKEN,
    after="firewall-blocks-imds",
    explains=("route-wrong-interface", "route-wrong-gateway", Kind.ANSWER),
    shown_by="route.imds",
)
def route_link_local_shadow(model: Model) -> Optional[Seen]:
    """An on-link 169.254.0.0/16 route hides IMDS

    An adapter with an automatic private address (169.254.x.x: DHCP did not answer, or it is a
    failover cluster's virtual adapter, or a container or VPN adapter) adds an on-link route for all
    of 169.254.0.0/16, and that route is also the best match for IMDS.

    Recognised by: the best route is on-link, lies within 169.254.0.0/16 and is broader than /32,
    and the address does not answer ARP there the way Azure's network does.

    Fix: add a /32 route for 169.254.169.254 through the primary NIC's gateway, and remove the stray
    link-local address.
    https://learn.microsoft.com/azure/virtual-machines/instance-metadata-service
    """
    route, neighbour = model.routing.to_imds.route, model.routing.next_hop_neighbour
    if model.routing.to_imds.error or route is None or not is_link_local_shadow(route):
        return None
    on_primary = model.routing.leaves_by_primary_nic
    if (
        on_primary
        and not model.answers.proof
        and (model.answers.imds_is_genuine or (neighbour and neighbour.mac == AZURE_ARP_MAC))
    ):
        return None  # Azure's network answers for every address: the on-link route works
    where = nic(model.routing.egress) if model.routing.egress else quoted(route.interface or "?")
    automatic = ""
    if (
        on_primary
        and model.routing.egress
        and all(contains(LINK_LOCAL, held.address) for held in model.routing.egress.addresses)
    ):
        automatic = " That adapter has only an automatic address: DHCP gave it none."
    return local_fault(
        model,
        f"The on-link route {route.destination} of {where} wins, so packets to 169.254.169.254 stay on that link instead of "
        f"going to the gateway.{automatic}{_chosen_by(model)}",
        check_first(model, route_through_primary_nic(model)),
    )


@rule(
    Verdict.BROKEN,
    after="route-link-local-shadow",
    explains=(Kind.ANSWER,),
    shown_by="route.imds",
)
def route_wrong_interface(model: Model) -> Optional[Seen]:
    """Requests to IMDS leave through a NIC that is not the primary one

    Azure answers IMDS requests only from the primary IP address of the primary NIC. The best route
    (policy rules, longest prefix, lowest metric) goes out through another adapter: a second NIC, a
    VPN or a bridge.

    Recognised by: the best route's adapter is neither the primary NIC nor another face of it (a
    virtual function, or a bridge or bond on top of it).

    Fix: renew the primary NIC's lease, and route 169.254.169.254/32 through its gateway.
    https://learn.microsoft.com/azure/virtual-machines/instance-metadata-service
    """
    primary, egress, route = model.primary_nic, model.routing.egress, model.routing.to_imds.route
    if (
        primary is None
        or egress is None
        or route is None
        or route.kind is not RouteKind.UNICAST
        or model.routing.leaves_by_primary_nic
    ):
        return None
    source = model.routing.to_imds.source if holds(egress, model.routing.to_imds.source) else None
    is_shown = primary.is_proven and not model.detection.rests_on_operator
    why = "" if is_shown else f" (assumed because {BECAUSE[primary.known_from]})"
    return local_fault(
        model,
        f"Requests to 169.254.169.254 leave through {nic(egress, source)}. The primary NIC is "
        f"{nic(primary.adapter, primary.ip)}{why}, and Azure answers no other.{_chosen_by(model)}",
        check_first(model, route_through_primary_nic(model)),
        works=model.answers.imds_is_genuine and not primary.is_proven,
    )


@rule(Verdict.BROKEN, after="route-wrong-interface", explains=(Kind.ANSWER,), shown_by="route.imds")
def source_not_primary_ip(model: Model) -> Optional[Seen]:
    """Requests to IMDS do not come from the primary IP address

    Azure answers IMDS requests only from the primary IP address. The primary NIC has several
    addresses, or the route specifies one that belongs to something else, and the system picks the
    wrong source.

    Recognised by: requests leave through the primary NIC, but the source address that the system
    picks is not the primary one (the one given with --expected-ip, the one that IMDS answered, the
    one in the lease, or the one not marked as secondary).

    Fix: set the source address in the route (Linux), or SkipAsSource on the secondary addresses
    (Windows).
    https://learn.microsoft.com/azure/virtual-network/ip-services/virtual-network-multiple-ip-addresses-portal
    """
    primary, source = model.primary_nic, model.routing.to_imds.source
    if (
        primary is None
        or primary.ip is None
        or not model.routing.leaves_by_primary_nic
        or source in (None, primary.ip)
    ):
        return None
    if (
        model.routing.egress
        and model.routing.egress.index != primary.adapter.index
        and holds(model.routing.egress, source)
    ):
        return None  # another face of the NIC, with an address of its own
    owner = model.adapters.holding(source)
    whose = (
        f"another address of {quoted(owner.name)}" if owner else "which is no address of any NIC"
    )
    return local_fault(
        model,
        f"The system sends from {source}, {whose}. The primary address is {primary.ip}, and Azure answers no other.",
        check_first(model, remedies(model).set_source(primary.adapter, str(source), primary.ip)),
        works=model.answers.imds_is_genuine and not primary.is_proven,
    )


@rule(Verdict.BROKEN, after="guest-proxy-agent-failing", shown_by="route.imds")
def route_wrong_gateway(model: Model) -> Optional[Seen]:
    """The route to IMDS has the wrong next hop

    The route leaves through the primary NIC, but its next hop is not the subnet's gateway, or does
    not answer ARP.

    Recognised by: the next hop is not the gateway in the lease (without a lease: neither the
    default route's gateway nor the subnet's first address, which Azure reserves for its gateway);
    or the neighbour table lists it as incomplete or failed after the request, or has a static entry
    for it that is not Azure's.

    Fix: renew the lease, and add a /32 route through the subnet's gateway. If that gateway does not
    answer either, the VM has lost its network: redeploy it.
    https://learn.microsoft.com/azure/virtual-network/virtual-networks-faq
    """
    route, hop, gateway = model.routing.to_imds.route, model.routing.next_hop, model.routing.gateway
    if (
        model.primary_nic is None
        or not model.routing.leaves_by_primary_nic
        or gateway is None
        or route is None
        or not hop
        or ":" in hop
    ):
        return None
    if is_link_local_shadow(route):
        return None
    adapter = model.primary_nic.adapter
    told = {model.routing.reported_gateway(adapter), adapter.lease_gateway} - {None}
    known = told or {
        model.route_table.default_gateway(adapter),
        model.routing.first_address(adapter),
    }
    wrong = route.gateway is not None and hop not in known
    forged = model.routing.next_hop_neighbour if model.routing.next_hop_is_forged else None
    if not wrong and not model.routing.next_hop_is_dead and not forged:
        return None
    by = f"leaves by the primary NIC {nic(adapter, model.primary_nic.ip)}"
    if hop == gateway:
        detail = f"The route {described(route)} {by} through its gateway {hop}."
    else:
        outside = (
            ""
            if in_subnet(adapter, hop) or not route.gateway
            else ", and is not even in its subnet"
        )
        detail = f"The route {described(route)} {by}, whose gateway is {gateway}: {hop} is not it{outside}."
    detail += _chosen_by(model)
    fixes = route_through_primary_nic(model)
    if model.routing.next_hop_is_dead and model.routing.next_hop_neighbour:
        detail += f" {hop} does not answer ARP ({model.routing.next_hop_neighbour.state.value})."
    if forged:
        detail += f" The ARP entry of {hop}, {forged.mac}, was set by hand; Azure's network answers with {AZURE_ARP_MAC}."
        fixes = (*remedies(model).delete_neighbour(forged), *(fixes if hop != gateway else ()))
    elif hop == gateway:
        fixes = (*remedies(model).renew_lease(adapter), *escalate(model))
    return local_fault(
        model, detail, check_first(model, fixes), works=model.answers.imds_is_genuine
    )


@rule(after="nic-dhcp-disabled", shown_by="route.imds")
def route_not_specific(model: Model) -> Optional[Seen]:
    """IMDS is reached through the default route

    Azure's DHCP provides a /32 route for 169.254.169.254. Without it, whatever takes over the
    default route (a VPN, a second NIC, forced tunnelling in the guest) takes IMDS traffic with it.

    Recognised by: IMDS answers, and the best route is the default route. Information only: this
    works.

    Fix: renew the lease.
    https://learn.microsoft.com/azure/virtual-machines/instance-metadata-service
    """
    route = model.routing.to_imds.route
    if (
        not model.answers.imds_gives_metadata
        or model.routing.to_imds.error
        or route is None
        or prefix_length(route.destination) != 0
    ):
        return None
    return Seen(
        f"There is no 169.254.169.254/32 route; {described(route)} serves.",
        check_first(model, remedies(model).renew_lease(model.primary_nic.adapter))
        if model.primary_nic
        else (),
        Severity.INFO,
    )


@rule(after="proxy-user-only", shown_by="route.persistent")
def route_stale_persistent(model: Model) -> Optional[Seen]:
    """A stored route uses a gateway that does not exist here

    Windows keeps a persistent route (route -p add) in the registry and adds it again at every
    start. If its gateway is on no subnet of this VM, the route is left over from another network,
    or belongs to an adapter that is not connected now. If it matches one of the platform's
    addresses, the next change may cut the VM off.

    Recognised by: PersistentRoutes values whose gateway is on no adapter's subnet.

    Fix: delete the route if it matches 169.254.169.254 or 168.63.129.16.
    https://learn.microsoft.com/windows-server/administration/windows-commands/route_ws2008
    """
    if model.facts.persistent_routes is None or not model.adapters.all:
        return None
    stale = [
        stored
        for stored in model.facts.persistent_routes
        if stored.gateway != "0.0.0.0"
        and not any(in_subnet(adapter, stored.gateway) for adapter in model.adapters.all)
    ]
    if not stale:
        return None
    platform = [stored for stored in stale if matches_platform(stored.destination)]
    commands = remedies(model)
    fixes: List[Fix] = []
    for stored in platform[:3]:
        if not _may_come_back(model, stored.gateway):
            fixes += commands.delete_persistent_route(stored.destination, stored.gateway)
    named = listed(
        [f"{stored.destination} through {stored.gateway}" for stored in (platform or stale)]
    )
    return Seen(
        f"A stored route leads through a gateway on no subnet of this VM: {named}.",
        tuple(fixes),
        Severity.WARN,
    )


def _may_come_back(model: Model, gateway: str) -> bool:
    """Whether a gateway may be right again once every NIC is up and has its address."""
    known = [
        address
        for adapter in model.adapters.all
        for address in (adapter.lease_gateway, *adapter.gateways)
    ]
    if gateway in known or gateway == model.routing.gateway:
        return True
    return any(is_down(adapter) or not adapter.addresses for adapter in model.adapters.nics)
