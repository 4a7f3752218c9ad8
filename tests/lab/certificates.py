"""The attested document and its certificates: what the lab's host signs, what the VM holds, and who
answers at the certificates' hosts.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Dict, List, Tuple

from runcommand.probes.certificates import ENDPOINTS
from runcommand.simulator import pki
from runcommand.simulator.host import Behaviour

from .namespace import IMDS, WIRESERVER
from .registry import HKLM, USER, stored
from .scenarios import Broken, healthy, platform

SERVED, REFUSING, DARK = (
    "10.0.0.50",
    "10.0.0.1",
    "203.0.113.77",
)  # a web server; nothing on port 80; nobody at all
ALL_DARK = (f"rule add pref 1 to {DARK} blackhole",)
ALONE = Behaviour(embedded=())  # the signing certificate alone, as Azure has it
TWO = ("caissuers.microsoft.com", "www.microsoft.com")
FETCHED, ENDPOINTS_CLOSED, MISSING = (
    "cert-fetched-from-aia",
    "cert-endpoints-blocked",
    "cert-intermediate-missing",
)
PROXY_PORT = 3128
BYPASSED = f"http_proxy=http://{SERVED}:{PROXY_PORT}\nno_proxy={IMDS},{WIRESERVER}\n"


def at(address: str, *hosts: str) -> Dict[str, str]:
    """Where the names of these hosts lead; of all documented ones, where none is given."""
    return dict.fromkeys(hosts or ENDPOINTS, address)


def web(
    how: str = "certificates", port: int = 80, address: str = SERVED
) -> Dict[Tuple[str, int], str]:
    return {(address, port): how}


def lacking(name: str, **more: object) -> Broken:
    return Broken(f"{MISSING} ({name})", "degraded", MISSING, **{"behaviour": ALONE, **more})  # type: ignore[arg-type]


def signed(cause: str, document: str, **more: object) -> Broken:
    """A document that is signed, and not as it should be."""
    name = f"{cause} ({document})"
    return platform("degraded", cause, name, behaviour=Behaviour(document=document), **more)


CERTIFICATES: List[Broken] = [
    healthy(
        "issuers that must be fetched",
        behaviour=ALONE,
        names=at(SERVED),
        web=web(),
        also=(FETCHED,),
    ),
    healthy(
        "issuers that only one of two hosts has",
        behaviour=ALONE,
        names={**at(SERVED), **at(REFUSING, TWO[1])},
        web=web(),
        also=(FETCHED,),
    ),
    healthy("everything in the document", never=(FETCHED, ENDPOINTS_CLOSED)),
    healthy(
        "everything on the VM",
        behaviour=ALONE,
        trust=("root", "issuing", "cross"),
        names=at(REFUSING),
        never=(FETCHED, ENDPOINTS_CLOSED),
    ),
    healthy(
        "the second root is trusted itself",
        behaviour=ALONE,
        trust=("tls_root", "issuing"),
        never=(FETCHED,),
    ),
    healthy(
        "--endpoints, all answer",
        names=at(SERVED),
        web=web(),
        arguments=("--endpoints",),
        never=(ENDPOINTS_CLOSED,),
    ),
    healthy(
        "--endpoints, all refuse",
        names=at(REFUSING),
        arguments=("--endpoints",),
        also=(ENDPOINTS_CLOSED,),
    ),
    healthy(
        "another subscription in the document", behaviour=Behaviour(document="other-subscription")
    ),
    healthy(
        "a signature of another kind",
        behaviour=Behaviour(document="sha1"),
        also=("attested-unverifiable",),
    ),
    healthy("the cloud of the US government", environment="AzureUSGovernmentCloud"),
    healthy("the cloud in China", environment="AzureChinaCloud"),
    healthy("a cloud that is not known", environment="AzureNowhere"),
    lacking("its hosts refuse", names=at(REFUSING), heals=True, also=(ENDPOINTS_CLOSED,)),
    lacking(
        "its hosts are dark", names=at(DARK), host=ALL_DARK, heals=True, also=(ENDPOINTS_CLOSED,)
    ),
    lacking("its hosts have no names", heals=True, also=(ENDPOINTS_CLOSED,)),
    lacking("its hosts send a web page", names=at(SERVED), web=web("html"), heals=True),
    lacking("its hosts never end", names=at(SERVED), web=web("endless")),
    lacking("its hosts reset", names=at(SERVED), web=web("reset"), heals=True),
    lacking(
        "the cross-certificate",
        trust=("root", "issuing"),
        names={**at(SERVED), **at(REFUSING, TWO[0])},
        web=web(),
        heals=True,
    ),
    lacking(
        "the second root in its place",
        behaviour=replace(ALONE, embedded=("issuing", "tls_root")),
        names={**at(SERVED), **at(REFUSING, TWO[0])},
        web=web(),
        heals=True,
    ),
    # a stranger's root: advice
    Broken(
        "cert-root-untrusted",
        "degraded",
        "cert-root-untrusted",
        behaviour=ALONE,
        trust=(),
        names=at(SERVED),
        web=web(),
    ),
    signed("attested-signature-invalid", "tampered"),
    signed("attested-signature-invalid", "garbage"),
    signed("attested-document-expired", "stale"),
    signed("attested-nonce-mismatch", "other-nonce"),
    signed("attested-vm-mismatch", "other-vm"),
    signed("cert-expired", "expired-certificate"),
    signed("cert-san-mismatch", "wrong-name"),
    platform(
        "degraded",
        "clock-skew",
        "clock-skew (a day, and the document of that time)",
        behaviour=Behaviour(clock_ahead_s=86400.0),
        never=("attested-document-expired",),
    ),
    platform(
        "degraded",
        "clock-skew",
        "clock-skew (a certificate that has expired only by the VM's clock)",
        behaviour=Behaviour(document="expired-certificate", clock_ahead_s=-2.4 * 365 * 86400),
        never=("cert-expired", "attested-document-expired"),
    ),
]

# What only Linux shows: a proxy of its environment.
ON_LINUX: List[Broken] = [
    healthy(
        "issuers that are fetched through the proxy",
        behaviour=ALONE,
        web=web(port=PROXY_PORT),
        files={"/etc/environment": BYPASSED},
        also=(FETCHED,),
    ),
    lacking(
        "the proxy refuses them",
        web=web("html-403", PROXY_PORT),
        files={"/etc/environment": BYPASSED},
    ),
]

# What only Windows shows: its stores.
USER_ROOT = stored("Root", pki.root()).replace(f"{HKLM}\\Software", f"{USER}\\Software")
ON_WINDOWS: List[Broken] = [
    Broken(
        "cert-chain-rejected",
        "degraded",
        "cert-chain-rejected",
        registry=(stored("Disallowed", pki.issuing()),),
        heals=True,
    ),
    Broken(
        "cert-root-untrusted (in a user's store)",
        "degraded",
        "cert-root-untrusted",
        behaviour=ALONE,
        trust=(),
        names=at(SERVED),
        web=web(),
        registry=(USER_ROOT,),
    ),
    healthy(
        "an intermediate in the store of roots",
        behaviour=ALONE,
        trust=("root", "cross"),
        registry=(stored("Root", pki.issuing()),),
    ),
]
