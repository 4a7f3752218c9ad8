"""Which rules of nftables and iptables a request to the platform, or its answer, can meet."""

from __future__ import annotations

from typing import Dict, List, Sequence, Set, Tuple

from ..facts import FirewallChain, FirewallRule, RuleVerdict
from .matching import could_match
from .packet import REPLIES, REQUESTS, Packet

HOOKS_OUT, HOOKS_IN = ("output", "postrouting"), ("prerouting", "input")
JUMPS = (RuleVerdict.JUMP, RuleVerdict.GOTO)


def filtering(chains: Sequence[FirewallChain], hook: str) -> List[FirewallChain]:
    """The base chains of a hook that may stop a request or its answer. Of those for NAT only
    ``output`` may: connection tracking translates answers, and NAT of the source stops nothing.
    """
    return [
        chain
        for chain in chains
        if chain.hook == hook and (chain.kind != "nat" or hook == "output")
    ]


def reachable(
    chains: Sequence[FirewallChain], rules: Sequence[FirewallRule]
) -> Tuple[List[FirewallChain], List[int]]:
    """The chains that a request or its answer can reach.

    With the numbers of the rules that could match it there.
    """
    outgoing = [chain for hook in HOOKS_OUT for chain in filtering(chains, hook)]
    incoming = [chain for hook in HOOKS_IN for chain in filtering(chains, hook)]
    asked, requests = _met(outgoing, rules, REQUESTS)
    answered, replies = _met(incoming, rules, REPLIES)
    found = [chain for chain in chains if chain.id in asked | answered]
    return found, sorted(requests | replies)


def translating(chains: Sequence[FirewallChain]) -> List[FirewallChain]:
    """The base chains in which the source may be replaced."""
    return [chain for chain in chains if chain.hook == "postrouting" and chain.kind == "nat"]


def source_nat(chains: Sequence[FirewallChain], rules: Sequence[FirewallRule]) -> Set[int]:
    """The numbers of the rules that a request could match where its source may be replaced."""
    return _met(translating(chains), rules, REQUESTS)[1]


def _met(
    bases: Sequence[FirewallChain], rules: Sequence[FirewallRule], packets: Sequence[Packet]
) -> Tuple[Set[str], Set[int]]:
    """The chains that packets can reach from base chains.

    With the numbers of the rules that could match them there.
    """
    by_chain: Dict[str, List[int]] = {}
    for number, rule in enumerate(rules):
        by_chain.setdefault(rule.chain or "", []).append(number)
    chains: Set[str] = set()
    numbers: Set[int] = set()
    waiting = [chain.id for chain in bases]
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
