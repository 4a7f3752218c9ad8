"""Two VMs of a customer who has put a name of his own wherever one can stand, and every identity
that their facts hold.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Iterator, List

from runcommand.facts import (
    IMDS_ADDRESS,
    Adapter,
    AttestedDocument,
    Body,
    Certificate,
    CertificateChain,
    ChainError,
    ChainFault,
    EndpointTrial,
    Expected,
    Facts,
    Firewall,
    FirewallChain,
    FirewallMatch,
    FirewallPlace,
    FirewallRule,
    IssuerFetch,
    LinkState,
    Listener,
    MatchField,
    Neighbour,
    NeighbourState,
    Note,
    Outcome,
    PacFile,
    PersistentRoute,
    ProcessConnection,
    Proxy,
    ProxyKind,
    ProxyReach,
    ProxyTrial,
    RawText,
    RoutingRule,
    RuleVerdict,
    Scope,
    SignatureState,
    Unavailable,
    instant,
    parse_instant,
)
from runcommand.simulator.scenarios import (
    ETH0,
    ETH1,
    ETHERNET,
    ETHERNET2,
    HOSTS,
    LO,
    LOOPBACK,
    held,
    row,
    rows_of,
)

from .facts_of import LINUX, WINDOWS, connection, http, imds, no_answer

SID = "S-1-5-21-1004336348-1177238915-682003330-1105"
SUBSCRIPTION, VM_ID = "8d10da13-8125-4ba9-a717-bf7490507b3d", "02aab8a4-74ef-476e-8182-f6d2ba4166a6"
RULE_ID = "{0B5F7C1E-1234-4000-8000-00C04FC295EE}"

# What must be found nowhere in a redacted report, in capitals or not. Names of a customer's own
# making:
NAMES = (
    "ctsweb",
    "fabweb",
    "contoso",
    "fabrikam",
    "woodgrove",
    "litware",
    "proseware",
    "tailspin",
    "northwind",
    "adatum",
    "wingtip",
    "relecloud",
    "margies",
    "Z\u00fcrich",
    "Z\\u00FCrich",
    "Z\\u00fcrich",
    "INV-00451",
    "corpnet",
)
IDS = (
    SUBSCRIPTION,
    VM_ID,
    RULE_ID[1:-1],
    "a4b8aa02-ef74-6e47-8182-f6d2ba4166a6",
    "1004336348",
    "1177238915",
    "682003330",
)
ADDRESSES = (
    "172.16.69.7",
    "172.16.69.1",
    "172.16.69.8",
    "172.16.69.0",
    "172.16.69.255",
    "10.1.0.5",
    "10.1.0.1",
    "10.1.0.0",
    "10.0.0.4",
    "10.0.0.1",
    "10.0.0.5",
    "10.0.1.5",
    "10.99.88.77",
    "10.99.0.0",
    "10.99.",
    "20.51.7.9",
    "192.168.77.1",
    "10.8.0.2",
    "fd12:3456:789a:1::7",
    "2001:db8:85a3::8a2e",
    "20d:3aff:fee5:1cc0",
    "fee5:1cc0",
)
MACS = (
    "00-0D-3A-E5-1C-C0",
    "00-0D-3A-E5-1C-C1",
    "00-0D-3A-7F-20-04",
    "00-0D-3A-7F-20-05",
    "02-42-AC-77-66-55",
)

ROUTE_PRINT = """===========================================================================
Interface List
  7...00 0d 3a e5 1c c0 ......Microsoft Hyper-V Network Adapter
  9...00 0d 3a e5 1c c1 ......Microsoft Hyper-V Network Adapter #2
 12...00 ff ac 77 66 55 ......Contoso Secure Tunnel
  1...........................Software Loopback Interface 1
===========================================================================

IPv4 Route Table
===========================================================================
Active Routes:
Network Destination        Netmask          Gateway       Interface  Metric
          0.0.0.0          0.0.0.0      172.16.69.1     172.16.69.7     11
         10.1.0.0    255.255.255.0         On-link         10.1.0.5    266
        10.99.0.0      255.255.0.0     172.16.69.1     172.16.69.7     11
      172.16.69.0    255.255.255.0         On-link      172.16.69.7    266
      172.16.69.7  255.255.255.255         On-link      172.16.69.7    266
    172.16.69.255  255.255.255.255         On-link      172.16.69.7    266
    168.63.129.16  255.255.255.255      172.16.69.1     172.16.69.7     11
  169.254.169.254  255.255.255.255      172.16.69.1     172.16.69.7     11
        224.0.0.0        240.0.0.0         On-link      172.16.69.7    266
