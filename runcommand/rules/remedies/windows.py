"""Windows: route.exe, netsh and the NetAdapter and NetTCPIP cmdlets, with adapters by index wherever they take one.

PowerShell commands hold no ``$`` and no double quote, so that they can be passed to powershell.exe from either shell.
"""

from __future__ import annotations

import ipaddress
import re
from typing import List, Optional, Sequence, Tuple
from urllib.parse import unquote

from ...conditions import IpAddress, ends
from ...facts import (
    HOST_PLUGIN_PORT,
    PLATFORM_ADDRESSES,
    Adapter,
    Certificate,
    FirewallPlace,
    FirewallRule,
    MatchField,
    Neighbour,
    Proxy,
    ProxyKind,
    Route,
    RoutingRule,
    Scope,
    network,
)
from ..case import Case
from ..filtering import Obstacle
from ..finding import Fix, Shell, advice, command, file_of, quoted, short, usable_in_command

MANY = 3  # addresses: more of them are changed by one command
TO_DHCP = "netsh interface ipv4 set address name={} source=dhcp"


POLICY_EDITOR = (
    "Computer Configuration, Windows Settings, Security Settings, Windows Defender Firewall with Advanced Security"
)
PROXY_POLICY = "Make proxy settings per-machine"
SETTINGS = "Software\\Microsoft\\Windows\\CurrentVersion\\Internet Settings"
ENTRY = re.compile(r"[A-Za-z0-9.*:/_<>-]{1,120}")  # of a bypass list, as it may stand between double quotes
URL = re.compile(r"http://[A-Za-z0-9:/._~ -]{1,300}")  # without its escapes, as it may stand between single quotes
DOWNLOADS = "C:\\Windows\\Temp"
RULE_ID = re.compile(r"[A-Za-z0-9{}._-]{1,120}")
REMOTE_LIMIT = 600  # characters: a longer command leaves no room in the report
SETX_LIMIT = 1000  # characters that setx takes are 1024
BITS_ACCOUNTS = {
    "S-1-5-18": "LOCALSYSTEM",
    ".DEFAULT": "LOCALSYSTEM",
    "S-1-5-19": "LOCALSERVICE",
    "S-1-5-20": "NETWORKSERVICE",
}
ALL_IPV6 = "::-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"
LAST = int(ipaddress.IPv4Address("255.255.255.255"))


def without(rule: FirewallRule, addresses: Sequence[str]) -> Optional[List[str]]:
    """The remote addresses of a rule without some of them; none where nothing is left. None: it cannot be said."""
    spans: List[Tuple[IpAddress, IpAddress]] = []
    for match in rule.matches:
        if match.field is MatchField.DESTINATION:
            try:
                spans += [ends(value) for value in match.values]
            except ValueError:  # a keyword
                return None
    others = [f"{first}-{last}" for first, last in spans if first.version == 6]
    numbers = [(int(first), int(last)) for first, last in spans if first.version == 4]
    if not spans:
        numbers, others = [(0, LAST)], [ALL_IPV6]
    for address in addresses:
        gone = int(ipaddress.IPv4Address(address))
        cut = []
        for first, last in numbers:
            parts = [(first, last)] if not first <= gone <= last else [(first, gone - 1), (gone + 1, last)]
            cut += [part for part in parts if part[0] <= part[1]]
        numbers = cut
    texts = [(str(ipaddress.IPv4Address(first)), str(ipaddress.IPv4Address(last))) for first, last in numbers]
    return [first if first == last else f"{first}-{last}" for first, last in texts] + others


