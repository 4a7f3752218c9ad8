"""The catalogue: at least one simulated VM for each cause, and VMs that must stay healthy."""

from __future__ import annotations

from dataclasses import replace
from typing import Dict, List, Optional, Tuple

from ..facts import (
    IMDS_ADDRESS,
    PLATFORM_ADDRESSES,
    PROXY_AGENT_PORT,
    WIRESERVER_ADDRESS,
    Adapter,
    Address,
    Cidr,
    Expected,
    Facts,
    Firewall,
    FirewallChain,
    FirewallMatch,
    FirewallPlace,
    FirewallProfile,
    FirewallRule,
    Instant,
    InterfaceAddress,
    LinkState,
    Listener,
    Mac,
    Machine,
    MatchField,
    Neighbour,
    NeighbourState,
    NextHop,
    PersistentRoute,
    PrefixLength,
    Proxy,
    ProxyKind,
    Route,
    RouteKind,
    RoutingRule,
    RuleVerdict,
    Scope,
    Service,
    ServiceState,
    network,
)
from ..model.azure import AZURE_ARP_MAC, AZURE_ASSET_TAG
from ..probes.certificates import ENDPOINTS
from .host import Behaviour, Nic, Vm
from .world import ROOTS, Scenario, leaves_by, route_lookup, services

DEFAULT = "route-wrong-interface"
LONG_AGO = Instant("2026-11-23T01:44:05Z")  # a time for facts that are not collected
IMDS, WIRESERVER, PLUGIN = (IMDS_ADDRESS, 80), (WIRESERVER_ADDRESS, 80), (WIRESERVER_ADDRESS, 32526)
BUNDLE = ROOTS["linux"]
CERTIFICATE_HOSTS = dict.fromkeys(ENDPOINTS, "certificates")
ALONE = Behaviour(embedded=())  # the document holds the signing certificate alone, as Azure's does
HOSTS = tuple(f"{address}/32" for address in PLATFORM_ADDRESSES)


# --- the two VMs ---


def held(address: str, prefix: int = 24, **flags: bool) -> InterfaceAddress:
    return InterfaceAddress(Address(address), PrefixLength(prefix), **flags)


def row(
    destination: str, gateway: Optional[str], adapter: Adapter, metric: int = 0, **more: str
) -> Route:
    via = NextHop(gateway) if gateway else None
    return Route(Cidr(destination), via, adapter.name, adapter.index, metric, **more)  # type: ignore[arg-type]


def nic(index: int, name: str, mac: str, address: str, gateway: str, **more: object) -> Adapter:
    base = Adapter(
        index,
        name,
        "Microsoft Hyper-V Network Adapter",
        "ethernet",
        True,
        Mac(mac),
        LinkState.UP,
        addresses=(held(address, dynamic=True),),
        dhcp=True,
        dhcp_server=Address(WIRESERVER_ADDRESS),
        lease_address=Address(address),
        lease_gateway=Address(gateway) if gateway else None,
    )
    return replace(base, **more)  # type: ignore[arg-type]


def rows_of(
    adapter: Adapter, gateway: Optional[str], metric: int, specific: bool
) -> Tuple[Route, ...]:
    """The routes that Azure's lease gives a NIC: its subnet, and through a gateway the default and
    the two hosts.
    """
    subnet = str(network(f"{adapter.addresses[0].address}/{adapter.addresses[0].prefix}"))
    found = [row(subnet, None, adapter, metric)]
    if gateway:
        found.append(row("0.0.0.0/0", gateway, adapter, metric))
        found += [row(host, gateway, adapter, metric) for host in HOSTS if specific]
    return tuple(found)