===========================================================================
IPv6 Route Table
Active Routes:
 If Metric Network Destination      Gateway
  7    266 fd12:3456:789a:1::/64    On-link
  7    266 fd12:3456:789a:1::7/128  On-link
  7    266 fe80::20d:3aff:fee5:1cc0/128
                                    On-link
  1    331 ff00::/8                 On-link
"""
IPCONFIG = """
Windows IP Configuration

   Host Name . . . . . . . . . . . . : ctsweb-Z\u00fcrich
   Primary Dns Suffix  . . . . . . . : ad.contoso.com
   Node Type . . . . . . . . . . . . : Hybrid
   IP Routing Enabled. . . . . . . . : No
   DNS Suffix Search List. . . . . . : ad.contoso.com
                                       fabrikam.com
                                       corpnet
                                       xkq4l1.bx.internal.cloudapp.net

Ethernet adapter Ethernet:

   Connection-specific DNS Suffix  . : wingtip
   Description . . . . . . . . . . . : Microsoft Hyper-V Network Adapter
   Physical Address. . . . . . . . . : 00-0D-3A-E5-1C-C0
   DHCP Enabled. . . . . . . . . . . : Yes
   IPv6 Address. . . . . . . . . . . : fd12:3456:789a:1::7(Preferred)
   Temporary IPv6 Address. . . . . . : 2001:db8:85a3::8a2e(Preferred)
   Link-local IPv6 Address . . . . . : fe80::20d:3aff:fee5:1cc0%7(Preferred)
   IPv4 Address. . . . . . . . . . . : 172.16.69.7(Preferred)
   Subnet Mask . . . . . . . . . . . : 255.255.255.0
   Default Gateway . . . . . . . . . : 172.16.69.1
   DHCP Server . . . . . . . . . . . : 168.63.129.16
   DHCPv6 IAID . . . . . . . . . . . : 117443898
   DHCPv6 Client DUID. . . . . . . . : 00-01-00-01-2B-7F-A1-33-00-0D-3A-E5-1C-C0
   DNS Servers . . . . . . . . . . . : 10.99.88.77
                                       168.63.129.16
   NetBIOS over Tcpip. . . . . . . . : Enabled

PPP adapter Margies Travel:

   Media State . . . . . . . . . . . : Media disconnected
   Connection-specific DNS Suffix  . : adatum.com
"""
IP_ADDR = """\
1: lo: <LOOPBACK,UP,LOWER_UP> mtu 65536 qdisc noqueue state UNKNOWN group default qlen 1000
    inet 127.0.0.1/8 scope host lo
       valid_lft forever preferred_lft forever
2: eth0: <BROADCAST,MULTICAST,UP,LOWER_UP> mtu 1500 qdisc mq state UP group default qlen 1000
    link/ether 00:0d:3a:7f:20:04 brd ff:ff:ff:ff:ff:ff
    altname enx000d3a7f2004
    inet 10.0.0.4/24 brd 10.0.0.255 scope global dynamic eth0
       valid_lft 80000sec preferred_lft 80000sec
5: contosovpn: <POINTOPOINT,MULTICAST,NOARP,UP,LOWER_UP> mtu 1420 qdisc noqueue state UNKNOWN \
group default qlen 1000
    inet 10.8.0.2/24 scope global contosovpn:adatum
       valid_lft forever preferred_lft forever
