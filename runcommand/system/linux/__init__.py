"""Linux: iproute2, sysfs, procfs, DHCP leases, systemd and the packet filter.

Each collector reads one thing and judges nothing.
"""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import Mapping, Optional, Sequence

from ...collect import Collector
from ...collect.system import RunFolder
from ...facts import CertificateChain, Instant
from .. import host_name
from ..program import Programs
from . import adapters, firewall, folder, machine, proxies, routes, services
from .certificates import judge

assert sys.platform != "win32"
DIRECTORIES = ("/usr/sbin", "/usr/bin", "/sbin", "/bin")
# OpenSSL 3 also trusts whatever is in its own certificate folder, so that is pointed elsewhere.
ENVIRONMENT = {"LC_ALL": "C", "PATH": ":".join(DIRECTORIES), "SSL_CERT_DIR": "/nonexistent"}
REPORTS = Path("/var/log/azure/imds-check")


class Linux:
    """Linux, for one run."""

    name = "linux"
    by_device = True
    fetches_itself = False

    def __init__(self) -> None:
        self._programs = Programs(DIRECTORIES, ENVIRONMENT)

    def host(self) -> str:
        return host_name()

    def collectors(self) -> Mapping[str, Collector]:
        programs = self._programs
        return {
            "machine": machine.collect,
            "adapters": partial(adapters.collect, programs),
            "routes": partial(routes.collect, programs),
            "routing_rules": partial(routes.collect_rules, programs),
            "lookups": partial(routes.collect_lookups, programs),
            "neighbours": partial(routes.collect_neighbours, programs),
            "services": partial(services.collect, programs),
            "listeners": services.collect_listeners,
            "connections": services.collect_connections,
            "proxies": partial(proxies.collect, programs),
            "firewall": partial(firewall.collect, programs),
            "raw": partial(machine.collect_raw, programs),
        }

    def cleanup(self) -> None:
        self._programs.close()

    def judge_chain(
        self, certificates: Sequence[bytes], at: Instant, fetch: bool, seconds: float
    ) -> CertificateChain:
        return judge(self._programs, certificates, at)

    def run_folder(self, base: Optional[Path], name: str) -> RunFolder:
        return folder.make(base, REPORTS, name)
