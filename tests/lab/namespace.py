"""Two network namespaces with no way out: a VM with two NICs, and the host behind both of them.

The host answers at the true addresses, and only what comes from the primary address (10.0.0.4) of
the primary NIC (eth0, with its MAC address); everything else to them is dropped without a word, as
Azure does. The VM also has a mount namespace of its own, in which it has a chassis, leases,
services and an empty /var/log.
"""

from __future__ import annotations

import itertools
import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence, Tuple
from urllib.parse import unquote, urlsplit

from runcommand.attest.x509 import to_pem
from runcommand.simulator import pki
from runcommand.simulator.host import Behaviour
from runcommand.simulator.scenarios import LINUX_VM

from .host import ROOT, Hosts, Process

ETH0_MAC, ETH1_MAC = "00:0d:3a:7f:20:04", "00:0d:3a:7f:20:05"
AZURE_ARP_MAC = "12:34:56:78:9a:bc"
IMDS, WIRESERVER = "169.254.169.254", "168.63.129.16"
AZURE_TAG = "7783-7084-3265-9085-8269-3286-77"
PROGRAMS = (
    "ip",
    "nsenter",
    "unshare",
    "mount",
    "nft",
    "iptables",
    "curl",
    "openssl",
    "update-ca-certificates",
)
USUAL = ((IMDS, 80), (WIRESERVER, 80), (WIRESERVER, 32526))  # where the host listens
_numbers = itertools.count(1)
_hosts = Hosts()


def why_not() -> Optional[str]:
    """Why the lab cannot run here; None when it can."""
    if not sys.platform.startswith("linux"):
        return "network namespaces are Linux'"
    if os.geteuid() != 0:
        return "making network namespaces needs root"
    missing = [program for program in PROGRAMS if not shutil.which(program)]
    return f"not installed: {', '.join(missing)}" if missing else None


def sh(command: str, check: bool = True, given: str = "") -> str:
    """Runs a command line of this machine (no shell: it is split at blanks), with ``given`` on its
    standard input.
    """
    done = subprocess.run(
        shlex.split(command),
        input=given,
        capture_output=True,
        text=True,
    )
    if check and done.returncode:
        raise RuntimeError(f"{command}: {done.stderr.strip()}")
    return done.stdout


