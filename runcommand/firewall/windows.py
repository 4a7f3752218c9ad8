"""Windows Firewall: block wins over allow, a bypass over both, and the default decides last.

https://learn.microsoft.com/openspecs/windows_protocols/ms-fasp 2.2.34, FW_RULE_ACTION
"""

from __future__ import annotations

from dataclasses import replace
from typing import Iterable, List, Optional, Sequence

from ..facts import (
    Firewall,
    FirewallPlace,
    FirewallProfile,
    FirewallRule,
    MatchField,
    RuleVerdict,
)
from .matching import could_match, matches, undecided
from .packet import REQUESTS, Packet
from .record import IN_FORCE, Everything, all_rules
from .verdict import SENDER, Match, PacketVerdict

BYPASSED = "an allow-bypass rule lets it pass, if it applies without IPsec"


class WindowsFirewall:
    """The packet filter of Windows.

    :param is_running: whether its service runs; None: not known
    """

    def __init__(self, firewall: Firewall, is_running: Optional[bool]) -> None:
        self._is_running = is_running
        self._doubts: List[str] = []
        self._cut_off = firewall.cut_off
        active = [profile for profile in firewall.profiles if profile.active]
        self._is_active_known = firewall.active_from is not None and bool(active)
        candidates: Sequence[FirewallProfile] = firewall.profiles
        if self._is_active_known:
            candidates = active
        self._on = [profile for profile in candidates if profile.enabled is not False]
        self._is_off = bool(candidates) and not self._on
        if is_running is None:
            self._doubts.append("the firewall service may not be running")
        if len(self._on) < len(candidates):
            self._doubts.append("the firewall is off in a profile")
        self._rules = self._in_force(_rules_of(firewall))

    def _in_force(self, rules: Sequence[FirewallRule]) -> Sequence[FirewallRule]:
        """Without the local rules where Group Policy switches those off."""
        merges = [profile.local_rules for profile in self._on]
        if not merges or all(merges):
            return rules
        if any(merges):
            self._doubts.append("Group Policy disables local rules in a profile")
            return rules
        return [rule for rule in rules if rule.place is not FirewallPlace.LOCAL]

    def verdict(self, packet: Packet) -> PacketVerdict:
        """What becomes of a request. (An answer passes where its request did.)"""
        if self._is_off or self._is_running is False:
            return PacketVerdict()
        if self._is_active_known:
            packet = replace(packet, profiles=frozenset(profile.name for profile in self._on))
        doubts = list(self._doubts)
        if self._lets_pass(RuleVerdict.BYPASS, packet) is not False:
            doubts.append(BYPASSED)
        found = self._blocks(packet, doubts)
        default = self._default(packet, doubts)
        if default:
            found.append(default)
        sure = [match for match in found if match.is_sure]
        rest = [match for match in found if not match.is_sure]
        # every Windows restricts services and apps by rules of its own
        limited = [
            match
            for match in rest
            if match.is_for_some and match.place is not FirewallPlace.APP_ISOLATION
        ]
        possible = [match for match in rest if not match.is_for_some]
        verdict = PacketVerdict(tuple(sure), tuple(possible), tuple(limited))
        return verdict.without(self._cut_off)

    def _blocks(self, packet: Packet, doubts: Sequence[str]) -> List[Match]:
        found: List[Match] = []
        for rule in self._rules:
            if rule.action is not RuleVerdict.BLOCK:
                continue
            matched = matches(rule, packet)
            if matched is False:
                continue
            is_sure = matched is True and not doubts
            unknown = undecided(rule, packet)
            found.append(Match(rule, is_sure=is_sure, undecided=unknown, doubt="; ".join(doubts)))
        return found

    def _default(self, packet: Packet, doubts: Sequence[str]) -> Optional[Match]:
        """The profile that blocks by default, where no rule allows the packet."""
        blocking = [item for item in self._on if item.default_outbound is RuleVerdict.BLOCK]
        allowed = self._lets_pass(RuleVerdict.ALLOW, packet)
        if not blocking or allowed is True:
            return None
        own = list(doubts)
        if len(blocking) < len(self._on):
            own.append("the active profile is unknown")
        if allowed is None:
            own.append("a rule that may apply allows it")
        return Match(profile=blocking[0], is_sure=not own, doubt="; ".join(own))

    def _lets_pass(self, action: RuleVerdict, packet: Packet) -> Optional[bool]:
        """Whether a rule of this action lets any program's packet pass; None: one may.

        A rule that allows one program does not allow all.
        """
        found: Optional[bool] = False
        for rule in self._rules:
            if rule.action is not action:
                continue
            matched = matches(rule, packet)
            if matched is True:
                return True
            unknown = [condition.field for condition in undecided(rule, packet)]
            if matched is None and not any(field in SENDER for field in unknown):
                found = None
        return found


def _rules_of(firewall: Firewall) -> Sequence[FirewallRule]:
    """The rules that a request to the platform can meet."""
    everything = all_rules(firewall)
    if everything is None or firewall.cut_off:
        return firewall.rules
    return [everything.rules[number] for number in reachable(everything)]


def reachable(everything: Everything) -> List[int]:
    """The numbers of the rules in force that could match a request to the platform."""
    found: List[int] = []
    for number, (rule, state) in enumerate(zip(everything.rules, everything.states)):
        is_decisive = state == IN_FORCE and rule.action is not RuleVerdict.OTHER
        if is_decisive and could_match(rule.matches, REQUESTS):
            found.append(number)
    return found


def suspects(filters: Iterable[FirewallRule], packet: Packet) -> List[FirewallRule]:
    """The filters of the Windows Filtering Platform that may have forbidden a packet.

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
