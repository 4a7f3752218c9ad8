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
    return f"{quoted(adapter.name)} ({held})" if held else quoted(adapter.name)


def in_words(outcome: Outcome) -> str:
    """The name of an outcome as it stands in a sentence."""
    return _OUTCOMES.get(outcome, outcome.value)


def exchange_in_words(exchange: Exchange, system: str, with_source: bool = True) -> str:
    """How an exchange ended: ``timed out after 3.0 s from 10.1.0.5``.

    :param system: as in ``Facts.system``
    """
    source = exchange.connection.local_address if with_source else None
    origin = f" from {source}" if source else ""
    if exchange.outcome is Outcome.HTTP:
        to = f" to {source}" if source else ""
        return f"HTTP {exchange.status}{to} in {milliseconds(exchange.elapsed_s)}"
    if exchange.outcome is Outcome.TIMED_OUT:
        is_connected = exchange.connection.outcome is Outcome.ANSWERED
        accepted = "connected, but silent, and " if is_connected else ""
        return f"{accepted}timed out after {exchange.elapsed_s:.1f} s{origin}"
    error = exchange.connection.error
    words = f": {error_in_words(error, system)}" if error else ""
    return f"{in_words(exchange.outcome)}{origin}{words}"


def says(answer: Exchange) -> str:
    """What the answer says of itself, as a sentence; empty where it says nothing."""
    return f' It says: "{short(answer.says, 120).rstrip(".")}".' if answer.says else ""


def program_in_words(process: Optional[str], pid: Optional[int]) -> str:
    """A process by its program and its number: ``nginx (pid 812)``"""
    is_known = process is not None and process not in ("", "-")
    name = short(process or "", 60) if is_known else "a program that is not known"
    return f"{name} (pid {pid})" if pid else name


def listener_in_words(listener: Listener) -> str:
    """Who listens on a local port."""
    return program_in_words(listener.process, listener.pid)


def milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"
