"""The fixes for Windows.

route.exe, netsh and the NetAdapter and NetTCPIP cmdlets, with adapters by index wherever they take
one.

PowerShell commands hold no ``$`` and no double quote, so that they can be passed to powershell.exe
from either shell.
"""

from __future__ import annotations

import ipaddress
import re
from functools import partial
from typing import List, Optional, Sequence, Tuple
from urllib.parse import unquote

from ..facts import (
    HOST_PLUGIN_PORT,
    IMDS_ADDRESS,
    PLATFORM_ADDRESSES,
    Adapter,
    Certificate,
    FirewallPlace,
    FirewallRule,
    InterfaceAddress,
    MatchField,
    Neighbour,
    Proxy,
    ProxyKind,
    Route,
    RoutingRule,
    Scope,
    network,
)
from ..firewall.matching import IpAddress, ends
from ..firewall.verdict import Match
from ..model.azure import is_azure_edition
from ..model.model import Model
from ..model.words import quoted, short
from .commands import (
    AccountKey,
    Address,
    CertificateFile,
    DisplayName,
    Fix,
    Mac,
    NextHop,
    Number,
    Phrase,
    ProxyServer,
    Remote,
    RuleId,
    ServiceName,
    Store,
    Thumbprint,
    UnfitWord,
    WindowsBypassEntry,
    WindowsUrl,
    advice,
    cmd,
    in_a_row,
    phrase,
    powershell,
)
from .steps import Wanted, bare_proxy, file_of, instead

MANY = 3  # addresses: more of them are changed by one command
POLICY_EDITOR = (
    "Computer Configuration, Windows Settings, Security Settings, Windows Defender Firewall with"
    " Advanced Security"
)
PROXY_POLICY = "Make proxy settings per-machine"
SETTINGS = phrase("Software\\Microsoft\\Windows\\CurrentVersion\\Internet Settings")
DOWNLOADS = phrase("C:\\Program Files\\imds-check")  # only administrators can write there
REMOTE_LIMIT = 600  # characters: a longer command leaves no room in the report
SETX_LIMIT = 1000  # characters that setx takes are 1024
BITS_ACCOUNTS = {
    "S-1-5-18": phrase("LOCALSYSTEM"),
    ".DEFAULT": phrase("LOCALSYSTEM"),
    "S-1-5-19": phrase("LOCALSERVICE"),
    "S-1-5-20": phrase("NETWORKSERVICE"),
}
ALL_IPV6 = "::-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"
LAST = int(ipaddress.IPv4Address("255.255.255.255"))
NOT_FOUND, EXISTS = "Element not found", "already exists"
ON_PURPOSE = (
    "This rule or default may be deliberate: ask this VM's administrator or security team "
    "before you change it."
)
SESSION = (
    "A remote session may break, and a restart does not undo this. To get back in, use the "
    "serial console (SAC)."
)


def without(rule: FirewallRule, addresses: Sequence[str]) -> List[Remote]:
    """The remote addresses of a rule without some of them; none where nothing is left.

    :raises UnfitWord: where it cannot be said
    """
    spans: List[Tuple[IpAddress, IpAddress]] = []
    for match in rule.matches:
        if match.field is MatchField.DESTINATION:
            spans += [_span(value) for value in match.values]
    others = [f"{first}-{last}" for first, last in spans if first.version == 6]
    numbers = [(int(first), int(last)) for first, last in spans if first.version == 4]
    if not spans:
        numbers, others = [(0, LAST)], [ALL_IPV6]
    for address in addresses:
        numbers = _cut_out(numbers, int(ipaddress.IPv4Address(address)))
    return [_remote(first, last) for first, last in numbers] + [Remote(text) for text in others]


def _span(value: str) -> Tuple[IpAddress, IpAddress]:
    try:
        return ends(value)
    except ValueError:
        raise UnfitWord("a keyword stands for addresses that are not known") from None


