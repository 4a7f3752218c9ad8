"""Sentences on what was looked at, and on what the differential showed."""

from __future__ import annotations

from typing import Dict

from ..facts import is_from_imds
from .model import Model
from .words import short


def differential_answer(model: Model) -> str:
    """A sentence on the address that IMDS answered in the differential, after a blank.

    Empty where it answered none.
    """
    proof = model.answers.proof
    if proof is None:
        return ""
    device = proof.connection.device
    bound = ""
    if device:
        bound = f' bound to "{short(device)}"'
    return f" IMDS answered when asked from {proof.connection.local_address}{bound}."


def what_was_checked(model: Model) -> str:
    """What was looked at on the VM without finding the fault, and what could not be."""
    if model.answers.proof:
        return f"So IMDS itself works.{differential_answer(model)} The fault is on this VM."
    looks = _looks(model)
    right = [name for name, is_right in looks.items() if is_right]
    missing = [name for name, is_right in looks.items() if not is_right]
    sentences = [_of_trials(model)]
    if right:
        sentences.append(f"No fault found in: {', '.join(right)}.")
    if missing:
        sentences.append(f"Not checked: {', '.join(missing)}.")
    return " ".join(filter(None, sentences))


def _looks(model: Model) -> Dict[str, bool]:
    """What may hold the fault, and whether it was looked at."""
    routing, primary = model.routing, model.primary_nic
    firewall, firewall_is_right = "firewall", False
    if model.filtering.left_out:
        firewall = "all of the firewall"
    elif model.facts.firewall:
        filtering = model.filtering.to_imds
        firewall_is_right = (
            filtering is not None and not filtering.blocked and not filtering.possible
        )
    return {
        "route": routing.to_imds.known,
        "source address": primary is not None and routing.to_imds.source is not None,
        "next hop": model.facts.neighbours is not None and routing.gateway is not None,
        "NIC": primary is not None,
        firewall: firewall_is_right,
    }


def _of_trials(model: Model) -> str:
    """A sentence on the differential; empty where it was not made."""
    for trial in model.answers.trials:
        answer = trial.exchange
        if answer and is_from_imds(answer):
            return (
                f"Asked from {answer.connection.local_address}, IMDS answered HTTP {answer.status}."
            )
    tried = {trial.connection.source for trial in model.answers.trials}
    if tried:
        return f"IMDS answered none of the {len(tried)} local addresses tried."
    return ""
