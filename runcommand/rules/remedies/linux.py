"""Linux: iproute2 for what acts at once, systemd-networkd, NetworkManager and chrony for what lasts."""

from __future__ import annotations

import re
import shlex
from typing import List, Optional, Sequence, Tuple

from ...conditions import PORTS
from ...facts import (
    IMDS_ADDRESS,
    PLATFORM_ADDRESSES,
    UUID,
    Adapter,
    Certificate,
    FirewallPlace,
    FirewallRule,
    MatchField,
    Neighbour,
    Proxy,
    Route,
    RouteKind,
    RoutingRule,
)
from ..case import Case, in_subnet
from ..filtering import Obstacle
from ..finding import Fix, FixKind, Shell, advice, command, file_of, listed, quoted, short

WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,31}")  # a name that no shell reads anything into
WITH_THE_LEASE = "Azure hands out the routes to both platform addresses with the lease."
NFT_NAMES = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_./-]{0,63}( [A-Za-z0-9_][A-Za-z0-9_./-]{0,63}){0,2}")
COMMAND_LIMIT = 500
IPTABLES_BEGIN = re.compile(r"-t [a-z]{1,16} -[ADI] [A-Za-z0-9]")
IPTABLES_WORD = re.compile(r"(?!--modprobe)[A-Za-z0-9 ./:,_!@%+=-]{1,256}")  # with blanks: a comment may have them
ENTRY = re.compile(r"[A-Za-z0-9.:/_-]{1,120}")  # of a bypass list, as it may stand in a shell
LIST_LIMIT = 900
URL = re.compile(r"http://[A-Za-z0-9:/._%~-]{1,300}")  # as it may stand between quotes in a shell
DOWNLOADS = "/var/tmp"
RED_HATS = ("rhel", "centos", "almalinux", "rocky", "ol", "fedora", "azurelinux", "mariner")
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


def nft(text: str, *names: Optional[str]) -> Fix:
    """An ``nft`` command that holds these names; advice where one of them cannot stand in a shell."""
    if all(name and NFT_NAMES.fullmatch(name) for name in names):
        return sh(f"nft {text}")
    return advice(f"By hand, because a name in it cannot be pasted: nft {short(text, 200)}")


def iptables(place: FirewallPlace, text: str) -> Fix:
    """An ``iptables`` command; advice where something in it cannot stand in a shell."""
    try:
        words = shlex.split(text)
    except ValueError:
        words = []
    if (
        len(text) <= COMMAND_LIMIT
        and IPTABLES_BEGIN.match(text)
        and all(IPTABLES_WORD.fullmatch(word) for word in words)
    ):
        return sh(" ".join([place.value, *map(shlex.quote, words)]))
    return advice(f"By hand, because something in it cannot be pasted: {place.value} {short(text, 200)}")


