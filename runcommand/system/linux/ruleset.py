"""What nftables and iptables have in common: chains with hooks, and rules in an order."""

from __future__ import annotations

from typing import FrozenSet, List, NamedTuple, Set, Tuple

from ...facts import FirewallChain, FirewallRule

RULES_READ = 100_000  # of one program


class Ruleset(NamedTuple):
    """All chains and rules that one program shows."""

    chains: List[FirewallChain]
    rules: List[FirewallRule]
    # "ip filter"
    tables: Set[str]
    # (chain, id) of rules that the program shows in part only
    opaque: FrozenSet[Tuple[str, str]] = frozenset()
    # hooks of devices that have chains; these are not read
    of_devices: Tuple[str, ...] = ()
    # number of rules and chains left out: they cannot be read, or there are too many
    unread: int = 0
