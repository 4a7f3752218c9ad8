"""Facts as they stand in a sentence: an adapter, an outcome, an exchange, a process."""

from __future__ import annotations

from typing import Optional

from ..facts import Adapter, Exchange, Listener, Outcome
from .errors import error_in_words
from .words import quoted, short

_OUTCOMES = {
    Outcome.FORBIDDEN: "forbidden on this VM",
    Outcome.GARBLED: "not HTTP",
    Outcome.TIMED_OUT: "timed out",
}


def nic(adapter: Adapter, address: Optional[str] = None) -> str:
    """An adapter in a sentence: ``"eth1" (10.0.1.5)``"""
    held = address or next((item.address for item in adapter.addresses), None)
    if held:
        return f"{quoted(adapter.name)} ({held})"
    return quoted(adapter.name)


def in_words(outcome: Outcome) -> str:
    """The name of an outcome as it stands in a sentence."""
    return _OUTCOMES.get(outcome, outcome.value)


def exchange_in_words(exchange: Exchange, system: str, with_source: bool = True) -> str:
    """How an exchange ended: ``timed out after 3.0 s from 10.1.0.5``.

    :param system: as in ``Facts.system``
    """
    source = None
    if with_source:
        source = exchange.connection.local_address
    origin = ""
    if source:
        origin = f" from {source}"
    if exchange.outcome is Outcome.HTTP:
        to = ""
        if source:
            to = f" to {source}"
        return f"HTTP {exchange.status}{to} in {milliseconds(exchange.elapsed_s)}"
    if exchange.outcome is Outcome.TIMED_OUT:
        is_connected = exchange.connection.outcome is Outcome.ANSWERED
        accepted = ""
        if is_connected:
            accepted = "connected, then "
        return f"{accepted}timed out after {exchange.elapsed_s:.1f} s{origin}"
    error = exchange.connection.error
    words = ""
    if error:
        words = f": {error_in_words(error, system)}"
    return f"{in_words(exchange.outcome)}{origin}{words}"


def says(answer: Exchange) -> str:
    """What the answer says of itself, as a sentence; empty where it says nothing."""
    if answer.says:
        return f' It says: "{short(answer.says, 120).rstrip(".")}".'
    return ""


def program_in_words(process: Optional[str], pid: Optional[int]) -> str:
    """A process by its program and its number: ``nginx (pid 812)``"""
    is_known = process is not None and process not in ("", "-")
    name = "an unknown program"
    if is_known:
        name = short(process or "", 60)
    if pid:
        return f"{name} (pid {pid})"
    return name


def listener_in_words(listener: Listener) -> str:
    """Who listens on a local port."""
    return program_in_words(listener.process, listener.pid)


def milliseconds(seconds: float) -> str:
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    return f"{seconds:.1f} s"