def _is_for(rule: FirewallRule, addresses: Sequence[str]) -> bool:
    """Whether a rule is for these addresses and no other."""
    own = [match for match in rule.matches if match.field in (MatchField.DESTINATION, MatchField.SOURCE)]
    hosts = {host for address in addresses for host in (address, f"{address}/32")}
    return any(match.values and not match.negated and hosts.issuperset(match.values) for match in own)


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
        if self._case.facts.firewall is not None:
            return [advice("Look for a security module or a BPF program that filters connects (bpftool cgroup tree).")]
        return [
            advice("The firewall could not be read: look for rules that drop TCP 80 (nft list ruleset, iptables-save).")
        ]

    def let_pass(self, obstacle: Obstacle, addresses: Sequence[str]) -> List[Fix]:
        """A rule that is for these addresses alone goes; before any other, and before a policy, they are accepted."""
        rule, chain = obstacle.rule, obstacle.rule.chain if obstacle.rule else obstacle.chain and obstacle.chain.id
        fixes = self._durable_firewall(chain or "", addresses, obstacle)
        deleted = self._delete(rule) if rule and _is_for(rule, addresses) else None
        if deleted and deleted[0].kind is FixKind.COMMAND:
            return fixes + deleted
        return fixes + [fix for address in addresses for fix in self._accept(obstacle, chain or "", address)]

    def _durable_firewall(self, chain: str, addresses: Sequence[str], obstacle: Obstacle) -> List[Fix]:
        """Where the rule comes from, as far as that is known: what is changed at once is gone with the next restart."""
        firewall = self._case.facts.firewall
        chains = [item.id for item in firewall.chains] if firewall else []
        of_ufw = "ufw" in chain or obstacle.chain is not None and any(" ufw" in known for known in chains)
        if self._case.runs("ufw") and of_ufw and not obstacle.incoming:
            return [
                sh(f"ufw prepend allow out to {address} port {','.join(map(str, PORTS[address]))} proto tcp")
                for address in addresses
            ]
        if self._case.runs("firewalld") and "firewalld" in chain:
            return [
                advice(
                    "For good: firewalld has set it: change its policy, zone or direct rule, then run firewall-cmd --reload."
                )
            ]
        if self._case.runs("netfilter-persistent"):
            return [advice("For good: after the commands, run netfilter-persistent save.")]
        where = " (/etc/nftables.conf and what it includes)" if self._case.runs("nftables") else ""
        return [advice(f"For good: change what sets the firewall at start{where}.")]

    @staticmethod
    def _delete(rule: FirewallRule) -> List[Fix]:
        if rule.place is FirewallPlace.NFTABLES:
            return [nft(f"delete rule {rule.chain} handle {rule.id}", rule.chain, rule.id)]
        return [iptables(rule.place, re.sub(" -A ", " -D ", rule.id, count=1))]

    @staticmethod
    def _accept(obstacle: Obstacle, chain: str, address: str) -> List[Fix]:
        """A rule at the head of the chain."""
        ports, incoming = PORTS[address], obstacle.incoming
        if obstacle.place is FirewallPlace.NFTABLES:
            host, port = ("saddr", "sport") if incoming else ("daddr", "dport")
            several = f"{{ {', '.join(map(str, ports))} }}" if len(ports) > 1 else str(ports[0])
            return [nft(f"insert rule {chain} ip {host} {address} tcp {port} {several} accept", chain)]
        _, table, name = (chain.split(" ") + ["?", "?"])[:3]
        side = "s" if incoming else "d"
        return [
            iptables(obstacle.place, f"-t {table} -I {name} -{side} {address}/32 -p tcp --{side}port {port} -j ACCEPT")
            for port in ports
        ]

    def bypass_proxy(self, proxy: Proxy, addresses: Sequence[str]) -> List[Fix]:
        place, named = short(proxy.place, 80), " and ".join(addresses)
        if proxy.bypass == ("*",):
            return [
                advice(
                    f"Take the proxy out of {place}: no_proxy=* means that nobody is to use it, and not every client knows *."
                )
            ]
        again = advice(
            "Log in again and restart the services that use the proxy: they keep the environment they started with."
        )
        if proxy.place.startswith("/etc/profile.d") and not proxy.undecided:
            words = " ".join(
                f'{name}="${{{name}:+${name},}}{",".join(addresses)}"' for name in ("no_proxy", "NO_PROXY")
            )
            return [sh(f"printf '%s\\n' 'export {words}' > /etc/profile.d/zzzz-azure-platform.sh"), again]
        entries = [*proxy.bypass, *(address for address in addresses if address not in proxy.bypass)]
        items = [f"{name}={','.join(entries)}" for name in ("no_proxy", "NO_PROXY")]
        both = " ".join(items)
        is_safe = all(ENTRY.fullmatch(entry) for entry in entries) and len(both) <= LIST_LIMIT
        if not is_safe or not proxy.is_whole or proxy.undecided:
            return [advice(f"Add {named} to no_proxy and NO_PROXY in {place}.")]
        if proxy.place == "/etc/environment":
            return [sh(f"printf '\\n%s\\n' {both} >> /etc/environment"), again]
        if proxy.place.startswith("systemd"):
            folder = "/etc/systemd/system.conf.d"
            return [
                sh(f"mkdir -p {folder}"),
                sh(f"printf '%s\\n' '[Manager]' 'DefaultEnvironment={both}' > {folder}/zzzz-azure-platform.conf"),
                sh(f"systemctl set-environment {both}"),
                again,
            ]
        return [advice(f"Where {place} is set, add {named} to its no_proxy and NO_PROXY.")]

    def install_certificate(self, url: str, is_reachable: bool, proxy: Optional[str], root: Optional[str]) -> List[Fix]:
        """Into the folder from which the distribution makes its bundle, after it was checked: all in there is trusted.

        :param root: of a root, the thumbprint that it must have; anything else must be signed by what is trusted already
        """
        file = file_of(url)
        if not file or not URL.fullmatch(url) or (proxy and not ENTRY.fullmatch(proxy)):
            return [advice(f"Install the certificate of {short(url, 200)}")]
        folder, again = self._anchors()
        held, target = f"{DOWNLOADS}/{file}", f"{folder}/{re.sub('[^a-z0-9]+', '-', file[:-4].lower()).strip('-')}.crt"
        fixes = [advice(f"On a machine that can, download {url} and copy it to this VM as {held}; then:")]
        if is_reachable:
            through = f" -x http://{proxy}" if proxy else ""
            fixes = [sh(f"curl -fsS{through} -o '{held}' '{url}'")]
        convert = f"openssl x509 -inform DER -in '{held}' -out {target}"
        if root:
            return [*fixes, sh(f"echo '{root.lower()}  {held}' | sha1sum -c && {convert}"), sh(again)]
        return [*fixes, sh(f"{convert} && openssl verify {target} || ! rm {target}"), sh(again)]

    def remove_certificate(self, certificate: Certificate, places: Sequence[str]) -> List[Fix]:
        folder = self._anchors()[0]
        held = [place for place in places if place.startswith("/")]
        thumbprint = f"the certificate with the SHA-1 thumbprint {certificate.thumbprint}"
        return [advice(f"Take {thumbprint} out of {folder}: it is in {listed(held)}.")] if held else []

    def trust_anew(self) -> List[Fix]:
        return []  # each certificate is made to count before the next one is checked

    def _anchors(self) -> Tuple[str, str]:
        """The folder of the administrator's own certificates, and the command that makes them count."""
        machine = self._case.facts.machine
        distribution = (machine.os_id if machine else None) or ""
        if distribution in RED_HATS:
            return "/etc/pki/ca-trust/source/anchors", "update-ca-trust"
        if distribution.startswith(("sles", "opensuse")):
            return "/etc/pki/trust/anchors", "update-ca-certificates"
        return "/usr/local/share/ca-certificates", "update-ca-certificates"

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
