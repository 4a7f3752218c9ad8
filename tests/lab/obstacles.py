"""Firewalls and proxies of the lab's Linux VM: what must be found, what must be mended, what is no
fault.
"""

from __future__ import annotations

from typing import Dict, List, Tuple

from .namespace import IMDS, WIRESERVER
from .scenarios import MISTYPED_MAC, Broken, broken, healthy

PROXY = "10.0.0.50:3128"  # on the host's side of the network
TABLE = (
    "nft add table inet lab",
    "nft add chain inet lab out { type filter hook output priority 0 ; }",
)
JUMP = (
    *TABLE,
    "nft add chain inet lab metadata",
    f"nft add rule inet lab out ip daddr {IMDS} tcp dport 80 jump metadata",
)
SETS = (
    *TABLE,
    "nft add set inet lab blocked { type ipv4_addr ; flags interval ; }",
    f"nft add element inet lab blocked {{ 192.0.2.1, {IMDS}, 198.51.100.0/24 }}",
    "nft add rule inet lab out ip daddr @blocked tcp dport { 80, 443 } counter drop",
)
WAAGENT = tuple(  # the rules of the Azure Linux agent itself
    f"iptables -t security -A OUTPUT -d {WIRESERVER} -p tcp {match}"
    for match in (
        "-m tcp --dport 53 -j ACCEPT",
        "-m owner --uid-owner 0 -j ACCEPT",
        "-m conntrack --ctstate INVALID,NEW -j DROP",
    )
)
BLOCKS = "firewall-blocks-imds"
HITS = "proxy-intercepts-imds"


def nft(*rules: str) -> Tuple[str, ...]:
    """Rules of the output chain."""
    return (*TABLE, *(f"nft add rule inet lab out {rule}" for rule in rules))


def firewall(name: str, *commands: str, **more: object) -> Broken:
    """A rule that drops or rejects what goes to IMDS."""
    return broken(BLOCKS, f"{BLOCKS} ({name})", commands=commands, **more)


def passes(name: str, *commands: str, **more: object) -> Broken:
    """A rule that lets it pass."""
    return healthy(name, commands=commands, **{"never": (BLOCKS,), **more})


def proxy(name: str, heals: bool = True, how: str = "proxy-503", **more: object) -> Broken:
    """A proxy that takes the requests of some clients."""
    return Broken(f"{HITS} ({name})", "degraded", HITS, heals=heals, web=web(how), **more)  # type: ignore[arg-type]


def web(how: str) -> Dict[Tuple[str, int], str]:
    address, _, port = PROXY.partition(":")
    return {(address, int(port)): how}


def bypassed(name: str, **more: object) -> Broken:
    return healthy(name, web=web("proxy-503"), never=(HITS,), **more)


WRONG_WAY = f"route add {IMDS}/32 via 10.0.1.1 dev eth1"
BLANKS = (
    "a=b" + " " * 16000 + "\x01 y\n"
) * 12  # in a script: a pattern with overlapping blanks never ends on it
NETWORKD_ETH0 = "/run/systemd/netif/links/2"
LEASES = "/var/lib/dhcp/dhclient.eth0.leases"
LEASE = (
    'lease {{\n  interface "eth0";\n  fixed-address {};\n  option routers 10.0.0.1;\n  option '
    "dhcp-server-identifier 168.63.129.16;\n}}\n"
)


def beside(cause: str, name: str, *vm: str, **more: object) -> Broken:
    """A fault that must be named although something else on the VM is damaged or hostile."""
    return broken(cause, f"{cause} ({name})", vm=vm, **more)


SET = f"http_proxy=http://user:secret@{PROXY}"
ENOUGH = f"no_proxy=localhost,{IMDS},{WIRESERVER}"

