"""The lab's VM as Windows: the same namespaces, and in them the exe under Wine, in a prefix that
only this VM has.

Wine opens sockets and reads routes in processes of its own (wineserver, winedevice.exe), which live
where the first process of their prefix was started. The prefix is an overlay inside the VM's mount
namespace: nothing outside can start them, and nothing inside can reach those of another VM.
"""

from __future__ import annotations

import base64
import re
import subprocess
from dataclasses import replace
from pathlib import Path, PureWindowsPath
from typing import Any, Dict, Iterator, List, Optional, Sequence, Set

from runcommand.simulator import pki
from runcommand.simulator.host import Behaviour

from .. import wine
from .certificates import CERTIFICATES, ON_WINDOWS
from .namespace import AZURE_TAG, IMDS, WIRESERVER, Lab
from .registry import WINDOWS, stored
from .scenarios import SCENARIOS, Broken

PREFIX = Path("/run/wine/prefix")
SERVICES = "System\\\\CurrentControlSet\\\\Services"  # as Wine writes a key: every backslash twice
FIREWALL_POLICY = "System\\CurrentControlSet\\Services\\SharedAccess\\Parameters\\FirewallPolicy"
CERTUTIL = re.compile(r'certutil -(add|del)store (\w+) "?([^"|&]+?)"?(?: \|\||$)')
STORE_TOOL = "Z:" + str(Path(__file__).with_name("store.py"))
NUMBERED = re.compile(r"\{.*?\}|[0-9A-F]{40}")  # names of keys and values that could be any
NAMES = {
    "walinuxagent": "WindowsAzureGuestAgent",
    "azure_proxy_agent": "GuestProxyAgent",
    "firewall": "MpsSvc",
}

# What Wine cannot show, and why.
NO_RULES = "Windows has no policy routing: no table shows why the connect fails"
NO_KINDS = "Windows has no such routes: no table shows why the connect fails"
STRONG_HOST = "on Windows a packet leaves by the NIC that holds its source address"
NO_DEVICE = (
    "Windows binds no socket to a device: nothing answers past such a VPN, and then the "
    "operator's word decides"
)
LINUX_LEASE = (
    "a lease file of Linux; Windows keeps leases in the registry, for as long as they are in use"
)
CANNOT: Dict[str, str] = {
    "healthy: a stale lease file": LINUX_LEASE,
    "route-wrong-interface (stale lease)": LINUX_LEASE,
    "platform-unreachable (stale lease)": LINUX_LEASE,
    "address-claimed-locally (route)": "Windows has no table of local addresses apart from the "
    "adapters'",
    "route-missing (rule from)": NO_RULES,
    "route-missing (rule iif lo)": NO_RULES,
    "route-missing (table)": NO_RULES,
    "route-missing (two rules of one preference)": NO_RULES,
    "route-missing (rule of preference 1)": NO_RULES,
    "route-missing (rule)": NO_RULES,
    "route-missing (rule for all)": NO_RULES,
    "route-missing (unreachable)": NO_KINDS,
    "route-missing (blackhole)": NO_KINDS,
    "route-missing (prohibit)": NO_KINDS,
    "route-wrong-interface (rule from)": NO_RULES,
    "route-wrong-interface (rule tcp 80)": NO_RULES,
    "route-wrong-gateway (rule from)": NO_RULES,
    "source-not-primary-ip (other NIC's)": STRONG_HOST,
    "source-not-primary-ip (of loopback)": STRONG_HOST,
    "route-wrong-interface (VPN, --expected-ip of the second NIC)": NO_DEVICE,
}


def shown() -> List[Broken]:
    """The scenarios that Wine can show, and those of Windows alone."""
    own = [
        Broken(
            "firewall-unknown",
            "broken",
            "firewall-unknown",
            vm=(f"rule add pref 100 to {IMDS} prohibit",),
        ),
    ]
    return (
        [scenario for scenario in (*SCENARIOS, *CERTIFICATES) if scenario.name not in CANNOT]
        + own
        + WINDOWS
        + ON_WINDOWS
    )


