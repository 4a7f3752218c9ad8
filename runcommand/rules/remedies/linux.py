"""Linux: iproute2 for what acts at once, systemd-networkd, NetworkManager and chrony for what lasts."""

from __future__ import annotations

import re
from typing import List, Optional

from ...facts import IMDS_ADDRESS, WIRESERVER_ADDRESS, Adapter, Neighbour, Route, RoutingRule
from ..case import Case, in_subnet
from ..finding import Fix, advice, quoted

IFNAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,14}")
TABLE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,31}")
WITH_THE_LEASE = "Azure hands out the routes to both platform addresses with the lease."


def sh(text: str) -> Fix:
    return Fix("command", text, "sh", "vm")


def can_name(*names: Optional[str]) -> bool:
    return all(name is None or IFNAME.fullmatch(name) for name in names)


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
            return [advice(f"For good: set dhcp4: true for {name} in /etc/netplan, then run netplan apply. {WITH_THE_LEASE}")]
        if adapter.dhcp is False:
            return [advice(f"For good: turn DHCP on for {name} in this VM's network configuration. {WITH_THE_LEASE}")]
        command = self._manager(adapter, "networkctl reconfigure", "nmcli device reapply")
        if command:
            return [sh(command)]
        return [
            advice(
                f"For good: let whatever manages this VM's network renew the DHCP lease of {name}, and take the wrong setting "
                "out of its configuration."
            )
        ]

    def _manager(self, adapter: Adapter, networkd: str, networkmanager: str) -> Optional[str]:
        """The command of the manager that runs here and owns the NIC; None where there is none."""
        manager = adapter.managed_by
        if not manager or not self._case.runs(manager) or not can_name(adapter.name):
            return None
        return f"{networkd if manager == 'systemd-networkd' else networkmanager} {adapter.name}"

    def bring_up(self, adapter: Adapter) -> List[Fix]:
        command = self._manager(adapter, "networkctl up", "nmcli device connect")
        return [*([sh(command)] if command else []), self._ip(f"link set dev {adapter.name} up", adapter.name)]

    def add_route(
        self, destination: str, gateway: str, adapter: Adapter, table: str = "main", source: Optional[str] = None
    ) -> List[Fix]:
        text = f"route replace {destination}/32 {via(gateway, adapter)} dev {adapter.name}"
        text += (f" src {source}" if source else "") + (f" table {table}" if table != "main" else "")
        return [self._ip(text, adapter.name, table)]

    def add_default_route(self, gateway: str, adapter: Adapter) -> List[Fix]:
        return [self._ip(f"route replace default {via(gateway, adapter)} dev {adapter.name}", adapter.name)]

    def routes_anew(self, gateway: str, adapter: Adapter) -> List[Fix]:
        hosts = [fix for address in (IMDS_ADDRESS, WIRESERVER_ADDRESS) for fix in self.add_route(address, gateway, adapter)]
        return [*self.add_default_route(gateway, adapter), *hosts]

    def delete_route(self, route: Route) -> List[Fix]:
        kind = "" if route.kind == "unicast" else f"{route.kind} "
        text = f"route del {kind}{route.destination}" + (f" {via(route.gateway)}" if route.gateway else "")
        text += f" dev {route.interface}" if route.interface and route.kind in ("unicast", "local") else ""
        text += (f" metric {route.metric}" if route.metric else "") + (f" table {route.table}" if route.table != "main" else "")
        return [self._ip(text, route.interface, route.table, route.kind)]

    def pass_rule(self, rule: RoutingRule, destination: str) -> List[Fix]:
        """A rule that is meant for this address goes; one that denies everything is passed by."""
        if rule.destination != "all":
            return [sh(f"ip rule del pref {rule.priority}")]
        return [sh(f"ip rule add pref {max(rule.priority - 1, 1)} to {destination} lookup main")]

    def delete_persistent_route(self, destination: str, gateway: str) -> List[Fix]:
        return [advice(f"Remove the stored route to {destination} through {gateway} where this VM's network manager keeps it.")]

    def delete_neighbour(self, neighbour: Neighbour) -> List[Fix]:
        return [self._ip(f"neigh del {neighbour.address} dev {neighbour.interface}", neighbour.interface)]

    def delete_address(self, adapter: Adapter, address: str, prefix: int) -> List[Fix]:
        return [self._ip(f"addr del {address}/{prefix} dev {adapter.name}", adapter.name)]

    def set_address(self, adapter: Adapter, address: str, prefix: int) -> List[Fix]:
        fixes = self.renew_lease(adapter)
        for held in adapter.addresses:
            if not held.secondary:  # the kernel takes the secondaries of a subnet away with it, or promotes one
                fixes += self.delete_address(adapter, held.address, held.prefix)
        return [*fixes, self._ip(f"addr add {address}/{prefix} dev {adapter.name}", adapter.name)]

    def set_source(self, adapter: Adapter, wrong: str, right: str) -> List[Fix]:
        fixes = self.renew_lease(adapter)
        for path in (self._case.path, self._case.wireserver_path):
            if path.source == wrong and path.route and self._case.gateway:
                fixes += self.add_route(path.destination, self._case.gateway, adapter, path.route.table, right)
        return fixes

    def set_mac(self, adapter: Adapter, mac: str) -> List[Fix]:
        name = adapter.name
        return [
            advice("For good: remove the MAC override (netplan macaddress, cloned-mac-address, a .link file) and restart the VM."),
            self._ip(f"link set dev {name} down", name),
            self._ip(f"link set dev {name} address {mac.replace('-', ':').lower()}", name),
            self._ip(f"link set dev {name} up", name),
        ]

    def restart_service(self, name: str) -> List[Fix]:
        return [sh(f"systemctl restart {name}")]

    def show_clients(self) -> List[Fix]:
        return [sh(f"ss -tnp dst {IMDS_ADDRESS}")]

    def shift_clock(self, seconds: float) -> List[Fix]:
        case = self._case
        step = f'date -u -s "@$(( $(date +%s) {"-" if seconds > 0 else "+"} {abs(round(seconds))} ))"'
        if case.runs("chronyd") or case.runs("chrony"):
            return [sh("chronyc makestep")]
        if case.runs("systemd-timesyncd"):
            return [sh("systemctl restart systemd-timesyncd"), sh(step)]
        return [advice("For good: run a time service, for example chrony with the host's clock (/dev/ptp_hyperv)."), sh(step)]

    def _ip(self, text: str, *names: Optional[str]) -> Fix:
        """An ``ip`` command; advice where a name in it cannot stand in a shell."""
        if can_name(names[0]) and all(TABLE.fullmatch(name) for name in names[1:] if name):
            return sh(f"ip {text}")
        shown = text.replace(names[0] or "", "INTERFACE") if names[0] else text
        return advice(f"Put the name of the interface {quoted(names[0] or '')} into: ip {shown}")
