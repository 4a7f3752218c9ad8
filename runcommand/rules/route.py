"""The way to 169.254.169.254: which route wins, by which NIC, through which next hop, from which address."""

from __future__ import annotations

from typing import List, Optional

from ..facts import IMDS_ADDRESS, Adapter, Route, prefix_length
from .case import AZURE_ARP_MAC, Case, in_subnet, is_on_link_link_local, nic
from .finding import Fix, Seen, Severity, Verdict, advice, listed, quoted, rule, short
from .remedies import escalate, remedies, way_through_primary


def described(route: Route) -> str:
    """A route in a sentence: ``169.254.0.0/16, on-link, metric 5``"""
    via = f"via {route.gateway}" if route.gateway else "on-link"
    table = f", table {short(route.table, 24)}" if route.table not in ("main", "local") else ""
    return f"{route.destination} {via}, metric {route.metric}{table}"


@rule(Verdict.BROKEN)
def address_claimed_locally(case: Case) -> Optional[Seen]:
    """169.254.169.254 belongs to this machine itself

    An adapter of the VM holds IMDS's address (a metadata proxy of a container platform, a hand-made address, another
    cloud's image), so that requests end on the VM and never reach the host.

    Recognised by: an adapter with that address, or a local route to it.

    Mended by: removing the address, and what configures it.
    https://learn.microsoft.com/azure/virtual-machines/instance-metadata-service
    """
    holder = next((a for a in case.adapters if any(held.address == IMDS_ADDRESS for held in a.addresses)), None)
    route = case.path.route
    if holder is None and not (route and route.kind == "local"):
        return None
    commands = remedies(case)
    fixes = [advice("For good: remove what configures the address (a metadata proxy, a container platform, a start script).")]
    if holder:
        prefix = next(held.prefix for held in holder.addresses if held.address == IMDS_ADDRESS)
        fixes += commands.delete_address(holder, IMDS_ADDRESS, prefix)
        detail = f"{quoted(holder.name)} holds 169.254.169.254/{prefix}: requests to IMDS end on this VM."
    else:
        assert route is not None
        fixes += commands.delete_route(route)
        detail = f"A local route claims {route.destination}: requests to IMDS end on this VM."
    return Seen(detail, tuple(fixes), case.local_severity)


@rule(Verdict.BROKEN)
def route_missing(case: Case) -> Optional[Seen]:
    """No route leads to IMDS

    The routing table has no row that matches 169.254.169.254, or the row or rule that does says unreachable, blackhole or
    prohibit.

    Recognised by: what the system answers when it is asked for the way (no packet is sent), and the row that says so.

    Mended by: renewing the lease, which brings the route; at once, by a /32 route through the primary NIC's gateway.
    https://learn.microsoft.com/azure/virtual-machines/instance-metadata-service
    """
    path = case.path
    if not path.known or not path.error:
        return None
    denying = case.denying_rule(IMDS_ADDRESS)
    if path.route:
        where = f"table {short(path.route.table, 24)}"
        detail = f"The route {path.route.destination} ({where}) is of type {short(path.route.kind, 24)}."
    elif denying:
        detail = f"The policy rule of priority {denying.priority} (to {short(denying.destination)}) says {denying.action}."
    else:
        detail = f"No route matches 169.254.169.254 ({short(path.error)})."
    return Seen(detail + case.told_by_proof(), way_through_primary(case), case.local_severity)


