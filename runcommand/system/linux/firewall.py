"""The packet filter of Linux: nftables' ruleset and iptables' tables, as far as they can concern
the platform's addresses.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Dict, List, Optional, Sequence, Set, Tuple

from ...collect import Board, NoFact, NoProgram
from ...facts import (
    Firewall,
    FirewallPlace,
    FirewallRule,
    Imds,
    MatchField,
    Outcome,
    RuleVerdict,
    WireServer,
)
from ...firewall.reachable import reachable
from ...firewall.record import NOT_KEPT, Everything, recorded
from .. import NEIGHBOURS_S
from ..program import Programs
from . import iptables, nftables
from .ruleset import RULES_READ, Ruleset

STOPPING = (RuleVerdict.DROP, RuleVerdict.REJECT, RuleVerdict.REDIRECT)
TRIES_S = NEIGHBOURS_S  # the plain tries have ended by then


def collect(programs: Programs, board: Board) -> Firewall:
    """The rules of all of them. Where one that counts could have stopped a try that failed, its
    counter is read again after the tries: what it has met is the evidence.
    """
    found, notes = read(programs)
    board.draft("firewall", found)
    for note in notes:
        board.note("firewall", note)
    counts = any(rule.action in STOPPING and rule.packets is not None for rule in found.rules)
    if not counts or not has_a_try_failed(board):
        return found
    try:
        again, _ = read(programs)
    except NoFact:
        return found
    return again if _without_counters(again) == _without_counters(found) else found


def has_a_try_failed(board: Board) -> bool:
    """Waits until IMDS and the WireServer have been asked: whether one of them has not answered as
    it should.
    """
    end = time.monotonic() + TRIES_S
    imds: Optional[Imds] = board.wait("imds", TRIES_S, or_draft=True)
    server: Optional[WireServer] = board.wait("wireserver", max(0.0, end - time.monotonic()))
    if imds is None or not imds.attempts or imds.attempts[-1].instance is None:
        return True
    if server is None:
        return True
    return not server.http.versions or server.host_plugin.outcome is not Outcome.ANSWERED


def _without_counters(firewall: Firewall) -> Firewall:
    """What a packet to the platform can meet. (Other rules come and go with containers.)"""
    rules = tuple(replace(rule, packets=None) for rule in firewall.rules)
    return replace(firewall, rules=rules, lines=(), lines_cut=0)


def read(programs: Programs) -> Tuple[Firewall, List[str]]:
    """The rules as they are now, and what is to be said of how they were read. What iptables keeps
    in nftables' tables is told once. Raises ``NoFact``.
    """
    notes: List[str] = []
    by_iptables: List[Ruleset] = []
    sources: List[FirewallPlace] = []
    reasons: List[NoFact] = []
    usual = ""
    shared: Optional[Ruleset] = None  # what iptables keeps in nftables
    for place in (
        FirewallPlace.IPTABLES,
        FirewallPlace.IPTABLES_NFT,
        FirewallPlace.IPTABLES_LEGACY,
    ):
        if usual and (place is FirewallPlace.IPTABLES_NFT) is (iptables.NF_TABLES in usual):
            continue  # the usual one by its other name
        try:
            text = programs.run(f"{place.value}-save", ["-c"]).decode("utf-8", "replace")
        except NoFact as missing:
            reasons += [missing] if place is FirewallPlace.IPTABLES else []
            continue
        found = iptables.parse(text, place)
        usual = text if place is FirewallPlace.IPTABLES else usual
        if iptables.NF_TABLES in text:
            shared = found
        else:
            by_iptables.append(found)
        sources.append(place)
    parts = [*([shared] if shared else []), *by_iptables]
    try:
        output = programs.run("nft", ["-j", "list", "ruleset"])
        all_rules = nftables.parse(output)
        parts = [merged(shared, all_rules), *by_iptables]
        sources.append(FirewallPlace.NFTABLES)
        if all_rules.of_devices:
            notes.append(
                f"nftables chains of the hook {' and '.join(all_rules.of_devices)} are not looked at"
            )
    except NoFact as missing:
        reasons.append(missing)
    if not sources:
        raise NoFact("; ".join(map(str, reasons)))
    unread = sum(part.unread for part in parts)
    if unread:
        notes.append(
            f"{unread} rules cannot be read or are beyond the first {RULES_READ:,}, and are left out"
        )
    for reason in reasons:
        if not isinstance(reason, NoProgram):  # a program that is not there has set no rules
            notes.append(str(reason))
    firewall = _recorded(parts, sources)
    if firewall.cut_off:
        kept = len(firewall.rules)
        notes.append(
            f"{firewall.cut_off} rules are left out: more than {kept} could concern the platform"
        )
    if firewall.lines_cut:
        notes.append(f"{firewall.lines_cut} {NOT_KEPT}")
    return firewall, notes


def _recorded(parts: Sequence[Ruleset], sources: Sequence[FirewallPlace]) -> Firewall:
    rules = [rule for part in parts for rule in part.rules]
    everything = Everything([chain for part in parts for chain in part.chains], rules)
    chains, met = reachable(everything.chains, rules)
    names = tuple(place.value for place in sources)
    base = Firewall(chains=tuple(chains), sources=names, rules_read=len(rules))
    return recorded(base, everything, met)


def merged(shared: Optional[Ruleset], all_rules: Ruleset) -> Ruleset:
    """nftables' ruleset, in which the tables that iptables keeps there are told as iptables does.

    iptables leaves out what only nftables knows (a set, a map): a rule of which nftables shows
    other conditions, and all of them, is told as nftables does.
    """
    if shared is None:
        return all_rules
    theirs: Dict[
        str, List[List[FirewallRule]]
    ] = {}  # chain: its rules in their order, each perhaps in several parts
    for rule in all_rules.rules:
        own = theirs.setdefault(rule.chain or "", [])
        if own and own[-1][0].id == rule.id:
            own[-1].append(rule)
        else:
            own.append([rule])
    rules = [rule for rule in all_rules.rules if _table(rule.chain) not in shared.tables]
    chains = [chain for chain in all_rules.chains if _table(chain.id) not in shared.tables]
    ours: Dict[str, List[FirewallRule]] = {}
    for rule in shared.rules:
        ours.setdefault(rule.chain or "", []).append(rule)
    for chain, own_rules in ours.items():
        twins = theirs.get(chain, [])
        for number, rule in enumerate(own_rules):
            twin = twins[number] if len(twins) == len(own_rules) else [rule]
            is_whole = (chain, twin[0].id) not in all_rules.opaque
            rules += (
                twin
                if is_whole and (len(twin) > 1 or _looks_at(rule) != _looks_at(twin[0]))
                else [rule]
            )
    unread = shared.unread + all_rules.unread
    return Ruleset(
        [*shared.chains, *chains], rules, shared.tables | all_rules.tables, unread=unread
    )


def _table(chain: Optional[str]) -> str:
    """The table that one of nftables' chains stands in."""
    return " ".join((chain or "").split(" ")[:2])


def _looks_at(rule: FirewallRule) -> Set[Tuple[MatchField, bool]]:
    return {(match.field, match.negated) for match in rule.matches}
