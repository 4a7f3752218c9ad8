"""The fixes for Linux.

iproute2 for what acts at once; systemd-networkd, NetworkManager and chrony for what lasts.
"""

from __future__ import annotations

import re
from typing import Callable, Dict, List, Optional, Sequence, Tuple

from ..facts import (
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
    Route,
    RouteKind,
    RoutingRule,
    RuleAction,
    network,
)
from ..firewall.packet import PORTS
from ..firewall.verdict import Match
from ..model.adapters import in_subnet
from ..model.model import Model
from ..model.words import listed, quoted, short
from .commands import (
    Address,
    BypassEntry,
    CertificateFile,
    ChainName,
    Fix,
    Interface,
    LinuxUrl,
    Mac,
    Network,
    NextHop,
    NftName,
    Number,
    Part,
    Phrase,
    Selector,
    ServiceName,
    TableName,
    Thumbprint,
    UnfitWord,
    Uuid,
    Word,
    advice,
    in_a_row,
    phrase,
    sh,
)
from .iptables import delete_rule
from .steps import Wanted, bare_proxy, file_of, instead

WITH_THE_LEASE = "Azure provides the routes to both platform addresses with the lease."
LIST_LIMIT = 900  # characters of a bypass list: a longer one leaves no room in the report
ROUTES_LIMIT = 8  # that one line puts back
RED_HATS = ("rhel", "centos", "almalinux", "rocky", "ol", "fedora", "azurelinux", "mariner")
# Where the operator puts a file that the VM cannot download: root alone writes there.
COPIED = phrase("/run")
SESSION = (
    "A remote session through this NIC may break; the command runs to its end without it. If you "
    "cannot get back in, use "
    "the serial console, or restart the VM from Azure: a restart undoes the command."
)
BY_HAND_GOES = (
    "A new lease drops whatever was added to the NIC by hand: first put it into the network "
    "manager's "
    "configuration."
)
ON_PURPOSE = (
    "This rule or default may be deliberate: ask whoever manages this VM's firewall and network "
    "security before you change it."
)
AGAIN = (
    "Log in again and restart the services that use the proxy: they keep the environment they "
    "started with."
)
# What ip answers where there is nothing to take away, or the thing is there already; kernels
# differ.
NOT_THERE = {
    "route": "No such process / FIB table does not exist",
    "address": "Address not found / Cannot assign requested address",
    "file": "File exists",
}
GONE = "No such file or directory"
KINDS: Dict[RouteKind, Phrase] = {
    RouteKind.LOCAL: phrase("local "),
    RouteKind.UNREACHABLE: phrase("unreachable "),
    RouteKind.BLACKHOLE: phrase("blackhole "),
    RouteKind.PROHIBIT: phrase("prohibit "),
    RouteKind.THROW: phrase("throw "),
}
DENYING: Dict[RuleAction, Phrase] = {
    RuleAction.UNREACHABLE: phrase("unreachable"),
    RuleAction.BLACKHOLE: phrase("blackhole"),
    RuleAction.PROHIBIT: phrase("prohibit"),
}
IPTABLES: Dict[FirewallPlace, Phrase] = {
    FirewallPlace.IPTABLES: phrase("iptables"),
    FirewallPlace.IPTABLES_LEGACY: phrase("iptables-legacy"),
    FirewallPlace.IPTABLES_NFT: phrase("iptables-nft"),
}
# By distribution: the folder of the administrator's own certificates, and the command that makes
# them count.
ANCHORS = {
    "red hat": (phrase("/etc/pki/ca-trust/source/anchors"), phrase("update-ca-trust")),
    "suse": (phrase("/etc/pki/trust/anchors"), phrase("update-ca-certificates")),
    "debian": (phrase("/usr/local/share/ca-certificates"), phrase("update-ca-certificates")),
}


class _MacWithColons(Word):
    """A MAC address as ``ip`` takes it."""

    PATTERN = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")


class Handle(Word):
    """The number that nftables gives to a rule."""

    PATTERN = re.compile(r"[0-9]{1,12}")


class NftFamily(Word):
    """One of nftables' families of tables (nft(8))."""

    PATTERN = re.compile(r"ip|ip6|inet|arp|bridge|netdev")


class KeyId(Word):
    """The identifier of a certificate's key, as ``openssl x509 -text`` prints it."""

    PATTERN = re.compile(r"[0-9A-Fa-f]{40}")

    @staticmethod
    def normal(text: str) -> str:
        return ":".join(text[at : at + 2] for at in range(0, len(text), 2)).upper()


