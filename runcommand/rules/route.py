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
from ..firewall.conditions import HTTP_PORT
from ..firewall.filtering import Obstacle
from ..firewall.filtering import described as described_obstacle
from ..fixes.remedies import escalate, let_pass, remedies, way_through_primary
from ..model.case import (
    AZURE_ARP_MAC,
    BECAUSE,
    Case,
    Way,
    holds,
    in_subnet,
    is_down,
    is_link_local_shadow,
    listener_in_words,
    matches_platform,
    nic,
)
from ..model.errors import error_in_words
from ..model.routing import USUAL_RULES, walk
from ..model.words import capital, listed, quoted, short
from .finding import Fix, Seen, Severity, Verdict, advice, rule

ANY_ADDRESS = "0.0.0.0"  # of a listener for every address of the machine


def described(route: Route) -> str:
    """A route in a sentence: ``169.254.0.0/16 on-link, metric 5``"""
    via = f"via {route.gateway}" if route.gateway else "on-link"
    table = f", table {short(route.table, 24)}" if route.table not in ("main", "local") else ""
    return f"{route.destination} {via}, metric {route.metric}{table}"


def policy_rule(case: Case, way: Way) -> Optional[RoutingRule]:
    """The policy rule that leads packets this way, or denies the way. None: one of the three that
    every Linux has, or it is not known.
    """
    if way.rule:
        return way.rule
    if case.facts.routing_rules is None or way.route is None:
        return None
    rule, _ = walk(case.facts.routing_rules, case.routes, way.destination, way.source)
    if rule is None or rule in USUAL_RULES or rule.table != way.route.table:
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


def _chosen_by(case: Case) -> str:
    """A sentence on the policy rule that chooses the way to IMDS; empty where none does."""
    rule = policy_rule(case, case.way)
    return f' The policy rule "{rule_in_words(rule)}" chooses that route.' if rule else ""


@rule(Verdict.BROKEN)
def address_claimed_locally(case: Case) -> Optional[Seen]:
    """169.254.169.254 belongs to this machine itself

    Either an adapter of the VM has IMDS's address (a container platform's metadata proxy, an
    address added by hand, an image from another cloud), or a NAT rule redirects it. Requests end up
    somewhere else and never reach the host.

    Recognised by: an adapter with that address, a local route to it, or a matching rule in an
    output chain of a NAT table.

    Fix: remove the address or the rule, and whatever configures it.
    https://learn.microsoft.com/azure/virtual-machines/instance-metadata-service
    """
    holder = next((adapter for adapter in case.adapters if holds(adapter, IMDS_ADDRESS)), None)
    route = case.way.route
    redirected = case.imds_filtering.redirected if case.imds_filtering else None
    if holder is None and not (route and route.kind is RouteKind.LOCAL):
        if redirected is None or case.proof:  # what one address is answered is redirected for none
            return None
        to = f" to {short(redirected.target)}" if redirected.target else ""
        detail = f"{described_obstacle(Obstacle(redirected))} redirects connections to 169.254.169.254 port 80{to}."
        return case.local(capital(detail), let_pass(case, Obstacle(redirected), [IMDS_ADDRESS]))
    commands = remedies(case)
    fixes = [
        advice(
            "For good: remove what configures the address (a metadata proxy, a container platform, a start script)."
        )
    ]
    if holder:
        prefix = next(held.prefix for held in holder.addresses if held.address == IMDS_ADDRESS)
        fixes += commands.delete_address(holder, IMDS_ADDRESS, prefix)
        detail = f"{quoted(holder.name)} holds 169.254.169.254/{prefix}: requests to IMDS end on this VM.{_who_listens(case)}"
    else:
        assert route is not None
        fixes += commands.delete_route(route)
        detail = f"A local route claims {route.destination}: requests to IMDS end on this VM.{_who_listens(case)}"
    return case.local(detail, fixes)


def _who_listens(case: Case) -> str:
    """A sentence on the programs that answer in IMDS's place; empty where none is known."""
    listeners = [item for item in case.facts.listeners or () if item.port == HTTP_PORT]
    known = [item for item in listeners if item.address in (IMDS_ADDRESS, ANY_ADDRESS)]
    who = dict.fromkeys(listener_in_words(item) for item in known if item.process)
    return f" Listening there: {listed(list(who))}." if who else ""


