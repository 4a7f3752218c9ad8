"""What mends a VM, in the commands of the system that the facts came from.

A durable fix (the lease, the manager that owns the NIC) comes before the immediate one. A manager's command is given only
where that manager runs on this VM and owns the NIC.
"""

from __future__ import annotations

from typing import List, Protocol, Tuple

from ...facts import Adapter, Neighbour, Route, RoutingRule, contains, prefix_length
from ..case import Case, Path
from ..finding import Fix, advice, quoted, short
from .linux import LinuxRemedies
from .windows import WindowsRemedies

REDEPLOY_PAGE = "https://learn.microsoft.com/troubleshoot/azure/virtual-machines/windows/redeploy-to-new-node-windows"


class Remedies(Protocol):
    """The commands of one system. Each method gives the lines for one step, in order; never none."""

    def renew_lease(self, adapter: Adapter) -> List[Fix]: ...
    def bring_up(self, adapter: Adapter) -> List[Fix]: ...
    def add_route(self, destination: str, gateway: str, adapter: Adapter, table: str = "main") -> List[Fix]: ...
    def add_default_route(self, gateway: str, adapter: Adapter) -> List[Fix]: ...
    def routes_anew(self, gateway: str, adapter: Adapter) -> List[Fix]: ...
    def delete_route(self, route: Route) -> List[Fix]: ...
    def pass_rule(self, rule: RoutingRule, destination: str) -> List[Fix]: ...
    def delete_persistent_route(self, destination: str, gateway: str) -> List[Fix]: ...
    def delete_neighbour(self, neighbour: Neighbour) -> List[Fix]: ...
    def delete_address(self, adapter: Adapter, address: str, prefix: int) -> List[Fix]: ...
    def set_address(self, adapter: Adapter, address: str, prefix: int) -> List[Fix]: ...
    def set_source(self, adapter: Adapter, wrong: str, right: str) -> List[Fix]: ...
    def set_mac(self, adapter: Adapter, mac: str) -> List[Fix]: ...
    def restart_service(self, name: str) -> List[Fix]: ...
    def show_clients(self) -> List[Fix]: ...
    def shift_clock(self, seconds: float) -> List[Fix]: ...


def remedies(case: Case) -> Remedies:
    """The commands for the system that the facts came from."""
    return WindowsRemedies(case) if case.facts.system == "windows" else LinuxRemedies(case)


def way_through_primary(case: Case, *paths: Path) -> Tuple[Fix, ...]:
    """Leads packets out through the primary NIC and its gateway, and takes away what leads them astray.

    :param paths: by default the way to IMDS, and the WireServer's too where it goes astray
    """
    if case.primary is None or case.gateway is None:
        return (advice("Which NIC is the primary one is not known here: run again with --expected-mac, from az vm nic show."),)
    adapter = case.primary.adapter
    commands = remedies(case)
    fixes = commands.renew_lease(adapter)
    defaults = [route for route in case.routes if route.destination == "0.0.0.0/0" and not route.dead]
    wrong_hop = case.path.route.gateway if case.path.route and case.path.route.gateway != case.gateway else None
    if not defaults or (wrong_hop and case.default_gateway(adapter) == wrong_hop):
        fixes += commands.add_default_route(case.gateway, adapter)
    astray = [case.wireserver_path] if goes_astray(case, case.wireserver_path) else []
    for path in paths or (case.path, *astray):
        rule = case.denying_rule(path.destination) if path.error else None
        if rule:
            fixes += commands.pass_rule(rule, path.destination)
            if _table_leads_right(case, path.destination):
                continue
        route = path.route
        if route and prefix_length(route.destination) == 32 and route.kind != "local":
            fixes += commands.delete_route(route)
        table = route.table if route and route.kind == "unicast" else "main"
        fixes += commands.add_route(path.destination, case.gateway, adapter, table)
    return tuple(fixes)


def _table_leads_right(case: Case, destination: str) -> bool:
    """Whether the main table, left to itself, leads out through the primary NIC's gateway."""
    rows = [row for row in case.routes if row.table == "main" and not row.dead and contains(row.destination, destination)]
    best = min(rows, key=lambda row: (-prefix_length(row.destination), row.metric), default=None)
    adapter = case.adapter_named(best)
    if best is None or adapter is None or case.primary is None:
        return False
    return best.gateway == case.gateway and case.same_nic(adapter, case.primary.adapter)


def routes_anew(case: Case, adapter: Adapter) -> List[Fix]:
    """The routes that went away with a link, a MAC or an address."""
    is_primary = case.primary is not None and case.same_nic(adapter, case.primary.adapter)
    gateway = case.gateway if is_primary else case.default_gateway(adapter)
    return remedies(case).routes_anew(gateway, adapter) if gateway else []


def goes_astray(case: Case, path: Path) -> bool:
    """Whether packets take another way than out through the primary NIC and its gateway (or on-link there)."""
    if not path.known or case.primary is None:
        return False
    egress = case.adapter_named(path.route)
    if path.error or path.route is None or egress is None or not case.same_nic(egress, case.primary.adapter):
        return True
    return path.route.gateway not in (None, case.gateway)


def escalate(case: Case) -> Tuple[Fix, ...]:
    """The last resort: another host, then the ticket with what was found."""
    name = case.instance.name if case.instance else case.facts.host
    machine = case.facts.machine
    uuid = f", SMBIOS UUID {short(machine.smbios_uuid)}" if machine and machine.smbios_uuid else ""
    primary = case.primary
    where = f", primary NIC {primary.adapter.mac} {primary.ip}" if primary else ""
    answer = f"IMDS: {case.in_words(case.answer)}" if case.answer else "IMDS: not asked"
    server = case.facts.wireserver
    other = f"; WireServer: {case.in_words(server.http)}" if server else ""
    return (
        advice(f"Redeploy the VM (portal: Help > Redeploy + reapply; or az vm redeploy): {REDEPLOY_PAGE}"),
        advice(
            f"If that does not help, open a support request with this report. Text: VM {quoted(name)}{uuid}{where} at "
            f"{case.facts.collected_at}. {answer}{other}. {case.looked()}"
        ),
    )

