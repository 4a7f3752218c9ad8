"""Which rules of nftables and iptables a request to the platform, or its answer, can meet."""

from __future__ import annotations

from typing import Dict, List, Sequence, Set, Tuple

from ..facts import FirewallChain, FirewallRule, RuleVerdict
from .matching import could_match
from .packet import REPLIES, REQUESTS, Packet

JUMPS = (RuleVerdict.JUMP, RuleVerdict.GOTO)


def reachable(
    chains: Sequence[FirewallChain], rules: Sequence[FirewallRule]
) -> Tuple[List[FirewallChain], List[int]]:
    """The chains that such a packet can come to, and the numbers of the rules that could match it
    there.
    """
    outgoing = [chain.id for chain in chains if _filters(chain, "output", "postrouting")]
    # NAT of locally made connections
    outgoing += [chain.id for chain in chains if chain.hook == "output" and chain.kind == "nat"]
    incoming = [chain.id for chain in chains if _filters(chain, "prerouting", "input")]
    asked, requests = _met(outgoing, rules, REQUESTS)
    answered, replies = _met(incoming, rules, REPLIES)
    found = [chain for chain in chains if chain.id in asked | answered]
    return found, sorted(requests | replies)


def _filters(chain: FirewallChain, *hooks: str) -> bool:
    return chain.hook in hooks and chain.kind != "nat"


def _met(
    base_chains: Sequence[str], rules: Sequence[FirewallRule], packets: Sequence[Packet]
) -> Tuple[Set[str], Set[int]]:
    """The chains that packets can come to from base chains, and the numbers of the rules that
    could match them there.
    """
    by_chain: Dict[str, List[int]] = {}
    for number, rule in enumerate(rules):
        by_chain.setdefault(rule.chain or "", []).append(number)
    chains: Set[str] = set()
    numbers: Set[int] = set()
    waiting = list(base_chains)
    while waiting:
        chain = waiting.pop()
        if chain in chains:
            continue
        chains.add(chain)
        for number in by_chain.get(chain, ()):
            rule = rules[number]
            if not could_match(rule.matches, packets):
                continue
            numbers.add(number)
            if rule.action in JUMPS and rule.target:
                waiting.append(rule.target)
    return chains, numbers
