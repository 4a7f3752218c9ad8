"""Every way in which the lab is broken, what must be said of it, and whether the printed fix must
heal it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Dict, List, Optional, Tuple

from runcommand.simulator.host import Behaviour

from .namespace import IMDS, WIRESERVER, Lab

EXPECT_NIC = ("--expected-mac", "00-0D-3A-7F-20-04", "--expected-ip", "10.0.0.4")
NOTHING = "rule add pref 0 to {} blackhole"


@dataclass(frozen=True)
class Broken:
    """One scenario. ``vm`` and ``host`` are ``ip`` commands, run before the diagnosis."""

    name: str
    verdict: str
    cause: Optional[str]
    vm: Tuple[str, ...] = ()
    host: Tuple[str, ...] = ()
    heals: bool = False  # after the printed commands, the next run is healthy
    arguments: Tuple[str, ...] = ()
    behaviour: Behaviour = Behaviour()
    environment: str = "AzurePublicCloud"
    not_listening: Tuple[Tuple[str, int], ...] = ()
    services: Dict[str, str] = field(default_factory=dict)
    files: Dict[str, str] = field(default_factory=dict)
    leased: bool = True  # the network manager has a lease
    inside: Optional[Behaviour] = None  # a server inside the VM, at the address that it claims
    commands: Tuple[str, ...] = ()  # other commands in the VM, run after ``vm``
    web: Dict[Tuple[str, int], str] = field(
        default_factory=dict
    )  # servers beside the host's: how they answer
    names: Dict[str, str] = field(default_factory=dict)  # of other hosts: their addresses
    trust: Tuple[str, ...] = (
        "root",
    )  # certificates that the VM holds, as ``pki.ISSUERS`` names them
    variables: Dict[str, str] = field(default_factory=dict)  # of the program's own environment
    registry: Tuple[str, ...] = ()  # keys as a .reg file has them; for the VM as Windows
    also: Tuple[str, ...] = ()  # causes that must be among the other findings
    never: Tuple[str, ...] = ()  # causes that must be among none

    def prepare(self, lab: Lab) -> None:
        if self.vm:
            lab.ip(*self.vm)
        for command in self.host:
            lab.host(command)
        if self.services:
            lab.services(**self.services)
        for path, text in self.files.items():
            lab.write(path, text)
        if not self.leased:
            lab.forget_leases()
        if self.inside:
            lab.serve_inside(self.inside)
        for command in self.commands:
            lab.vm(command)
        if self.registry:
            lab.registry("\n".join(self.registry))
        lab.hosts(self.names)
        lab.trust(self.trust)
        for (address, port), how in self.web.items():
            lab.web(address, port, how)

    def is_right(self, report: Dict[str, Any]) -> bool:
        """Whether a report says of it what it must."""
        causes = [finding["cause"] for finding in report["findings"]]
        told = set(self.also) <= set(causes) and not set(self.never) & set(causes)
        return (report["verdict"], report["cause"]) == (self.verdict, self.cause) and told


def broken(cause: str, name: str = "", **more: object) -> Broken:
    """A break inside the VM that its printed fix must heal."""
    return Broken(name or cause, "broken", cause, heals=True, **more)  # type: ignore[arg-type]


def platform(verdict: str, cause: str, name: str = "", **more: object) -> Broken:
    """A break outside the VM."""
    return Broken(name or cause, verdict, cause, **more)  # type: ignore[arg-type]


def healthy(name: str, **more: object) -> Broken:
    """One of the things that are not faults."""
    return Broken(f"healthy: {name}", "healthy", None, **more)  # type: ignore[arg-type]


STALE_LEASE = """lease {
  interface "eth0";
  fixed-address 192.168.5.7;
  option routers 192.168.5.1;
  option dhcp-server-identifier 168.63.129.16;
}
"""
STALE = dict(files={"/var/lib/dhcp/dhclient.eth0.leases": STALE_LEASE}, leased=False)
SECOND_NIC_LEASED = ("route add default via 10.0.1.1 dev eth1 metric 200",)
NO_HOST_ROUTES = (f"route del {IMDS}/32", f"route del {WIRESERVER}/32")
NO_ROUTES = (*NO_HOST_ROUTES, "route del default")
VPN = (
    *NO_HOST_ROUTES,
    "tuntap add tun0 mode tun",
    "link set tun0 up",
    "addr add 10.8.0.2/24 dev tun0",
    "route add 0.0.0.0/1 dev tun0",
    "route add 128.0.0.0/1 dev tun0",
)
MISTYPED_MAC, MISTYPED_IP = ("--expected-mac", "00-0D-3A-7F-20-99"), ("--expected-ip", "20.1.2.3")
SECOND_MAC, SECOND_IP = ("--expected-mac", "00-0D-3A-7F-20-05"), ("--expected-ip", "10.0.1.5")

SCENARIOS: List[Broken] = [
    healthy("as Azure's DHCP leaves it"),
    healthy("a default route only", vm=NO_HOST_ROUTES, also=("route-not-specific",)),
    healthy(
        "several addresses", vm=("addr add 10.0.0.5/24 dev eth0", "addr add 10.0.0.6/32 dev eth0")
    ),
    healthy("an on-link /32 route", vm=(f"route del {IMDS}/32", f"route add {IMDS}/32 dev eth0")),
    healthy(
        "a bridge of containers",
        vm=(
            "link add docker0 type bridge",
            "link set docker0 up",
            "addr add 172.17.0.1/16 dev docker0",
        ),
    ),
    healthy(
        "a VPN with its own routes",
        vm=(
            "tuntap add tun0 mode tun",
            "link set tun0 up",
            "addr add 10.8.0.2/24 dev tun0",
            "route add 0.0.0.0/1 dev tun0",
            "route add 128.0.0.0/1 dev tun0",
        ),
    ),
    healthy(
        "the NIC in a bridge with its MAC",
        vm=(
            "link add br0 address 00:0d:3a:7f:20:04 type bridge",
            "link set br0 up",
            "addr flush dev eth0",
            "link set eth0 master br0",
            "addr add 10.0.0.4/24 dev br0",
            "route add default via 10.0.0.1 dev br0",
        ),
    ),
    healthy("a second NIC without an address", vm=("addr flush dev eth1",)),
    healthy(
        "Azure Stack Hub has no attested data",
        environment="AzureStack",
        behaviour=Behaviour(attested="404"),
    ),
    healthy("an older host", behaviour=Behaviour(versions=("2021-02-01", "2020-09-01"))),
    healthy("429 once", behaviour=Behaviour(instance="429", recovers_after=1)),
    healthy("a stale lease file", **STALE),
    healthy(
        "policy routing for the second NIC",
        vm=(
            "rule add pref 100 from 10.0.1.5 lookup 101",
            "route add default via 10.0.1.1 dev eth1 table 101",
        ),
    ),
    healthy("a mistyped --expected-mac", arguments=MISTYPED_MAC, also=("nic-mac-mismatch",)),
    healthy("a mistyped --expected-ip", arguments=MISTYPED_IP, also=("nic-ip-mismatch",)),
    healthy(
        "--expected-mac of the second NIC",
        arguments=SECOND_MAC,
        also=("nic-mac-mismatch",),
        never=("route-wrong-interface",),
    ),
    healthy(
        "--expected-ip of the second NIC",
        arguments=SECOND_IP,
        also=("nic-ip-mismatch",),
        never=("route-wrong-interface",),
    ),
    healthy(
        "--expected-ip of a second configuration",
        vm=("addr add 10.0.0.5/24 dev eth0",),
        arguments=("--expected-ip", "10.0.0.5"),
        also=("nic-ip-mismatch",),
        never=("source-not-primary-ip",),
    ),
    healthy("two default routes", vm=(*NO_HOST_ROUTES, *SECOND_NIC_LEASED)),
    broken("nic-down", vm=("link set eth0 down",)),
    broken(
        "nic-down",
        "nic-down (another default route)",
        vm=(
            "tuntap add tun0 mode tun",
            "link set tun0 up",
            "addr add 10.8.0.2/24 dev tun0",
            "route add default dev tun0",
            "link set eth0 down",
        ),
    ),
    broken(
        "nic-down",
        "nic-down (lease gone, second NIC up)",
        vm=("link set eth0 down", *SECOND_NIC_LEASED),
        leased=False,
    ),
    broken(
        "nic-mac-mismatch",
        vm=(
            "link set eth0 down",
            "link set eth0 address 00:0d:3a:99:99:99",
            "link set eth0 up",
            "route add default via 10.0.0.1 dev eth0",
        ),
        arguments=EXPECT_NIC,
    ),
    broken(
        "nic-ip-mismatch",
        vm=(
            "addr flush dev eth0",
            "addr add 10.0.0.99/24 dev eth0",
            "route add default via 10.0.0.1 dev eth0",
        ),
        arguments=EXPECT_NIC,
    ),
    broken(
        "nic-ip-mismatch",
        "nic-ip-mismatch (by the lease)",
        vm=(
            "addr flush dev eth0",
            "addr add 10.0.0.99/24 dev eth0",
            "route add default via 10.0.0.1 dev eth0",
        ),
    ),
    platform(
        "broken",
        "nic-mac-mismatch",
        "nic-mac-mismatch (nothing answers)",
        host=(NOTHING.format(IMDS), NOTHING.format(WIRESERVER)),
        arguments=MISTYPED_MAC,
    ),
    broken("address-claimed-locally", vm=(f"addr add {IMDS}/32 dev lo",)),
    broken(
        "address-claimed-locally",
        "address-claimed-locally (route)",
        vm=(f"route add local {IMDS}/32 dev lo table local",),
    ),
    broken(
        "address-claimed-locally",
        "address-claimed-locally (403)",
        vm=(f"addr add {IMDS}/32 dev lo",),
        inside=Behaviour(instance="403"),
    ),
    broken(
        "address-claimed-locally",
        "address-claimed-locally (500)",
        vm=(f"addr add {IMDS}/32 dev lo",),
        inside=Behaviour(instance="500"),
    ),
    broken("route-missing", vm=NO_ROUTES),
    broken(
        "route-missing",
        "route-missing (no address)",
        vm=("addr flush dev eth0", "addr add 10.0.0.4/24 dev eth0"),
    ),
    broken(
        "route-missing",
        "route-missing (rule from)",
        vm=("rule add pref 100 from 10.0.0.4 prohibit",),
    ),
    broken(
        "route-missing",
        "route-missing (rule iif lo)",
        vm=(f"rule add pref 100 iif lo to {IMDS} prohibit",),
    ),
    broken(
        "route-missing",
        "route-missing (table)",
        vm=(
            "rule add pref 100 from 10.0.0.4 lookup 101",
            "route add unreachable default table 101",
        ),
    ),
    broken(
        "route-missing",
        "route-missing (two rules of one preference)",
        vm=("rule add pref 100 from 10.0.1.5 lookup main", f"rule add pref 100 to {IMDS} prohibit"),
    ),
    broken(
        "route-missing", "route-missing (rule of preference 1)", vm=("rule add pref 1 unreachable",)
    ),
    broken(
        "route-missing",
        "route-missing (unreachable)",
        vm=(f"route add unreachable {IMDS}/32 metric 5",),
    ),
    broken("route-missing", "route-missing (blackhole)", vm=(f"route add blackhole {IMDS}/32",)),
    broken(
        "route-missing",
        "route-missing (prohibit)",
        vm=(*NO_HOST_ROUTES, f"route add prohibit {IMDS}/32"),
    ),
    broken("route-missing", "route-missing (rule)", vm=(f"rule add pref 100 to {IMDS} prohibit",)),
    broken("route-missing", "route-missing (rule for all)", vm=("rule add pref 100 unreachable",)),
    broken("route-link-local-shadow", vm=(*NO_HOST_ROUTES, "addr add 169.254.7.1/16 dev eth1")),
    broken(
        "route-link-local-shadow",
        "route-link-local-shadow (bridge)",
        vm=(
            *NO_HOST_ROUTES,
            "link add cni0 type bridge",
            "link set cni0 up",
            "addr add 169.254.7.1/16 dev cni0",
        ),
    ),
    broken("route-wrong-interface", vm=(f"route add {IMDS}/32 via 10.0.1.1 dev eth1",)),
    broken(
        "route-wrong-interface",
        "route-wrong-interface (--expected-mac of the second NIC)",
        vm=(f"route add {IMDS}/32 via 10.0.1.1 dev eth1",),
        arguments=SECOND_MAC,
        also=("nic-mac-mismatch",),
    ),
    broken(
        "route-wrong-interface",
        "route-wrong-interface (VPN, --expected-ip of the second NIC)",
        vm=VPN,
        arguments=SECOND_IP,
        also=("nic-ip-mismatch",),
    ),
    broken(
        "route-wrong-interface",
        "route-wrong-interface (metric)",
        vm=(*NO_HOST_ROUTES, "route add default via 10.0.1.1 dev eth1 metric 5"),
    ),
    broken(
        "route-wrong-interface",
        "route-wrong-interface (table)",
        vm=(
            "route add default via 10.0.1.1 dev eth1 table 100",
            f"rule add pref 100 to {IMDS} lookup 100",
        ),
    ),
    broken(
        "route-wrong-interface",
        "route-wrong-interface (rule from)",
        vm=(
            "route add default via 10.0.1.1 dev eth1 table 101",
            "rule add pref 100 from 10.0.0.4 lookup 101",
        ),
    ),
    broken(
        "route-wrong-interface",
        "route-wrong-interface (rule tcp 80)",
        vm=(
            "route add default via 10.0.1.1 dev eth1 table 200",
            "rule add pref 100 ipproto tcp dport 80 lookup 200",
        ),
    ),
    broken(
        "route-wrong-interface",
        "route-wrong-interface (stale lease)",
        vm=(f"route add {IMDS}/32 via 10.0.1.1 dev eth1",),
        **STALE,
    ),
    broken("route-wrong-interface", "route-wrong-interface (VPN)", vm=VPN),
    broken(
        "route-wrong-interface",
        "route-wrong-interface (/32 address)",
        vm=(
            "addr flush dev eth0",
            "addr add 10.0.0.4/32 dev eth0",
            "route add default via 10.0.0.1 dev eth0 onlink metric 100",
            f"route add {IMDS}/32 via 10.0.1.1 dev eth1",
        ),
    ),
    broken("route-wrong-gateway", vm=(f"route replace {IMDS}/32 via 10.0.0.99 dev eth0",)),
    broken(
        "route-wrong-gateway",
        "route-wrong-gateway (rule from)",
        vm=(
            "route add default via 10.0.0.99 dev eth0 table 101",
            "rule add pref 100 from 10.0.0.4 lookup 101",
        ),
    ),
    broken(
        "route-wrong-gateway",
        "route-wrong-gateway (default)",
        vm=(*NO_ROUTES, "route add default via 10.0.0.99 dev eth0"),
    ),
    broken(
        "route-wrong-gateway",
        "route-wrong-gateway (static ARP entry)",
        vm=("neigh replace 10.0.0.1 lladdr 02:00:00:00:00:99 dev eth0 nud permanent",),
    ),
    broken(
        "source-not-primary-ip",
        vm=(
            "addr add 10.0.0.5/24 dev eth0",
            f"route replace {IMDS}/32 via 10.0.0.1 dev eth0 src 10.0.0.5",
        ),
    ),
    broken(
        "source-not-primary-ip",
        "source-not-primary-ip (--expected-ip of the second configuration)",
        vm=(
            "addr add 10.0.0.5/24 dev eth0",
            f"route replace {IMDS}/32 via 10.0.0.1 dev eth0 src 10.0.0.5",
        ),
        arguments=("--expected-ip", "10.0.0.5"),
        also=("nic-ip-mismatch",),
    ),
    broken(
        "source-not-primary-ip",
        "source-not-primary-ip (default)",
        vm=(
            "addr add 10.0.0.5/24 dev eth0",
            *NO_ROUTES,
            "route add default via 10.0.0.1 dev eth0 src 10.0.0.5",
        ),
    ),
    broken(
        "source-not-primary-ip",
        "source-not-primary-ip (other NIC's)",
        vm=(f"route replace {IMDS}/32 via 10.0.0.1 dev eth0 src 10.0.1.5",),
    ),
    broken(
        "source-not-primary-ip",
        "source-not-primary-ip (of loopback)",
        vm=(
            "addr add 10.99.99.99/32 dev lo",
            f"route replace {IMDS}/32 via 10.0.0.1 dev eth0 src 10.99.99.99",
        ),
    ),
    Broken(
        "wireserver-unreachable (route)",
        "degraded",
        "wireserver-unreachable",
        vm=(f"route replace {WIRESERVER}/32 via 10.0.1.1 dev eth1",),
        heals=True,
    ),
    Broken(
        "nic-ip-mismatch (IMDS answers)",
        "degraded",
        "nic-ip-mismatch",
        vm=(
            "addr flush dev eth0",
            "addr add 10.0.0.99/24 dev eth0",
            "route add default via 10.0.0.1 dev eth0",
        ),
        host=(
            f"rule add pref 9 iif h0 from 10.0.0.99 to {IMDS} lookup local",
            f"rule add pref 9 iif h0 from 10.0.0.99 to {WIRESERVER} lookup local",
        ),
        heals=True,
    ),
    platform(
        "broken",
        "guest-proxy-agent-failing",
        services={"azure_proxy_agent": "failed"},
        not_listening=((IMDS, 80),),
    ),
    platform(
        "broken",
        "guest-proxy-agent-failing",
        "guest-proxy-agent-failing (502)",
        services={"azure_proxy_agent": "active"},
        behaviour=Behaviour(instance="502"),
    ),
    platform("broken", "imds-access-denied", behaviour=Behaviour(instance="403")),
    platform("broken", "imds-rejects-request", behaviour=Behaviour(instance="400")),
    platform("degraded", "imds-throttled", behaviour=Behaviour(instance="429")),
    platform("broken", "imds-unavailable", behaviour=Behaviour(instance="410")),
    platform(
        "broken", "imds-unavailable", "imds-unavailable (500)", behaviour=Behaviour(instance="500")
    ),
    platform("broken", "imds-not-imds", behaviour=Behaviour(instance="html")),
    platform("broken", "imds-refused", not_listening=((IMDS, 80),)),
    platform("broken", "imds-no-answer", host=(NOTHING.format(IMDS),)),
    platform(
        "broken",
        "imds-no-answer",
        "imds-no-answer (values of the second NIC)",
        host=(NOTHING.format(IMDS),),
        arguments=(*SECOND_MAC, *SECOND_IP),
        also=("nic-mac-mismatch", "nic-ip-mismatch"),
        never=("route-wrong-interface",),
    ),
    platform(
        "broken",
        "platform-unreachable",
        "platform-unreachable (stale lease)",
        host=(NOTHING.format(IMDS), NOTHING.format(WIRESERVER)),
        **STALE,
    ),
    platform(
        "degraded",
        "wireserver-unreachable",
        "wireserver-unreachable (web page)",
        behaviour=Behaviour(wireserver="html-403"),
    ),
    platform(
        "broken", "platform-unreachable", host=(NOTHING.format(IMDS), NOTHING.format(WIRESERVER))
    ),
    platform(
        "broken",
        "platform-unreachable",
        "platform-unreachable (refused)",
        not_listening=((IMDS, 80), (WIRESERVER, 80), (WIRESERVER, 32526)),
    ),
    platform("degraded", "wireserver-unreachable", host=(NOTHING.format(WIRESERVER),)),
    platform(
        "degraded",
        "wireserver-unreachable",
        "wireserver-unreachable (32526)",
        not_listening=((WIRESERVER, 32526),),
    ),
    platform("degraded", "attested-unavailable", behaviour=Behaviour(attested="500")),
    platform("degraded", "clock-skew", behaviour=Behaviour(clock_ahead_s=-7200.0)),
    platform(
        "inconclusive",
        "not-azure",
        vm=NO_HOST_ROUTES,
        host=(NOTHING.format(IMDS), NOTHING.format(WIRESERVER)),
        files={"/sys/class/dmi/id/chassis_asset_tag": "CZ1234567\n"},
    ),
    platform(
        "inconclusive",
        "not-azure",
        "not-azure (another cloud answers)",
        behaviour=Behaviour(instance="other-json"),
        host=(NOTHING.format(WIRESERVER),),
        files={"/sys/class/dmi/id/chassis_asset_tag": "Amazon EC2\n"},
    ),
]
