"""The packet filter of Linux: nftables' ruleset and iptables' tables.

Rules that cannot concern the platform's addresses are recorded as lines of text.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Dict, List, NamedTuple, Optional, Sequence, Set, Tuple

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

IPTABLES = (FirewallPlace.IPTABLES, FirewallPlace.IPTABLES_NFT, FirewallPlace.IPTABLES_LEGACY)
STOPPING = (RuleVerdict.DROP, RuleVerdict.REJECT, RuleVerdict.REDIRECT)
TRIES_S = NEIGHBOURS_S  # the plain attempts have ended by then


def collect(programs: Programs, board: Board) -> Firewall:
    """The rules of all of them.

    Where a rule with a counter could have stopped an attempt that failed, the counters are read
    again after the attempts: a counter that grew is the evidence.
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
    if _without_counters(again) != _without_counters(found):
        return found
    return again


def has_a_try_failed(board: Board) -> bool:
    """Whether IMDS or the WireServer, once both have been asked, has not answered as it should."""
    end = time.monotonic() + TRIES_S
    imds: Optional[Imds] = board.wait("imds", TRIES_S, or_draft=True)
    server: Optional[WireServer] = board.wait("wireserver", max(0.0, end - time.monotonic()))
    if imds is None or not imds.attempts or imds.attempts[-1].instance is None:
        return True
    if server is None:
        return True
    return not server.http.versions or server.host_plugin.outcome is not Outcome.ANSWERED


def _without_counters(firewall: Firewall) -> Firewall:
    """The rules that a packet to the platform can meet. (Others come and go with containers.)"""
    rules = tuple(replace(rule, packets=None) for rule in firewall.rules)
    return replace(firewall, rules=rules, lines=(), lines_cut=0)


class _Read(NamedTuple):
    """What the programs have shown, and why others have not."""

    # rules of iptables in nftables' tables
    shared: List[Ruleset]
    # rules of iptables in tables of its own
    others: List[Ruleset]
    sources: List[FirewallPlace]
    reasons: List[NoFact]


def read(programs: Programs) -> Tuple[Firewall, List[str]]:
    """The rules as they are now, and notes on how they were read. Raises ``NoFact``.

    Rules of iptables in nftables' tables are there once.
    """
    found = _by_iptables(programs)
    parts = [*found.shared[-1:], *found.others]
    sources = list(found.sources)
    reasons = list(found.reasons)
    notes: List[str] = []
    try:
        by_nft = nftables.parse(programs.run("nft", ["-j", "list", "ruleset"]))
        if found.shared:
            by_nft = merged(found.shared[-1], by_nft)
        parts = [by_nft, *found.others]
        sources.append(FirewallPlace.NFTABLES)
    except NoFact as missing:
        reasons.append(missing)
    if not sources:
        raise NoFact("; ".join(map(str, reasons)))
    for part in parts:
        if part.of_devices:
            hooks = " and ".join(part.of_devices)
            notes.append(f"nftables chains of the hook {hooks} are not looked at")
    unread = sum(part.unread for part in parts)
    if unread:
        beyond = f"beyond the first {RULES_READ:,}"
        notes.append(f"{unread} rules cannot be read or are {beyond}, and are left out")
    # a program that is not there has set no rules
    notes += [str(reason) for reason in reasons if not isinstance(reason, NoProgram)]
    firewall = _recorded(parts, sources)
    if firewall.cut_off:
        kept = len(firewall.rules)
        notes.append(
            f"{firewall.cut_off} rules are left out: more than {kept} could concern the platform"
        )
    if firewall.lines_cut:
        notes.append(f"{NOT_KEPT}: {firewall.lines_cut}")
    return firewall, notes


def _by_iptables(programs: Programs) -> _Read:
    """What iptables shows, by the command that is usual on the VM and by the other ones."""
    found = _Read([], [], [], [])
    usual = ""
    for place in IPTABLES:
        # the usual command under its other name
        if usual and (place is FirewallPlace.IPTABLES_NFT) is (iptables.NF_TABLES in usual):
            continue
        try:
            text = programs.run(f"{place.value}-save", ["-c"]).decode("utf-8", "replace")
        except NoFact as missing:
            if place is FirewallPlace.IPTABLES:
                found.reasons.append(missing)
            continue
        if place is FirewallPlace.IPTABLES:
            usual = text
        parts = found.others
        if iptables.NF_TABLES in text:
            parts = found.shared
        parts.append(iptables.parse(text, place))
        found.sources.append(place)
    return found


def _recorded(parts: Sequence[Ruleset], sources: Sequence[FirewallPlace]) -> Firewall:
    rules = [rule for part in parts for rule in part.rules]
    everything = Everything([chain for part in parts for chain in part.chains], rules)
    chains, met = reachable(everything.chains, rules)
    names = tuple(place.value for place in sources)
    base = Firewall(chains=tuple(chains), sources=names, rules_read=len(rules))
    return recorded(base, everything, met)


def merged(shared: Optional[Ruleset], all_rules: Ruleset) -> Ruleset:
    """nftables' ruleset, with the tables that iptables keeps there as iptables shows them.

    iptables leaves out what only nftables knows (a set, a map). Where nftables shows all of a rule,
    and conditions that iptables does not, the rule is taken from nftables.
    """
    if shared is None:
        return all_rules
    theirs = _by_chain(all_rules.rules)
    rules = [rule for rule in all_rules.rules if _table(rule.chain) not in shared.tables]
    chains = [chain for chain in all_rules.chains if _table(chain.id) not in shared.tables]
    for chain, ours in _by_chain(shared.rules).items():
        twins = theirs.get(chain, [])
        for number, (rule, *_) in enumerate(ours):
            twin = [rule]
            if len(twins) == len(ours):
                twin = twins[number]
            is_whole = (chain, twin[0].id) not in all_rules.opaque
            differs = len(twin) > 1 or _fields(rule) != _fields(twin[0])
            if is_whole and differs:
                rules += twin
            else:
                rules.append(rule)
    return Ruleset(
        [*shared.chains, *chains],
        rules,
        shared.tables | all_rules.tables,
        of_devices=all_rules.of_devices,
        unread=shared.unread + all_rules.unread,
    )


def _by_chain(rules: Sequence[FirewallRule]) -> Dict[str, List[List[FirewallRule]]]:
    """The rules of each chain in order, each in one part or more."""
    found: Dict[str, List[List[FirewallRule]]] = {}
    for rule in rules:
        own = found.setdefault(rule.chain or "", [])
        if own and own[-1][0].id == rule.id and rule.place is FirewallPlace.NFTABLES:
            own[-1].append(rule)
        else:
            own.append([rule])
    return found


def _table(chain: Optional[str]) -> str:
    """The table of an nftables chain."""
    return " ".join((chain or "").split(" ")[:2])


def _fields(rule: FirewallRule) -> Set[Tuple[MatchField, bool]]:
    return {(match.field, match.negated) for match in rule.matches}
