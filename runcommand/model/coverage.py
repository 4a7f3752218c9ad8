"""What a run could not look at of all that may explain IMDS's silence."""

from __future__ import annotations

from typing import List

from ..facts import ABSENT, Unavailable
from .model import Model

# The facts that may explain why IMDS does not answer, as they are called in a sentence.
EXPLAINING = {
    "adapters": "NICs",
    "routes": "routes",
    "neighbours": "neighbours",
    "firewall": "firewall",
    "services": "services",
    "proxies": "proxies",
}


def failed_to_read(model: Model, *facts: str) -> List[Unavailable]:
    """Those of these facts that another run may bring: one with more time, memory or rights.

    (No other run brings a program that is not on the VM.)
    """
    return [
        item
        for item in model.facts.unavailable
        if item.fact in facts
        and getattr(model.facts, item.fact) is None
        and not ABSENT.fullmatch(item.reason)
    ]


def is_unprivileged(model: Model) -> bool:
    """Whether the run is known to have had no root's or administrator's rights."""
    machine = model.facts.machine
    return machine is not None and machine.elevated is False


def not_read(model: Model) -> List[Unavailable]:
    """What could not be looked at, or not at all of it, of all that may explain the silence."""
    missing = failed_to_read(model, *EXPLAINING)
    if model.filtering.left_out:
        missing.append(Unavailable("firewall", model.filtering.left_out))
    return missing


def is_incomplete(model: Model) -> bool:
    """Whether the reason for IMDS's silence may be where this run could not look."""
    return is_unprivileged(model) or bool(not_read(model))
