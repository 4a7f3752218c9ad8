"""Which implementation this process runs on."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Mapping, Optional, Sequence

from ..collect import Collector, NoFact
from ..collect.system import LocalSystem, RunFolder
from ..facts import CertificateChain, Instant
from . import host_name


class Unknown:
    """A system that has no implementation: the probes run all the same."""

    name = {"win32": "windows"}.get(sys.platform, sys.platform)
    by_device = False
    fetches_itself = False

    def host(self) -> str:
        return host_name()

    def collectors(self) -> Mapping[str, Collector]:
        return {}

    def cleanup(self) -> None:
        pass

    def judge_chain(
        self, certificates: Sequence[bytes], at: Instant, fetch: bool, seconds: float
    ) -> CertificateChain:
        raise NoFact("certificates are not judged on this system")

    def run_folder(self, base: Optional[Path], name: str) -> RunFolder:
        raise OSError("no report folder on this system")


def current() -> LocalSystem:
    """The implementation for the system that this process runs on."""
    if sys.platform.startswith("linux"):
        from .linux import Linux

        return Linux()
    if sys.platform == "win32":
        from .windows import Windows

        return Windows()
    return Unknown()