OBSTACLES: List[Broken] = [
    firewall("nft drop", *nft(f"ip daddr {IMDS} tcp dport 80 counter drop")),
    firewall(
        "nft drop, a mistyped --expected-mac",
        *nft(f"ip daddr {IMDS} tcp dport 80 counter drop"),
        arguments=MISTYPED_MAC,
        also=("nic-mac-mismatch",),
    ),
    firewall("nft set", *SETS),
    firewall("nft range", *nft("ip daddr 169.254.0.0-169.254.255.255 drop")),
    firewall("nft reject", *nft(f"ip daddr {IMDS} reject with icmp type admin-prohibited")),
    firewall("nft jump chain", *JUMP, "nft add rule inet lab metadata counter drop"),
    firewall("nft verdict map", *nft(f"ip daddr vmap {{ {IMDS} : drop, 10.0.0.0/8 : accept }}")),
    firewall(
        "nft policy",
        TABLE[0],
        "nft add chain inet lab out { type filter hook output priority 0 ; policy drop ; }",
    ),
    firewall(
        "nft postrouting",
        TABLE[0],
        "nft add chain inet lab out { type filter hook postrouting priority 0 ; }",
        f"nft add rule inet lab out ip daddr {IMDS} drop",
    ),
    firewall(
        "nft input",
        TABLE[0],
        "nft add chain inet lab in { type filter hook input priority 0 ; }",
        f"nft add rule inet lab in ip saddr {IMDS} drop",
    ),
    firewall("nft owner: root", *nft(f"ip daddr {IMDS} meta skuid 0 drop")),
    firewall(
        "nft after an accept of another chain",
        *nft("accept"),
        "nft add chain inet lab late { type filter hook output priority 10 ; }",
        f"nft add rule inet lab late ip daddr {IMDS} drop",
    ),
    firewall("iptables reject", f"iptables -A OUTPUT -d {IMDS} -p tcp --dport 80 -j REJECT"),
    firewall("iptables drop of a network", "iptables -A OUTPUT -d 169.254.0.0/16 -j DROP"),
    firewall(
        "iptables multiport, all hosts",
        "iptables -A OUTPUT -p tcp -m multiport --dports 80,443 -j REJECT --reject-with tcp-reset",
    ),
    firewall(
        "iptables chain",
        "iptables -N METADATA",
        f"iptables -A METADATA -d {IMDS} -j DROP",
        "iptables -A OUTPUT -j METADATA",
    ),
    firewall("iptables input policy", "iptables -P INPUT DROP"),
    firewall("iptables-legacy", f"iptables-legacy -A OUTPUT -d {IMDS} -j DROP"),
    firewall(
        "iptables, a comment with blanks",
        f"iptables -A OUTPUT -d {IMDS} -m comment --comment 'blocked by policy' -j DROP",
    ),
    firewall(
        "iptables iprange",
        "iptables -A OUTPUT -m iprange --dst-range 169.254.1.0-169.254.254.255 -j DROP",
    ),
    broken(
        "address-claimed-locally",
        "address-claimed-locally (nat, nft)",
        commands=(
            TABLE[0],
            "nft add chain inet lab translate { type nat hook output priority -100 ; }",
            f"nft add rule inet lab translate ip daddr {IMDS} tcp dport 80 redirect to :8181",
        ),
    ),
    broken(
        "address-claimed-locally",
        "address-claimed-locally (nat, iptables)",
        commands=(
            f"iptables -t nat -A OUTPUT -d {IMDS} -p tcp --dport 80 -j DNAT --to-destination "
            "127.0.0.1:8181",
        ),
    ),
    Broken(
        "wireserver-unreachable (firewall)",
        "degraded",
        "wireserver-unreachable",
        commands=nft(f"ip daddr {WIRESERVER} drop"),
        heals=True,
        also=("firewall-blocks-wireserver",),
    ),
    passes(
        "nft, another address",
        *nft("ip daddr 169.254.169.253 drop", "ip daddr 169.254.169.255 reject"),
    ),
    passes(
        "nft, another port",
        *nft(f"ip daddr {IMDS} tcp dport 443 drop", f"ip daddr {IMDS} udp dport 80 drop"),
    ),
    passes(
        "nft, all but this address",
        *nft(f"ip daddr != {IMDS} ip daddr != {WIRESERVER} ip daddr != 10.0.0.0/8 drop"),
    ),
    passes(
        "nft, accepted before",
        *nft(f"ip daddr {{ {IMDS}, {WIRESERVER} }} accept", "meta l4proto tcp drop"),
    ),
    passes("nft, another way out", *nft('oifname "eth1" drop')),
    passes(
        "nft, established only",
        *nft("ct state established,related accept", "ct state invalid drop"),
    ),
    passes(
        "nft, an empty set",
        *TABLE,
        "nft add set inet lab none { type ipv4_addr ; }",
        "nft add rule inet lab out ip daddr @none drop",
    ),
    passes(
        "nft, returned before",
        *JUMP,
        "nft add rule inet lab metadata return",
        "nft add rule inet lab metadata drop",
    ),
    passes(
        "nft, another family",
        "nft add table ip6 lab",
        "nft add chain ip6 lab out { type filter hook output priority 0 ; policy drop ; }",
    ),
    passes(
        "nft, owner: all but root",
        *nft(f"ip daddr {IMDS} meta skuid != 0 drop"),
        never=(),
        also=(BLOCKS,),
    ),
    passes(
        "nft, not decided",
        *nft(f"ip daddr {IMDS} limit rate over 1000/second drop"),
        never=(),
        also=(BLOCKS,),
    ),
    passes(
        "iptables, owner: a user",
        f"iptables -A OUTPUT -d {IMDS} -m owner --uid-owner 1000 -j DROP",
        never=(),
        also=(BLOCKS,),
    ),
    passes(
        "iptables, the agent's own rules", *WAAGENT, never=(BLOCKS, "firewall-blocks-wireserver")
    ),
    passes(
        "a firewall that lets out what it knows",
        "iptables -P INPUT DROP",
        "iptables -A INPUT -i lo -j ACCEPT",
        "iptables -A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
    ),
    proxy("this process's environment", heals=False, variables={"http_proxy": PROXY}),
    proxy("HTTP_PROXY", heals=False, variables={"HTTP_PROXY": f"http://{PROXY}/"}),
    proxy("all_proxy", heals=False, variables={"all_proxy": f"http://{PROXY}"}),
    proxy(
        "/etc/environment",
        files={"/etc/environment": f'LANG=C\n{SET}\nno_proxy="localhost,.contoso.com"\n'},
    ),
    proxy(
        "/etc/profile.d",
        files={
            "/etc/profile.d/proxy.sh": f"PROXY=http://{PROXY}\nexport http_proxy=$PROXY\nexport "
            "no_proxy='localhost'\n"
        },
    ),
    beside(
        "route-wrong-interface",
        "a hostile script in profile.d",
        WRONG_WAY,
        files={"/etc/profile.d/a.sh": BLANKS},
    ),
    beside(
        "route-wrong-interface",
        "hostile lease files",
        WRONG_WAY,
        files={LEASES: "lease {" * 50_000, "/var/lib/dhclient/dhclient.leases": "lease {" * 15_000},
    ),
    beside(
        "route-wrong-interface",
        "a damaged lease behind a good one",
        WRONG_WAY,
        leased=False,
        files={
            LEASES: LEASE.format("10.0.0.4") + LEASE.format("10.0.0.999") + "lease {\n  interface"
        },
    ),
    proxy(
        "a script behind a hostile one",
        files={
            "/etc/profile.d/a.sh": BLANKS,
            "/etc/profile.d/proxy.sh": f"export http_proxy=http://{PROXY}\n",
        },
    ),
    proxy(
        "/etc/environment, # in the password",
        files={"/etc/environment": f'http_proxy="http://user:12#34@{PROXY}"\n'},
    ),
    proxy("systemd", files={"/run/lab/environment": f"LANG=C\n{SET}\nNO_PROXY=localhost\n"}),
    proxy(
        "a network in no_proxy",
        files={"/etc/environment": f"{SET}\nno_proxy=169.254.0.0/16,168.63.129.16\n"},
    ),
    proxy(
        "it refuses", heals=True, files={"/etc/environment": "http_proxy=http://10.0.0.50:3999\n"}
    ),
    proxy("it is silent", how="silent", files={"/etc/environment": f"{SET}\n"}),
    proxy("it sends garbage", how="http-0.9", files={"/etc/environment": f"{SET}\n"}),
    proxy("it never ends", how="endless", files={"/etc/environment": f"{SET}\n"}),
    Broken(
        "proxy-intercepts-imds (IMDS fails too)",
        "broken",
        HITS,
        files={"/etc/environment": f"{SET}\n"},
        web=web("html-403"),
        not_listening=((IMDS, 80),),
    ),
    healthy(
        "a proxy through which IMDS answers",
        files={"/etc/environment": f"{SET}\n"},
        web=web("metadata"),
        also=(HITS,),
    ),
    bypassed("/etc/environment, bypassed", files={"/etc/environment": f"{SET}\n{ENOUGH}\n"}),
    bypassed(
        "/etc/environment, bypassed for IMDS only",
        files={"/etc/environment": f"{SET}\nno_proxy={IMDS}\n"},
        also=("proxy-intercepts-wireserver",),
    ),
    bypassed("profile.d, bypassed", files={"/etc/profile.d/proxy.sh": f"export {SET} {ENOUGH}\n"}),
    bypassed("systemd, bypassed", files={"/run/lab/environment": f"{SET}\n{ENOUGH}\n"}),
    bypassed(
        "this process's environment, bypassed",
        variables={"http_proxy": PROXY, "no_proxy": f"{IMDS},{WIRESERVER}"},
    ),
    bypassed(
        "waagent.conf, whose agent asks without it",
        files={
            "/etc/waagent.conf": f"HttpProxy.Host={PROXY.partition(':')[0]}\nHttpProxy.Port=3128\n"
        },
    ),
    healthy(
        "an address that systemd-networkd sets",
        leased=False,
        files={NETWORKD_ETH0: "ADMIN_STATE=configured\n"},
        also=("nic-dhcp-disabled",),
    ),
]
