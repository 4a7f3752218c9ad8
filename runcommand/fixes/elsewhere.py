"""A system whose commands are not known here: advice in words, and no command."""

from __future__ import annotations

from typing import List, Optional, Sequence

from ..facts import IMDS_ADDRESS, Adapter, Certificate, Neighbour, Proxy, Route, RoutingRule
from ..firewall.verdict import Match
from ..model.words import listed, quoted, short
from .commands import Fix, advice
from .steps import Wanted


class AdviceOnly:
    """Every step in words."""

    def renew_lease(self, adapter: Adapter) -> List[Fix]:
        return [advice(f"Renew the DHCP lease of {quoted(adapter.name)}.")]

    def bring_up(self, adapter: Adapter) -> List[Fix]:
        return [advice(f"Enable the NIC {quoted(adapter.name)}.")]

    def set_mac(
        self, adapter: Adapter, mac: str, gateway: Optional[str], default: bool
    ) -> List[Fix]:
        return [advice(f"Remove the MAC override of {quoted(adapter.name)}: Azure expects {mac}.")]

    def set_address(
        self, adapter: Adapter, address: str, prefix: int, gateway: Optional[str]
    ) -> List[Fix]:
        return [
            advice(
                f"Let DHCP configure {quoted(adapter.name)}: Azure expects the address"
                f" {address}/{prefix}."
            )
        ]

    def delete_address(self, adapter: Adapter, address: str, prefix: int) -> List[Fix]:
        return [advice(f"Remove the address {address}/{prefix} from {quoted(adapter.name)}.")]

    def set_source(self, adapter: Adapter, wrong: str, right: str) -> List[Fix]:
        return [advice(f"Make requests to the platform use {right} as their source, not {wrong}.")]

    def add_route(
        self,
        destination: str,
        gateway: str,
        adapter: Adapter,
        table: str = "main",
        source: Optional[str] = None,
    ) -> List[Fix]:
        return [
            advice(f"Add a route to {destination}/32 through {gateway} on {quoted(adapter.name)}.")
        ]

    def add_default_route(self, gateway: str, adapter: Adapter) -> List[Fix]:
        return [advice(f"Set the default route through {gateway} on {quoted(adapter.name)}.")]

    def routes_anew(self, gateway: str, adapter: Adapter, default: bool) -> List[Fix]:
        return [
            advice(
                f"Set the routes to both platform addresses through {gateway} on "
                f"{quoted(adapter.name)}."
            )
        ]

    def keep_routes(self, gateway: str, adapter: Adapter, table: str) -> List[Fix]:
        return []

    def delete_route(self, route: Route) -> List[Fix]:
        return [advice(f"Delete the route {route.destination} of type {route.kind.value}.")]

    def pass_rule(self, rule: RoutingRule, destination: str) -> List[Fix]:
        return [
            advice(f"Delete the policy rule {rule.priority} that blocks packets to {destination}.")
        ]

    def delete_persistent_route(self, destination: str, gateway: str) -> List[Fix]:
        return [advice(f"Delete the stored route to {destination} through {gateway}.")]

    def delete_neighbour(self, neighbour: Neighbour) -> List[Fix]:
        return [advice(f"Delete the static ARP entry for {neighbour.address}.")]

    def restart_service(self, name: str) -> List[Fix]:
        return [advice(f"Restart the service {quoted(name)}.")]

    def show_clients(self) -> List[Fix]:
        return [advice(f"Look for the processes that hold connections to {IMDS_ADDRESS}.")]

    def trust_anew(self) -> List[Fix]:
        return []

    def shift_clock(self, seconds: float) -> List[Fix]:
        return [advice("Set the clock, and run a time service that keeps it.")]

    def show_firewall(self) -> List[Fix]:
        return [advice(f"Look for what filters TCP 80 to {IMDS_ADDRESS} on this machine.")]

    def let_pass(self, match: Match, addresses: Sequence[str]) -> List[Fix]:
        return [
            advice(
                f"Allow TCP to {' and '.join(addresses)} through the firewall, once you know who "
                "set the rule."
            )
        ]

    def bypass_proxy(self, proxy: Proxy, addresses: Sequence[str]) -> List[Fix]:
        return [
            advice(f"Add {' and '.join(addresses)} to the bypass list of {short(proxy.place, 80)}.")
        ]

    def certificate_folder(self) -> List[Fix]:
        return []

    def install_certificate(
        self, url: str, is_reachable: bool, proxy: Optional[str], wanted: Wanted
    ) -> List[Fix]:
        kind = "a trusted root" if wanted.root else "an intermediate"
        return [advice(f"Install the certificate of {short(url, 200)} as {kind}.")]

    def remove_certificate(self, certificate: Certificate, places: Sequence[str]) -> List[Fix]:
        where = listed([short(place, 60) for place in places])
        return [advice(f"Remove the certificate {short(certificate.thumbprint)} from {where}.")]
