"""What the operating system knows: one interface, with an implementation for each system, which
``here`` chooses. This file holds what the implementations share.

Nothing outside this package and ``probes`` touches the operating system.
"""

from __future__ import annotations

import socket
from typing import Optional, Tuple

from ..collect import Board
from ..facts import PROXY_AGENT_PORT, Address
from ..network import CONNECT_S, error_name

# Listeners on these local ports are reported.
LISTENED_PORTS = (80, PROXY_AGENT_PORT)
# By then the connect that fills the neighbour table has ended.
NEIGHBOURS_S = CONNECT_S + 0.5


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
