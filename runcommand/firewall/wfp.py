"""The Windows Filtering Platform's filters, of which netsh names those for a connection."""

from __future__ import annotations

from typing import Iterable, List

from ..facts import FirewallRule, MatchField, RuleVerdict
from .matching import could_match
from .packet import Packet


def suspects(filters: Iterable[FirewallRule], packet: Packet) -> List[FirewallRule]:
    """The filters that may have forbidden a packet.

    A filter with a ``chain`` belongs to another layer than those of outgoing connections. Every
    Windows has filters for apps.
    """
    return [
        rule
        for rule in filters
        if rule.action is RuleVerdict.BLOCK
        and rule.chain is None
        and all(condition.field is not MatchField.PACKAGE for condition in rule.matches)
        and could_match(rule.matches, [packet])
    ]