@rule(Verdict.BROKEN)
def route_link_local_shadow(case: Case) -> Optional[Seen]:
    """An on-link 169.254.0.0/16 route hides IMDS

    An adapter with an automatic private address (169.254.x.x: no DHCP answer, a failover cluster's virtual adapter, a
    container or VPN adapter) brings an on-link route for all of 169.254.0.0/16, and that route wins for IMDS too.

    Recognised by: the route that wins is on-link, lies within 169.254.0.0/16 and is broader than /32; and the address does
    not answer ARP there as Azure's network does.

    Mended by: a /32 route for 169.254.169.254 through the primary NIC's gateway, and by removing the stray link-local
    address.
    https://learn.microsoft.com/azure/virtual-machines/instance-metadata-service
    """
    route, neighbour = case.path.route, case.next_hop_neighbour
    if case.path.error or not is_on_link_link_local(route):
        return None
    assert route is not None
    if case.primary and case.egress and case.same_nic(case.egress, case.primary.adapter):
        if neighbour and neighbour.mac == AZURE_ARP_MAC and not case.proof:
            return None  # Azure's network answers for every address: the on-link route works
    where = nic(case.egress) if case.egress else quoted(route.interface or "?")
    return Seen(
        f"The on-link route {route.destination} of {where} wins, so 169.254.169.254 is looked for on that link and not "
        f"through the gateway.{case.told_by_proof()}",
        way_through_primary(case),
        case.local_severity,
    )


@rule(Verdict.BROKEN)
def route_wrong_interface(case: Case) -> Optional[Seen]:
    """Requests to IMDS leave by a NIC that is not the primary one

    Azure answers IMDS requests only from the primary IP address of the primary NIC. The route that wins (policy rules,
    longest prefix, lowest metric) leads out by another adapter: a second NIC, a VPN, a bridge.

    Recognised by: the adapter of the route that wins is not the primary NIC, nor another face of it (a virtual function, a
    bridge or bond over it).

    Mended by: renewing the primary NIC's lease and giving 169.254.169.254/32 a route through its gateway.
    https://learn.microsoft.com/azure/virtual-machines/instance-metadata-service
    """
    if case.primary is None or case.egress is None or case.path.route is None or case.path.route.kind != "unicast":
        return None
    primary = case.primary.adapter
    if case.same_nic(case.egress, primary):
        return None
    return Seen(
        f"Requests to 169.254.169.254 leave through {nic(case.egress, _source_on(case, case.egress))}. The primary NIC is "
        f"{nic(primary, case.primary.ip)}, and Azure answers no other.{case.told_by_proof()}",
        way_through_primary(case),
        case.local_severity,
    )


def _source_on(case: Case, adapter: Adapter) -> Optional[str]:
    return case.path.source if any(held.address == case.path.source for held in adapter.addresses) else None


@rule(Verdict.BROKEN)
def source_not_primary_ip(case: Case) -> Optional[Seen]:
    """Requests to IMDS carry a secondary address of the primary NIC

    Azure answers IMDS requests only from the primary IP address. The NIC has several addresses, and the system chooses
    another one as the source.

    Recognised by: the source address that the system chooses is one of the primary NIC's addresses, and not the primary
    one (of --expected-ip, of the differential, of the lease, or the one that is not marked secondary).

    Mended by: naming the source in the route (Linux), or SkipAsSource on the secondary addresses (Windows).
    https://learn.microsoft.com/azure/virtual-network/ip-services/virtual-network-multiple-ip-addresses-portal
    """
    if case.primary is None or case.primary.ip is None or case.egress is None:
        return None
    adapter, source = case.primary.adapter, case.path.source
    held = [item.address for item in adapter.addresses]
    if not case.same_nic(case.egress, adapter) or source not in held or source == case.primary.ip:
        return None
    assert source is not None
    return Seen(
        f"The system sends from {source}, a secondary address of {quoted(adapter.name)}; its primary address is "
        f"{case.primary.ip}, and Azure answers no other.{case.told_by_proof()}",
        tuple(remedies(case).set_source(adapter, source, case.primary.ip)),
        case.local_severity,
    )


