"""Firewalls and proxies of the lab's VM as Windows: settings of the registry, and what must be
found in them.
"""

from __future__ import annotations

import hashlib
import struct
from typing import List, Sequence

from .namespace import IMDS, WIRESERVER
from .obstacles import BLOCKS, HITS, PROXY, web
from .scenarios import Broken

HKLM, HKU = "HKEY_LOCAL_MACHINE", "HKEY_USERS"
FIREWALL = rf"{HKLM}\SYSTEM\CurrentControlSet\Services\SharedAccess\Parameters\FirewallPolicy"
POLICY = rf"{HKLM}\SOFTWARE\Policies\Microsoft\WindowsFirewall"
NETWORK = rf"{HKLM}\SOFTWARE\Microsoft\Windows NT\CurrentVersion\NetworkList\Profiles"
SETTINGS = r"Software\Microsoft\Windows\CurrentVersion\Internet Settings"
SYSTEM, USER = rf"{HKU}\S-1-5-18", rf"{HKU}\S-1-5-21-1004336348-1177238915-682003330-1001"
ENVIRONMENT = rf"{HKLM}\SYSTEM\CurrentControlSet\Control\Session Manager\Environment"
FORBID = (
    f"rule add pref 100 to {IMDS} prohibit",
)  # as a block of the Windows firewall looks to a program: 10013
FORBID_BOTH = (*FORBID, f"rule add pref 100 to {WIRESERVER} prohibit")
RULE = "{0B5F7C1E-0000-4000-8000-000000000001}"
TO_IMDS = f"Protocol=6|RPort=80|RA4={IMDS}|"
BOTH = f"{IMDS};{WIRESERVER}"


def key(path: str, **values: object) -> str:
    """One key of a .reg file."""
    return f"[{path}]\n" + "".join(
        f'"{name.replace("__", " ")}"={_value(value)}\n' for name, value in values.items()
    )


def _value(value: object) -> str:
    if isinstance(value, int):
        return f"dword:{value:08x}"
    if isinstance(value, bytes):
        return "hex:" + ",".join(f"{byte:02x}" for byte in value)
    return '"' + str(value).replace("\\", "\\\\").replace('"', '\\"') + '"'


def stored(store: str, encoded: bytes) -> str:
    """A certificate in one of the machine's stores: the properties CERT_HASH (3) and CERT_CERT
    (32), as crypt32 keeps them.
    """
    digest = hashlib.sha1(encoded).digest()
    value = b"".join(
        struct.pack("<III", number, 1, len(data)) + data
        for number, data in ((3, digest), (32, encoded))
    )
    return key(
        rf"{HKLM}\Software\Microsoft\SystemCertificates\{store}\Certificates\{digest.hex().upper()}",
        Blob=value,
    )


def rules(*texts: str, store: str = rf"{FIREWALL}\FirewallRules") -> str:
    lines = [f'"{RULE[:-2]}{number}}}"={_value(text)}\n' for number, text in enumerate(texts)]
    return f"[{store}]\n" + "".join(lines)


def out(rest: str, action: str = "Block", version: str = "v2.31") -> str:
    """An outbound rule that is switched on."""
    return f"{version}|Action={action}|Active=TRUE|Dir=Out|{rest}Name=Lab rule|"


def public(category: int = 0) -> str:
    """The only network that this VM knows, and its category: 0 public, 1 private, 2 domain."""
    return key(rf"{NETWORK}\{RULE}", Category=category, ProfileName="Network")


def settings(account: str, servers: str = PROXY, bypass: str = "", **more: object) -> str:
    return key(
        rf"{account}\{SETTINGS}", ProxyEnable=1, ProxyServer=servers, ProxyOverride=bypass, **more
    )


def blob(version: int, flags: int, *texts: str) -> bytes:
    """DefaultConnectionSettings, or WinHttpSettings."""
    parts = [struct.pack("<I", len(text)) + text.encode() for text in texts]
    return struct.pack("<III", version, 0, flags) + b"".join(parts)


def winhttp(servers: str = PROXY, bypass: str = "") -> str:
    return key(
        rf"{HKLM}\{SETTINGS}\Connections",
        WinHttpSettings=blob(0x18, 3 if servers else 1, servers, bypass),
    )


