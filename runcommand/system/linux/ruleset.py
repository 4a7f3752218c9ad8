"""What nftables and iptables have in common: chains with hooks, and rules in an order."""

from __future__ import annotations

from typing import FrozenSet, List, NamedTuple, Set, Tuple

from ...facts import FirewallChain, FirewallRule

RULES_READ = 100_000  # of one program


class Ruleset(NamedTuple):
    """What one program shows of its filter, all of it."""

    chains: List[FirewallChain]
    rules: List[FirewallRule]
    # "ip filter"
    tables: Set[str]
    # (chain, id): the program does not show all of the rule
    opaque: FrozenSet[Tuple[str, str]] = frozenset()
    # hooks of devices that have chains, which are not looked at
    of_devices: Tuple[str, ...] = ()
    # rules that are left out: they cannot be read, or there are too many
    unread: int = 0
