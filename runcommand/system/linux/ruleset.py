"""What nftables and iptables have in common: chains with hooks, rules in an order, jumps between them."""

from __future__ import annotations

from typing import Dict, FrozenSet, List, NamedTuple, Sequence, Set, Tuple

from ...conditions import REPLIES, REQUESTS, could_hold
from ...facts import FirewallChain, FirewallRule


class Ruleset(NamedTuple):
    """What one program tells of its filter, all of it."""

    chains: List[FirewallChain]
    rules: List[FirewallRule]
    tables: Set[str]  # "ip filter"
    opaque: FrozenSet[Tuple[str, str]] = (
        frozenset()
    )  # (chain, id) of rules with an extension that the program does not show


def reduced(
    chains: Sequence[FirewallChain], rules: Sequence[FirewallRule]
) -> Tuple[List[FirewallChain], List[FirewallRule]]:
    """Without what no request to the platform passes, nor an answer from it, and without the rules that can hold for neither."""
    asked = _reached([c for c in chains if c.hook == "output" or c.hook == "postrouting" and c.kind != "nat"], rules)
    answered = _reached([c for c in chains if c.hook in ("prerouting", "input") and c.kind != "nat"], rules)
    kept = [
        rule
        for rule in rules
        if rule.chain in asked
        and could_hold(rule.matches, REQUESTS)
        or rule.chain in answered
        and could_hold(rule.matches, REPLIES)
    ]
    return [chain for chain in chains if chain.id in asked | answered], kept


def _reached(bases: Sequence[FirewallChain], rules: Sequence[FirewallRule]) -> Set[str]:
    """The chains that are reached from some, by jumps."""
    jumps: Dict[str, Set[str]] = {}
    for rule in rules:
        if rule.chain and rule.target:
            jumps.setdefault(rule.chain, set()).add(rule.target)
    reached: Set[str] = set()
    waiting = [chain.id for chain in bases]
    while waiting:
        chain = waiting.pop()
        if chain not in reached:
            reached.add(chain)
            waiting += jumps.get(chain, ())
    return reached