class AnchorFile(Word):
    """A file name in the folder of the administrator's own certificates, without its ending."""

    PATTERN = re.compile(r"[a-z0-9][a-z0-9-]{0,80}")


def via(gateway: str, adapter: Optional[Adapter] = None) -> Phrase:
    """The next hop in ip's words.

    ``onlink`` where it lies on no subnet of the adapter (a /32 address).
    """
    if ":" in gateway:
        return phrase("via inet6 {gateway}", gateway=NextHop(gateway))
    words = phrase("via {gateway}", gateway=Address(gateway))
    if adapter and adapter.addresses and not in_subnet(adapter, gateway):
        return phrase("{via} onlink", via=words)
    return words


def route_words(
    destination: str,
    gateway: Optional[str],
    adapter: Adapter,
    table: str = "main",
    source: Optional[str] = None,
    metric: int = 0,
) -> Phrase:
    """A route as ``ip route replace`` takes it.

    :param gateway: None: on-link
    :param metric: 0: none is named
    """
    parts: List[Part] = [Network(destination)]
    if destination == "0.0.0.0/0":
        parts = [phrase("default")]
    if gateway:
        parts.append(via(gateway, adapter))
    parts.append(phrase("dev {name}", name=Interface(adapter.name)))
    if source:
        parts.append(phrase("src {source}", source=Address(source)))
    if metric:
        parts.append(phrase("metric {metric}", metric=Number(metric)))
    if table != "main":
        parts.append(phrase("table {table}", table=TableName(table)))
    return in_a_row(parts)


def replace_route(words: Phrase) -> Phrase:
    return phrase("ip route replace {route}", route=words)


def rule_words(rule: RoutingRule) -> Phrase:
    """A policy rule in full, as ``ip rule`` takes it: a preference alone may name several."""
    parts: List[Part] = [phrase("pref {priority}", priority=Number(rule.priority))]
    if rule.inverted:
        parts.append(phrase("not"))
    if rule.source:
        parts.append(phrase("from {source}", source=Network(rule.source)))
    else:
        parts.append(phrase("from all"))
    if rule.destination:
        parts.append(phrase("to {destination}", destination=Network(rule.destination)))
    if rule.iif:
        parts.append(phrase("iif {name}", name=Interface(rule.iif)))
    if rule.oif:
        parts.append(phrase("oif {name}", name=Interface(rule.oif)))
    if rule.fwmark:
        parts.append(phrase("fwmark {mark}", mark=Selector(rule.fwmark)))
    if rule.ipproto:
        parts.append(phrase("ipproto {protocol}", protocol=Selector(rule.ipproto)))
    if rule.sport:
        parts.append(phrase("sport {port}", port=Selector(rule.sport)))
    if rule.dport:
        parts.append(phrase("dport {port}", port=Selector(rule.dport)))
    if rule.uid_start is not None and rule.uid_end is not None:
        parts.append(
            phrase(
                "uidrange {first}-{last}", first=Number(rule.uid_start), last=Number(rule.uid_end)
            )
        )
    if rule.action not in DENYING:
        raise UnfitWord("a rule that does not deny is not deleted")
    parts.append(DENYING[rule.action])
    return in_a_row(parts)


def _is_for(rule: FirewallRule, addresses: Sequence[str]) -> bool:
    """Whether a rule is for these addresses and no other."""
    own = [
        match
        for match in rule.matches
        if match.field in (MatchField.DESTINATION, MatchField.SOURCE)
    ]
    hosts = {host for address in addresses for host in (address, f"{address}/32")}
    return any(
        match.values and not match.negated and hosts.issuperset(match.values) for match in own
    )