_SETTING = f"http://user:hunter2@{PROXY}"
# Proxy settings with passwords and keys in them, in each place that is read.
WITH_SECRETS = (
    winhttp(f"user:hunter2@{PROXY}", f"<local>;u:hunter2@x;{WIRESERVER}"),
    settings(
        SYSTEM,
        f"http={_SETTING};https=u:hunter2@h:1",
        "<local>",
        AutoConfigURL=f"http://u:hunter2@{PROXY}/proxy.pac?sig=S3cret",
    ),
    settings(USER, _SETTING, "u:hunter2@x"),
    key(
        rf"{SYSTEM}\{SETTINGS}\Connections",
        DefaultConnectionSettings=blob(
            0x46, 7, _SETTING, "u:hunter2@x", f"http://{PROXY}/p.pac?token=S3cret"
        ),
    ),
    key(ENVIRONMENT, HTTP_PROXY=_SETTING, API_KEY="S3cret"),
    key(rf"{SYSTEM}\Environment", http_proxy=f"{_SETTING}/?sig=S3cret"),
    key(rf"{HKLM}\SOFTWARE\Contoso", Password="hunter2"),
)


def blocked(name: str, *registry: str, vm: Sequence[str] = FORBID, **more: object) -> Broken:
    """A rule that blocks IMDS. (The network itself forbids the connect here.)"""
    texts = (public(), *registry)
    return Broken(f"{BLOCKS} ({name})", "broken", BLOCKS, vm=tuple(vm), registry=texts, **more)  # type: ignore[arg-type]


def not_fooled(name: str, *registry: str, **more: object) -> Broken:
    """A rule that does not block IMDS; something else forbids the connect."""
    given = {"vm": FORBID, "never": (BLOCKS,), "registry": (public(), *registry), **more}
    return Broken(f"firewall-unknown ({name})", "broken", "firewall-unknown", **given)  # type: ignore[arg-type]


def proxy(name: str, *registry: str, **more: object) -> Broken:
    return Broken(
        f"{HITS} ({name})", "degraded", HITS, registry=registry, web=web("proxy-503"), **more
    )  # type: ignore[arg-type]


def fine(name: str, *registry: str, **more: object) -> Broken:
    given = {"web": web("proxy-503"), "never": (HITS, BLOCKS), "registry": registry, **more}
    return Broken(f"healthy: {name}", "healthy", None, **given)  # type: ignore[arg-type]


OFF = dict(EnableFirewall=0)
BLOCK_ALL = dict(EnableFirewall=1, DefaultOutboundAction=1)