def telling() -> List[Broken]:
    """Of ``shown()`` as few as show under Wine all that there is: each cause and warning, each
    place and type in the registry, each set of trusted certificates.

    The others repeat these with other routes, addresses or rules, or differ in the host's answer
    alone. They are judged by the same code on every system: the lab on Linux has them, and the
    tests of the readers.
    """
    candidates = [scenario for scenario in shown() if not differs_in_the_answer(scenario)]
    shows = {scenario.name: set(_shows(scenario)) for scenario in candidates}
    unseen: Set[object] = set().union(*shows.values())
    chosen: Set[str] = set()
    while unseen:
        best = max(shows, key=lambda name: len(shows[name] & unseen))
        chosen.add(best)
        unseen -= shows[best]
    return [scenario for scenario in candidates if scenario.name in chosen]


def differs_in_the_answer(scenario: Broken) -> bool:
    """Whether nothing of the VM is broken, and Windows' own engine has nothing to judge."""
    as_it_is = Broken(scenario.name, scenario.verdict, scenario.cause, behaviour=scenario.behaviour)
    same = scenario == replace(as_it_is, never=scenario.never, also=scenario.also)
    return (
        same
        and scenario.behaviour != Behaviour()
        and not (scenario.cause or "").startswith("cert-")
    )


def _shows(scenario: Broken) -> Iterator[object]:
    yield scenario.verdict, scenario.cause
    yield "trust", scenario.trust
    yield "inside the VM", scenario.inside is not None
    yield "environment", scenario.environment == "AzurePublicCloud"
    yield "leased", scenario.leased
    yield "files", sorted(scenario.files) != []
    for group in (scenario.also, scenario.variables, scenario.services.items()):
        yield from group
    yield from (word for word in scenario.arguments if word.startswith("--"))
    for text in scenario.registry:
        key = ""
        for line in text.splitlines():
            if line.startswith("["):
                key = NUMBERED.sub("#", line)
            else:
                name, _, value = line.partition("=")
                yield key, NUMBERED.sub("#", name), value[:1]


