"""nftables and iptables: a packet walks the chains of its hooks as in the kernel.

https://wiki.nftables.org/wiki-nftables/index.php/Netfilter_hooks
"""

from __future__ import annotations

from dataclasses import replace
from typing import Dict, List, Optional, Sequence

from ..facts import Firewall, FirewallChain, FirewallRule, RuleVerdict
from .matching import matches, undecided
from .packet import Packet, reply_to
from .reachable import (
    HOOKS_IN,
    HOOKS_OUT,
    JUMPS,
    filtering,
    reachable,
    source_nat,
    translating,
)
from .record import all_rules
from .verdict import Match, PacketVerdict

UNDECIDED = "a rule before it could not be evaluated"
# Of jumps, and of rules looked at: the kernel knows no loops, a recorded run may.
DEPTH, STEPS = 16, 20_000
# A user that no rule names: the highest number there is.
SOME_USER = 2**32 - 2
# What begins the target of a rule for source NAT.
SOURCE = "source "
LOST = (RuleVerdict.DROP, RuleVerdict.REJECT)


class Netfilter:
    """The packet filter of Linux."""

    def __init__(self, firewall: Firewall) -> None:
        chains: Sequence[FirewallChain] = firewall.chains
        rules: Sequence[FirewallRule] = firewall.rules
        everything = all_rules(firewall)
        if everything and not firewall.cut_off:
            chains = everything.chains
            numbers = {*reachable(chains, everything.rules)[1], *source_nat(*everything[:2])}
            rules = [everything.rules[number] for number in sorted(numbers)]
        ordered = sorted(chains, key=lambda chain: chain.priority)
        self._outgoing = [chain for hook in HOOKS_OUT for chain in filtering(ordered, hook)]
        self._incoming = [chain for hook in HOOKS_IN for chain in filtering(ordered, hook)]
        self._source_nat = translating(ordered)
        self._rules: Dict[str, List[FirewallRule]] = {}
        self._cut_off = firewall.cut_off
        for rule in rules:
            self._rules.setdefault(rule.chain or "", []).append(rule)

    def verdict(self, packet: Packet) -> PacketVerdict:
        """What becomes of a request and the answer to it."""
        request = self._walk(packet, self._outgoing)
        found = list(request.matches)
        if not request.redirected:
            found += self._walk(reply_to(packet), self._incoming, incoming=True).matches
        known = [(match.rule, match.chain) for match in found]
        limited: List[Match] = []
        for match in self._of_other_users(packet):
            if (match.rule, match.chain) not in known:
                known.append((match.rule, match.chain))
                limited.append(match)
        verdict = PacketVerdict(
            tuple(match for match in found if match.is_sure),
            tuple(match for match in found if not match.is_sure),
            tuple(limited),
            request.redirected,
            self._walk(packet, self._source_nat).source_rewritten,
        )
        return verdict.without(self._cut_off)

    def _of_other_users(self, packet: Packet) -> List[Match]:
        """What stops the requests of another user, or may."""
        unknown = self._walk(replace(packet, uid=None), self._outgoing).matches
        found = [match for match in unknown if match.is_for_some]
        if packet.uid == 0:
            another = self._walk(replace(packet, uid=SOME_USER), self._outgoing).matches
            found += [match for match in another if match.is_sure]
        return found

    def _walk(
        self, packet: Packet, chains: Sequence[FirewallChain], incoming: bool = False
    ) -> _Walk:
        walk = _Walk(self._rules, packet, incoming)
        for chain in chains:
            if not walk.redirected:
                walk.base_chain(chain)
        return walk


class _Walk:
    """One packet on its way through base chains.

    Each rule that stops it is taken away in its turn.
    """

    def __init__(
        self, rules: Dict[str, List[FirewallRule]], packet: Packet, incoming: bool
    ) -> None:
        self.matches: List[Match] = []
        self.redirected: Optional[FirewallRule] = None
        self.source_rewritten: Optional[FirewallRule] = None
        self._rules, self._packet, self._incoming = rules, packet, incoming
        self._steps = 0
        # in the base chain that is walked now
        self._may_be_accepted = False

    def base_chain(self, chain: FirewallChain) -> None:
        self._may_be_accepted = False
        if self._chain(chain.id, True, 0) is None and chain.policy is RuleVerdict.DROP:
            self._stop(Match(chain=chain, incoming=self._incoming), True)

    def _chain(self, id: str, is_sure: bool, depth: int) -> Optional[RuleVerdict]:
        """How a chain ends for the packet: ACCEPT, or None: it falls out at the end, or may.

        :param is_sure: whether the packet comes here for certain
        """
        may_have_returned = False
        for rule in self._rules.get(id, ()):
            self._steps += 1
            if self._steps > STEPS or depth > DEPTH:
                self._may_be_accepted = True
                return None
            matched = matches(rule, self._packet)
            if matched is False:
                continue
            is_certain = matched is True and is_sure and not may_have_returned
            end = self._apply(rule, is_certain, depth)
            if end is None:
                continue
            if matched and not may_have_returned:
                return None if end is RuleVerdict.RETURN else end
            if end is RuleVerdict.ACCEPT:
                self._may_be_accepted = True
            if matched:
                return None
            may_have_returned |= end is RuleVerdict.RETURN
        return None

    def _apply(self, rule: FirewallRule, is_certain: bool, depth: int) -> Optional[RuleVerdict]:
        """What a rule that matches does: ACCEPT or RETURN; None where the packet goes on."""
        action = rule.action
        if action in LOST:
            self._stop(self._match(rule), is_certain)
        elif action is RuleVerdict.MARK:
            self._mark(rule)
        elif action is RuleVerdict.REDIRECT:
            self._redirect(rule, is_certain)
            return RuleVerdict.ACCEPT
        elif action is RuleVerdict.OTHER and (rule.target or "").startswith(SOURCE):
            if is_certain and not self._may_be_accepted:
                self.source_rewritten = rule
            return RuleVerdict.ACCEPT
        elif action in JUMPS:
            end = self._chain(rule.target or "", is_certain, depth + 1)
            if end is None and action is RuleVerdict.GOTO:
                return RuleVerdict.RETURN
            return end
        elif action in (RuleVerdict.ACCEPT, RuleVerdict.RETURN):
            return action
        return None

    def _mark(self, rule: FirewallRule) -> None:
        if rule.target == "state":
            self._packet = replace(self._packet, is_untracked=True)
        else:
            self._packet = replace(self._packet, is_marked=True)

    def _redirect(self, rule: FirewallRule, is_certain: bool) -> None:
        # what comes after it sees another destination
        if is_certain and not self._may_be_accepted:
            self.redirected = self.redirected or rule
        else:
            self._stop(self._match(rule), False)

    def _match(self, rule: FirewallRule) -> Match:
        return Match(rule, undecided=undecided(rule, self._packet), incoming=self._incoming)

    def _stop(self, match: Match, is_certain: bool) -> None:
        is_sure = is_certain and not self._may_be_accepted
        doubt = UNDECIDED
        if is_sure:
            doubt = ""
        self.matches.append(replace(match, is_sure=is_sure, doubt=doubt))