class Lab:
    """One VM and its host; a context manager that takes both away again."""

    def __init__(
        self,
        behaviour: Behaviour = Behaviour(),
        not_listening: Sequence[Tuple[str, int]] = (),
        environment: str = "AzurePublicCloud",
    ) -> None:
        self._behaviour, self._environment = behaviour, environment
        self._listen = [place for place in USUAL if place not in not_listening]
        number = f"{os.getpid()}-{next(_numbers)}"
        self._host_ns, self._vm_ns = f"imdshost{number}", f"imdsvm{number}"
        self._holder: Optional[subprocess.Popen[str]] = None
        self._server: Optional[Process] = None
        self._inside: Optional[Process] = None
        self._servers: List[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Lab:
        try:
            self._make()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for server in (self._inside, self._server):
            if server:
                server.close()
        for process in (*self._servers, self._holder):
            if process:
                process.kill()
                process.wait()
                if process.stdout:
                    process.stdout.close()
        ends = [f"netns del {name}" for name in (self._host_ns, self._vm_ns)]
        sh("ip -force -batch -", check=False, given="\n".join(ends))

    def _make(self) -> None:
        host, vm = self._host_ns, self._vm_ns
        sh("ip -batch -", given=f"netns add {host}\nnetns add {vm}\n")
        links = [
            f"link add h{number} address {AZURE_ARP_MAC} type veth"
            f" peer name eth{number} netns {vm} address {mac}"
            for number, mac in ((0, ETH0_MAC), (1, ETH1_MAC))
        ]
        sh(f"ip -n {host} -batch -", given="\n".join([*links, *self._host_setup()]))
        self._server = _hosts.start(f"/run/netns/{host}")
        sh(f"ip -n {vm} -batch -", given="\n".join(VM_SETUP))
        self._holder = subprocess.Popen(
            ["ip", "netns", "exec", vm, "unshare", "--mount", "--uts", "sh", "-ec", HOLDER],
            stdout=subprocess.PIPE,
            universal_newlines=True,
        )
        assert self._holder.stdout and self._holder.stdout.readline() == "ready\n"
        self.lease("eth0", "10.0.0.4", "10.0.0.1")
        self.services(walinuxagent="active")
        self.hosts({})
        self.trust(("root",))
        self._server.listen(self._listen, self._behaviour, self._environment)

    @staticmethod
    def _host_setup() -> List[str]:
        commands = [
            "link set lo up",
            "link set h0 up",
            "link set h1 up",
            "addr add 10.0.0.1/24 dev h0",
            "addr add 10.0.1.1/24 dev h1",
        ]
        commands += ["addr add 10.0.0.50/24 dev h0"]  # another machine's address that answers ARP
        for address in (IMDS, WIRESERVER):
            commands.append(f"addr add {address}/32 dev lo")
            commands.append(f"rule add pref 10 iif h0 from 10.0.0.4 to {address} lookup local")
            commands.append(f"rule add pref 11 to {address} blackhole")
        commands += ["rule add pref 20 lookup local", "rule del pref 0"]
        commands += [
            f"neigh replace 10.0.0.4 lladdr {ETH0_MAC} dev h0 nud permanent"
        ]  # frames go to the MAC that Azure knows
        return commands

    def web(self, address: str, port: int, everything: str) -> None:
        """Another server on the host's side of the network: a proxy, or a web server, that answers
        all paths alike.
        """
        assert self._server
        answers = Behaviour(everything=everything)
        self._server.listen([(address, port)], answers, self._environment)

    def answer(self, address: str, port: int, content: bytes) -> None:
        """A server on the host's side that answers every request with these bytes."""
        self.serve("tests.lab.answers", address, str(port), given=content)

    def serve(self, module: str, *arguments: str, given: bytes = b"") -> None:
        """A program of the tests on the host's side, which says "ready" when it serves.

        :param given: its standard input
        """
        server = subprocess.Popen(
            ["ip", "netns", "exec", self._host_ns, sys.executable, "-m", module, *arguments],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self._servers.append(server)
        assert server.stdin and server.stdout
        server.stdin.write(given)
        server.stdin.close()
        assert server.stdout.readline() == b"ready\n"

    def serve_inside(self, behaviour: Behaviour) -> None:
        """Lets something inside the VM answer at IMDS's address, which the VM has to claim."""
        self._inside = _hosts.start(f"/proc/{self.holder}/ns/net")
        self._inside.listen([(IMDS, 80)], behaviour, self._environment)

    # --- what a test does with it ---

    def host(self, command: str) -> None:
        """An ``ip`` command line in the host's namespace."""
        sh(f"ip -n {self._host_ns} {command}")

    def requests(self) -> List[Tuple[float, str]]:
        """What the host was asked so far: (monotonic time, path)."""
        assert self._server
        return self._server.log()

    @property
    def holder(self) -> int:
        """The process that holds the VM's namespaces."""
        assert self._holder
        return self._holder.pid

    def enter(self, arguments: Sequence[str]) -> List[str]:
        """The command line that runs a program inside the VM."""
        return ["nsenter", f"--target={self.holder}", "--mount", "--net", "--uts", "--", *arguments]

    def vm(self, command: str, check: bool = True) -> str:
        """A command line inside the VM (split at blanks, no shell)."""
        return sh(shlex.join(self.enter(shlex.split(command))), check)

    def ip(self, *commands: str) -> None:
        """``ip`` command lines inside the VM, all by one process."""
        sh(shlex.join(self.enter(["ip", "-batch", "-"])), given="\n".join(commands))

    def write(self, path: str, text: str) -> None:
        """A file inside the VM's own mount namespace."""
        file = self._seen_from_here(path)
        if file is None:
            script = 'mkdir -p "$(dirname "$1")"; cat > "$1"'
            command = self.enter(["sh", "-c", script, "sh", path])
            subprocess.run(command, input=text, text=True, check=True)
            return
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def _seen_from_here(self, path: str) -> Optional[Path]:
        """A file of the VM, by the path that leads to it from this process; None where a link is on
        the way: it would lead to this machine's files.
        """
        root = Path(f"/proc/{self.holder}/root")
        file = root / path.lstrip("/")
        for place in (file, *file.parents):
            if place == root:
                return file
            if place.is_symlink():
                return None
        raise AssertionError(path)

    def index(self, name: str) -> int:
        return int(self.vm(f"cat /sys/class/net/{name}/ifindex"))

    def lease(self, name: str, address: str, router: str, server: str = WIRESERVER) -> None:
        """The lease that systemd-networkd would have written."""
        text = (
            "# This is private data. Do not "
            f"parse.\nADDRESS={address}\nNETMASK=255.255.255.0\nROUTER={router}\nSERVER_ADDRESS={server}\n"
        )
        self.write(f"/run/systemd/netif/leases/{self.index(name)}", text)

    def forget_leases(self) -> None:
        self.vm("rm -r /run/systemd/netif/leases")

    def hosts(self, names: Dict[str, str]) -> None:
        """The names that the VM can resolve, and their addresses."""
        lines = [
            "127.0.0.1 localhost labvm",
            *(f"{address} {name}" for name, address in names.items()),
        ]
        self.write("/etc/hosts", "\n".join([*lines, ""]))

    def trust(self, names: Sequence[str]) -> None:
        """The certificates (of ``pki.ISSUERS``) that an administrator has added to the VM's
        bundle.
        """
        anchors = self._seen_from_here(ANCHORS)
        assert anchors is not None, ANCHORS
        for file in anchors.iterdir():
            file.unlink()
        added = [to_pem(pki.ISSUERS[name]()).decode("ascii") for name in names]
        for name, text in zip(names, added):
            self.write(f"{ANCHORS}/lab-{name}.crt", text)
        given = self._seen_from_here("/run/lab/bundle")
        assert given is not None
        self.write(BUNDLE, given.read_text() + "".join(added))

    def services(self, **states: str) -> None:
        """What systemd would say of its services; a name is written with ``_`` for ``-``."""
        units = [
            f"Id={name.replace('_', '-')}.service\nLoadState=loaded\nActiveState={state}\nUnitFileS"
            f"tate=enabled\n"
            for name, state in states.items()
        ]
        self.write("/run/lab/units", "\n".join(units))

    def tool(
        self,
        *arguments: str,
        environment: Optional[Dict[str, str]] = None,
        user: Optional[int] = None,
    ) -> subprocess.CompletedProcess[str]:
        """Runs ``python -m runcommand ARGUMENTS`` inside the VM."""
        command = [sys.executable, "-m", "runcommand", *arguments]
        if user is not None:
            command = ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups", *command]
        return subprocess.run(
            self.enter(command),
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=180,
            env={
                **own_environment(),
                "PYTHONPATH": str(ROOT),
                "PYTHONDONTWRITEBYTECODE": "1",
                **(environment or {}),
            },
        )

    def diagnose(
        self, *arguments: str, environment: Optional[Dict[str, str]] = None
    ) -> Tuple[Dict[str, Any], float]:
        """The JSON report of one run, and the seconds that the run took."""
        began = time.monotonic()
        done = self.tool("--format", "json", "--no-files", *arguments, environment=environment)
        elapsed = time.monotonic() - began
        assert done.stdout, done.stderr
        return json.loads(done.stdout), elapsed

    def registry(self, text: str) -> None:
        """Keys of a .reg file; for a VM that has a registry."""
        raise NotImplementedError

    def warm_up(self) -> None:
        """Starts what is no part of a run, so that it does not count; for a VM that is prepared."""

    def apply(self, report: Dict[str, Any]) -> List[str]:
        """Executes the commands of the first finding's fix, by a shell, as far as the lab has the
        programs; gives what was executed.
        """
        fixes = report["findings"][0]["fix"]
        commands = [fix["text"] for fix in fixes if fix.get("run_on") == "vm"]
        executed = [text for text in commands if text.split()[0] in EXECUTABLE]
        self.download(report)
        for text in executed:
            script = f"PATH=/usr/sbin:$PATH; {text}"
            done = subprocess.run(
                self.enter(["sh", "-c", script]),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                env=own_environment(),
            )
            assert done.returncode == 0, text
        return executed

    def download(self, report: Dict[str, Any]) -> None:
        """What the operator downloads elsewhere and copies to the VM, where the fix says so."""
        for url in downloads(report["findings"][0]["fix"]):
            path = unquote(urlsplit(url).path)
            file = f"{COPIED}/{path.rpartition('/')[2]}"
            subprocess.run(
                self.enter(["sh", "-c", 'cat > "$1"', "sh", file]),
                input=pki.files()[path],
                check=True,
            )

    def mends(self, report: Dict[str, Any]) -> bool:
        """Whether what the program prints can be executed here."""
        return True


def downloads(fixes: Sequence[Dict[str, str]]) -> List[str]:
    """The addresses that an operator is asked to download on another machine."""
    words = [fix["text"].split() for fix in fixes if fix["kind"] == "advice"]
    return [text[text.index("download") + 1] for text in words if "download" in text]


def own_environment() -> Dict[str, str]:
    """This process's environment without the proxies that this machine may need."""
    return {
        name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")
    }


EXECUTABLE = (
    "ip",
    "nft",
    "iptables",
    "iptables-legacy",
    "printf",
    "mkdir",
    "systemctl",
    "[",
    "update-ca-certificates",
)
ANCHORS, BUNDLE = "/usr/local/share/ca-certificates", "/etc/ssl/certs/ca-certificates.crt"
COPIED = "/run"  # where a fix asks for what the operator downloads elsewhere
SYSTEMCTL = """#!/bin/sh
case $1 in
show-environment) cat /run/lab/environment 2>/dev/null || true ;;
set-environment) shift; printf "%s\\n" "$@" >> /run/lab/environment ;;
*) cat /run/lab/units ;;
esac
"""
HOLDER = f"""
mount --make-rprivate /
mount -t tmpfs -o mode=0755 none /run
mkdir -p /run/lab/net /run/lab/bin
mount --bind /sys/class/net /run/lab/net
mount -t tmpfs none /sys/class
mkdir -p /sys/class/net /sys/class/dmi/id
mount --bind /run/lab/net /sys/class/net
echo {AZURE_TAG} > /sys/class/dmi/id/chassis_asset_tag
echo 'Microsoft Corporation' > /sys/class/dmi/id/sys_vendor
echo {LINUX_VM.vm_id} > /sys/class/dmi/id/product_uuid
mount -t tmpfs -o mode=0755 none /var/log
mount -t tmpfs -o mode=0755 none /var/lib
cat > /run/lab/bin/systemctl <<'END'
{SYSTEMCTL}END
chmod 755 /run/lab/bin/systemctl
mount -t overlay lab -o lowerdir=/run/lab/bin:/usr/sbin /usr/sbin
mkdir -p /run/lab/etc/upper /run/lab/etc/work
mount -t tmpfs -o mode=1777 none /var/tmp
mount -t overlay etc -o lowerdir=/etc,upperdir=/run/lab/etc/upper,workdir=/run/lab/etc/work /etc
rm -rf /etc/waagent.conf /etc/profile.d /etc/environment
umount /etc/resolv.conf /etc/hosts 2>/dev/null || true
rm -f /etc/resolv.conf /etc/hosts
touch /etc/resolv.conf
mount -t tmpfs -o mode=0755 none {ANCHORS}
cp {BUNDLE} /run/lab/bundle
mkdir /etc/profile.d
hostname labvm
echo ready
exec sleep 3600
"""
VM_SETUP = (
    "link set lo up",
    "link set eth0 up",
    "link set eth1 up",
    "addr add 10.0.0.4/24 dev eth0",
    "addr add 10.0.1.5/24 dev eth1",
    "route add default via 10.0.0.1 dev eth0 metric 100",
    f"route add {IMDS}/32 via 10.0.0.1 dev eth0 metric 100",
    f"route add {WIRESERVER}/32 via 10.0.0.1 dev eth0 metric 100",
)