@rule(Verdict.BROKEN)
def route_missing(case: Case) -> Optional[Seen]:
    """There is no route to IMDS

    No row of the routing table matches 169.254.169.254, or the row or rule that does is of type
    unreachable, blackhole or prohibit.

    Recognised by: the system's own route lookup (which sends no packet), and the row or rule that
    denies it.

    Fix: renew the lease, which brings the route back. For an immediate fix, add a /32 route through
    the primary NIC's gateway.
    https://learn.microsoft.com/azure/virtual-machines/instance-metadata-service
    """
    way = case.way
    if not way.known or not way.error:
        return None
    if way.route:
        table = f"table {short(way.route.table, 24)}"
        detail = f"The route {way.route.destination} ({table}) is of type {way.route.kind.value}."
    elif way.rule:
        detail = f'The policy rule "{rule_in_words(way.rule)}" denies the way to 169.254.169.254.'
    else:
        error = error_in_words(way.error, case.facts.system)
        detail = f"No route matches 169.254.169.254: connecting fails with {error}."
    return case.local(detail, case.check_first(way_through_primary(case)))


@rule(Verdict.BROKEN)
def route_link_local_shadow(case: Case) -> Optional[Seen]:
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
    route, neighbour = case.way.route, case.next_hop_neighbour
    if case.way.error or route is None or not is_link_local_shadow(route):
        return None
    on_primary = case.leaves_by_primary
    if (
        on_primary
        and not case.proof
        and (case.reads_as_imds or (neighbour and neighbour.mac == AZURE_ARP_MAC))
    ):
        return None  # Azure's network answers for every address: the on-link route works
    where = nic(case.egress) if case.egress else quoted(route.interface or "?")
    automatic = ""
    if (
        on_primary
        and case.egress
        and all(contains(LINK_LOCAL, held.address) for held in case.egress.addresses)
    ):
        automatic = " That adapter has only an automatic address: DHCP gave it none."
    return case.local(
        f"The on-link route {route.destination} of {where} wins, so packets to 169.254.169.254 stay on that link instead of "
        f"going to the gateway.{automatic}{_chosen_by(case)}",
        case.check_first(way_through_primary(case)),
    )


@rule(Verdict.BROKEN)
def route_wrong_interface(case: Case) -> Optional[Seen]:
    """Requests to IMDS leave through a NIC that is not the primary one

    Azure answers IMDS requests only from the primary IP address of the primary NIC. The best route
    (policy rules, longest prefix, lowest metric) goes out through another adapter: a second NIC, a
    VPN or a bridge.

    Recognised by: the best route's adapter is neither the primary NIC nor another face of it (a
    virtual function, or a bridge or bond on top of it).

    Fix: renew the primary NIC's lease, and route 169.254.169.254/32 through its gateway.
    https://learn.microsoft.com/azure/virtual-machines/instance-metadata-service
    """
    primary, egress, route = case.primary, case.egress, case.way.route
    if (
        primary is None
        or egress is None
        or route is None
        or route.kind is not RouteKind.UNICAST
        or case.leaves_by_primary
    ):
        return None
    source = case.way.source if holds(egress, case.way.source) else None
    is_shown = primary.is_proven and not case.rests_on_operator
    why = "" if is_shown else f" (assumed because {BECAUSE[primary.known_from]})"
    return case.local(
        f"Requests to 169.254.169.254 leave through {nic(egress, source)}. The primary NIC is "
        f"{nic(primary.adapter, primary.ip)}{why}, and Azure answers no other.{_chosen_by(case)}",
        case.check_first(way_through_primary(case)),
        works=case.reads_as_imds and not primary.is_proven,
    )


@rule(Verdict.BROKEN)
def source_not_primary_ip(case: Case) -> Optional[Seen]:
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
    primary, source = case.primary, case.way.source
    if (
        primary is None
        or primary.ip is None
        or not case.leaves_by_primary
        or source in (None, primary.ip)
    ):
        return None
    if case.egress and case.egress.index != primary.adapter.index and holds(case.egress, source):
        return None  # another face of the NIC, with an address of its own
    owner = case.adapter_of(source)
    whose = (
        f"another address of {quoted(owner.name)}" if owner else "which is no address of any NIC"
    )
    return case.local(
        f"The system sends from {source}, {whose}. The primary address is {primary.ip}, and Azure answers no other.",
        case.check_first(remedies(case).set_source(primary.adapter, str(source), primary.ip)),
        works=case.reads_as_imds and not primary.is_proven,
    )