class LinuxRemedies:
    def __init__(self, model: Model) -> None:
        self._model = model

    # --- the NIC ---

    def renew_lease(self, adapter: Adapter) -> List[Fix]:
        name = quoted(adapter.name)
        if adapter.dhcp is False and "netplan" in (adapter.profile or ""):
            return [
                advice(
                    f"Permanent fix: set dhcp4: true for {name} in /etc/netplan, then run netplan "
                    f"apply. {WITH_THE_LEASE}"
                )
            ]
        if adapter.dhcp is False:
            return [
                advice(
                    f"Permanent fix: turn DHCP on for {name} in this VM's network configuration. "
                    f"{WITH_THE_LEASE}"
                )
            ]
        by_hand = (
            f"Permanent fix: make this VM's network manager renew the DHCP lease of {name}, and "
            "remove the wrong "
            "setting from its configuration."
        )
        renewal = instead(by_hand, lambda: self._by_manager(adapter, self._renewing))
        if len(adapter.addresses) < 2:
            return renewal
        return [advice(BY_HAND_GOES), *renewal]

    @staticmethod
    def _renewing(adapter: Adapter) -> Dict[str, Phrase]:
        """The words of each manager for a new lease.

        NetworkManager: the connection again, else its settings again.
        """
        name = Interface(adapter.name)
        reapply = phrase("nmcli device reapply {name}", name=name)
        if adapter.profile and Uuid.fits(adapter.profile):
            reapply = phrase(
                "nmcli connection up uuid {uuid} ifname {name}",
                uuid=Uuid(adapter.profile),
                name=name,
            )
        return {
            "systemd-networkd": phrase("networkctl reconfigure {name}", name=name),
            "NetworkManager": reapply,
        }

    @staticmethod
    def _connecting(adapter: Adapter) -> Dict[str, Phrase]:
        """The words that each manager has for enabling a NIC."""
        name = Interface(adapter.name)
        return {
            "systemd-networkd": phrase("networkctl up {name}", name=name),
            "NetworkManager": phrase("nmcli device connect {name}", name=name),
        }

    def _by_manager(
        self, adapter: Adapter, words: Callable[[Adapter], Dict[str, Phrase]]
    ) -> List[Fix]:
        """The command of the manager that runs here and owns the NIC.

        :raises UnfitWord: where there is none, or the NIC's name cannot stand in a command
        """
        manager = adapter.managed_by or ""
        known = words(adapter)
        if manager not in known or not self._model.services.is_running(manager):
            raise UnfitWord("no manager that is known owns this NIC")
        return [sh(known[manager])]

    def bring_up(self, adapter: Adapter) -> List[Fix]:
        by_hand = f"Enable the NIC {quoted(adapter.name)} (ip link)."
        managed = instead("", lambda: self._by_manager(adapter, self._connecting))
        at_once = instead(
            by_hand, lambda: [sh(phrase("ip link set dev {name} up", name=Interface(adapter.name)))]
        )
        return [*managed, *at_once]

    def set_mac(
        self, adapter: Adapter, mac: str, gateway: Optional[str], default: bool
    ) -> List[Fix]:
        durable = advice(
            "Permanent fix: remove the MAC override (netplan macaddress, cloned-mac-address, a "
            ".link file) and restart the VM."
        )
        by_hand = (
            "At the serial console, or with a restart once the override is gone: give "
            f"{quoted(adapter.name)} the MAC "
            f"{mac}, then restore its routes."
        )
        return [durable, *instead(by_hand, lambda: self._set_mac(adapter, mac, gateway, default))]

    def _set_mac(
        self, adapter: Adapter, mac: str, gateway: Optional[str], default: bool
    ) -> List[Fix]:
        """Sets the MAC, in one line.

        The link is down only as long as needed, comes up whatever happens, and gets its routes
        again.
        """
        name = Interface(adapter.name)
        colons = _MacWithColons(Mac(mac).text.replace("-", ":").lower())
        steps = [
            phrase("ip link set dev {name} down", name=name),
            phrase(
                "{{ ip link set dev {name} address {mac}; ip link set dev {name} up; }}",
                name=name,
                mac=colons,
            ),
        ]
        routes = [replace_route(words) for words in self._routes_to_keep(adapter, gateway, default)]
        if routes:
            steps.append(phrase("{{ {routes}; }}", routes=in_a_row(routes, "; ")))
        ipv6 = "IPv6 addresses set by hand are lost with the link: set them again."
        return [advice(f"{SESSION} {ipv6}"), sh(in_a_row(steps, " && "))]

    def _routes_to_keep(
        self, adapter: Adapter, gateway: Optional[str], default: bool
    ) -> List[Phrase]:
        """The routes that go away with the link, and those to the platform, each once.

        :raises UnfitWord: where there are more than a line can hold, or a route has several next
        hops
        """
        own = [
            row
            for row in self._model.route_table.rows
            if self._model.adapters.egress(row) == adapter
        ]
        lost = [row for row in own if row.kind is RouteKind.UNICAST and row.protocol != "kernel"]
        if len({(row.destination, row.metric, row.table) for row in lost}) < len(lost):
            raise UnfitWord("a route with several next hops")
        kept: List[Phrase] = []
        if gateway:
            kept += self._platform_routes(gateway, adapter, default)
        for row in sorted(
            lost, key=lambda row: row.gateway is not None
        ):  # a next hop may need an on-link row
            if not self._model.routing.is_silent(adapter, row.gateway):
                kept.append(
                    route_words(
                        row.destination, row.gateway, adapter, row.table, row.source, row.metric
                    )
                )
        if len(kept) > ROUTES_LIMIT:
            raise UnfitWord("more routes than one line can hold")
        return list(dict.fromkeys(kept))

    @staticmethod
    def _platform_routes(
        gateway: str, adapter: Adapter, default: bool, source: Optional[str] = None
    ) -> List[Phrase]:
        destinations = [f"{address}/32" for address in PLATFORM_ADDRESSES]
        if default:
            destinations.insert(0, "0.0.0.0/0")
        return [
            route_words(destination, gateway, adapter, source=source)
            for destination in destinations
        ]

    def set_address(
        self, adapter: Adapter, address: str, prefix: int, gateway: Optional[str]
    ) -> List[Fix]:
        """Adds the right address beside the wrong one, and sends from it.

        What the NIC carries stays, sessions too.
        """
        by_hand = (
            f"Immediate fix: add {address}/{prefix} to {quoted(adapter.name)} and use it as "
            "the source."
        )
        return [
            *self.renew_lease(adapter),
            *instead(by_hand, lambda: self._set_address(adapter, address, prefix, gateway)),
        ]

    def _set_address(
        self, adapter: Adapter, address: str, prefix: int, gateway: Optional[str]
    ) -> List[Fix]:
        held = Network(f"{Address(address).text}/{Number(prefix).text}")
        steps = [
            phrase("ip addr replace {held} dev {name}", held=held, name=Interface(adapter.name))
        ]
        if gateway:
            steps += map(replace_route, self._platform_routes(gateway, adapter, False, address))
        said = (
            "Immediate fix, for the platform's addresses only: the NIC keeps its addresses and all "
            "other routes. A restart "
            "undoes the command. If your session breaks anyway, use the serial console or restart "
            "the VM from Azure."
        )
        return [advice(said), sh(in_a_row(steps, " && "))]

    def delete_address(self, adapter: Adapter, address: str, prefix: int) -> List[Fix]:
        by_hand = f"Remove the address {address}/{prefix} from {quoted(adapter.name)} (ip addr)."
        return instead(by_hand, lambda: self._delete_address(adapter, address, prefix))

    @staticmethod
    def _delete_address(adapter: Adapter, address: str, prefix: int) -> List[Fix]:
        """Deletes an address, in one line.

        The secondary addresses of its subnet go with it (ip-address(8)) and are put back.
        """
        name, gone = Interface(adapter.name), Network(f"{address}/{prefix}")
        steps = [phrase("ip addr del {gone} dev {name}", gone=gone, name=name)]
        for other in _secondaries(adapter, gone.text):
            held = Network(f"{other.address}/{other.prefix}")
            steps.append(phrase("ip addr replace {held} dev {name}", held=held, name=name))
        fix = sh(in_a_row(steps, " && "), NOT_THERE["address"])
        if adapter.kind == "loopback":
            return [fix]
        return [advice(SESSION), fix]

    def set_source(self, adapter: Adapter, wrong: str, right: str) -> List[Fix]:
        fixes = self.renew_lease(adapter)
        for lookup in (self._model.routing.to_imds, self._model.routing.to_wireserver):
            if lookup.source == wrong and lookup.route and self._model.routing.gateway:
                fixes += self.add_route(
                    lookup.destination,
                    self._model.routing.gateway,
                    adapter,
                    lookup.route.table,
                    right,
                )
        return fixes

    # --- routes ---

    def add_route(
        self,
        destination: str,
        gateway: str,
        adapter: Adapter,
        table: str = "main",
        source: Optional[str] = None,
    ) -> List[Fix]:
        by_hand = (
            f"Add a route to {destination}/32 through {gateway} on {quoted(adapter.name)} "
            "(ip route)."
        )
        return instead(
            by_hand,
            lambda: [
                sh(replace_route(route_words(f"{destination}/32", gateway, adapter, table, source)))
            ],
        )

    def add_default_route(self, gateway: str, adapter: Adapter) -> List[Fix]:
        by_hand = f"Set the default route through {gateway} on {quoted(adapter.name)} (ip route)."
        fixes = instead(
            by_hand, lambda: [sh(replace_route(route_words("0.0.0.0/0", gateway, adapter)))]
        )
        if not self._model.route_table.default_routes():
            return fixes
        return [advice(f"This replaces the default route. {SESSION}"), *fixes]

    def routes_anew(self, gateway: str, adapter: Adapter, default: bool) -> List[Fix]:
        by_hand = (
            f"Set the routes to both platform addresses through {gateway} on "
            f"{quoted(adapter.name)} (ip route)."
        )
        return instead(
            by_hand,
            lambda: [
                sh(replace_route(words))
                for words in self._platform_routes(gateway, adapter, default)
            ],
        )

    def keep_routes(self, gateway: str, adapter: Adapter, table: str) -> List[Fix]:
        if table not in ("main", "default", "local", "?"):
            return [
                advice(
                    "The ip commands last until the next restart. Permanent fix: find what sets "
                    f"table {short(table, 24)} and the policy "
                    "rule that leads to it (netplan's routing-policy, a VPN, a start script), and "
                    "exclude "
                    f"{IMDS_ADDRESS} from it."
                )
            ]
        return [
            advice(
                "The ip commands last until the next restart. If the lease does not bring the"
                f" route back, add {IMDS_ADDRESS}/32 via {gateway} to {quoted(adapter.name)} in"
                " netplan, NetworkManager or networkd."
            )
        ]

    def delete_route(self, route: Route) -> List[Fix]:
        by_hand = f"Delete the route {route.destination} of type {route.kind.value} (ip route)."
        return instead(by_hand, lambda: [sh(self._deletion(route), NOT_THERE["route"])])

    @staticmethod
    def _deletion(route: Route) -> Phrase:
        if route.kind not in KINDS and route.kind is not RouteKind.UNICAST:
            raise UnfitWord("a kind of route that is not known")
        kind = KINDS.get(route.kind, phrase(""))
        parts: List[Part] = [
            phrase("ip route del {kind}{to}", kind=kind, to=Network(route.destination)),
        ]
        if route.gateway:
            parts.append(via(route.gateway))
        if route.interface and route.kind in (RouteKind.UNICAST, RouteKind.LOCAL):
            parts.append(phrase("dev {name}", name=Interface(route.interface)))
        if route.metric:
            parts.append(phrase("metric {metric}", metric=Number(route.metric)))
        if route.table != "main":
            parts.append(phrase("table {table}", table=TableName(route.table)))
        return in_a_row(parts)

    def pass_rule(self, rule: RoutingRule, destination: str) -> List[Fix]:
        """Deletes a rule that is for this address alone, and bypasses one that denies more.

        A bypass needs room before the rule.
        """
        by_hand = (
            f"Delete the policy rule {rule.priority} that blocks packets to {destination} "
            "(ip rule)."
        )
        return instead(by_hand, lambda: self._pass_rule(rule, destination))

    @staticmethod
    def _pass_rule(rule: RoutingRule, destination: str) -> List[Fix]:
        is_for_it_alone = rule.destination in (destination, f"{destination}/32")
        if not is_for_it_alone and rule.priority > 0:
            before, to = Number(rule.priority - 1), Address(destination)
            passing = phrase("ip rule add pref {before} to {to} lookup main", before=before, to=to)
            return [sh(passing, NOT_THERE["file"])]
        return [advice(ON_PURPOSE), sh(phrase("ip rule del {rule}", rule=rule_words(rule)), GONE)]

    def delete_persistent_route(self, destination: str, gateway: str) -> List[Fix]:
        return [
            advice(
                f"Remove the stored route to {destination} through {gateway} from the network "
                "manager's configuration."
            )
        ]

    def delete_neighbour(self, neighbour: Neighbour) -> List[Fix]:
        by_hand = f"Delete the static ARP entry for {neighbour.address} (ip neigh)."

        def commands() -> List[Fix]:
            address, name = NextHop(neighbour.address), Interface(neighbour.interface or "")
            return [
                sh(phrase("ip neigh del {address} dev {name}", address=address, name=name), GONE)
            ]

        return instead(by_hand, commands)

    # --- services ---

    def restart_service(self, name: str) -> List[Fix]:
        by_hand = f"Restart the service {quoted(name)}."
        return instead(
            by_hand, lambda: [sh(phrase("systemctl restart {name}", name=ServiceName(name)))]
        )

    def show_clients(self) -> List[Fix]:
        return [sh(phrase("ss -tnp dst {address}", address=Address(IMDS_ADDRESS)))]

    def shift_clock(self, seconds: float) -> List[Fix]:
        model = self._model
        span = Number(abs(round(seconds)))
        step = phrase('date -u -s "@$(( $(date +%s) + {span} ))"', span=span)
        if seconds > 0:
            step = phrase('date -u -s "@$(( $(date +%s) - {span} ))"', span=span)
        if model.services.is_running("chronyd") or model.services.is_running("chrony"):
            return [sh(phrase("chronyc makestep"))]
        if model.services.is_running("systemd-timesyncd"):
            return [sh(phrase("systemctl restart systemd-timesyncd")), sh(step)]
        return [
            advice(
                "Permanent fix: run a time service, for example chrony with the host's clock "
                "(/dev/ptp_hyperv)."
            ),
            sh(step),
        ]

    # --- the firewall ---

    def show_firewall(self) -> List[Fix]:
        if self._model.facts.firewall is not None:
            return [
                advice(
                    "Look for a security module or a BPF program that filters connects (bpftool"
                    " cgroup tree)."
                )
            ]
        return [
            advice(
                "The firewall could not be read: look for rules that drop TCP 80 (nft list ruleset,"
                " iptables-save)."
            )
        ]

    def let_pass(self, match: Match, addresses: Sequence[str]) -> List[Fix]:
        """Deletes a rule that is for these addresses alone.

        Before any other rule, and before a policy, the addresses are accepted.
        """
        rule, chain = match.rule, ""
        if rule:
            chain = rule.chain or ""
        elif match.chain:
            chain = match.chain.id
        fixes = [advice(ON_PURPOSE), *self._durable_firewall(chain, addresses, match)]
        if rule and _is_for(rule, addresses):
            deletion = instead("", lambda: self._delete(rule))
            if deletion:
                return fixes + deletion
        by_hand = (
            "By hand, because its name cannot be pasted: at the head of the chain "
            f"{quoted(chain or '?')}, accept "
            f"TCP to {' and '.join(addresses)}."
        )
        return fixes + instead(by_hand, lambda: self._acceptances(match, chain, addresses))

    def _durable_firewall(self, chain: str, addresses: Sequence[str], match: Match) -> List[Fix]:
        """Where the rule comes from, as far as that is known.

        A change at run time is lost with the next restart.
        """
        firewall = self._model.facts.firewall
        of_ufw = "ufw" in chain
        if firewall and match.chain:
            of_ufw = of_ufw or any(" ufw" in known.id for known in firewall.chains)
        if self._model.services.is_running("ufw") and of_ufw and not match.incoming:
            return [sh(self._ufw_allow(address)) for address in addresses]
        if self._model.services.is_running("firewalld") and "firewalld" in chain:
            return [
                advice(
                    "Permanent fix: change firewalld's policy, zone or direct rule, then run "
                    "firewall-cmd --reload."
                )
            ]
        if self._model.services.is_running("netfilter-persistent"):
            return [advice("Permanent fix: after the commands, run netfilter-persistent save.")]
        where = ""
        if self._model.services.is_running("nftables"):
            where = " (/etc/nftables.conf and what it includes)"
        return [advice(f"Permanent fix: change what sets up the firewall at boot{where}.")]

    @staticmethod
    def _ufw_allow(address: str) -> Phrase:
        ports = in_a_row([Number(port) for port in PORTS[address]], ",")
        return phrase(
            "ufw prepend allow out to {address} port {ports} proto tcp",
            address=Address(address),
            ports=ports,
        )

    @staticmethod
    def _delete(rule: FirewallRule) -> List[Fix]:
        """Deletes a rule.

        nftables assigns new handles when the ruleset is loaded again, so a person checks first.
        """
        if rule.place is not FirewallPlace.NFTABLES:
            return [
                sh(
                    phrase(
                        "{program} {rule}", program=_iptables(rule.place), rule=delete_rule(rule.id)
                    )
                )
            ]
        chain, handle = _nft_chain(rule.chain or ""), Handle(rule.id)
        return [
            sh(phrase("nft -a list chain {chain}", chain=chain)),
            advice(
                f"Only if handle {handle.text} is still the rule named above (otherwise run "
                "imds-check again):"
            ),
            sh(phrase("nft delete rule {chain} handle {handle}", chain=chain, handle=handle)),
        ]

    @staticmethod
    def _acceptances(match: Match, chain: str, addresses: Sequence[str]) -> List[Fix]:
        """Rules at the head of the chain."""
        if match.place is FirewallPlace.NFTABLES:
            head = _nft_chain(chain)
            return [sh(_nft_accept(head, address, match.incoming)) for address in addresses]
        program, words = _iptables(match.place), chain.split(" ")
        if len(words) != 3:
            raise UnfitWord("not a chain of iptables")
        place = phrase(
            "-t {table} -I {chain}", table=ChainName(words[1]), chain=ChainName(words[2])
        )
        return [
            sh(phrase("{program} {place} {rule}", program=program, place=place, rule=rule))
            for address in addresses
            for rule in _iptables_accepts(address, match.incoming)
        ]

    # --- proxies ---

    def bypass_proxy(self, proxy: Proxy, addresses: Sequence[str]) -> List[Fix]:
        place, named = short(proxy.place, 80), " and ".join(addresses)
        if proxy.bypass == ("*",):
            gone = (
                "no_proxy=* says that no client should use it, and not every client understands *."
            )
            return [advice(f"Remove the proxy from {place}: {gone}")]
        if proxy.place.startswith("/etc/profile.d") and not proxy.undecided:
            return [sh(_profile_script(addresses)), advice(AGAIN)]
        by_hand = f"Add {named} to no_proxy and NO_PROXY in {place}."
        if not proxy.is_whole or proxy.undecided:
            return [advice(by_hand)]
        return instead(by_hand, lambda: self._no_proxy(proxy, addresses))

    @staticmethod
    def _no_proxy(proxy: Proxy, addresses: Sequence[str]) -> List[Fix]:
        entries = [
            *proxy.bypass,
            *(address for address in addresses if address not in proxy.bypass),
        ]
        bypassed = in_a_row([BypassEntry(entry) for entry in entries], ",")
        both = phrase("no_proxy={bypassed} NO_PROXY={bypassed}", bypassed=bypassed)
        if len(both.text) > LIST_LIMIT:
            raise UnfitWord("a list that is too long to be printed")
        if proxy.place == "/etc/environment":
            return [
                sh(phrase("printf '\\n%s\\n' {both} >> /etc/environment", both=both)),
                advice(AGAIN),
            ]
        if proxy.place.startswith("systemd"):
            lines = phrase("'[Manager]' 'DefaultEnvironment={both}'", both=both)
            return [
                sh(phrase("mkdir -p /etc/systemd/system.conf.d")),
                sh(
                    phrase(
                        "printf '%s\\n' {lines} >"
                        " /etc/systemd/system.conf.d/zzzz-azure-platform.conf",
                        lines=lines,
                    )
                ),
                sh(phrase("systemctl set-environment {both}", both=both)),
                advice(AGAIN),
            ]
        named = " and ".join(addresses)
        return [
            advice(
                f"Where {short(proxy.place, 80)} is set, add {named} to its no_proxy and NO_PROXY."
            )
        ]

    # --- certificates ---

    def certificate_folder(self) -> List[Fix]:
        return []  # every distribution has one of its own

    def install_certificate(
        self, url: str, is_reachable: bool, proxy: Optional[str], wanted: Wanted
    ) -> List[Fix]:
        """Straight into the folder from which the distribution makes its bundle, where root alone
        writes. What lies there is checked there, and removed again where it is not what is wanted:
        all in there is trusted.
        """
        by_hand = f"Install the certificate of {short(url, 200)}"
        return instead(by_hand, lambda: self._install_certificate(url, is_reachable, proxy, wanted))

    def _install_certificate(
        self, url: str, is_reachable: bool, proxy: Optional[str], wanted: Wanted
    ) -> List[Fix]:
        """One line. A file that is there already stays as it is."""
        file, address = CertificateFile(file_of(url)), LinuxUrl(url)
        folder, again = self._anchors()
        name = re.sub("[^a-z0-9]+", "-", file.text[:-4].lower()).strip("-")
        target = phrase("{folder}/{name}.crt", folder=folder, name=AnchorFile(name))
        fixes: List[Fix] = []
        if is_reachable:
            through = phrase("")
            if proxy:
                through = phrase(" -x http://{proxy}", proxy=bare_proxy(proxy))
            encoded = phrase(
                "curl -fsS{through} '{url}' | openssl x509 -inform DER",
                through=through,
                url=address,
            )
        else:
            copied = phrase("{folder}/{file}", folder=COPIED, file=file)
            fixes.append(
                advice(
                    f"On a machine that can reach it, download {url} and copy it to this VM as "
                    f"{copied.text}; then:"
                )
            )
            encoded = phrase("openssl x509 -inform DER -in '{copied}'", copied=copied)
        line = phrase(
            "[ -e {target} ] || {{ {encoded} -out {target} && {check} || ! rm -f {target}; }}",
            encoded=encoded,
            target=target,
            check=_check_certificate(target, wanted),
        )
        return [*fixes, sh(line), sh(again)]

    def remove_certificate(self, certificate: Certificate, places: Sequence[str]) -> List[Fix]:
        folder = self._anchors()[0].text
        held = [place for place in places if place.startswith("/")]
        thumbprint = f"the certificate with the SHA-1 thumbprint {short(certificate.thumbprint)}"
        if not held:
            return []
        return [
            advice(
                f"Remove {thumbprint} from {folder}: it is in "
                f"{listed([short(place, 60) for place in held])}."
            )
        ]

    def trust_anew(self) -> List[Fix]:
        return []  # each certificate is made to count before the next one is checked

    def _anchors(self) -> Tuple[Phrase, Phrase]:
        """The folder of the administrator's own certificates, and the command that applies them."""
        machine, distribution = self._model.facts.machine, ""
        if machine:
            distribution = machine.os_id or ""
        if distribution in RED_HATS:
            return ANCHORS["red hat"]
        if distribution.startswith(("sles", "opensuse")):
            return ANCHORS["suse"]
        return ANCHORS["debian"]


