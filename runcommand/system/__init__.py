"""What the operating system knows: one interface, with an implementation for each system.

Nothing outside this package and ``probes`` touches the operating system.
"""

from __future__ import annotations

import socket
import sys
from pathlib import Path
from typing import Mapping, Optional, Sequence, Tuple

from ..collect import Board, Collector, NoFact
from ..collect.system import LocalSystem, RunFolder
from ..facts import PROXY_AGENT_PORT, Address, CertificateChain, Instant
from ..network import CONNECT_S, error_name

# Listeners on these local ports are reported.
LISTENED_PORTS = (80, PROXY_AGENT_PORT)
# By then the connect that fills the neighbour table has ended.
NEIGHBOURS_S = CONNECT_S + 0.5


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


def host_name() -> str:
    """The host name, without asking any resolver; ``unknown`` where there is none."""
    try:
        return socket.gethostname() or "unknown"
    except (OSError, UnicodeError):
        return "unknown"


def after_the_connect(board: Board) -> None:
    """Waits until the plain connect to IMDS has ended.

    Only then does the neighbour table hold its next hop.
    """
    board.wait("imds", NEIGHBOURS_S, or_draft=True)


def udp_source(destination: Address) -> Tuple[Optional[Address], Optional[str]]:
    """The source address that the system chooses for ``destination``, or the error's POSIX name.

    Nothing is sent.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            sock.connect((destination, 9))
            return Address(sock.getsockname()[0]), None
        except OSError as error:
            if error.errno:
                return None, error_name(error.errno)
            return None, str(error)


def current() -> LocalSystem:
    """The implementation for the system that this process runs on."""
    if sys.platform.startswith("linux"):
        from .linux import Linux

        return Linux()
    if sys.platform == "win32":
        from .windows import Windows

        return Windows()
    return Unknown()