@rule(Verdict.BROKEN)
def route_wrong_gateway(case: Case) -> Optional[Seen]:
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
    route, hop, gateway = case.way.route, case.next_hop, case.gateway
    if (
        case.primary is None
        or not case.leaves_by_primary
        or gateway is None
        or route is None
        or not hop
        or ":" in hop
    ):
        return None
    if is_link_local_shadow(route):
        return None
    adapter = case.primary.adapter
    told = {case.reported_gateway(adapter), adapter.lease_gateway} - {None}
    known = told or {case.default_gateway(adapter), case.first_address(adapter)}
    wrong = route.gateway is not None and hop not in known
    forged = case.next_hop_neighbour if case.next_hop_is_forged else None
    if not wrong and not case.next_hop_is_dead and not forged:
        return None
    by = f"leaves by the primary NIC {nic(adapter, case.primary.ip)}"
    if hop == gateway:
        detail = f"The route {described(route)} {by} through its gateway {hop}."
    else:
        outside = (
            ""
            if in_subnet(adapter, hop) or not route.gateway
            else ", and is not even in its subnet"
        )
        detail = f"The route {described(route)} {by}, whose gateway is {gateway}: {hop} is not it{outside}."
    detail += _chosen_by(case)
    fixes = way_through_primary(case)
    if case.next_hop_is_dead and case.next_hop_neighbour:
        detail += f" {hop} does not answer ARP ({case.next_hop_neighbour.state.value})."
    if forged:
        detail += f" The ARP entry of {hop}, {forged.mac}, was set by hand; Azure's network answers with {AZURE_ARP_MAC}."
        fixes = (*remedies(case).delete_neighbour(forged), *(fixes if hop != gateway else ()))
    elif hop == gateway:
        fixes = (*remedies(case).renew_lease(adapter), *escalate(case))
    return case.local(detail, case.check_first(fixes), works=case.reads_as_imds)


@rule()
def route_not_specific(case: Case) -> Optional[Seen]:
    """IMDS is reached through the default route

    Azure's DHCP provides a /32 route for 169.254.169.254. Without it, whatever takes over the
    default route (a VPN, a second NIC, forced tunnelling in the guest) takes IMDS traffic with it.

    Recognised by: IMDS answers, and the best route is the default route. Information only: this
    works.

    Fix: renew the lease.
    https://learn.microsoft.com/azure/virtual-machines/instance-metadata-service
    """
    route = case.way.route
    if (
        not case.imds_answers
        or case.way.error
        or route is None
        or prefix_length(route.destination) != 0
    ):
        return None
    return Seen(
        f"There is no 169.254.169.254/32 route; {described(route)} serves.",
        case.check_first(remedies(case).renew_lease(case.primary.adapter)) if case.primary else (),
        Severity.INFO,
    )


@rule()
def route_stale_persistent(case: Case) -> Optional[Seen]:
    """A stored route uses a gateway that does not exist here

    Windows keeps a persistent route (route -p add) in the registry and adds it again at every
    start. If its gateway is on no subnet of this VM, the route is left over from another network,
    or belongs to an adapter that is not connected now. If it matches one of the platform's
    addresses, the next change may cut the VM off.

    Recognised by: PersistentRoutes values whose gateway is on no adapter's subnet.

    Fix: delete the route if it matches 169.254.169.254 or 168.63.129.16.
    https://learn.microsoft.com/windows-server/administration/windows-commands/route_ws2008
    """
    if case.facts.persistent_routes is None or not case.adapters:
        return None
    stale = [
        stored
        for stored in case.facts.persistent_routes
        if stored.gateway != "0.0.0.0"
        and not any(in_subnet(adapter, stored.gateway) for adapter in case.adapters)
    ]
    if not stale:
        return None
    platform = [stored for stored in stale if matches_platform(stored.destination)]
    commands = remedies(case)
    fixes: List[Fix] = []
    for stored in platform[:3]:
        if not _may_come_back(case, stored.gateway):
            fixes += commands.delete_persistent_route(stored.destination, stored.gateway)
    named = listed(
        [f"{stored.destination} through {stored.gateway}" for stored in (platform or stale)]
    )
    return Seen(
        f"A stored route leads through a gateway on no subnet of this VM: {named}.",
        tuple(fixes),
        Severity.WARN,
    )


def _may_come_back(case: Case, gateway: str) -> bool:
    """Whether a gateway may be right again once every NIC is up and has its address."""
    known = [
        address
        for adapter in case.adapters
        for address in (adapter.lease_gateway, *adapter.gateways)
    ]
    if gateway in known or gateway == case.gateway:
        return True
    return any(is_down(adapter) or not adapter.addresses for adapter in case.nics)