def _account(proxy: Proxy) -> Optional[str]:
    """The key below HKEY_USERS in which a setting stands."""
    match = re.search(r"(?:^| )(S-1-[0-9-]{1,180}|\.DEFAULT)$", proxy.place)
    return match.group(1) if match else None


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
        if self._case.facts.firewall is not None:
            return [
                advice(
                    "To see who set the filter: netsh wfp show filters file=filters.xml, then look for 169.254 and the provider."
                )
            ]
        return [
            advice(
                "The firewall could not be read: look for outbound rules that block TCP 80 (Get-NetFirewallRule -Direction "
                "Outbound -Action Block -Enabled True)."
            )
        ]

    def let_pass(self, obstacle: Obstacle, addresses: Sequence[str]) -> List[Fix]:
        rule = obstacle.rule
        if obstacle.place is FirewallPlace.GROUP_POLICY:
            named = " and ".join(addresses)
            what = (
                f"take {named} out of the outbound rule {quoted(rule.name or rule.id)}"
                if rule
                else f"allow TCP 80 to {named}"
            )
            return [
                advice(
                    f"Group Policy sets it: in the policy ({POLICY_EDITOR}), {what}. This shows which policies apply here, and "
                    "fetches them anew:"
                ),
                cmd("gpresult /scope computer /r"),
                cmd("gpupdate /target:computer /force"),
            ]
        if obstacle.place is FirewallPlace.MDM:
            return [
                advice(
                    f"Device management (Intune) sets it: take {' and '.join(addresses)} out of its firewall policy."
                )
            ]
        if obstacle.place is FirewallPlace.APP_ISOLATION or obstacle.place is FirewallPlace.WFP:
            return [advice("Windows or a security product sets it itself: change the product's own setting.")]
        if rule is None:
            if obstacle.profile and not obstacle.profile.local_rules:
                return [
                    advice(
                        f"Group Policy switches local rules off: allow TCP 80 to {' and '.join(addresses)} there ({POLICY_EDITOR})."
                    )
                ]
            return [
                cmd(
                    'netsh advfirewall firewall add rule name="Azure platform" dir=out action=allow protocol=TCP '
                    f"remoteip={','.join(PLATFORM_ADDRESSES)} remoteport=80,{HOST_PLUGIN_PORT}"
                )
            ]
        return self._change(rule, addresses)

    def _change(self, rule: FirewallRule, addresses: Sequence[str]) -> List[Fix]:
        """A local rule that is for these addresses alone is switched off; any other one keeps all but them."""
        by_hand = advice(
            f"By hand (wf.msc): take {' and '.join(addresses)} out of the outbound rule {quoted(rule.name or rule.id)}."
        )
        rest = without(rule, addresses)
        remote = ",".join(rest or ())
        if rest is None or len(remote) > REMOTE_LIMIT:
            return [by_hand]
        by_id = f"-Name '{rule.id}'" if RULE_ID.fullmatch(rule.id) else ""
        is_reserved = rule.name.lower() == "all"  # netsh's own word for all rules
        if usable_in_command(rule.name) and rule.is_name_unique and not is_reserved:
            change = f"remoteip={remote}" if rest else "enable=no"
            return [cmd(f'netsh advfirewall firewall set rule name="{rule.name}" dir=out new {change}')]
        if not by_id:
            return [by_hand]
        return [
            powershell(
                f"Set-NetFirewallRule {by_id} -RemoteAddress {remote}" if rest else f"Disable-NetFirewallRule {by_id}"
            )
        ]

    def bypass_proxy(self, proxy: Proxy, addresses: Sequence[str]) -> List[Fix]:
        plain = all(ENTRY.fullmatch(entry) for entry in proxy.bypass)
        entries = [*proxy.bypass, *(address for address in addresses if address not in proxy.bypass)]
        semicolons, commas = ";".join(entries), ",".join(entries)

        def by_hand(separator: str) -> List[Fix]:
            place = f"the bypass list of {short(proxy.place, 80)}"
            return [advice(f"Add {' and '.join(addresses)} to {place}, with {separator} between them.")]

        if proxy.kind is ProxyKind.ENVIRONMENT:
            if proxy.bypass == ("*",):
                gone = "NO_PROXY=* means that nobody is to use it, and not every client knows *."
                return [advice(f"Take the proxy out of {short(proxy.place, 80)}: {gone}")]
            if not proxy.is_whole or not plain or len(commas) > SETX_LIMIT:
                return by_hand("commas")
            again = advice("Restart the services that use the proxy: they keep the environment they started with.")
            key = _account(proxy)
            if proxy.scope is Scope.MACHINE and proxy.place.startswith("the machine"):
                return [cmd(f'setx /M NO_PROXY "{commas}"'), again]
            if key:
                return [cmd(f'reg add "HKU\\{key}\\Environment" /v NO_PROXY /t REG_SZ /d "{commas}" /f'), again]
            return [advice(f"Where {short(proxy.place, 80)} is set, add {' and '.join(addresses)} to its NO_PROXY.")]
        if not plain or len(semicolons) > SETX_LIMIT:
            return by_hand("semicolons")
        if proxy.kind is ProxyKind.WINHTTP:
            if proxy.is_whole and proxy.server and ENTRY.fullmatch(proxy.server):
                return [cmd(f'netsh winhttp set proxy proxy-server="{proxy.server}" bypass-list="{semicolons}"')]
            return [
                cmd("netsh winhttp show proxy"),
                advice(f'Set it again (netsh winhttp set proxy) with bypass-list="{short(semicolons, 200)}".'),
            ]
        key = _account(proxy)
        alone = proxy.is_whole and not proxy.pac_url and not proxy.auto_detect  # the command puts the others aside
        if key in BITS_ACCOUNTS and alone and proxy.server and ENTRY.fullmatch(proxy.server):
            return [cmd(f'bitsadmin /util /setieproxy {BITS_ACCOUNTS[key]} MANUAL_PROXY {proxy.server} "{semicolons}"')]
        if proxy.variable:  # the binary value decides, and no command changes it
            return [
                advice(
                    f"Add {' and '.join(addresses)} to the exceptions of {short(proxy.place, 80)} (inetcpl.cpl, LAN settings)."
                )
            ]
        root = f"HKU\\{key}" if key else "HKLM"
        return [
            cmd(f'reg add "{root}\\{SETTINGS}" /v ProxyOverride /t REG_SZ /d "{semicolons}" /f'),
            advice(
                "The user signs out and in again."
                if key
                else f"For good: set the exceptions in the policy too ({PROXY_POLICY})."
            ),
        ]

    def install_certificate(self, url: str, is_reachable: bool, proxy: Optional[str], root: Optional[str]) -> List[Fix]:
        """Into the local machine's store: of intermediates, which vouch for nothing by themselves, or of roots.

        :param root: of a root, the thumbprint that it must have
        """
        file, plain = file_of(url), unquote(url)
        if not file or not URL.fullmatch(plain) or (proxy and not ENTRY.fullmatch(proxy)):
            return [advice(f"Install the certificate of {short(url, 200)}")]
        held = f"{DOWNLOADS}\\{file}"
        fixes = [advice(f"On a machine that can, download {url} and copy it to this VM as {held}; then:")]
        if is_reachable:
            through = f" -Proxy http://{proxy}" if proxy else ""
            fixes = [powershell(f"Invoke-WebRequest -UseBasicParsing{through} '{plain}' -OutFile '{held}'")]
        if root:
            fixes += [cmd(f'certutil -hashfile "{held}" SHA1'), advice(f"Only if that says {root.lower()}:")]
        return [*fixes, cmd(f'certutil -addstore {"Root" if root else "CA"} "{held}"')]

    def remove_certificate(self, certificate: Certificate, places: Sequence[str]) -> List[Fix]:
        """From those of these stores that are the local machine's own; what a policy or a user put elsewhere is by hand."""
        fixes: List[Fix] = []
        for place in places:
            where, _, store = place.partition("\\")
            if where == "LocalMachine":
                fixes.append(cmd(f"certutil -delstore {store} {certificate.thumbprint}"))
            elif store:
                fixes.append(advice(f"Take {certificate.thumbprint} out of {short(place, 80)} too."))
        return fixes

    def trust_anew(self) -> List[Fix]:
        """Azure Edition's activation looks again."""
        return (
            [cmd("fclip.exe"), advice("Then sign out and in again, or restart the VM.")]
            if self._case.is_azure_edition
            else []
        )

    def shift_clock(self, seconds: float) -> List[Fix]:
        return [cmd("sc.exe config w32time start= auto"), cmd("net start w32time"), cmd("w32tm /resync /force")]
