"""The packet filter of Linux: nftables' ruleset and iptables' tables, as far as they can concern the platform's addresses."""

from __future__ import annotations

from typing import List, Set

from ...collect import Board, NoFact
from ...facts import Firewall, FirewallPlace, FirewallRule
from ..program import Programs
from . import iptables, nftables
from .ruleset import Ruleset

RULES = 2000  # that are kept


def collect(programs: Programs, board: Board) -> Firewall:
    """The rules of all of them. What iptables keeps in nftables' tables is told by iptables, which shows it whole."""
    parts: List[Ruleset] = []
    sources: List[FirewallPlace] = []
    reasons: List[str] = []
    by_iptables: Set[str] = set()
    usual = ""
    for place in (FirewallPlace.IPTABLES, FirewallPlace.IPTABLES_NFT, FirewallPlace.IPTABLES_LEGACY):
        in_nftables = iptables.NF_TABLES in usual
        if usual and (place is FirewallPlace.IPTABLES_NFT) is in_nftables:
            continue  # the usual one by its other name
        try:
            text = programs.run(f"{place.value}-save", ["-c"]).decode("utf-8", "replace")
        except NoFact as missing:
            reasons += [str(missing)] if place is FirewallPlace.IPTABLES else []
            continue
        found = iptables.parse(text, place)
        usual = text if place is FirewallPlace.IPTABLES else usual
        by_iptables |= found.tables if iptables.NF_TABLES in text else set()
        parts.append(found)
        sources.append(place)
    try:
        parts.append(nftables.parse(programs.run("nft", ["-j", "list", "ruleset"]), by_iptables))
        sources.append(FirewallPlace.NFTABLES)
    except NoFact as missing:
        reasons.append(str(missing))
    if not sources:
        raise NoFact("; ".join(reasons))
    for reason in reasons:
        if not reason.endswith("not found"):  # a program that is not there has set no rules
            board.note("firewall", reason)
    rules: List[FirewallRule] = [rule for part in parts for rule in part.rules]
    if len(rules) > RULES:
        board.note("firewall", f"{len(rules) - RULES} rules are left out: more than {RULES} could concern the platform")
    return Firewall(
        rules=tuple(rules[:RULES]),
        chains=tuple(chain for part in parts for chain in part.chains),
        sources=tuple(place.value for place in sources),
        rules_read=sum(part.read for part in parts),
    )