ETHERNET = nic(7, "Ethernet", "00-0D-3A-E5-1C-C0", "172.16.69.7", "172.16.69.1", metric=10)
ETHERNET2 = nic(9, "Ethernet 2", "00-0D-3A-E5-1C-C1", "10.1.0.5", "", metric=10)
LOOPBACK = Adapter(
    1,
    "Loopback Pseudo-Interface 1",
    kind="loopback",
    state=LinkState.UP,
    addresses=(held("127.0.0.1", 8),),
)
WINDOWS_VM = Vm(
    "testWs",
    (
        Nic("00-0D-3A-E5-1C-C0", ("172.16.69.7", "172.16.69.8"), "172.16.69.0/24"),
        Nic("00-0D-3A-E5-1C-C1", ("10.1.0.5",), "10.1.0.0/24"),
    ),
)
ETH0 = nic(
    2, "eth0", "00-0D-3A-7F-20-04", "10.0.0.4", "10.0.0.1", driver="hv_netvsc", description=""
)
ETH1 = nic(3, "eth1", "00-0D-3A-7F-20-05", "10.0.1.5", "", driver="hv_netvsc", description="")
LO = Adapter(1, "lo", kind="loopback", state=LinkState.UP, addresses=(held("127.0.0.1", 8),))
DOCKER0 = Adapter(
    4,
    "docker0",
    kind="bridge",
    mac=Mac("02-42-AC-11-00-01"),
    state=LinkState.UP,
    addresses=(held("172.17.0.1", 16),),
)
LINUX_VM = Vm(
    "testlx",
    (
        Nic("00-0D-3A-7F-20-04", ("10.0.0.4", "10.0.0.5"), "10.0.0.0/24"),
        Nic("00-0D-3A-7F-20-05", ("10.0.1.5",), "10.0.1.0/24"),
    ),
    vm_id="9a1f0c86-4c43-4d3e-8a3f-1a6f6f2b7d11",
    offer="ubuntu-24_04-lts",
    publisher="canonical",
    sku="server",
    os_type="Linux",
    identity=False,
)


def with_lookups(facts: Facts, source: str = "") -> Facts:
    """Adds what the simulated system answers when it is asked for the route to each address of the
    platform.

    :param source: the address that it chooses; empty: the usual one
    """
    lookups = tuple(route_lookup(facts, address, source) for address in PLATFORM_ADDRESSES)
    return replace(facts, lookups=lookups)


def condition(field: MatchField, *values: str, negated: bool = False) -> FirewallMatch:
    return FirewallMatch(field, values, negated)


def to_host(address: str = IMDS_ADDRESS, port: str = "80") -> Tuple[FirewallMatch, ...]:
    """The conditions of a rule for one port of one address."""
    return (
        condition(MatchField.PROTOCOL, "tcp"),
        condition(MatchField.DESTINATION, address),
        condition(MatchField.DESTINATION_PORT, port),
    )


def outbound(name: str, *matches: FirewallMatch, **more: object) -> FirewallRule:
    """An outbound rule of the Windows firewall that blocks."""
    base = FirewallRule(
        "{6E1C1C4B-2B33-4F4C-9D54-0D7A3F1A0C11}",
        FirewallPlace.LOCAL,
        RuleVerdict.BLOCK,
        name,
        matches=matches,
    )
    return replace(base, **more)  # type: ignore[arg-type]


def windows_firewall(
    *rules: FirewallRule, outbound: RuleVerdict = RuleVerdict.ALLOW, **more: object
) -> Firewall:
    """As Windows has it: on, outbound connects allowed, the network public."""
    profiles = tuple(
        FirewallProfile(name, enabled=True, active=name == "public", default_outbound=outbound)
        for name in ("domain", "private", "public")
    )
    base = Firewall(
        rules, profiles=profiles, active_from="INetFwPolicy2", sources=("local",), rules_read=412
    )
    return replace(base, **more)  # type: ignore[arg-type]


OUTPUT = FirewallChain("inet filter output", FirewallPlace.NFTABLES, "output")


def chained(id: str, action: RuleVerdict, *matches: FirewallMatch, **more: object) -> FirewallRule:
    """An nftables rule of the output chain."""
    base = FirewallRule(
        id, FirewallPlace.NFTABLES, action, chain=OUTPUT.id, matches=matches, packets=0
    )
    return replace(base, **more)  # type: ignore[arg-type]


def linux_firewall(*rules: FirewallRule, **more: object) -> Firewall:
    """nftables with an output chain that lets all pass which the rules do not stop."""
    return replace(Firewall(rules, (OUTPUT,), sources=("nftables",), rules_read=len(rules)), **more)  # type: ignore[arg-type]


def setting(
    place: str, kind: ProxyKind, scope: Scope, server: Optional[str], *bypass: str, **more: object
) -> Proxy:
    return replace(Proxy(place, kind, scope, server=server, bypass=bypass), **more)  # type: ignore[arg-type]


PROXY_PLACE, PROXY = "10.1.2.3", "10.1.2.3:3128"
WINHTTP_PROXY = setting("WinHTTP", ProxyKind.WINHTTP, Scope.MACHINE, PROXY, "*.contoso.com")
SYSTEM_PROXY = setting(
    "Internet Settings of S-1-5-18",
    ProxyKind.INTERNET_SETTINGS,
    Scope.SYSTEM,
    PROXY,
    "<local>",
    user="SYSTEM",
)
USER_PROXY = setting(
    "Internet Settings of S-1-5-21-1004336348-1177238915-682003330-1001",
    ProxyKind.INTERNET_SETTINGS,
    Scope.USER,
    "proxy.contoso.com:8080",
    "<local>",
    user="azureuser",
)
ETC_PROXY = setting(
    "/etc/environment",
    ProxyKind.ENVIRONMENT,
    Scope.MACHINE,
    PROXY,
    "localhost",
    "169.254.0.0/16",
    variable="http_proxy",
)


