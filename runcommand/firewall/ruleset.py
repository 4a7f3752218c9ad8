"""What nftables and iptables have in common: chains with hooks, rules in an order, jumps between
them.
"""

from __future__ import annotations

from typing import Dict, FrozenSet, List, NamedTuple, Sequence, Set, Tuple

from ..facts import FirewallChain, FirewallRule, RuleVerdict
from .conditions import REPLIES, REQUESTS, Packet, could_hold

RULES_READ = 100_000  # of one program


class Ruleset(NamedTuple):
    """What one program tells of its filter, all of it."""

    chains: List[FirewallChain]
    rules: List[FirewallRule]
    tables: Set[str]  # "ip filter"
    opaque: FrozenSet[Tuple[str, str]] = (
        frozenset()
    )  # (chain, id): the program does not show all of the rule
    of_devices: Tuple[str, ...] = ()  # hooks of devices that have chains: they are not looked at
    unread: int = 0  # rules that are left out: they cannot be read, or there are too many


def reduced(
    chains: Sequence[FirewallChain], rules: Sequence[FirewallRule]
) -> Tuple[List[FirewallChain], List[FirewallRule]]:
    """What a request to the platform can meet on its way, or an answer on its: chains, and rules
    that could hold for it.
    """
    leaves = [
        c for c in chains if c.hook == "output" or (c.hook == "postrouting" and c.kind != "nat")
    ]
    enters = [c for c in chains if c.hook in ("prerouting", "input") and c.kind != "nat"]
    asked, requests = _met(leaves, rules, REQUESTS)
    answered, replies = _met(enters, rules, REPLIES)
    met = requests | replies
    kept = [rule for number, rule in enumerate(rules) if number in met]
    return [chain for chain in chains if chain.id in asked | answered], kept


def _met(
    bases: Sequence[FirewallChain], rules: Sequence[FirewallRule], packets: Sequence[Packet]
) -> Tuple[Set[str], Set[int]]:
    """The chains that packets can come to from some, and the places of the rules that could hold
    for them there.
    """
    own: Dict[str, List[int]] = {}
    for number, rule in enumerate(rules):
        own.setdefault(rule.chain or "", []).append(number)
    chains: Set[str] = set()
    numbers: Set[int] = set()
    waiting = [chain.id for chain in bases]
    while waiting:
        chain = waiting.pop()
        if chain in chains:
            continue
        chains.add(chain)
        for number in own.get(chain, ()):
            rule = rules[number]
            if could_hold(rule.matches, packets):
                numbers.add(number)
                if rule.action in (RuleVerdict.JUMP, RuleVerdict.GOTO) and rule.target:
                    waiting.append(rule.target)
    return chains, numbers
