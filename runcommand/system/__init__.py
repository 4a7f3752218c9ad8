"""What is learnt from the operating system: one interface, an implementation for each system.

Nothing outside this package and ``probes`` touches the operating system.
"""

from __future__ import annotations

import socket
import sys
from pathlib import Path
from typing import Mapping, Optional, Protocol

from ..collect import Collector


class RunFolder(Protocol):
    """The folder of one run. Files in it are new, and only administrators can read them."""

    path: str

    def write(self, name: str, content: bytes) -> None:
        """A new file. Raises ``OSError``."""


class System(Protocol):
    """What a run asks of an operating system."""

    name: str  # as in ``Facts.system``
    by_device: bool  # can a socket be bound to a device?

    def collectors(self) -> Mapping[str, Collector]:
        """One function for each field of ``Facts`` that this system can fill."""

    def cleanup(self) -> None:
        """Ends what is still running of the programs that the collectors started."""


class LocalSystem(System, Protocol):
    """The system that this process runs on."""

    def host(self) -> str:
        """The host name."""

    def run_folder(self, base: Optional[Path], name: str) -> RunFolder:
        """Makes the folder ``name`` under ``base`` (None: the usual place) and prunes old ones beside it.

        Raises ``OSError`` where the folder cannot be made, or not safely.
        """


class Unknown:
    """A system that has no implementation: the probes run all the same."""

    name = {"win32": "windows"}.get(sys.platform, sys.platform)
    by_device = False

    def host(self) -> str:
        return host_name()

    def collectors(self) -> Mapping[str, Collector]:
        return {}

    def cleanup(self) -> None:
        pass

    def run_folder(self, base: Optional[Path], name: str) -> RunFolder:
        raise OSError("no report folder on this system")


def host_name() -> str:
    """The host name, without asking any resolver; ``unknown`` where there is none."""
    try:
        return socket.gethostname() or "unknown"
    except (OSError, UnicodeError):
        return "unknown"


def current() -> LocalSystem:
    """The implementation for the system that this process runs on."""
    if sys.platform.startswith("linux"):
        from .linux import Linux

        return Linux()
    return Unknown()
