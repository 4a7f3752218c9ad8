"""How requests to 169.254.169.254 leave the VM: the route that wins, its NIC and next hop, and the
source address.
"""

from __future__ import annotations

from typing import List, Optional, Set, Tuple

from ..facts import (
    IMDS_ADDRESS,
    LINK_LOCAL,
    Adapter,
    FirewallRule,
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
from ..model.primary_nic import BECAUSE, PrimaryNic
from ..model.route_table import is_link_local_shadow
from ..model.routing import RouteLookup
from ..model.sentences import listener_in_words, nic
from ..model.words import capital, listed, quoted, short
from .finding import Fix, Kind, Seen, Severity, Verdict, advice, rule
from .firewall import described as described_obstacle
from .seen import check_first, local_fault

ANY_ADDRESS = "0.0.0.0"  # of a listener for every address of the machine
ENDS_HERE = "requests to IMDS end on this VM"
FOR_GOOD = (
    "Permanent fix: remove what configures the address (a metadata proxy, a container platform, a "
    "start "
    "script)."
)


def described(route: Route) -> str:
    """A route in a sentence: ``169.254.0.0/16 on-link, metric 5``"""
    via = "on-link"
    if route.gateway:
        via = f"via {route.gateway}"
    table = ""
    if route.table not in ("main", "local"):
        table = f", table {short(route.table, 24)}"
    return f"{route.destination} {via}, metric {route.metric}{table}"


def policy_rule(model: Model, lookup: RouteLookup) -> Optional[RoutingRule]:
    """The policy rule that selects or denies the route.

    None: it is one of the three that every Linux has, or it is not known.
    """
    if lookup.rule:
        return lookup.rule
    rules = model.facts.routing_rules
    if rules is None or lookup.route is None:
        return None
    rule, _ = walk(rules, model.route_table.rows, lookup.destination, lookup.source)
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
    if length == "32":
        return address
    return cidr


def _chosen_by(model: Model) -> str:
    """A sentence on the policy rule that chooses the route to IMDS; empty where none does."""
    rule = policy_rule(model, model.routing.to_imds)
    if rule is None:
        return ""
    return f' The policy rule "{rule_in_words(rule)}" selects that route.'


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
    route = model.routing.to_imds.route
    for adapter in model.adapters.all:
        if holds(adapter, IMDS_ADDRESS):
            return _held_by(model, adapter)
    if route and route.kind is RouteKind.LOCAL:
        detail = f"A local route claims {route.destination}: {ENDS_HERE}.{_who_listens(model)}"
        fixes = [advice(FOR_GOOD), *remedies(model).delete_route(route)]
        return local_fault(model, detail, fixes)
    filtering = model.filtering.to_imds
    # What one address is answered is redirected for none.
    if filtering is None or filtering.redirected is None or model.answers.proof:
        return None
    return _redirected_by(model, filtering.redirected)


def _held_by(model: Model, holder: Adapter) -> Seen:
    """The finding that an adapter holds IMDS's address."""
    prefix = next(held.prefix for held in holder.addresses if held.address == IMDS_ADDRESS)
    what = f"{quoted(holder.name)} holds 169.254.169.254/{prefix}"
    fixes = [
        advice(FOR_GOOD),
        *remedies(model).delete_address(holder, IMDS_ADDRESS, prefix),
    ]
    return local_fault(model, f"{what}: {ENDS_HERE}.{_who_listens(model)}", fixes)


def _redirected_by(model: Model, rule: FirewallRule) -> Seen:
    """The finding that a NAT rule sends the requests elsewhere."""
    to = ""
    if rule.target:
        to = f" to {short(rule.target)}"
    what = described_obstacle(Match(rule))
    detail = f"{what} redirects connections to 169.254.169.254 port 80{to}."
    fixes = let_pass(model, Match(rule), [IMDS_ADDRESS])
    return local_fault(model, capital(detail), fixes)


def _who_listens(model: Model) -> str:
    """A sentence on the programs that answer in IMDS's place; empty where none is known."""
    programs: List[str] = []
    for listener in model.facts.listeners or ():
        is_there = listener.port == HTTP_PORT and listener.address in (IMDS_ADDRESS, ANY_ADDRESS)
        if is_there and listener.process:
            programs.append(listener_in_words(listener))
    if not programs:
        return ""
    return f" Listening there: {listed(list(dict.fromkeys(programs)))}."


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
    route = lookup.route
    if route:
        table = f"table {short(route.table, 24)}"
        detail = f"The route {route.destination} ({table}) is of type {route.kind.value}."
    elif lookup.rule:
        rule = rule_in_words(lookup.rule)
        detail = f'The policy rule "{rule}" blocks packets to 169.254.169.254.'
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
    routing = model.routing
    route, egress = routing.to_imds.route, routing.egress
    if routing.to_imds.error or route is None or not is_link_local_shadow(route):
        return None
    if routing.leaves_by_primary_nic and _answers_on_link(model):
        return None
    where = quoted(route.interface or "?")
    if egress:
        where = nic(egress)
    detail = (
        f"The on-link route {route.destination} of {where} wins, so packets to 169.254.169.254 "
        f"stay on that link instead of going to the gateway."
    )
    if routing.leaves_by_primary_nic and egress and _has_only_automatic_address(egress):
        detail += " That adapter has only an automatic address: DHCP gave it none."
    detail += _chosen_by(model)
    return local_fault(model, detail, check_first(model, route_through_primary_nic(model)))


def _answers_on_link(model: Model) -> bool:
    """Whether an on-link route works: Azure's network answers for every address on the link."""
    if model.answers.proof:
        return False
    neighbour = model.routing.next_hop_neighbour
    by_arp = neighbour is not None and neighbour.mac == AZURE_ARP_MAC
    return by_arp or model.answers.imds_is_genuine


def _has_only_automatic_address(adapter: Adapter) -> bool:
    return all(contains(LINK_LOCAL, held.address) for held in adapter.addresses)


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
    routing, primary = model.routing, model.primary_nic
    egress, route, source = routing.egress, routing.to_imds.route, routing.to_imds.source
    if primary is None or egress is None or route is None:
        return None
    if route.kind is not RouteKind.UNICAST or routing.leaves_by_primary_nic:
        return None
    if not holds(egress, source):
        source = None
    why = ""
    if not primary.is_proven or model.detection.rests_on_operator:
        why = f" (assumed because {BECAUSE[primary.known_from]})"
    detail = (
        f"Requests to 169.254.169.254 leave through {nic(egress, source)}. The primary NIC is "
        f"{nic(primary.adapter, primary.ip)}{why}; Azure answers only that NIC.{_chosen_by(model)}"
    )
    fixes = check_first(model, route_through_primary_nic(model))
    return local_fault(model, detail, fixes, works=_works_anyway(model, primary))


def _works_anyway(model: Model, primary: PrimaryNic) -> bool:
    """Whether IMDS's own answer outweighs what leases and routes say of the primary NIC."""
    return model.answers.imds_is_genuine and not primary.is_proven


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
    primary, source, egress = model.primary_nic, model.routing.to_imds.source, model.routing.egress
    if primary is None or primary.ip is None or not model.routing.leaves_by_primary_nic:
        return None
    if source is None or source == primary.ip:
        return None
    if egress and egress.index != primary.adapter.index and holds(egress, source):
        return None  # another face of the NIC, with an address of its own
    whose = "which no NIC has"
    owner = model.adapters.holding(source)
    if owner:
        whose = f"another address of {quoted(owner.name)}"
    detail = (
        f"Requests leave from {source}, {whose}. The primary address is {primary.ip}; Azure "
        "answers only that address."
    )
    fixes = check_first(model, remedies(model).set_source(primary.adapter, source, primary.ip))
    return local_fault(model, detail, fixes, works=_works_anyway(model, primary))


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
    routing, primary = model.routing, model.primary_nic
    route, hop, gateway = routing.to_imds.route, routing.next_hop, routing.gateway
    if primary is None or gateway is None or route is None or not hop or ":" in hop:
        return None
    if not routing.leaves_by_primary_nic or is_link_local_shadow(route):
        return None
    is_wrong = route.gateway is not None and hop not in _known_gateways(model, primary.adapter)
    forged = None
    if routing.next_hop_is_forged:
        forged = routing.next_hop_neighbour
    if not is_wrong and not routing.next_hop_is_dead and not forged:
        return None
    detail = _wrong_hop(route, hop, gateway, primary) + _chosen_by(model)
    if routing.next_hop_is_dead and routing.next_hop_neighbour:
        detail += f" {hop} does not answer ARP ({routing.next_hop_neighbour.state.value})."
    commands = remedies(model)
    fixes: List[Fix] = []
    if forged:
        detail += (
            f" The ARP entry for {hop}, {forged.mac}, was set by hand; Azure's network answers "
            "with "
            f"{AZURE_ARP_MAC}."
        )
        fixes += commands.delete_neighbour(forged)
    elif hop == gateway:
        fixes += [*commands.renew_lease(primary.adapter), *escalate(model)]
    if hop != gateway:
        fixes += route_through_primary_nic(model)
    works = model.answers.imds_is_genuine
    return local_fault(model, detail, check_first(model, fixes), works=works)


def _known_gateways(model: Model, adapter: Adapter) -> Set[Optional[str]]:
    """The gateway by IMDS or the lease; where neither names one, by the routes and the subnet."""
    known = {model.routing.reported_gateway(adapter), adapter.lease_gateway} - {None}
    if known:
        return known
    return {model.route_table.default_gateway(adapter), model.routing.first_address(adapter)}


def _wrong_hop(route: Route, hop: str, gateway: str, primary: PrimaryNic) -> str:
    """Where the route leads, and what its gateway should be."""
    leads = f"The route {described(route)} leaves through the primary NIC"
    leads += f" {nic(primary.adapter, primary.ip)}"
    if hop == gateway:
        return f"{leads} through its gateway {hop}."
    outside = ""
    if route.gateway and not in_subnet(primary.adapter, hop):
        outside = ", which is not even in its subnet"
    return f"{leads}, whose gateway is {gateway}, not {hop}{outside}."


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
    lookup, primary = model.routing.to_imds, model.primary_nic
    if not model.answers.imds_gives_metadata or lookup.error or lookup.route is None:
        return None
    if prefix_length(lookup.route.destination) != 0:
        return None
    detail = f"There is no 169.254.169.254/32 route; {described(lookup.route)} is used instead."
    fixes: Tuple[Fix, ...] = ()
    if primary:
        fixes = check_first(model, remedies(model).renew_lease(primary.adapter))
    return Seen(detail, fixes, Severity.INFO)


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
    stored, adapters = model.facts.persistent_routes, model.adapters.all
    if stored is None or not adapters:
        return None
    stale = [
        route
        for route in stored
        if route.gateway != "0.0.0.0"
        and not any(in_subnet(adapter, route.gateway) for adapter in adapters)
    ]
    if not stale:
        return None
    platform = [route for route in stale if matches_platform(route.destination)]
    fixes: List[Fix] = []
    for route in platform[:3]:
        if not _may_come_back(model, route.gateway):
            remedy = remedies(model)
            fixes += remedy.delete_persistent_route(route.destination, route.gateway)
    named = [f"{route.destination} through {route.gateway}" for route in platform or stale]
    detail = f"A stored route uses a gateway that is on none of this VM's subnets: {listed(named)}."
    return Seen(detail, tuple(fixes), Severity.WARN)


def _may_come_back(model: Model, gateway: str) -> bool:
    """Whether a gateway may be right again once every NIC is up and has its address."""
    if gateway == model.routing.gateway:
        return True
    for adapter in model.adapters.all:
        if gateway == adapter.lease_gateway or gateway in adapter.gateways:
            return True
    return any(is_down(adapter) or not adapter.addresses for adapter in model.adapters.nics)