def windows(
    adapters: Tuple[Adapter, ...] = (LOOPBACK, ETHERNET, ETHERNET2),
    routes: Optional[Tuple[Route, ...]] = None,
    **more: object,
) -> Facts:
    if routes is None:
        routes = rows_of(ETHERNET, "172.16.69.1", 11, True) + rows_of(ETHERNET2, None, 11, False)
    gateways = [NextHop("172.16.69.1"), NextHop("10.1.0.1")]
    base = Facts(
        "windows",
        "testWs",
        LONG_AGO,
        activation="genuine",
        machine=Machine(
            "Windows Server 2022 Datacenter Azure Edition",
            os_version="21H2",
            edition="ServerTurbine",
            build="20348.2402",
            architecture="AMD64",
            vendor="Microsoft Corporation",
            product="Virtual Machine",
            asset_tag=AZURE_ASSET_TAG,
            smbios_uuid="02AAB8A4-74EF-476E-8182-F6D2BA4166A6",
            elevated=True,
        ),
        adapters=adapters,
        routes=routes,
        neighbours=tuple(
            Neighbour(gateway, None, None, Mac(AZURE_ARP_MAC), NeighbourState.REACHABLE)
            for gateway in gateways
        ),
        persistent_routes=(),
        services=(
            Service("WindowsAzureGuestAgent", ServiceState.RUNNING, "auto"),
            Service("RdAgent", ServiceState.RUNNING, "auto"),
            Service("MpsSvc", ServiceState.RUNNING, "auto"),
        ),
        proxies=(),
        firewall=windows_firewall(),
        listeners=(),
        connections=(),
        raw=(),
    )
    return with_lookups(replace(base, **more))  # type: ignore[arg-type]


def linux(
    adapters: Tuple[Adapter, ...] = (LO, ETH0, ETH1),
    routes: Optional[Tuple[Route, ...]] = None,
    source: str = "",
    **more: object,
) -> Facts:
    if routes is None:
        routes = rows_of(ETH0, "10.0.0.1", 100, True) + rows_of(ETH1, None, 200, False)
    base = Facts(
        "linux",
        "testlx",
        LONG_AGO,
        machine=Machine(
            "Ubuntu 24.04.1 LTS",
            "ubuntu",
            "24.04",
            kernel="6.8.0-1017-azure",
            architecture="x86_64",
            vendor="Microsoft Corporation",
            product="Virtual Machine",
            asset_tag=AZURE_ASSET_TAG,
            smbios_uuid="9a1f0c86-4c43-4d3e-8a3f-1a6f6f2b7d11",
            elevated=True,
        ),
        adapters=adapters,
        routes=routes,
        routing_rules=tuple(
            RoutingRule(p, table=t) for p, t in ((0, "local"), (32766, "main"), (32767, "default"))
        ),
        neighbours=(
            Neighbour(NextHop("10.0.0.1"), "eth0", 2, Mac(AZURE_ARP_MAC), NeighbourState.REACHABLE),
        ),
        services=(
            Service("walinuxagent", ServiceState.RUNNING, "enabled"),
            Service("systemd-networkd", ServiceState.RUNNING, "enabled"),
        ),
        proxies=(),
        firewall=linux_firewall(),
        listeners=(),
        raw=(),
    )
    return with_lookups(replace(base, **more), source)  # type: ignore[arg-type]


def managed(adapter: Adapter, **more: object) -> Adapter:
    """The adapter in the care of systemd-networkd, as Ubuntu's images have it."""
    profile = f"/run/systemd/network/10-netplan-{adapter.name}.network"
    return replace(adapter, managed_by="systemd-networkd", profile=profile, **more)  # type: ignore[arg-type]


# --- the catalogue ---


def _on_windows(
    name: str, cause: Optional[str], title: str, facts: Facts, **more: object
) -> Scenario:
    return Scenario(name, cause, title, WINDOWS_VM, facts, **more)  # type: ignore[arg-type]


def _on_linux(
    name: str, cause: Optional[str], title: str, facts: Facts, **more: object
) -> Scenario:
    return Scenario(name, cause, title, LINUX_VM, facts, **more)  # type: ignore[arg-type]


