"""Linux: iproute2 for what acts at once, systemd-networkd, NetworkManager and chrony for what lasts."""

from __future__ import annotations

import re
from typing import List, Optional

from ...facts import IMDS_ADDRESS, PLATFORM_ADDRESSES, UUID, Adapter, Neighbour, Route, RouteKind, RoutingRule
from ..case import Case, in_subnet
from ..finding import Fix, Shell, advice, command, quoted, short

WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,31}")  # a name that no shell reads anything into
WITH_THE_LEASE = "Azure hands out the routes to both platform addresses with the lease."
MANY = 3  # addresses: more of them are taken away at once


def sh(text: str) -> Fix:
    return command(Shell.SH, text)


def ip(text: str, *names: Optional[str]) -> Fix:
    """An ``ip`` command that holds these names; advice where one of them cannot stand in a shell."""
    for name in names:
        if name is not None and not WORD.fullmatch(name):
            return advice(f"By hand, because the name {quoted(name)} cannot be pasted: ip {short(text, 120)}")
    return sh(f"ip {text}")


def via(gateway: str, adapter: Optional[Adapter] = None) -> str:
    """The next hop in ip's words; ``onlink`` where it lies on no subnet of the adapter (a /32 address)."""
    if ":" in gateway:
        return f"via inet6 {gateway}"
    return f"via {gateway}" + (" onlink" if adapter and adapter.addresses and not in_subnet(adapter, gateway) else "")