def _cut_out(spans: Sequence[Tuple[int, int]], gone: int) -> List[Tuple[int, int]]:
    left: List[Tuple[int, int]] = []
    for first, last in spans:
        if not first <= gone <= last:
            left.append((first, last))
            continue
        if first < gone:
            left.append((first, gone - 1))
        if gone < last:
            left.append((gone + 1, last))
    return left


def _remote(first: int, last: int) -> Remote:
    low, high = ipaddress.IPv4Address(first), ipaddress.IPv4Address(last)
    if low == high:
        return Remote(str(low))
    return Remote(f"{low}-{high}")


def _account(proxy: Proxy) -> Optional[str]:
    """The key below HKEY_USERS in which a setting stands."""
    match = re.search(r"(?:^| )(S-1-[0-9-]{1,180}|\.DEFAULT)$", proxy.place)
    return match.group(1) if match else None


def _index(adapter: Adapter) -> Number:
    return Number(adapter.index)


class WindowsRemedies:
    def __init__(self, model: Model) -> None:
        self._model = model

    # --- the NIC ---

    def renew_lease(self, adapter: Adapter) -> List[Fix]:
        return instead(
            f"Renew the DHCP lease of {quoted(adapter.name)}.", lambda: self._renew_lease(adapter)
        )

    @staticmethod
    def _renew_lease(adapter: Adapter) -> List[Fix]:
        # a NIC with several IP configurations has to be static on Windows: never unasked
        if adapter.dhcp is False:
            others = ""
            if len(adapter.addresses) > 1:
                others = " (but loses its other addresses)"
            name = quoted(adapter.name)
            return [
                advice(
                    f"The address of {name} is static. With DHCP, the NIC gets it from Azure "
                    f"again{others}."
                )
            ]
        if DisplayName.fits(adapter.name):
            return [cmd(phrase('ipconfig /renew "{name}"', name=DisplayName(adapter.name)))]
        return [cmd(phrase("ipconfig /renew"))]

    def bring_up(self, adapter: Adapter) -> List[Fix]:
        def commands() -> List[Fix]:
            index = _index(adapter)
            enable = phrase(
                "Get-NetAdapter -InterfaceIndex {index} | Enable-NetAdapter -Confirm:0", index=index
            )
            return [powershell(enable)]

        return instead(f"Enable the NIC {quoted(adapter.name)}.", commands)

    def set_mac(
        self, adapter: Adapter, mac: str, gateway: Optional[str], default: bool
    ) -> List[Fix]:
        """Removes the override.

        The NIC then has the MAC that Azure assigned, and the lease brings its routes.
        """
        by_hand = (
            f"Remove the MAC override of {quoted(adapter.name)}: its advanced property "
            "Network Address."
        )
        return instead(by_hand, lambda: self._clear_mac(adapter))

    @staticmethod
    def _clear_mac(adapter: Adapter) -> List[Fix]:
        index = _index(adapter)
        clear = phrase(
            "Get-NetAdapter -InterfaceIndex {index} | Remove-NetAdapterAdvancedProperty"
            " -RegistryKeyword NetworkAddress",
            index=index,
        )
        back = ""
        if adapter.mac:
            again = phrase(
                "Get-NetAdapter -InterfaceIndex {index} | Set-NetAdapter -MacAddress {mac}"
                " -Confirm:0",
                index=index,
                mac=Mac(adapter.mac),
            )
            back = f" To undo it (PowerShell): {again.text}."
        nothing = (
            "If there is no such property, nothing overrides the MAC, and the command "
            "changes nothing."
        )
        return [advice(f"This restarts the NIC. {SESSION}{back} {nothing}"), powershell(clear)]

    def set_address(
        self, adapter: Adapter, address: str, prefix: int, gateway: Optional[str]
    ) -> List[Fix]:
        """Back to DHCP where the NIC has only one address.

        A NIC with several addresses gets the right one beside them.
        """
        if adapter.dhcp:
            return self.renew_lease(adapter)
        by_hand = (
            f"Give {quoted(adapter.name)} the address {address}/{prefix}, beside those that it has."
        )
        if len(adapter.addresses) > 1:
            return instead(by_hand, lambda: self._add_address(adapter, address, prefix))
        return instead(
            f"Let DHCP configure {quoted(adapter.name)}.", lambda: self._to_dhcp(adapter)
        )

    def _to_dhcp(self, adapter: Adapter) -> List[Fix]:
        before = self._static_again(adapter)
        back = ""
        if before:
            back = f" To undo it: {before.text}"
        to_dhcp = phrase(
            "netsh interface ipv4 set address name={index} source=dhcp", index=_index(adapter)
        )
        return [advice(f"{SESSION}{back}"), cmd(to_dhcp)]

    @staticmethod
    def _add_address(adapter: Adapter, address: str, prefix: int) -> List[Fix]:
        """Adds the right address, in one line.

        The others are marked so that nothing is sent from them unless asked.
        """
        index = _index(adapter)
        add = phrase(
            "New-NetIPAddress -InterfaceIndex {index} -IPAddress {address} -PrefixLength {prefix}"
            " -ErrorAction Stop",
            index=index,
            address=Address(address),
            prefix=Number(prefix),
        )
        skip = _skip_all_but(adapter, address)
        remove = phrase(
            "Remove-NetIPAddress -IPAddress {address} -Confirm:0", address=Address(address)
        )
        unskip = phrase(
            "Get-NetIPAddress -InterfaceIndex {index} -AddressFamily IPv4 | Set-NetIPAddress"
            " -SkipAsSource 0",
            index=index,
        )
        undo = in_a_row([remove, unskip], "; ")
        said = (
            "This adds the address and removes none, but new connections use only the new one. "
            f"{SESSION} To undo it "
            f"(PowerShell): {undo.text}"
        )
        return [advice(said), powershell(in_a_row([add, skip], "; "))]

    def _static_again(self, adapter: Adapter) -> Optional[Phrase]:
        """What sets the one address that a NIC has now."""
        if len(adapter.addresses) != 1:
            return None
        held = adapter.addresses[0]
        static = phrase(
            "netsh interface ipv4 set address name={index} static {address} {mask}",
            index=_index(adapter),
            address=Address(held.address),
            mask=_mask(held),
        )
        gateway = self._model.route_table.default_gateway(adapter)
        if gateway is None or ":" in gateway:
            return static
        return phrase("{static} {gateway}", static=static, gateway=Address(gateway))

    def delete_address(self, adapter: Adapter, address: str, prefix: int) -> List[Fix]:
        by_hand = f"Remove the address {address}/{prefix} from {quoted(adapter.name)}."
        return instead(by_hand, lambda: self._delete_address(adapter, address))

    @staticmethod
    def _delete_address(adapter: Adapter, address: str) -> List[Fix]:
        deletion = phrase(
            "netsh interface ipv4 delete address name={index} address={address}",
            index=_index(adapter),
            address=Address(address),
        )
        fix = cmd(deletion, NOT_FOUND)
        if adapter.kind == "loopback":
            return [fix]
        return [
            advice("This removes only this address; remote sessions to other addresses stay up."),
            fix,
        ]

    def set_source(self, adapter: Adapter, wrong: str, right: str) -> List[Fix]:
        by_hand = (
            f"Make {right} the only source address of {quoted(adapter.name)} (SkipAsSource "
            "on the others)."
        )
        return instead(by_hand, lambda: self._set_source(adapter, right))

    @staticmethod
    def _set_source(adapter: Adapter, right: str) -> List[Fix]:
        skipped = [held.address for held in adapter.addresses if held.skip_as_source]
        others = [
            held.address for held in adapter.addresses if held.address not in (right, *skipped)
        ]
        fixes = []
        if right in skipped:
            fixes.append(powershell(_skip_as_source(right, False)))
        if len(others) <= MANY:
            return fixes + [powershell(_skip_as_source(address, True)) for address in others]
        return [*fixes, powershell(_skip_all_but(adapter, right))]

    # --- routes ---

    def add_route(
        self,
        destination: str,
        gateway: str,
        adapter: Adapter,
        table: str = "main",
        source: Optional[str] = None,
    ) -> List[Fix]:
        by_hand = f"Add a route to {destination}/32 through {gateway} on {quoted(adapter.name)}."

        def commands() -> List[Fix]:
            to, hop = Address(destination), Address(gateway)
            row = phrase(
                "{to} mask 255.255.255.255 {hop} if {index}", to=to, hop=hop, index=_index(adapter)
            )
            return [cmd(phrase("route -p add {row}", row=row), "The object already exists")]

        return instead(by_hand, commands)

    def add_default_route(self, gateway: str, adapter: Adapter) -> List[Fix]:
        return []  # the lease brings it

    def routes_anew(self, gateway: str, adapter: Adapter, default: bool) -> List[Fix]:
        return []  # the lease brings them

    def keep_routes(self, gateway: str, adapter: Adapter, table: str) -> List[Fix]:
        return []  # route -p keeps them

    def delete_route(self, route: Route) -> List[Fix]:
        net = network(route.destination)
        words = phrase("route delete {to}", to=Address(str(net.network_address)))
        if net.prefixlen != 32:
            words = phrase("{delete} mask {mask}", delete=words, mask=Address(str(net.netmask)))
        return [cmd(words, NOT_FOUND)]

    def pass_rule(self, rule: RoutingRule, destination: str) -> List[Fix]:
        return [advice("Remove the policy that blocks packets to the platform's addresses.")]

    def delete_persistent_route(self, destination: str, gateway: str) -> List[Fix]:
        net = network(destination)
        to, mask = Address(str(net.network_address)), Address(str(net.netmask))
        words = phrase(
            "route -p delete {to} mask {mask} {gateway}", to=to, mask=mask, gateway=Address(gateway)
        )
        return [cmd(words, NOT_FOUND)]

    def delete_neighbour(self, neighbour: Neighbour) -> List[Fix]:
        by_hand = f"Delete the static ARP entry for {neighbour.address}."

        def commands() -> List[Fix]:
            address = NextHop(neighbour.address)
            if neighbour.interface_index is None:
                return [cmd(phrase("arp -d {address}", address=address), NOT_FOUND)]
            words = phrase(
                "netsh interface ipv4 delete neighbors {index} {address}",
                index=Number(neighbour.interface_index),
                address=address,
            )
            return [cmd(words, NOT_FOUND)]

        return instead(by_hand, commands)

    # --- services ---

    def restart_service(self, name: str) -> List[Fix]:
        by_hand = f"Restart the service {quoted(name)}."
        return instead(
            by_hand,
            lambda: [powershell(phrase("Restart-Service {name} -Force", name=ServiceName(name)))],
        )

    def show_clients(self) -> List[Fix]:
        connections = phrase(
            "Get-NetTCPConnection -RemoteAddress {address}", address=Address(IMDS_ADDRESS)
        )
        owners = phrase("Get-Process -Id ({connections}).OwningProcess", connections=connections)
        return [powershell(phrase("{owners} | Format-Table Id, ProcessName", owners=owners))]

    def trust_anew(self) -> List[Fix]:
        """Azure Edition's activation looks again."""
        if not is_azure_edition(self._model.facts.machine):
            return []
        return [cmd(phrase("fclip.exe")), advice("Then sign out and in again, or restart the VM.")]

    def shift_clock(self, seconds: float) -> List[Fix]:
        return [
            cmd(phrase("sc.exe config w32time start= auto")),
            cmd(phrase("net start w32time"), "The requested service has already been started"),
            cmd(phrase("w32tm /resync /force")),
        ]

    # --- the firewall ---

    def show_firewall(self) -> List[Fix]:
        if self._model.facts.firewall is not None:
            return [
                advice(
                    "To see who set the filter, run netsh wfp show filters file=filters.xml and "
                    "look for 169.254 and the provider."
                )
            ]
        return [
            advice(
                "The firewall could not be read: look for outbound rules that block TCP 80"
                " (Get-NetFirewallRule -Direction Outbound -Action Block -Enabled True)."
            )
        ]

    def let_pass(self, match: Match, addresses: Sequence[str]) -> List[Fix]:
        rule, named = match.rule, " and ".join(addresses)
        if match.place is FirewallPlace.GROUP_POLICY:
            what = f"allow TCP 80 to {named}"
            if rule:
                what = f"exclude {named} from the outbound rule {quoted(rule.name or rule.id)}"
            return [
                advice(
                    "Group Policy sets this, perhaps deliberately: ask whoever owns that policy, "
                    f"then {what} in the "
                    f"policy ({POLICY_EDITOR}). To see which policies apply here, and to fetch "
                    "them again:"
                ),
                cmd(phrase("gpresult /scope computer /r")),
                cmd(phrase("gpupdate /target:computer /force")),
            ]
        if match.place is FirewallPlace.MDM:
            return [
                advice(
                    "Device management (Intune) sets this, perhaps deliberately: ask whoever owns "
                    "that policy, then exclude "
                    f"{named} from its firewall policy."
                )
            ]
        if match.place is FirewallPlace.APP_ISOLATION or match.place is FirewallPlace.WFP:
            own = "Windows or a security product sets this: change the setting there."
            return [advice(ON_PURPOSE), advice(own)]
        if rule is not None:
            return [advice(ON_PURPOSE), *self._change(rule, addresses)]
        if match.profile and not match.profile.local_rules:
            off = (
                f"Group Policy disables local rules: allow TCP 80 to {named} there "
                f"({POLICY_EDITOR})."
            )
            return [advice(ON_PURPOSE), advice(off)]
        allow = phrase(
            'netsh advfirewall firewall add rule name="Azure platform" dir=out action=allow'
            " protocol=TCP remoteip={addresses} remoteport=80,{port}",
            addresses=in_a_row([Address(address) for address in PLATFORM_ADDRESSES], ","),
            port=Number(HOST_PLUGIN_PORT),
        )
        return [advice(ON_PURPOSE), cmd(allow)]

    def _change(self, rule: FirewallRule, addresses: Sequence[str]) -> List[Fix]:
        """Disables a local rule that is for these addresses alone.

        Any other rule keeps all addresses but them.
        """
        named = " and ".join(addresses)
        by_hand = (
            f"In wf.msc, exclude {named} from the outbound rule {quoted(rule.name or rule.id)}."
        )
        return instead(by_hand, lambda: self._change_by_command(rule, addresses))

    @staticmethod
    def _change_by_command(rule: FirewallRule, addresses: Sequence[str]) -> List[Fix]:
        rest = without(rule, addresses)
        remote = in_a_row(rest, ",")
        if len(remote.text) > REMOTE_LIMIT:
            raise UnfitWord("more addresses than a command can hold")
        is_reserved = rule.name.lower() == "all"  # netsh's own word for all rules
        if rule.is_name_unique and not is_reserved and DisplayName.fits(rule.name):
            change = phrase("enable=no")
            if rest:
                change = phrase("remoteip={remote}", remote=remote)
            return [
                cmd(
                    phrase(
                        'netsh advfirewall firewall set rule name="{name}" dir=out new {change}',
                        name=DisplayName(rule.name),
                        change=change,
                    )
                )
            ]
        id = RuleId(rule.id)
        if not rest:
            return [powershell(phrase("Disable-NetFirewallRule -Name '{id}'", id=id))]
        return [
            powershell(
                phrase(
                    "Set-NetFirewallRule -Name '{id}' -RemoteAddress {remote}", id=id, remote=remote
                )
            )
        ]

    # --- proxies ---

    def bypass_proxy(self, proxy: Proxy, addresses: Sequence[str]) -> List[Fix]:
        named, place = " and ".join(addresses), short(proxy.place, 80)
        entries = [
            *proxy.bypass,
            *(address for address in addresses if address not in proxy.bypass),
        ]
        if proxy.kind is ProxyKind.ENVIRONMENT:
            if proxy.bypass == ("*",):
                gone = (
                    "NO_PROXY=* says that no client should use it, and not every client "
                    "understands *."
                )
                return [advice(f"Remove the proxy from {place}: {gone}")]
            by_hand = f"Add {named} to the bypass list of {place}, with commas between them."
            return instead(by_hand, lambda: self._no_proxy(proxy, entries, addresses))
        by_hand = f"Add {named} to the bypass list of {place}, with semicolons between them."
        if proxy.kind is ProxyKind.WINHTTP:
            return instead(by_hand, lambda: self._winhttp(proxy, entries))
        return instead(by_hand, lambda: self._internet_settings(proxy, entries, addresses))

    @staticmethod
    def _no_proxy(proxy: Proxy, entries: Sequence[str], addresses: Sequence[str]) -> List[Fix]:
        bypassed = _listed(entries, ",")
        if not proxy.is_whole:
            raise UnfitWord("the setting says more than a command can keep")
        again = advice(
            "Restart the services that use the proxy: they keep the environment they started with."
        )
        key = _account(proxy)
        if proxy.scope is Scope.MACHINE and proxy.place.startswith("the machine"):
            return [cmd(phrase('setx /M NO_PROXY "{bypassed}"', bypassed=bypassed)), again]
        if key:
            return [
                cmd(
                    phrase(
                        'reg add "HKU\\{key}\\Environment" /v NO_PROXY /t REG_SZ /d'
                        ' "{bypassed}" /f',
                        key=AccountKey(key),
                        bypassed=bypassed,
                    )
                ),
                again,
            ]
        named = " and ".join(addresses)
        return [advice(f"Where {short(proxy.place, 80)} is set, add {named} to its NO_PROXY.")]

    @staticmethod
    def _winhttp(proxy: Proxy, entries: Sequence[str]) -> List[Fix]:
        bypassed = _listed(entries, ";")
        if proxy.is_whole and proxy.server and ProxyServer.fits(proxy.server):
            return [
                cmd(
                    phrase(
                        'netsh winhttp set proxy proxy-server="{server}" bypass-list="{bypassed}"',
                        server=ProxyServer(proxy.server),
                        bypassed=bypassed,
                    )
                )
            ]
        return [
            cmd(phrase("netsh winhttp show proxy")),
            advice(
                "Set it again (netsh winhttp set proxy) with"
                f' bypass-list="{short(bypassed.text, 200)}".'
            ),
        ]

    @staticmethod
    def _internet_settings(
        proxy: Proxy, entries: Sequence[str], addresses: Sequence[str]
    ) -> List[Fix]:
        bypassed, key = _listed(entries, ";"), _account(proxy)
        # the command puts the others aside
        alone = proxy.is_whole and not proxy.pac_url and not proxy.auto_detect
        is_plain = bool(proxy.server and ProxyServer.fits(proxy.server))
        if key in BITS_ACCOUNTS and alone and is_plain:
            account, server = BITS_ACCOUNTS[key or ""], ProxyServer(proxy.server or "")
            return [
                cmd(
                    phrase(
                        'bitsadmin /util /setieproxy {account} MANUAL_PROXY {server} "{bypassed}"',
                        account=account,
                        server=server,
                        bypassed=bypassed,
                    )
                )
            ]
        named = " and ".join(addresses)
        if proxy.variable:  # the binary value decides, and no command changes it
            place = short(proxy.place, 80)
            return [
                advice(f"Add {named} to the exceptions of {place} (inetcpl.cpl, LAN settings).")
            ]
        if key:
            root = phrase("HKU\\{key}", key=AccountKey(key))
            again = "Then have the user sign out and in again."
        else:
            root = phrase("HKLM")
            again = f"Permanent fix: set the exceptions in the policy too ({PROXY_POLICY})."
        return [
            cmd(
                phrase(
                    'reg add "{root}\\{settings}" /v ProxyOverride /t REG_SZ /d "{bypassed}" /f',
                    root=root,
                    settings=SETTINGS,
                    bypassed=bypassed,
                )
            ),
            advice(again),
        ]

    # --- certificates ---

    def certificate_folder(self) -> List[Fix]:
        """Below Program Files: only administrators write there; what is made there inherits it."""
        return [cmd(phrase('mkdir "{folder}"', folder=DOWNLOADS), EXISTS)]

    def install_certificate(
        self, url: str, is_reachable: bool, proxy: Optional[str], wanted: Wanted
    ) -> List[Fix]:
        """Into the local machine's store: of intermediates, which vouch for nothing by themselves,
        or of roots. The file is downloaded to, checked in and installed from a folder in which only
        administrators can write.
        """
        by_hand = f"Install the certificate of {short(url, 200)}"
        return instead(by_hand, lambda: self._install_certificate(url, is_reachable, proxy, wanted))

    @staticmethod
    def _install_certificate(
        url: str, is_reachable: bool, proxy: Optional[str], wanted: Wanted
    ) -> List[Fix]:
        name, address = CertificateFile(file_of(url)), WindowsUrl(unquote(url))
        file = phrase("{folder}\\{name}", folder=DOWNLOADS, name=name)
        fixes: List[Fix] = []
        if is_reachable:
            through = phrase("")
            if proxy:
                through = phrase(" -Proxy http://{proxy}", proxy=bare_proxy(proxy))
            download = phrase(
                "Invoke-WebRequest -UseBasicParsing{through} '{url}' -OutFile '{file}'",
                through=through,
                url=address,
                file=file,
            )
            fixes.append(powershell(download))
        else:
            copied = f"copy it (do not move it) to this VM as {file.text}; then:"
            fixes.append(advice(f"On a machine that can reach it, download {url} and {copied}"))
        if not wanted.root:
            return [*fixes, cmd(phrase('certutil -addstore CA "{file}"', file=file))]
        line = phrase(
            "if ((Get-FileHash -Algorithm SHA1 '{file}').Hash -eq '{digest}') {{ certutil -addstore"
            " Root '{file}' }} else {{ Remove-Item '{file}'; 'NOT INSTALLED: it is another"
            " file' }}",
            file=file,
            digest=Thumbprint(wanted.root.upper()),
        )
        return [*fixes, powershell(line)]

    def remove_certificate(self, certificate: Certificate, places: Sequence[str]) -> List[Fix]:
        """Removes it from those stores that are the local machine's own.

        A person removes what a policy or a user put elsewhere.
        """
        fixes: List[Fix] = []
        for place in places:
            if "\\" in place:
                by_hand = f"Also remove {short(certificate.thumbprint)} from {short(place, 80)}."
                fixes += instead(by_hand, partial(_deletion, certificate, place))
        return fixes


