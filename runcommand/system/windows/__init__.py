"""Windows: iphlpapi, advapi32, kernel32, winhttp, the firewall and the registry.

Each collector reads one thing and judges nothing.
"""

from __future__ import annotations

import os
from ctypes import create_unicode_buffer
from ctypes.wintypes import LPWSTR, UINT
from functools import partial
from pathlib import Path
from typing import Mapping, Optional, Sequence

from ...collect import Collector, NoFact
from ...collect.system import RunFolder
from ...facts import CertificateChain, Instant
from .. import host_name
from ..program import Programs
from . import (
    activation,
    adapters,
    crypt32,
    firewall,
    folder,
    machine,
    proxies,
    routes,
    services,
    wfp,
)
from .dll import function
from .job import contain
from .source import Live

LIVE = Live()


class Windows:
    """Windows, for one run."""

    name = "windows"
    # the strong host model: the source address decides the egress adapter
    by_device = False
    fetches_itself = True

    def __init__(self) -> None:
        system = system_directory()
        self._programs = Programs(
            (system,), {"SystemRoot": os.path.dirname(system), "PATH": system}, contain
        )

    def host(self) -> str:
        return host_name()

    def collectors(self) -> Mapping[str, Collector]:
        return {
            "machine": partial(machine.collect, LIVE),
            "activation": activation.collect,
            "adapters": partial(adapters.collect, LIVE),
            "routes": partial(routes.collect, LIVE),
            "lookups": partial(routes.collect_lookups, LIVE),
            "neighbours": partial(routes.collect_neighbours, LIVE),
            "persistent_routes": partial(routes.collect_persistent_routes, LIVE),
            "services": partial(services.collect, LIVE),
            "listeners": partial(services.collect_listeners, LIVE),
            "connections": partial(services.collect_connections, LIVE),
            "proxies": partial(proxies.collect, LIVE),
            "firewall": partial(firewall.collect, LIVE),
            "wfp_filters": partial(wfp.collect, self._wfp_filters),
            "raw": partial(machine.collect_raw, self._programs),
        }

    def _wfp_filters(self) -> str:
        printed = self._programs.run("netsh.exe", wfp.ARGUMENTS)
        return printed.decode(machine.console_encoding(), "replace")

    def cleanup(self) -> None:
        self._programs.close()

    def judge_chain(
        self, certificates: Sequence[bytes], at: Instant, fetch: bool, seconds: float
    ) -> CertificateChain:
        return crypt32.judge(certificates, at, fetch, seconds)

    def run_folder(self, base: Optional[Path], name: str) -> RunFolder:
        return folder.make(base, name)


def system_directory() -> str:
    """``C:\\Windows\\System32``, from the system itself: the environment may say anything."""
    buffer = create_unicode_buffer(32768)
    try:
        found = function("kernel32", "GetSystemDirectoryW", UINT, LPWSTR, UINT)(buffer, len(buffer))
    except NoFact:
        found = 0
    if not found:
        return "C:\\Windows\\System32"
    return buffer.value