@rule(Verdict.BROKEN)
def route_wrong_gateway(case: Case) -> Optional[Seen]:
    """The route to IMDS has the wrong next hop

    The route leaves by the primary NIC, but its next hop is not the subnet's gateway, or does not answer ARP.

    Recognised by: the next hop differs from the gateway that the lease names (without a lease: from both the default
    route's and the subnet's first address, which Azure keeps for its gateway); or the neighbour table holds it as
    incomplete or failed after the request, or with an entry set by hand that is not Azure's.

    Mended by: renewing the lease, and a /32 route through the subnet's gateway. When that gateway itself is silent, the VM
    has lost its network: redeploy it.
    https://learn.microsoft.com/azure/virtual-network/virtual-networks-faq
    """
    route = case.path.route
    if case.primary is None or case.egress is None or case.gateway is None or route is None or route.kind != "unicast":
        return None
    adapter, hop = case.primary.adapter, case.next_hop
    if not case.same_nic(case.egress, adapter) or not hop or is_on_link_link_local(route) or ":" in hop:
        return None
    known = {adapter.lease_gateway} if adapter.lease_gateway else {
        case.reported_gateway(adapter), case.default_gateway(adapter), case.first_address(adapter)
    }  # fmt: skip
    wrong = route.gateway is not None and hop not in known
    neighbour = case.next_hop_neighbour
    forged = neighbour if case.next_hop_is_forged else None
    if not wrong and not case.next_hop_is_dead and not forged:
        return None
    detail, fixes = _wrong_hop(case, hop), way_through_primary(case)
    if neighbour and case.next_hop_is_dead:
        detail += f" It does not answer ARP ({short(neighbour.state)})."
    if forged:
        detail += f" Its ARP entry, {forged.mac}, was set by hand; Azure's network answers ARP with {AZURE_ARP_MAC}."
        fixes = (*remedies(case).delete_neighbour(forged), *(fixes if hop != case.gateway else ()))
    elif hop == case.gateway:
        fixes = (*remedies(case).renew_lease(adapter), *escalate(case))
    return Seen(detail + case.told_by_proof(), fixes, case.local_severity)


def _wrong_hop(case: Case, hop: str) -> str:
    assert case.primary is not None and case.path.route is not None
    adapter = case.primary.adapter
    outside = "" if in_subnet(adapter, hop) or not case.path.route.gateway else ", and is not even in its subnet"
    if hop == case.gateway:
        return f"The route {described(case.path.route)} leaves by the primary NIC through its gateway {hop}."
    return (
        f"The route {described(case.path.route)} leaves by the primary NIC {nic(adapter, case.primary.ip)}; the gateway of "
        f"its subnet is {case.gateway}{outside}."
    )


@rule(None)
def route_not_specific(case: Case) -> Optional[Seen]:
    """IMDS is reached by the default route

    Azure's DHCP hands out a /32 route for 169.254.169.254. Without it, whatever takes over the default route (a VPN, a
    second NIC, a forced tunnel in the guest) takes IMDS with it.

    Recognised by: the route that wins is the default route. Information only: this works.

    Mended by: renewing the lease.
    https://learn.microsoft.com/azure/virtual-machines/instance-metadata-service
    """
    route = case.path.route
    if case.path.error or route is None or prefix_length(route.destination) != 0:
        return None
    return Seen(
        f"There is no 169.254.169.254/32 route; {described(route)} serves.",
        tuple(remedies(case).renew_lease(case.primary.adapter)) if case.primary else (),
        Severity.INFO,
    )


@rule(None)
def route_stale_persistent(case: Case) -> Optional[Seen]:
    """A stored route leads through a gateway that is not there

    A persistent route (route -p add) is kept in the registry and set again at each start. One whose gateway lies on no
    subnet of this VM is a leftover of another network, and may come alive with the next change.

    Recognised by: the PersistentRoutes values whose gateway is on no adapter's subnet.

    Mended by: deleting it.
    https://learn.microsoft.com/windows-server/administration/windows-commands/route_ws2008
    """
    if case.facts.persistent_routes is None or not case.adapters:
        return None
    stale = [
        stored
        for stored in case.facts.persistent_routes
        if not any(in_subnet(adapter, stored.gateway) for adapter in case.adapters)
        and not any(held.address == stored.gateway for adapter in case.adapters for held in adapter.addresses)
        and stored.gateway != "0.0.0.0"
    ]
    if not stale:
        return None
    commands = remedies(case)
    fixes: List[Fix] = [fix for stored in stale[:3] for fix in commands.delete_persistent_route(stored.destination, stored.gateway)]
    named = listed([f"{stored.destination} through {stored.gateway}" for stored in stale])
    return Seen(f"Stored, and through no subnet of this VM: {named}.", tuple(fixes), Severity.WARN)
