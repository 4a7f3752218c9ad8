"""Tries every local address when the plain request is not answered.

This is the strongest evidence: it shows from which address IMDS would answer.
"""

from __future__ import annotations

from dataclasses import replace
from typing import List, Optional, Sequence, Tuple

from ..collect import Board
from ..facts import Adapter, Exchange, Imds, LinkState, Trial, is_from_imds
from ..network import CONNECT_S
from .imds import API_VERSIONS, INSTANCE, Asking
from .tcp import Attempt, connect

PATIENCE_S = 1.0  # how long the plain request may stay without an answer before this begins
REQUESTS = 4  # HTTP requests that may be spent on the attempts that connect
EXCHANGE_S = 2.0  # for each of them
ADAPTERS_S = 6.0  # longer than a program that hangs may take
CONNECTS = 256  # at most, side by side


def ask(asking: Asking, board: Board, by_device: bool) -> Optional[Tuple[Trial, ...]]:
    """Tries every local address; None when the plain request was answered.

    Raises ``OSError`` where descriptors or memory are short.

    :param by_device: also try each address bound to its device (Linux; elsewhere the source address
    decides)
    """
    plain: Optional[Imds] = board.wait("imds", PATIENCE_S, or_draft=True)
    if plain and is_from_imds(plain.attempts[-1]):
        return None
    adapters: Sequence[Adapter] = board.wait("adapters", ADAPTERS_S) or ()
    attempts = local_attempts(asking, adapters, by_device and asking.endpoint.true_address)
    trials: List[Trial] = []
    left, asked = REQUESTS, set()
    allowed = asking.remaining(CONNECT_S)
    # there may be more addresses than descriptors: the likeliest must be tried
    for connection, sock in connect(asking.connector, attempts, allowed, needed=1):
        exchange: Optional[Exchange] = None
        if sock and left and connection.source not in asked:  # one request for each address
            asked.add(connection.source)
            left -= 1
            exchange, _ = asking.get_over(
                sock, connection, f"{INSTANCE}?api-version={API_VERSIONS[0]}", EXCHANGE_S
            )
            if exchange.instance:
                left = 0
        elif sock:
            sock.close()
        trials.append(Trial(connection, exchange))
    return tuple(trials)


def local_attempts(asking: Asking, adapters: Sequence[Adapter], by_device: bool) -> List[Attempt]:
    """The attempts, the likeliest first.

    NICs made by a device come before those made by software, and attempts bound to a device before
    others.
    """
    endpoint = asking.endpoint
    found: List[Attempt] = []
    usable = [
        adapter
        for adapter in adapters
        if adapter.kind != "loopback" and adapter.state is not LinkState.DOWN
    ]
    for adapter in sorted(usable, key=lambda adapter: not adapter.physical):
        for address in adapter.addresses:
            attempt = Attempt(endpoint.address, endpoint.port, address.address)
            if by_device:
                found.append(replace(attempt, device=adapter.name))
            found.append(attempt)
    return found[:CONNECTS]