def _deletion(certificate: Certificate, place: str) -> List[Fix]:
    where, _, name = place.partition("\\")
    if where != "LocalMachine":
        raise UnfitWord("not a store of the local machine")
    store, thumbprint = Store(name), Thumbprint(certificate.thumbprint)
    return [
        cmd(phrase("certutil -delstore {store} {thumbprint}", store=store, thumbprint=thumbprint))
    ]


def _mask(held: InterfaceAddress) -> Address:
    return Address(str(network(f"{held.address}/{held.prefix}").netmask))


def _skip_all_but(adapter: Adapter, address: str) -> Phrase:
    """Marks all IPv4 addresses of a NIC but one, so that nothing is sent from them unasked."""
    return phrase(
        "Get-NetIPAddress -InterfaceIndex {index} -AddressFamily IPv4 | Where-Object IPAddress -ne"
        " {address} | Set-NetIPAddress -SkipAsSource 1",
        index=_index(adapter),
        address=Address(address),
    )


def _skip_as_source(address: str, is_skipped: bool) -> Phrase:
    skip = Number(int(is_skipped))
    return phrase(
        "Set-NetIPAddress -IPAddress {address} -SkipAsSource {skip}",
        address=Address(address),
        skip=skip,
    )


def _listed(entries: Sequence[str], separator: str) -> Phrase:
    """A bypass list. Raises ``UnfitWord``, also where it is longer than a command can hold."""
    found = in_a_row([WindowsBypassEntry(entry) for entry in entries], separator)
    if len(found.text) > SETX_LIMIT:
        raise UnfitWord("a list that is too long for a command")
    return found