def _host(name: str, cause: Optional[str], title: str, **behaviour: object) -> Scenario:
    """A healthy Windows VM on a host that misbehaves."""
    return _on_windows(name, cause, title, windows(), behaviour=Behaviour(**behaviour))  # type: ignore[arg-type]


def _catalogue() -> List[Scenario]:
    eth0, eth1 = managed(ETH0), managed(ETH1)
    plain = rows_of(ETH0, "10.0.0.1", 100, False) + rows_of(ETH1, None, 200, False)
    subnets = rows_of(ETH0, None, 100, False) + rows_of(ETH1, None, 200, False)
    lease = rows_of(ETH0, "10.0.0.1", 100, True) + rows_of(ETH1, None, 200, False)
    own = rows_of(ETHERNET, "172.16.69.1", 11, True) + rows_of(ETHERNET2, None, 11, False)
    unspecific = rows_of(ETHERNET, "172.16.69.1", 11, False) + rows_of(ETHERNET2, None, 11, False)
    cluster = Adapter(
        21,
        "Local Area Connection* 1",
        "Microsoft Failover Cluster Virtual Adapter",
        mac=Mac("02-11-22-33-44-55"),
        state=LinkState.UP,
        addresses=(held("169.254.1.156", 16),),
    )
    tun0 = Adapter(8, "tun0", kind="tun", state=LinkState.UP, addresses=(held("10.8.0.2"),))
    apipa = Adapter(
        5,
        "cni0",
        kind="bridge",
        mac=Mac("02-42-AC-11-00-02"),
        state=LinkState.UP,
        addresses=(held("169.254.7.1", 16),),
    )
    secondary = replace(
        ETHERNET, addresses=(held("172.16.69.7", dynamic=True), held("172.16.69.8"))
    )
    two_addresses = replace(
        eth0, addresses=(held("10.0.0.4", dynamic=True), held("10.0.0.5", secondary=True))
    )
    wrong_hop = _through(lease, "10.0.0.99")
    proxied = (*windows().services, Service("GuestProxyAgent", ServiceState.STOPPED, "auto"))  # type: ignore[misc]
    claimed = replace(LO, addresses=(*LO.addresses, held(IMDS_ADDRESS, 32)))
    wrong_ip = replace(
        ETHERNET,
        addresses=(held("172.16.69.99"),),
        dhcp=False,
        dhcp_server=None,
        lease_address=None,
    )
    no_trace = dict(services=(), persistent_routes=())
    foreign = nic(
        7,
        "Ethernet",
        "0A-58-A9-FE-00-07",
        "192.168.1.7",
        "192.168.1.1",
        dhcp_server=Address("192.168.1.1"),
    )
    foreign_rows = rows_of(foreign, "192.168.1.1", 25, False)
    dark = {IMDS: "drops", **services()}
    return [
        _on_windows("healthy", None, "two NICs, everything as Azure's DHCP sets it", windows()),
        _on_linux(
            "healthy-linux",
            None,
            "two NICs, docker bridge",
            linux((LO, eth0, eth1, DOCKER0), (*lease, row("172.17.0.0/16", None, DOCKER0))),
        ),
        _on_linux(
            "healthy-default-route",
            None,
            "no /32 route, the default route serves",
            linux((LO, eth0, eth1), plain),
        ),
        _host(
            "healthy-older-host",
            None,
            "a host that knows only api-versions up to 2021",
            versions=("2021-02-01", "2020-09-01", "2019-03-11"),
        ),
        _host(
            "healthy-after-retry",
            None,
            "429 once, then the answer",
            instance="429",
            recovers_after=1,
        ),
        Scenario(
            "healthy-azure-stack",
            None,
            "Azure Stack Hub: no attested data there",
            replace(WINDOWS_VM, environment="AzureStack"),
            windows(),
            Behaviour(attested="404"),
        ),
        _on_windows(
            "route-wrong-interface",
            "route-wrong-interface",
            "a /32 route leads out by the second NIC",
            windows(
                routes=(
                    row(HOSTS[0], "10.1.0.1", ETHERNET2, 11),
                    *(r for r in own if r.destination != HOSTS[0]),
                )
            ),
        ),
        _on_windows(
            "route-wrong-interface-metric",
            "route-wrong-interface",
            "the second NIC's default route has the lower metric",
            windows(routes=(row("0.0.0.0/0", "10.1.0.1", ETHERNET2, 5), *unspecific)),
        ),
        _on_linux(
            "route-wrong-interface-vpn",
            "route-wrong-interface",
            "a VPN took over the default route",
            linux((LO, eth0, eth1, tun0), (row("0.0.0.0/0", "10.8.0.1", tun0, 50), *plain)),
        ),
        _on_linux(
            "route-wrong-interface-table",
            "route-wrong-interface",
            "a policy rule sends the address to a table of the second NIC",
            _by_rule(linux((LO, eth0, eth1)), row("0.0.0.0/0", "10.0.1.1", eth1, table="100")),
        ),
        _on_linux(
            "nic-down",
            "nic-down",
            "the primary NIC is disabled",
            linux((LO, replace(eth0, state=LinkState.DOWN), eth1), rows_of(ETH1, None, 200, False)),
        ),
        _on_windows(
            "nic-down-windows",
            "nic-down",
            "the primary NIC is disabled",
            windows(
                (LOOPBACK, replace(ETHERNET, state=LinkState.DOWN, addresses=()), ETHERNET2),
                rows_of(ETHERNET2, None, 11, False),
            ),
        ),
        _on_linux(
            "nic-no-carrier",
            "nic-down",
            "the primary NIC has no medium",
            linux((LO, replace(ETH0, state=LinkState.NO_CARRIER)), ()),
        ),
        _on_linux(
            "route-missing",
            "route-missing",
            "neither a default nor a /32 route",
            linux((LO, eth0, eth1), subnets),
        ),
        _on_windows(
            "route-missing-windows",
            "route-missing",
            "neither a default nor a /32 route",
            windows(routes=rows_of(ETHERNET, None, 11, False)),
        ),
        _on_linux(
            "route-missing-blackhole",
            "route-missing",
            "a blackhole route for the address",
            linux((LO, eth0, eth1), (Route(Cidr(HOSTS[0]), kind=RouteKind.BLACKHOLE), *plain)),
        ),
        _on_windows(
            "route-link-local-shadow",
            "route-link-local-shadow",
            "a failover cluster adapter's 169.254.0.0/16 wins",
            windows(
                (LOOPBACK, ETHERNET, ETHERNET2, cluster),
                (*unspecific, row("169.254.0.0/16", None, cluster, 271)),
            ),
        ),
        _on_linux(
            "route-link-local-shadow-linux",
            "route-link-local-shadow",
            "a container bridge's 169.254.0.0/16 wins",
            linux((LO, eth0, eth1, apipa), (*plain, row("169.254.0.0/16", None, apipa))),
        ),
        _on_linux(
            "route-wrong-gateway",
            "route-wrong-gateway",
            "the /32 route has a next hop that is not the gateway, and dead",
            linux(
                (LO, eth0, eth1),
                wrong_hop,
                neighbours=(
                    Neighbour(NextHop("10.0.0.99"), "eth0", 2, None, NeighbourState.FAILED),
                ),
            ),
        ),
        _on_linux(
            "address-claimed-locally",
            "address-claimed-locally",
            "loopback holds 169.254.169.254",
            linux((claimed, eth0, eth1)),
        ),
        _on_windows(
            "source-not-primary-ip",
            "source-not-primary-ip",
            "the system sends from the NIC's second address",
            _from(windows((LOOPBACK, secondary, ETHERNET2)), "172.16.69.8"),
        ),
        _on_linux(
            "source-not-primary-ip-linux",
            "source-not-primary-ip",
            "the route names the second address as its source",
            linux((LO, two_addresses, eth1), source="10.0.0.5"),
        ),
        _on_windows(
            "nic-mac-mismatch",
            "nic-mac-mismatch",
            "the NIC's MAC address was overridden",
            windows(
                (LOOPBACK, replace(ETHERNET, mac=Mac("00-0D-3A-99-99-99"))),
                rows_of(ETHERNET, "172.16.69.1", 11, True),
                expected=Expected(mac=Mac("00-0D-3A-E5-1C-C0")),
            ),
        ),
        _on_windows(
            "nic-ip-mismatch",
            "nic-ip-mismatch",
            "a static address that Azure does not know",
            windows(
                (LOOPBACK, wrong_ip, ETHERNET2),
                rows_of(wrong_ip, "172.16.69.1", 11, True),
                expected=Expected(Mac("00-0D-3A-E5-1C-C0"), Address("172.16.69.7")),
            ),
        ),
        _on_windows(
            "guest-proxy-agent-failing",
            "guest-proxy-agent-failing",
            "Metadata Security Protocol is on, its agent is down",
            windows(services=proxied),
            outcomes={IMDS: "refuses"},
        ),
        _on_linux(
            "guest-proxy-agent-failing-502",
            "guest-proxy-agent-failing",
            "the guest proxy agent answers 502",
            linux(
                (LO, eth0, eth1),
                services=(Service("azure-proxy-agent", ServiceState.RUNNING, "enabled"),),
                listeners=(
                    Listener(Address("127.0.0.1"), PROXY_AGENT_PORT, "azure-proxy-agent", 812),
                ),
            ),
            behaviour=Behaviour(instance="502"),
        ),
        _host(
            "imds-access-denied",
            "imds-access-denied",
            "Metadata Security Protocol's rules deny",
            instance="403",
        ),
        _host(
            "imds-rejects-request",
            "imds-rejects-request",
            "something adds X-Forwarded-For on the way",
            instance="400",
        ),
        _host(
            "imds-throttled", "imds-throttled", "some program asks far too often", instance="429"
        ),
        _host(
            "imds-unavailable", "imds-unavailable", "410 that outlasts the retries", instance="410"
        ),
        _host(
            "imds-unavailable-500",
            "imds-unavailable",
            "500 that outlasts the retries",
            instance="500",
        ),
        _host("imds-not-imds", "imds-not-imds", "a captive portal's page answers", instance="html"),
        _host(
            "imds-not-imds-403", "imds-not-imds", "a proxy's 403 page answers", instance="html-403"
        ),
        _host(
            "imds-not-imds-redirect", "imds-not-imds", "a redirect to a portal", instance="redirect"
        ),
        _host(
            "imds-not-imds-broken", "imds-not-imds", "JSON that breaks off", instance="broken-json"
        ),
        _on_windows(
            "firewall-blocks-imds",
            "firewall-blocks-imds",
            "an outbound rule of the Windows firewall blocks the address",
            windows(firewall=windows_firewall(outbound("Block metadata service", *to_host()))),
            outcomes={IMDS: "forbids"},
        ),
        _on_windows(
            "firewall-group-policy",
            "firewall-blocks-imds",
            "a rule of Group Policy blocks every web server",
            windows(
                firewall=windows_firewall(
                    outbound(
                        "Corp: no direct web",
                        condition(MatchField.PROTOCOL, "6"),
                        condition(MatchField.DESTINATION_PORT, "80", "443"),
                        place=FirewallPlace.GROUP_POLICY,
                    ),
                    sources=("local", "group-policy"),
                )
            ),
            outcomes={IMDS: "forbids", WIRESERVER: "forbids"},
        ),
        _on_windows(
            "firewall-default-outbound",
            "firewall-blocks-imds",
            "outbound connects are blocked unless a rule allows them",
            windows(firewall=windows_firewall(outbound=RuleVerdict.BLOCK)),
            outcomes={IMDS: "forbids", WIRESERVER: "forbids", PLUGIN: "forbids"},
        ),
        _on_windows(
            "firewall-one-program",
            None,
            "healthy, with a rule that blocks one program",
            windows(
                firewall=windows_firewall(
                    outbound(
                        "Block curl",
                        *to_host(),
                        condition(MatchField.PROGRAM, "C:\\Windows\\System32\\curl.exe"),
                    )
                )
            ),
        ),
        _on_linux(
            "firewall-nftables",
            "firewall-blocks-imds",
            "an nftables rule drops the requests",
            linux(firewall=linux_firewall(chained("7", RuleVerdict.DROP, *to_host(), packets=4))),
            outcomes={IMDS: "drops"},
        ),
        _on_linux(
            "firewall-redirects",
            "address-claimed-locally",
            "an iptables rule redirects the requests to this VM",
            linux(
                firewall=Firewall(
                    (
                        FirewallRule(
                            "-t nat -A OUTPUT -d 169.254.169.254/32 -p tcp -m tcp --dport 80 -j"
                            " REDIRECT --to-ports 8181",
                            FirewallPlace.IPTABLES,
                            RuleVerdict.REDIRECT,
                            chain="iptables nat OUTPUT",
                            target="port 8181 of this machine",
                            matches=to_host(),
                            packets=4,
                        ),
                    ),
                    (
                        FirewallChain(
                            "iptables nat OUTPUT", FirewallPlace.IPTABLES, "output", "nat", -100
                        ),
                    ),
                    sources=("iptables",),
                    rules_read=1,
                )
            ),
            outcomes={IMDS: "refuses"},
        ),
        _on_linux(
            "firewall-blocks-wireserver",
            "wireserver-unreachable",
            "an nftables rule drops what goes to the WireServer",
            linux(
                firewall=linux_firewall(
                    chained(
                        "9",
                        RuleVerdict.DROP,
                        condition(MatchField.DESTINATION, "168.63.129.0/24"),
                        packets=6,
                    )
                )
            ),
            outcomes={WIRESERVER: "drops", PLUGIN: "drops"},
        ),
        _on_windows(
            "proxy-intercepts-imds",
            "proxy-intercepts-imds",
            "WinHTTP's proxy does not bypass the address",
            windows(proxies=(WINHTTP_PROXY, SYSTEM_PROXY)),
            web={PROXY_PLACE: "proxy-503"},
        ),
        _on_windows(
            "proxy-imds-broken",
            "proxy-intercepts-imds",
            "the same, and IMDS does not answer without it",
            windows(proxies=(WINHTTP_PROXY,)),
            outcomes={IMDS: "drops"},
            web={PROXY_PLACE: "html-403"},
        ),
        _on_linux(
            "proxy-environment",
            "proxy-intercepts-imds",
            "/etc/environment bypasses a network, which not all clients know",
            linux(proxies=(ETC_PROXY,)),
            web={PROXY_PLACE: "html-403"},
        ),
        _on_linux(
            "proxy-bypassed",
            None,
            "healthy, with a proxy that is bypassed",
            linux(proxies=(replace(ETC_PROXY, bypass=PLATFORM_ADDRESSES),)),
            web={PROXY_PLACE: "html-403"},
        ),
        _on_windows(
            "proxy-wireserver",
            None,
            "healthy, with a proxy that is bypassed for IMDS only",
            windows(proxies=(replace(WINHTTP_PROXY, bypass=("169.254.*",)),)),
            web={PROXY_PLACE: "html-403"},
        ),
        _on_windows(
            "proxy-user-only",
            None,
            "healthy, with a proxy of one user",
            windows(proxies=(USER_PROXY,)),
            web={"proxy.contoso.com": "html-403"},
        ),
        _on_windows(
            "proxy-pac-present",
            None,
            "healthy, with a PAC file that does not know the address",
            windows(
                proxies=(
                    replace(
                        SYSTEM_PROXY,
                        server=None,
                        bypass=(),
                        pac_url="http://wpad.contoso.com/proxy.pac",
                        auto_detect=True,
                    ),
                )
            ),
            web={"wpad.contoso.com": "pac"},
        ),
        _on_windows(
            "firewall-unknown",
            "firewall-unknown",
            "a product on the VM forbids the connection",
            windows(),
            outcomes={IMDS: "forbids"},
        ),
        _on_windows(
            "imds-refused",
            "imds-refused",
            "the address refuses the connection",
            windows(),
            outcomes={IMDS: "refuses"},
        ),
        _on_windows(
            "imds-no-answer",
            "imds-no-answer",
            "no answer, and nothing on the VM explains it",
            windows(),
            outcomes={IMDS: "drops"},
        ),
        _on_windows(
            "platform-unreachable",
            "platform-unreachable",
            "neither IMDS nor the WireServer answers",
            windows(),
            outcomes=dark,
        ),
        _on_windows(
            "wireserver-unreachable",
            "wireserver-unreachable",
            "IMDS answers, port 32526 does not",
            windows(),
            outcomes={PLUGIN: "drops"},
        ),
        _host(
            "attested-unavailable",
            "attested-unavailable",
            "metadata, but no attested document",
            attested="404",
        ),
        _host(
            "attested-signature-invalid",
            "attested-signature-invalid",
            "the document was changed on its way",
            document="tampered",
        ),
        _host(
            "attested-nonce-mismatch",
            "attested-nonce-mismatch",
            "a document that was made for another request",
            document="other-nonce",
        ),
        _host(
            "attested-document-expired",
            "attested-document-expired",
            "a document of yesterday",
            document="stale",
        ),
        _host(
            "attested-vm-mismatch",
            "attested-vm-mismatch",
            "another VM's document",
            document="other-vm",
        ),
        _host(
            "attested-unverifiable",
            None,
            "healthy, with a signature of a kind that is not verified",
            document="sha1",
        ),
        _host(
            "cert-expired",
            "cert-expired",
            "the signing certificate has expired",
            document="expired-certificate",
        ),
        _host(
            "cert-san-mismatch",
            "cert-san-mismatch",
            "the signing certificate is another service's",
            document="wrong-name",
        ),
        _on_windows(
            "cert-intermediate-missing",
            "cert-intermediate-missing",
            "both issuers are missing, and nothing of the network can be reached",
            windows(),
            behaviour=ALONE,
            web=dict.fromkeys(ENDPOINTS, "drops"),
        ),
        _on_linux(
            "cert-intermediate-missing-cross",
            "cert-intermediate-missing",
            "the cross-certificate is missing, and its host is blocked",
            linux((LO, eth0, eth1), lease),
            behaviour=ALONE,
            web={**CERTIFICATE_HOSTS, "caissuers.microsoft.com": "drops"},
            stores={"root": BUNDLE, "issuing": BUNDLE},
        ),
        _on_windows(
            "cert-root-untrusted",
            "cert-root-untrusted",
            "the root is only in one user's store",
            windows(),
            behaviour=ALONE,
            web=CERTIFICATE_HOSTS,
            stores={"root": "S-1-5-21-1004336348-1177238915-682003330-512\\Root"},
        ),
        _on_windows(
            "cert-chain-rejected",
            "cert-chain-rejected",
            "an issuer is in the Disallowed store",
            windows(),
            stores={"root": ROOTS["windows"], "issuing": "LocalMachine\\Disallowed"},
        ),
        _on_windows(
            "cert-fetched-from-aia",
            None,
            "healthy, with issuers that are fetched",
            windows(),
            behaviour=ALONE,
            web=CERTIFICATE_HOSTS,
        ),
        _on_windows(
            "cert-fetched-from-aia-proxy",
            None,
            "healthy, with issuers that are fetched through the proxy",
            windows(proxies=(replace(WINHTTP_PROXY, bypass=PLATFORM_ADDRESSES),)),
            behaviour=ALONE,
            web={**dict.fromkeys(ENDPOINTS, "drops"), PROXY_PLACE: "certificates"},
        ),
        _host(
            "clock-skew",
            "clock-skew",
            "the VM's clock is three hours behind",
            clock_ahead_s=3 * 3600.0,
        ),
        _on_windows(
            "not-azure",
            "not-azure",
            "a machine in another place",
            windows(
                (LOOPBACK, foreign),
                foreign_rows,
                machine=Machine(
                    "Windows Server 2022 Standard",
                    vendor="VMware, Inc.",
                    asset_tag="No Asset Tag",
                    elevated=True,
                ),
                **no_trace,
            ),
            outcomes=dark,
        ),
        _on_windows(
            "not-azure-arc",
            "not-azure",
            "an Azure Arc-enabled server",
            windows(
                (LOOPBACK, foreign),
                foreign_rows,
                machine=Machine(
                    "Windows Server 2022 Standard",
                    vendor="Contoso",
                    asset_tag="C-1234",
                    elevated=True,
                ),
                services=(Service("himds", ServiceState.RUNNING, "auto"),),
            ),
            outcomes=dark,
        ),
        _on_windows(
            "tool-failed",
            "tool-failed",
            "the probe itself fails",
            windows(),
            outcomes={IMDS: "fails"},
        ),
        _on_windows(
            "route-stale-persistent",
            None,
            "healthy, with a stored route through a gateway that is gone",
            windows(
                persistent_routes=(PersistentRoute(Cidr(HOSTS[0]), Address("192.168.77.1"), 1),)
            ),
        ),
    ]