class LinuxRemedies:
    def __init__(self, case: Case) -> None:
        self._case = case

    def renew_lease(self, adapter: Adapter) -> List[Fix]:
        name = quoted(adapter.name)
        if adapter.dhcp is False and "netplan" in (adapter.profile or ""):
            return [
                advice(
                    f"For good: set dhcp4: true for {name} in /etc/netplan, then run netplan apply. {WITH_THE_LEASE}"
                )
            ]
        if adapter.dhcp is False:
            return [advice(f"For good: turn DHCP on for {name} in this VM's network configuration. {WITH_THE_LEASE}")]
        renewing = self._manager(adapter, f"networkctl reconfigure {adapter.name}", self._reactivate(adapter))
        if renewing:
            return [sh(renewing)]
        return [
            advice(
                f"For good: let whatever manages this VM's network renew the DHCP lease of {name}, and take the wrong setting "
                "out of its configuration."
            )
        ]

    @staticmethod
    def _reactivate(adapter: Adapter) -> str:
        """NetworkManager's words for a new lease: its connection again, else the profile's settings again."""
        if adapter.profile and UUID.fullmatch(adapter.profile):
            return f"nmcli connection up uuid {adapter.profile} ifname {adapter.name}"
        return f"nmcli device reapply {adapter.name}"

    def _manager(self, adapter: Adapter, networkd: str, networkmanager: str) -> Optional[str]:
        """The command of the manager that runs here and owns the NIC; None where there is none."""
        manager = adapter.managed_by
        if not manager or not self._case.runs(manager) or not WORD.fullmatch(adapter.name):
            return None
        return {"systemd-networkd": networkd, "NetworkManager": networkmanager}.get(manager)

    def bring_up(self, adapter: Adapter) -> List[Fix]:
        managed = self._manager(adapter, f"networkctl up {adapter.name}", f"nmcli device connect {adapter.name}")
        return [*([sh(managed)] if managed else []), ip(f"link set dev {adapter.name} up", adapter.name)]

    def add_route(
        self, destination: str, gateway: str, adapter: Adapter, table: str = "main", source: Optional[str] = None
    ) -> List[Fix]:
        text = f"route replace {destination}/32 {via(gateway, adapter)} dev {adapter.name}"
        text += (f" src {source}" if source else "") + (f" table {table}" if table != "main" else "")
        return [ip(text, adapter.name, table)]

    def add_default_route(self, gateway: str, adapter: Adapter) -> List[Fix]:
        return [ip(f"route replace default {via(gateway, adapter)} dev {adapter.name}", adapter.name)]

    def routes_anew(self, gateway: str, adapter: Adapter, default: bool) -> List[Fix]:
        hosts = [fix for address in PLATFORM_ADDRESSES for fix in self.add_route(address, gateway, adapter)]
        return [*(self.add_default_route(gateway, adapter) if default else []), *hosts]

    def keep_routes(self, gateway: str, adapter: Adapter) -> List[Fix]:
        return [
            advice(
                "The ip commands last until the next restart. If the lease does not bring the route back, add "
                f"{IMDS_ADDRESS}/32 via {gateway} to {quoted(adapter.name)} in netplan, NetworkManager or networkd."
            )
        ]

    def delete_route(self, route: Route) -> List[Fix]:
        kind = "" if route.kind is RouteKind.UNICAST else f"{route.kind.value} "
        text = f"route del {kind}{route.destination}" + (f" {via(route.gateway)}" if route.gateway else "")
        text += (
            f" dev {route.interface}" if route.interface and route.kind in (RouteKind.UNICAST, RouteKind.LOCAL) else ""
        )
        text += (f" metric {route.metric}" if route.metric else "") + (
            f" table {route.table}" if route.table != "main" else ""
        )
        return [ip(text, route.interface, route.table)]

    def pass_rule(self, rule: RoutingRule, destination: str) -> List[Fix]:
        """A rule that is meant for this address goes; one that denies more is passed by, where there is room before it."""
        if rule.destination is None and rule.priority > 0:
            return [sh(f"ip rule add pref {rule.priority - 1} to {destination} lookup main")]
        mark = rule.fwmark and rule.fwmark.replace("/", "-")
        return [ip(f"rule del {rule_words(rule)}", rule.iif, rule.oif, mark, rule.ipproto, rule.sport, rule.dport)]

    def delete_persistent_route(self, destination: str, gateway: str) -> List[Fix]:
        return [
            advice(
                f"Remove the stored route to {destination} through {gateway} where this VM's network manager keeps it."
            )
        ]

    def delete_neighbour(self, neighbour: Neighbour) -> List[Fix]:
        if neighbour.interface is None:
            return [advice(f"Delete the ARP entry of {neighbour.address} that was set by hand (ip neigh).")]
        return [ip(f"neigh del {neighbour.address} dev {neighbour.interface}", neighbour.interface)]

    def delete_address(self, adapter: Adapter, address: str, prefix: int) -> List[Fix]:
        return [ip(f"addr del {address}/{prefix} dev {adapter.name}", adapter.name)]

    def set_address(self, adapter: Adapter, address: str, prefix: int) -> List[Fix]:
        fixes = self.renew_lease(adapter)
        own = [held for held in adapter.addresses if not held.secondary]  # secondaries go away with theirs
        if len(own) > MANY:
            fixes.append(ip(f"-4 addr flush dev {adapter.name}", adapter.name))
        else:
            fixes += [fix for held in own for fix in self.delete_address(adapter, held.address, held.prefix)]
        return [*fixes, ip(f"addr add {address}/{prefix} dev {adapter.name}", adapter.name)]

    def set_source(self, adapter: Adapter, wrong: str, right: str) -> List[Fix]:
        fixes = self.renew_lease(adapter)
        for way in (self._case.way, self._case.wireserver_way):
            if way.source == wrong and way.route and self._case.gateway:
                fixes += self.add_route(way.destination, self._case.gateway, adapter, way.route.table, right)
        return fixes

    def set_mac(self, adapter: Adapter, mac: str) -> List[Fix]:
        name = adapter.name
        return [
            advice(
                "For good: remove the MAC override (netplan macaddress, cloned-mac-address, a .link file) and restart the VM."
            ),
            ip(f"link set dev {name} down", name),
            ip(f"link set dev {name} address {mac.replace('-', ':').lower()}", name),
            ip(f"link set dev {name} up", name),
        ]

    def restart_service(self, name: str) -> List[Fix]:
        return [sh(f"systemctl restart {name}")]

    def show_clients(self) -> List[Fix]:
        return [sh(f"ss -tnp dst {IMDS_ADDRESS}")]

    def show_firewall(self) -> List[Fix]:
        return [
            advice(
                "This version does not read the firewall: look for rules that drop TCP 80 (nft list ruleset, iptables-save)."
            )
        ]

    def shift_clock(self, seconds: float) -> List[Fix]:
        case = self._case
        step = f'date -u -s "@$(( $(date +%s) {"-" if seconds > 0 else "+"} {abs(round(seconds))} ))"'
        if case.runs("chronyd") or case.runs("chrony"):
            return [sh("chronyc makestep")]
        if case.runs("systemd-timesyncd"):
            return [sh("systemctl restart systemd-timesyncd"), sh(step)]
        return [
            advice("For good: run a time service, for example chrony with the host's clock (/dev/ptp_hyperv)."),
            sh(step),
        ]


def rule_words(rule: RoutingRule) -> str:
    """A policy rule in full, as ``ip rule`` takes it: a preference alone may name several."""
    words = ["not"] if rule.inverted else []
    words += ["from", rule.source or "all", *(["to", rule.destination] if rule.destination else [])]
    for key in ("iif", "oif", "fwmark", "ipproto", "sport", "dport"):
        value = getattr(rule, key)
        words += [key, value] if value else []
    if rule.uid_start is not None:
        words += ["uidrange", f"{rule.uid_start}-{rule.uid_end}"]
    words.append(rule.action.value)
    return " ".join(["pref", str(rule.priority), *words])
