"""What a firewall does with a packet."""

from __future__ import annotations

from dataclasses import replace
from typing import Optional, Tuple

from ..facts import (
    FirewallChain,
    FirewallMatch,
    FirewallPlace,
    FirewallProfile,
    FirewallRule,
    MatchField,
    Outcome,
    RuleVerdict,
)
from ..frozen import dataclass

# What a condition on the sender looks at.
SENDER = (
    MatchField.PROGRAM,
    MatchField.SERVICE,
    MatchField.USER,
    MatchField.GROUP,
    MatchField.PACKAGE,
)
# How a connection ends that is blocked (Windows: WSAEACCES), dropped or rejected (icmp(7), tcp(7)).
_ENDS = {
    RuleVerdict.BLOCK: (Outcome.FORBIDDEN,),
    RuleVerdict.DROP: (Outcome.TIMED_OUT, Outcome.FORBIDDEN),
    RuleVerdict.REJECT: (Outcome.REFUSED, Outcome.UNREACHABLE, Outcome.FORBIDDEN, Outcome.RESET),
}


@dataclass(frozen=True)
class Match:
    """A rule, or the default policy of a chain or a profile, that stops or redirects a packet."""

    rule: Optional[FirewallRule] = None
    chain: Optional[FirewallChain] = None
    profile: Optional[FirewallProfile] = None
    is_sure: bool = True
    undecided: Tuple[FirewallMatch, ...] = ()
    # what else keeps it from being sure
    doubt: str = ""
    # it stops the answer, not the request
    incoming: bool = False

    @property
    def place(self) -> FirewallPlace:
        if self.rule:
            return self.rule.place
        if self.chain:
            return self.chain.place
        if self.profile:
            return self.profile.default_place
        return FirewallPlace.LOCAL

    @property
    def is_for_some(self) -> bool:
        """Whether only the sender (a program, service or user) is undecided."""
        fields = [condition.field for condition in self.undecided]
        return bool(fields) and all(field in SENDER for field in fields)

    def explains(self, outcome: Outcome) -> bool:
        """Whether a connection that this stops ends so."""
        action = RuleVerdict.DROP
        if self.profile:
            action = RuleVerdict.BLOCK
        if self.rule and not self.incoming:
            action = self.rule.action
        return outcome in _ENDS.get(action, ())


@dataclass(frozen=True)
class PacketVerdict:
    """What becomes of a packet and the answer to it."""

    # for certain, whoever sends it: each stops what the others let pass
    blocked: Tuple[Match, ...] = ()
    # undecided
    possible: Tuple[Match, ...] = ()
    # only those of one program, service or user
    limited: Tuple[Match, ...] = ()
    # destination NAT: the rule that sends it to another address
    redirected: Optional[FirewallRule] = None
    # source NAT: the rule that replaces its source address
    source_rewritten: Optional[FirewallRule] = None

    def without(self, rules: int) -> PacketVerdict:
        """The same where so many rules are missing: nothing is certain then."""
        if not rules:
            return self
        doubt = f"{rules} rules were cut off"
        doubtful = [replace(match, is_sure=False, doubt=doubt) for match in self.blocked]
        possible = (*doubtful, *self.possible)
        return PacketVerdict(possible=possible, limited=self.limited)