def _check_certificate(target: Phrase, wanted: Wanted) -> Phrase:
    """Checks a file by its thumbprint, or by its key and by what is trusted already."""
    if wanted.root:
        return phrase(
            "openssl x509 -in {target} -outform DER | sha1sum | grep -q '^{digest} '",
            target=target,
            digest=Thumbprint(wanted.root.lower()),
        )
    signed = phrase("openssl verify {target}", target=target)
    if not wanted.key_id:
        return signed
    return phrase(
        "{signed} && openssl x509 -in {target} -noout -text | grep -A1 'Subject Key Id' | grep -q"
        " {key}",
        signed=signed,
        target=target,
        key=KeyId(wanted.key_id),
    )


def _secondaries(adapter: Adapter, gone: str) -> List[InterfaceAddress]:
    """The secondary addresses that go away with an address of the adapter (``10.0.0.4/24``)."""
    subnet = network(gone)
    return [
        held
        for held in adapter.addresses
        if held.secondary
        and network(f"{held.address}/{held.prefix}") == subnet
        and held.address != gone.partition("/")[0]
    ]


def _nft_chain(chain: str) -> Phrase:
    """A chain as nft takes it, ``inet filter output``. Raises ``UnfitWord``."""
    words = chain.split(" ")
    if len(words) != 3:
        raise UnfitWord("not a chain of nftables")
    return in_a_row([NftFamily(words[0]), NftName(words[1]), NftName(words[2])])