WINDOWS: List[Broken] = [
    blocked("local rule", rules(out(TO_IMDS))),
    blocked("all of TCP 80", rules(out("Protocol=6|RPort=80|RPort=443|"))),
    blocked("everything", rules(out(""))),
    blocked("a range of ports", rules(out("Protocol=6|RPort2_10=1-1024|"))),
    blocked("a range of addresses", rules(out("RA4=169.254.0.0-169.254.255.255|"))),
    blocked(
        "a subnet with a mask", rules(out("RA4=10.0.0.0/255.0.0.0|RA4=169.254.0.0/255.255.0.0|"))
    ),
    blocked("a subnet with a prefix", rules(out("RA4=169.254.169.0/24|"))),
    blocked("the active profile", rules(out(f"Profile=Domain|Profile=Public|{TO_IMDS}"))),
    blocked("a newer version", rules(out(TO_IMDS, version="v2.99"))),
    blocked("beside an allow", rules(out(TO_IMDS), out(TO_IMDS, "Allow"))),
    blocked(
        "capitals and order",
        rules(
            f"V2.10|ra4={IMDS}|dir=OUT|active=true|action=BLOCK|rport=80|protocol=6|Name=Lab rule|"
        ),
    ),
    blocked("Group Policy", rules(out(TO_IMDS), store=rf"{POLICY}\FirewallRules")),
    blocked(
        "Group Policy, local rules off",
        rules(out(TO_IMDS), store=rf"{POLICY}\FirewallRules"),
        key(rf"{POLICY}\PublicProfile", AllowLocalPolicyMerge=0),
    ),
    blocked("device management", rules(out(TO_IMDS), store=rf"{FIREWALL}\Mdm\FirewallRules")),
    blocked(
        "default outbound action", key(rf"{FIREWALL}\PublicProfile", **BLOCK_ALL), vm=FORBID_BOTH
    ),
    blocked(
        "default outbound action of Group Policy",
        key(rf"{POLICY}\PublicProfile", **BLOCK_ALL),
        vm=FORBID_BOTH,
    ),
    blocked(
        "default, and an allow for another host",
        key(rf"{FIREWALL}\PublicProfile", **BLOCK_ALL),
        rules(out("RA4=10.0.0.1|", "Allow")),
        vm=FORBID_BOTH,
    ),
    blocked(
        "default, and an allow for one program",
        key(rf"{FIREWALL}\PublicProfile", **BLOCK_ALL),
        rules(out(r"App=C:\curl.exe|", "Allow")),
        vm=FORBID_BOTH,
    ),
    blocked(
        "among 20,000 rules",
        rules(
            *(out(f"Protocol=6|RA4=10.{n >> 8 & 255}.{n & 255}.1|") for n in range(20000)),
            out(TO_IMDS),
        ),
    ),
    not_fooled("an inactive rule", rules(out(TO_IMDS).replace("TRUE", "FALSE"))),
    not_fooled("an inbound rule", rules(out(TO_IMDS).replace("Dir=Out", "Dir=In"))),
    not_fooled("another profile", rules(out(f"Profile=Domain|Profile=Private|{TO_IMDS}"))),
    not_fooled(
        "another address",
        rules(out("Protocol=6|RPort=80|RA4=169.254.169.253|"), out("RA4=10.0.0.0/255.0.0.0|")),
    ),
    not_fooled(
        "another port",
        rules(out(f"Protocol=6|RPort=443|RA4={IMDS}|"), out("Protocol=6|RPort2_10=81-65535|")),
    ),
    not_fooled("another protocol", rules(out(f"Protocol=17|RA4={IMDS}|"), out("Protocol=0|"))),
    not_fooled(
        "an allow-bypass rule",
        rules(out(TO_IMDS), out(f"{TO_IMDS}Security=Authenticate|AuthByPassOut=TRUE|", "Allow")),
        never=(),
        also=(BLOCKS,),
    ),
    not_fooled("IPv6 only", rules(out("RA6=LocalSubnet|"), out("RA62=IntErnet|"))),
    not_fooled("LocalSubnet", rules(out("RA4=LocalSubnet|RA6=LocalSubnet|"))),
    not_fooled(
        "local rules switched off",
        rules(out(TO_IMDS)),
        key(rf"{POLICY}\PublicProfile", AllowLocalPolicyMerge=0),
    ),
    not_fooled(
        "the firewall is off", rules(out(TO_IMDS)), key(rf"{FIREWALL}\PublicProfile", **OFF)
    ),
    not_fooled("no rule at all", f"[{FIREWALL}\\FirewallRules]\n"),
    not_fooled(
        "a service's restriction",
        rules(
            r"V2.0|Action=Block|Dir=Out|App=%SystemRoot%\system32\svchost.exe|Svc=DHCPServer|Name=Lab|",
            store=rf"{FIREWALL}\RestrictedServices\Static\System",
        ),
    ),
    not_fooled(
        "values of other types",
        f'[{FIREWALL}\\FirewallRules]\n"a"=dword:00000001\n"b"=hex:00,01\n"c"="v2.31|Action"\n"d"=""\n"e"="BlockAll|Action=Block|Active=TRUE|Dir=Out|"\n',
        key(rf"{FIREWALL}\PublicProfile", EnableFirewall="yes", DefaultOutboundAction=b"\1"),
    ),
    not_fooled(
        "one program",
        rules(out(rf"App=C:\Windows\System32\curl.exe|{TO_IMDS}")),
        never=(),
        also=(BLOCKS,),
    ),
    not_fooled(
        "one service",
        rules(out(rf"App=%SystemRoot%\System32\svchost.exe|Svc=DiagTrack|{TO_IMDS}")),
        never=(),
        also=(BLOCKS,),
    ),
    not_fooled(
        "one user",
        rules(out(f"{TO_IMDS}LUAuth=O:LSD:(A;;CC;;;S-1-5-21-1-2-3-1001)|")),
        never=(),
        also=(BLOCKS,),
    ),
    not_fooled(
        "a profile that may be the active one",
        key(rf"{NETWORK}\{{1}}", Category=1),
        rules(out(f"Profile=Private|{TO_IMDS}")),
        never=(),
        also=(BLOCKS,),
    ),
    not_fooled("a keyword", rules(out("RA42=IntErnet|RA62=IntErnet|")), never=(), also=(BLOCKS,)),
    not_fooled(
        "an unknown key", rules(out(f"{TO_IMDS}Quux=1|", version="v2.99")), never=(), also=(BLOCKS,)
    ),
    fine(
        "a default block, and an allow",
        public(),
        key(rf"{FIREWALL}\PublicProfile", **BLOCK_ALL),
        rules(out(f"Protocol=6|RPort=80|RPort=32526|RA4={IMDS}|RA4={WIRESERVER}|", "Allow")),
    ),
    fine(
        "a rule for one program",
        public(),
        rules(out(rf"App=C:\Windows\System32\curl.exe|{TO_IMDS}")),
        never=(),
        also=(BLOCKS,),
    ),
    proxy("WinHTTP", winhttp()),
    proxy("WinHTTP, http of several", winhttp(f"http={PROXY};https=10.9.9.9:1")),
    proxy("SYSTEM", settings(SYSTEM, bypass="<local>")),
    proxy("SYSTEM, http=", settings(SYSTEM, f"https=10.9.9.9:1;http=http://{PROXY}")),
    proxy(
        "SYSTEM, a binary value",
        key(
            rf"{SYSTEM}\{SETTINGS}\Connections",
            DefaultConnectionSettings=blob(0x46, 3, PROXY, "<local>", ""),
        ),
    ),
    proxy("SYSTEM, separated by blanks", settings(SYSTEM, bypass=f"{IMDS} {WIRESERVER}")),
    proxy("LOCAL SERVICE", settings(rf"{HKU}\S-1-5-19")),
    proxy(
        "the machine's policy",
        key(
            rf"{HKLM}\SOFTWARE\Policies\Microsoft\Windows\CurrentVersion\Internet Settings",
            ProxySettingsPerUser=0,
        ),
        settings(HKLM),
        settings(USER, "10.9.9.9:1"),
        never=("proxy-user-only",),
    ),
    proxy(
        "the machine's environment",
        key(
            ENVIRONMENT,
            HTTP_PROXY=f"http://user:secret@{PROXY}",
            NO_PROXY="169.254.0.0/16,168.63.129.16",
        ),
    ),
    proxy("SYSTEM's environment", key(rf"{SYSTEM}\Environment", http_proxy=PROXY)),
    proxy("this process's environment", variables={"http_proxy": PROXY}),
    fine("a user's proxy", settings(USER), also=("proxy-user-only",)),
    fine(
        "a user's environment",
        key(rf"{USER}\Environment", http_proxy=PROXY),
        also=("proxy-user-only",),
    ),
    fine("a proxy switched off", key(rf"{SYSTEM}\{SETTINGS}", ProxyEnable=0, ProxyServer=PROXY)),
    fine("a proxy for https only", settings(SYSTEM, f"https={PROXY}")),
    fine("WinHTTP, bypassed", winhttp(PROXY, f"<local>;{BOTH}")),
    fine("SYSTEM, bypassed", settings(SYSTEM, bypass=BOTH)),
    fine(
        "SYSTEM, bypassed by a wildcard", settings(SYSTEM, bypass="<local>;169.254.*;168.63.129.16")
    ),
    fine(
        "the machine's environment, bypassed",
        key(ENVIRONMENT, HTTP_PROXY=PROXY, NO_PROXY=f"localhost,{BOTH.replace(';', ',')}"),
        winhttp(PROXY, BOTH),
    ),
    fine(
        "a proxy through which IMDS answers", winhttp(), web=web("metadata"), never=(), also=(HITS,)
    ),
    fine(
        "a PAC file",
        key(rf"{SYSTEM}\{SETTINGS}", AutoConfigURL=f"http://{PROXY}/proxy.pac?secret"),
        web=web("pac"),
        also=("proxy-pac-present",),
    ),
    fine(
        "a PAC that never ends",
        key(rf"{USER}\{SETTINGS}", AutoConfigURL=f"http://{PROXY}/proxy.pac"),
        web=web("endless"),
        also=("proxy-pac-present",),
    ),
    fine(
        "values of other types",
        key(
            rf"{SYSTEM}\{SETTINGS}",
            ProxyEnable="1",
            ProxyServer=7,
            ProxyOverride=b"x",
            AutoConfigURL=1,
        ),
        key(
            rf"{SYSTEM}\{SETTINGS}\Connections",
            DefaultConnectionSettings=b"\x46\0\0\0\0\0\0\0\3\0\0\0\xff\xff\xff\xff",
        ),
        key(ENVIRONMENT, HTTP_PROXY=5),
    ),
]