def _from(facts: Facts, source: str) -> Facts:
    """The system chooses this source address."""
    assert facts.lookups is not None
    return replace(
        facts, lookups=tuple(replace(lookup, source=Address(source)) for lookup in facts.lookups)
    )


def _through(routes: Tuple[Route, ...], gateway: str) -> Tuple[Route, ...]:
    """The routes, of which those to the platform's addresses lead through another gateway."""
    changed = list(routes)
    for number, route in enumerate(routes):
        if route.destination in HOSTS:
            changed[number] = replace(route, gateway=NextHop(gateway))
    return tuple(changed)


def _by_rule(facts: Facts, route: Route) -> Facts:
    """A policy rule sends IMDS's address to a table with this route."""
    assert (
        facts.lookups is not None and facts.routes is not None and facts.routing_rules is not None
    )
    rule = RoutingRule(100, destination=Cidr(HOSTS[0]), table=route.table)
    adapter = leaves_by(route, facts.adapters or ())
    source = adapter.addresses[0].address if adapter else None
    lookups = (replace(facts.lookups[0], source=source, route=route), *facts.lookups[1:])
    return replace(
        facts,
        lookups=lookups,
        routes=(*facts.routes, route),
        routing_rules=(*facts.routing_rules, rule),
    )


SCENARIOS: Tuple[Scenario, ...] = tuple(_catalogue())
BY_NAME: Dict[str, Scenario] = {scenario.name: scenario for scenario in SCENARIOS}


def table() -> str:
    """What ``demo --list`` prints."""
    lines = [f"{'SCENARIO':32}{'CAUSE':28}"]
    lines += [
        f"{scenario.name:32}{scenario.cause or '-':28}{scenario.title}" for scenario in SCENARIOS
    ]
    return "\n".join([*lines, ""])