class WindowsLab(Lab):
    """The VM runs the exe. Its leases and services are in the registry of its prefix, from before
    Wine starts.
    """

    def __init__(self, exe: Path, *arguments: object, **more: object) -> None:
        super().__init__(*arguments, **more)  # type: ignore[arg-type]
        self.exe = exe
        self._leases: Dict[str, str] = {}
        self._services: Dict[str, str] = {}
        self._registry: List[str] = []
        self._import = ""
        self._intermediates: Sequence[str] = ()
        self._started = False

    def __enter__(self) -> WindowsLab:
        super().__enter__()
        return self

    def _make(self) -> None:
        super()._make()
        self.services(firewall="active")
        self.key(f"{FIREWALL_POLICY}\\PublicProfile", '"EnableFirewall"=dword:00000001')
        self.write(
            "/sys/class/dmi/id/chassis_vendor", "Microsoft Corporation\n"
        )  # without it Wine tells no asset tag
        self.write("/sys/class/dmi/id/chassis_asset_tag", f"{AZURE_TAG}\n")

    def __exit__(self, *_: object) -> None:
        if self._started:
            subprocess.run(self.enter(["wineserver", "-k"]), env=wine.environment(PREFIX))
        super().__exit__()

    def lease(self, name: str, address: str, router: str, server: str = WIRESERVER) -> None:
        key = f"{SERVICES}\\\\Tcpip\\\\Parameters\\\\Interfaces\\\\{guid(self.index(name))}"
        self._leases[name] = (
            f'[{key}] 1\n"EnableDHCP"=dword:00000001\n"DhcpIPAddress"="{address}"\n"DhcpServer"="'
            f'{server}"\n'
            f'"DhcpDefaultGateway"=str(7):"{router}\\0"\n'
        )

    def forget_leases(self) -> None:
        self._leases = {}

    def services(self, **states: str) -> None:
        """A service that is active is one that Wine starts with itself."""
        for name, state in states.items():
            start = 2 if state == "active" else 3  # SERVICE_AUTO_START, SERVICE_DEMAND_START
            key = f"{SERVICES}\\\\{NAMES[name]}"
            self._services[name] = (
                f'[{key}] 1\n"ImagePath"="C:\\\\windows\\\\system32\\\\spoolsv.exe"\n"ObjectName"="'
                f'LocalSystem"\n'
                f'"Start"=dword:0000000{start}\n"Type"=dword:00000010\n"ErrorControl"=dword:00000001\n'
            )

    def key(self, key: str, *values: str) -> None:
        """A key below HKLM (``A\\B``) from before Wine starts, with its values as Wine writes them
        (``"name"=dword:00000001``).
        """
        escaped = key.replace("\\", "\\\\")
        self._registry.append(f"[{escaped}] 1\n" + "".join(f"{value}\n" for value in values))

    def registry(self, text: str) -> None:
        self._import += f"\n{text}"

    def write(self, path: str, text: str) -> None:
        super().write(path, text)
        if path.endswith("/chassis_asset_tag"):  # where Wine looks for it
            super().write(path.replace("asset_tag", "tag"), text)

    def trust(self, names: Sequence[str]) -> None:
        """Roots from the bundle, of which Wine makes its own store of them; the others in the
        machine's CA store.
        """
        super().trust([name for name in names if "root" in name])
        self._intermediates = [name for name in names if "root" not in name]

    def start(self) -> None:
        """Makes the prefix; Wine itself starts with the first program."""
        if self._started:
            return
        self.vm(f"mkdir -p /run/wine/upper /run/wine/work {PREFIX}")
        # Wine's sockets: they are named by the device of the prefix, and that number may come again
        sockets = Path("/tmp") / (wine.prefix() / "wineserver").read_text().strip().strip("/")
        self.vm(f"mkdir -p {sockets}")
        self.vm(f"mount -t tmpfs -o mode=0700 none {sockets}")
        layers = f"lowerdir={wine.prefix()},upperdir=/run/wine/upper,workdir=/run/wine/work"
        self.vm(f"mount -t overlay wine -o {layers} {PREFIX}")
        self.write(
            "/run/wine/more.reg",
            "\n" + "\n".join([*self._leases.values(), *self._services.values(), *self._registry]),
        )
        subprocess.run(
            self.enter(["sh", "-c", f"cat /run/wine/more.reg >> {PREFIX}/system.reg"]), check=True
        )
        self._started = True

    def warm_up(self) -> None:
        self.program("C:/windows/system32/hostname.exe")  # and with it Wine's own services
        held = "".join(stored("CA", pki.ISSUERS[name]()) for name in self._intermediates)
        if self._import or held:
            text = f"Windows Registry Editor Version 5.00\n{self._import}\n{held}\n".replace(
                "\n", "\r\n"
            )
            self.write("/run/wine/import.reg", text)
            done = self.program("C:/windows/system32/reg.exe", "import", "Z:/run/wine/import.reg")
            assert done.code == 0, done

    def mends(self, report: Dict[str, Any]) -> bool:
        """Wine has neither route.exe nor netsh, and its certutil does nothing: what that would do
        is done through crypt32.
        """
        return any(
            CERTUTIL.search(fix["text"])
            for finding in report["findings"][:1]
            for fix in finding["fix"]
        )

    def apply(self, report: Dict[str, Any]) -> List[str]:
        """Does what the ``certutil`` commands of the first finding's fix say."""
        texts = [fix["text"] for fix in report["findings"][0]["fix"]]
        executed = [text for text in texts if CERTUTIL.search(text)]
        for text in executed:
            verb, store, what = CERTUTIL.search(text).groups()  # type: ignore[union-attr]
            if verb == "add":
                (encoded,) = [
                    content
                    for path, content in pki.files().items()
                    if path.rpartition("/")[2] == PureWindowsPath(what).name
                ]
                self.write("/run/lab/certificate.b64", base64.b64encode(encoded).decode())
                what = "Z:/run/lab/certificate.b64"
            done = self.program(wine.PYTHON, STORE_TOOL, verb, store, what)
            assert done.code == 0, done
        return executed

    def program(
        self, *command: str, env: Optional[Dict[str, str]] = None, timeout: float = 180
    ) -> wine.Done:
        """Runs a Windows program inside the VM."""
        self.start()
        return wine.run(command, prefix=PREFIX, enter=self.enter([]), env=env, timeout=timeout)

    def tool(
        self,
        *arguments: str,
        environment: Optional[Dict[str, str]] = None,
        user: Optional[int] = None,
    ) -> subprocess.CompletedProcess[str]:
        """Runs ``imds-check.exe ARGUMENTS`` inside the VM."""
        done = self.program(str(self.exe), *arguments, env=environment)
        texts = [text.decode("ascii").replace("\r\n", "\n") for text in (done.out, done.err)]
        return subprocess.CompletedProcess(arguments, done.code, *texts)


def guid(index: int) -> str:
    """What Wine calls the adapter with an index."""
    return f"{{{index:08X}-0000-0000-0000-4E6574446576}}"