"""
IP_ROUTE = """default via 10.0.0.1 dev eth0 proto dhcp src 10.0.0.4 metric 100
10.8.0.0/24 dev contosovpn proto kernel scope link src 10.8.0.2
10.99.0.0/16 via 10.0.0.1 dev eth0 table woodgrove proto static
169.254.169.254 via 10.0.0.1 dev eth0 proto dhcp src 10.0.0.4 metric 100
"""


def windows() -> Facts:
    """Requests leave by the second NIC; beside that whatever may hold a name holds one."""
    vpn = Adapter(
        12,
        "Contoso VPN",
        "ContosoNet Secure Tunnel",
        "ppp",
        mac="02-42-AC-77-66-55",
        state=LinkState.UP,
        addresses=(held("10.8.0.2"),),
    )
    adapters = (LOOPBACK, ETHERNET, ETHERNET2, vpn)
    routes = (
        row(HOSTS[0], "10.1.0.1", ETHERNET2, 11),
        row("10.99.0.0/16", "172.16.69.1", ETHERNET, 11),
        *rows_of(ETHERNET, "172.16.69.1", 11, True)[:3],
    )
    facts = WINDOWS.dark("10.1.0.5", adapters=adapters, routes=routes)
    trial = facts.differential[0]
    instance = _named(trial.exchange.instance, "ctsweb01", "contoso-rg")
    squid = http(
        "10.1.0.5",
        403,
        Body.HTML,
        says="Contoso Ltd: access denied to RELECLOUDOPS",
        via="1.1 tailspin-px1 (squid/5.7)",
        server="Contoso-Gateway/2",
    )
    return replace(
        facts,
        host="ctsweb-Z\u00fcrich",
        expected=Expected("00-0D-3A-E5-1C-C0", "172.16.69.7"),
        machine=replace(facts.machine, smbios_uuid=VM_ID.upper()),
        persistent_routes=(PersistentRoute("10.99.0.0/16", "192.168.77.1", 1),),
        listeners=(Listener("127.0.0.1", 3080, "contoso-agent.exe", 4700),),
        connections=(ProcessConnection("contoso-inventory.exe", 4711, 50123, "established"),),
        proxies=(
            Proxy(
                "WinHTTP",
                ProxyKind.WINHTTP,
                Scope.MACHINE,
                server="proxy.contoso.com:8080",
                bypass=("*.contoso.com", "10.99.*", "*.fabrikam.com", "<local>", "adatum"),
            ),
            Proxy(
                f"Internet Settings of {SID}",
                ProxyKind.INTERNET_SETTINGS,
                Scope.USER,
                "Margies Ops",
                "10.99.88.77:3128",
                bypass=("*.litware.com",),
            ),
            Proxy(
                f"the environment of {SID}",
                ProxyKind.ENVIRONMENT,
                Scope.USER,
                SID,
                "tailspin-px1:80",
                "http_proxy",
                bypass=(".contoso.com", "10.99.0.0/16", IMDS_ADDRESS),
            ),
            Proxy(
                "Internet Settings of S-1-5-18",
                ProxyKind.INTERNET_SETTINGS,
                Scope.SYSTEM,
                "SYSTEM",
                pac_url="http://wpad.contoso.com/relecloud/proxy.pac",
            ),
        ),
        proxy_trials=(
            ProxyTrial("proxy.contoso.com:8080", squid, None),
            ProxyTrial(
                "tailspin-px1:80",
                None,
                None,
                "the name tailspin-px1: Name or service not known",
                True,
            ),
        ),
        pac_files=(
            PacFile(
                "http://wpad.contoso.com/relecloud/proxy.pac",
                Outcome.FAILED,
                "the name wpad.contoso.com: Name or service not known",
            ),
        ),
        firewall=Firewall(
            rules=(
                FirewallRule(
                    RULE_ID,
                    FirewallPlace.LOCAL,
                    RuleVerdict.BLOCK,
                    "Contoso: keep out of Fabrikam",
                    matches=(
                        FirewallMatch(
                            MatchField.DESTINATION,
                            ("10.99.88.0-10.99.88.77", "20.51.7.9", "10.99.0.0/16"),
                        ),
                        FirewallMatch(
                            MatchField.PROGRAM,
                            (
                                r"C:\Program Files\Contoso\agent.exe",
                                r"C:\Users\relecloudops\AppData\x.exe",
                            ),
                        ),
                        FirewallMatch(MatchField.USER, (f"O:LSD:(A;;CC;;;{SID})",)),
                    ),
                ),
                FirewallRule(
                    "NorthwindBlock",
                    FirewallPlace.GROUP_POLICY,
                    RuleVerdict.BLOCK,
                    "northwind isolation",
                ),
            ),
            profiles=facts.firewall.profiles,
            active_from="INetFwPolicy2",
            sources=("local policy",),
            rules_read=500,
        ),
        certificate_chains=(_chain(), replace(_chain(), fetched=True)),
        endpoints=(
            EndpointTrial(
                "pki.contoso.com",
                ("AIA",),
                connection(Outcome.REFUSED, address="20.51.7.9"),
                proxies=(ProxyReach("proxy.contoso.com:8080", Outcome.HTTP, 403),),
            ),
            EndpointTrial(
                "caissuers.microsoft.com",
                ("AIA",),
                error="the name caissuers.microsoft.com",
                is_name_unknown=True,
            ),
        ),
        raw=(
            RawText("route print", ROUTE_PRINT),
            RawText("ipconfig /all", IPCONFIG.replace("\n", "\r\n")),
        ),
        differential=(
            replace(trial, exchange=replace(trial.exchange, instance=instance)),
            *facts.differential[1:],
        ),
        unavailable=(
            Unavailable(
                "activation",
                r"C:\Users\relecloudops\slwga.dll cannot be loaded on CTSWEB-Z"
                "\u00fc"
                "RICH by CONTOSO\\relecloudops",
            ),
        ),
        notes=(
            Note(
                "proxies",
                f"the environment of {SID}: HTTP_PROXY of woodgroveops@fabrikam.com: no address of "
                "a proxy",
            ),
        ),
    )


def linux() -> Facts:
    """A policy rule and iptables rules of the customer's, a proxy of the machine; IMDS answers a
    document of another VM.
    """
    vpn = Adapter(
        5,
        "contosovpn",
        kind="tun",
        state=LinkState.UP,
        addresses=(held("10.8.0.2"),),
        profile="netplan-contosovpn",
    )
    eth0 = replace(ETH0, profile=f"{SUBSCRIPTION[:-1]}e", managed_by="NetworkManager")
    bridge = Adapter(
        6,
        "br-litware",
        kind="bridge",
        mac="02-42-AC-77-66-55",
        state=LinkState.UP,
        addresses=(held("192.168.77.1"),),
    )
    facts = LINUX.healthy(adapters=(LO, eth0, ETH1, vpn, bridge))
    answer = facts.imds.attempts[0]
    instance = _named(answer.instance, "fabweb02", "FABRIKAM-PROD")
    document = AttestedDocument(
        SignatureState.VALID,
        None,
        "RSA 2048, SHA-256",
        _leaf(),
        1,
        "1234567890",
        "1234567890",
        answer.date,
        instant(parse_instant(answer.date).replace(year=2030)),
        "11111111-2222-3333-4444-555555555555",
        SUBSCRIPTION,
        "2022-datacenter",
    )
    found = imds(replace(answer, instance=instance), document=document)
    rule = (
        "-A CONTOSO-OUT -d 10.99.0.0/16 -o contosovpn -m set --match-set wingtip dst -m comment "
        '--comment "Fabrikam keeps out" -j DROP'
    )
    return replace(
        facts,
        host="fabweb02.ad.contoso.com",
        machine=replace(
            facts.machine,
            smbios_uuid="a4b8aa02-ef74-6e47-8182-f6d2ba4166a6",
            os_name="Contoso Enterprise Linux 9",
            vendor="Litware Computers",
            asset_tag="INV-00451",
        ),
        routing_rules=(
            *facts.routing_rules,
            RoutingRule(90, "10.0.0.4/32", "10.99.0.0/16", oif="contosovpn", table="woodgrove"),
        ),
        routes=(
            *facts.routes,
            replace(row("10.99.0.0/16", "10.0.0.1", ETH0), table="woodgrove"),
            row("10.8.0.0/24", None, vpn),
        ),
        neighbours=(
            *facts.neighbours,
            Neighbour("10.0.0.77", "br-litware", 6, "02-42-AC-77-66-55", NeighbourState.STALE),
            Neighbour("fe80::20d:3aff:fee5:1cc0", "eth0", 2),
        ),
        proxies=(
            Proxy(
                "/etc/profile.d/proseware-proxy.sh",
                ProxyKind.ENVIRONMENT,
                Scope.MACHINE,
                server="proxy.contoso.com:8080",
                variable="http_proxy",
                bypass=("localhost", ".contoso.com", "10.99.0.0/16", "10.99.88.77"),
            ),
        ),
        proxy_trials=(ProxyTrial("proxy.contoso.com:8080", no_answer("10.0.0.4"), None),),
        firewall=Firewall(
            rules=(
                FirewallRule(
                    f"-t filter {rule}",
                    FirewallPlace.IPTABLES,
                    RuleVerdict.DROP,
                    "Fabrikam keeps out",
                    "ip filter CONTOSO-OUT",
                    matches=(
                        FirewallMatch(MatchField.DESTINATION, ("10.99.0.0/16", "@wingtip")),
                        FirewallMatch(MatchField.INTERFACE_OUT, ("contoso+",)),
                        FirewallMatch(MatchField.OTHER, ("--match-set wingtip dst",)),
                        FirewallMatch(MatchField.GROUP, ("adatum-admins",)),
                    ),
                    packets=7,
                ),
                FirewallRule(
                    "-t filter -A OUTPUT -j CONTOSO-OUT",
                    FirewallPlace.IPTABLES,
                    RuleVerdict.JUMP,
                    chain="ip filter OUTPUT",
                    target="ip filter CONTOSO-OUT",
                ),
            ),
            chains=(
                FirewallChain("ip filter OUTPUT", FirewallPlace.IPTABLES, "output"),
                FirewallChain("ip filter CONTOSO-OUT", FirewallPlace.IPTABLES),
            ),
            sources=("iptables",),
            rules_read=2,
        ),
        certificate_chains=(replace(_chain(), engine="openssl verify"),),
        raw=(RawText("ip -4 route show table all", IP_ROUTE), RawText("ip -4 addr show", IP_ADDR)),
        imds=found,
        unavailable=(
            Unavailable(
                "listeners", "PermissionError: /home/woodgroveops/northwind.conf at services.py:31"
            ),
        ),
        notes=(
            Note("proxies", "/etc/profile.d/proseware-proxy.sh: http_proxy: no address of a proxy"),
        ),
    )


def _named(instance, name, group):
    resource = (
        f"/subscriptions/{SUBSCRIPTION}/resourceGroups/{group}"
        f"/providers/Microsoft.Compute/virtualMachines/{name}"
    )
    return replace(
        instance,
        name=name,
        resource_group_name=group,
        resource_id=resource,
        subscription_id=SUBSCRIPTION,
        vm_id=VM_ID,
    )


def _leaf() -> Certificate:
    return Certificate(
        "CN=metadata.azure.com, O=Microsoft Corporation, L=Redmond, S=WA, C=US",
        "CN=Contoso Issuing CA 3, O=Contoso Ltd, C=DE",
        "A" * 40,
        "01",
        authority_key_id="C0FFEE" * 6 + "C0FE",
        names=("metadata.azure.com", "*.litware.com"),
        issuer_urls=("http://pki.contoso.com/certs/Proseware.crt",),
        key="RSA 2048",
    )


def _chain() -> CertificateChain:
    issuer = Certificate(
        "CN=Contoso Issuing CA 3, O=Contoso Ltd, C=DE",
        "CN=Contoso Root CA, O=Contoso Ltd, C=DE",
        "B5E1D0" * 6 + "B5E1",
        "77AA55",
        subject_key_id="C0FFEE" * 6 + "C0FE",
        stores=("LocalMachine\\CA", f"{SID}\\Root"),
    )
    fetch = IssuerFetch(
        "http://pki.contoso.com/certs/Proseware.crt",
        Outcome.FAILED,
        "proxy.contoso.com:8080",
        error="the name pki.contoso.com: Name or service not known",
    )
    return CertificateChain(
        False,
        "crypt32",
        False,
        (ChainError(ChainFault.ISSUER_MISSING, "no issuer of Contoso Issuing CA 3", 1),),
        (_leaf(), issuer),
        "2026-11-23T01:44:05Z",
        (fetch,),
    )


CERTIFICATE_NUMBERS = ("B5E1D0B5E1", "C0FFEEC0FFEE", "77AA55")
FACTS = {"windows": windows(), "linux": linux()}


def found_in(text: str) -> List[str]:
    """The identities that a text holds."""
    return [identity for identity in _all_spellings() if identity.lower() in text.lower()]


def _all_spellings() -> Iterator[str]:
    yield from (*NAMES, *CERTIFICATE_NUMBERS)
    for identity in IDS:
        yield from {identity, identity.replace("-", "")}
    yield from ADDRESSES
    for mac in MACS:
        plain = mac.replace("-", "")
        yield from (
            mac,
            mac.replace("-", ":"),
            mac.replace("-", " "),
            plain,
            ".".join(re.findall("....", plain)),
        )
