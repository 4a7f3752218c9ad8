"""What nftables and iptables have in common: chains with hooks, rules in an order, jumps between them."""

from __future__ import annotations

from typing import Dict, List, NamedTuple, Sequence, Set

from ...conditions import concerns_platform
from ...facts import FirewallChain, FirewallRule

HOOKS = ("output", "postrouting", "prerouting", "input")  # that a packet of this machine passes, and the answer to it


class Ruleset(NamedTuple):
    """What one program tells of its filter."""

    chains: List[FirewallChain]
    rules: List[FirewallRule]
    tables: Set[str]
    read: int  # rules in all


def reduced(chains: Sequence[FirewallChain], rules: Sequence[FirewallRule], tables: Set[str]) -> Ruleset:
    """Without the rules that can concern no packet to or from the platform, and what cannot be reached from a hook."""
    kept = [rule for rule in rules if concerns_platform(rule.matches)]
    jumps: Dict[str, Set[str]] = {}
    for rule in kept:
        if rule.chain and rule.target:
            jumps.setdefault(rule.chain, set()).add(rule.target)
    reached: Set[str] = set()
    waiting = [chain.id for chain in chains if chain.hook in HOOKS]
    while waiting:
        chain = waiting.pop()
        if chain not in reached:
            reached.add(chain)
            waiting += jumps.get(chain, ())
    return Ruleset(
        [chain for chain in chains if chain.id in reached],
        [rule for rule in kept if rule.chain in reached],
        tables,
        len(rules),
    )
