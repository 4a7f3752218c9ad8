"""Windows: route.exe, netsh and the NetAdapter and NetTCPIP cmdlets, with adapters by index wherever they take one.

PowerShell commands hold no ``$`` and no double quote, so that they can be passed to powershell.exe from either shell.
"""

from __future__ import annotations

from typing import List

from ...facts import Adapter, Neighbour, Route, RoutingRule, network
from ..case import Case
from ..finding import Fix, Shell, advice, command, quoted, usable_in_command

MANY = 3  # addresses: more of them are changed by one command
TO_DHCP = "netsh interface ipv4 set address name={} source=dhcp"


def cmd(text: str) -> Fix:
    return command(Shell.CMD, text)


def powershell(text: str) -> Fix:
    return command(Shell.POWERSHELL, text)


class WindowsRemedies:
    def __init__(self, case: Case) -> None:
        self._case = case

    def renew_lease(self, adapter: Adapter) -> List[Fix]:
        if adapter.dhcp is False:  # a NIC with several IP configurations has to be static on Windows: never unasked
            to_dhcp = TO_DHCP.format(adapter.index)
            only = (
                "takes it from Azure again"
                if len(adapter.addresses) < 2
                else "would take it from Azure, but drops the others"
            )
            return [advice(f"The address of {quoted(adapter.name)} is set by hand; {to_dhcp} {only}.")]
        return [cmd(f'ipconfig /renew "{adapter.name}"' if usable_in_command(adapter.name) else "ipconfig /renew")]

    def bring_up(self, adapter: Adapter) -> List[Fix]:
        return [powershell(f"Get-NetAdapter -InterfaceIndex {adapter.index} | Enable-NetAdapter -Confirm:0")]

    def add_route(self, destination: str, gateway: str, adapter: Adapter, table: str = "main") -> List[Fix]:
        return [cmd(f"route -p add {destination} mask 255.255.255.255 {gateway} if {adapter.index}")]

    def add_default_route(self, gateway: str, adapter: Adapter) -> List[Fix]:
        return []  # the lease brings it

    def routes_anew(self, gateway: str, adapter: Adapter, default: bool) -> List[Fix]:
        return []  # the lease brings them

    def keep_routes(self, gateway: str, adapter: Adapter) -> List[Fix]:
        return []  # route -p keeps them

    def delete_route(self, route: Route) -> List[Fix]:
        net = network(route.destination)
        mask = "" if net.prefixlen == 32 else f" mask {net.netmask}"
        return [cmd(f"route delete {net.network_address}{mask}")]

    def pass_rule(self, rule: RoutingRule, destination: str) -> List[Fix]:
        return [advice("Remove the policy that denies the way to the platform's addresses.")]

    def delete_persistent_route(self, destination: str, gateway: str) -> List[Fix]:
        net = network(destination)
        return [cmd(f"route -p delete {net.network_address} mask {net.netmask} {gateway}")]

    def delete_neighbour(self, neighbour: Neighbour) -> List[Fix]:
        if neighbour.interface_index is None:
            return [cmd(f"arp -d {neighbour.address}")]
        return [cmd(f"netsh interface ipv4 delete neighbors {neighbour.interface_index} {neighbour.address}")]

    def delete_address(self, adapter: Adapter, address: str, prefix: int) -> List[Fix]:
        return [cmd(f"netsh interface ipv4 delete address name={adapter.index} address={address}")]

    def set_address(self, adapter: Adapter, address: str, prefix: int) -> List[Fix]:
        if adapter.dhcp:
            return self.renew_lease(adapter)
        note = (
            [advice("This drops the other addresses of the NIC: add them again afterwards.")]
            if len(adapter.addresses) > 1
            else []
        )
        return [cmd(TO_DHCP.format(adapter.index)), *note]

    def set_source(self, adapter: Adapter, wrong: str, right: str) -> List[Fix]:
        skipped = [held.address for held in adapter.addresses if held.skip_as_source]
        fixes = [powershell(f"Set-NetIPAddress -IPAddress {right} -SkipAsSource 0")] if right in skipped else []
        others = [held.address for held in adapter.addresses if held.address not in (right, *skipped)]
        if len(others) <= MANY:
            return fixes + [powershell(f"Set-NetIPAddress -IPAddress {address} -SkipAsSource 1") for address in others]
        own = f"Get-NetIPAddress -InterfaceIndex {adapter.index} -AddressFamily IPv4"
        return [*fixes, powershell(f"{own} | Where-Object IPAddress -ne {right} | Set-NetIPAddress -SkipAsSource 1")]

    def set_mac(self, adapter: Adapter, mac: str) -> List[Fix]:
        return [
            advice(
                "For good: clear the adapter's advanced property for its MAC address (Network Address) and restart the VM."
            ),
            powershell(f"Get-NetAdapter -InterfaceIndex {adapter.index} | Set-NetAdapter -MacAddress {mac} -Confirm:0"),
        ]

    def restart_service(self, name: str) -> List[Fix]:
        return [powershell(f"Restart-Service {name} -Force")]

    def show_clients(self) -> List[Fix]:
        return [powershell("Get-NetTCPConnection -RemoteAddress 169.254.169.254 | Format-Table State, OwningProcess")]

    def show_firewall(self) -> List[Fix]:
        return [
            advice(
                "This version does not read the firewall: look for outbound rules that block TCP 80 (Get-NetFirewallRule "
                "-Direction Outbound -Action Block -Enabled True)."
            )
        ]

    def shift_clock(self, seconds: float) -> List[Fix]:
        return [cmd("sc.exe config w32time start= auto"), cmd("net start w32time"), cmd("w32tm /resync /force")]