def _nft_accept(chain: Phrase, address: str, incoming: bool) -> Phrase:
    numbers = [Number(port) for port in PORTS[address]]
    ports: Part = numbers[0]
    if len(numbers) > 1:
        ports = phrase("{{ {ports} }}", ports=in_a_row(numbers, ", "))
    host = Address(address)
    match = phrase("ip daddr {host} tcp dport {ports}", host=host, ports=ports)
    if incoming:
        match = phrase("ip saddr {host} tcp sport {ports}", host=host, ports=ports)
    return phrase("nft insert rule {chain} {match} accept", chain=chain, match=match)


def _iptables(place: FirewallPlace) -> Phrase:
    if place not in IPTABLES:
        raise UnfitWord("not a rule of iptables")
    return IPTABLES[place]


def _iptables_accepts(address: str, incoming: bool) -> List[Phrase]:
    host = Address(address)
    rules = []
    for number in PORTS[address]:
        port = Number(number)
        if incoming:
            rules.append(
                phrase("-s {host}/32 -p tcp --sport {port} -j ACCEPT", host=host, port=port)
            )
        else:
            rules.append(
                phrase("-d {host}/32 -p tcp --dport {port} -j ACCEPT", host=host, port=port)
            )
    return rules


def _profile_script(addresses: Sequence[str]) -> Phrase:
    """A script of /etc/profile.d that adds to whatever the others have set."""
    added = in_a_row([Address(address) for address in addresses], ",")
    export = phrase(
        'export no_proxy="${{no_proxy:+$no_proxy,}}{added}"'
        ' NO_PROXY="${{NO_PROXY:+$NO_PROXY,}}{added}"',
        added=added,
    )
    return phrase(
        "printf '%s\\n' '{export}' > /etc/profile.d/zzzz-azure-platform.sh", export=export
    )
