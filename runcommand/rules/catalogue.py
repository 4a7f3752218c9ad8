"""All rules, in order of weight: of several findings that explain a run, the first in this order is
its cause.

The order: is this an Azure VM; what is wrong on the VM, before the packet leaves it; what came
back; what is left when nothing on the VM explains it; IMDS answers, but some client or feature will
fail; what is never the cause. Each rule names its own place (``after``).
"""

from __future__ import annotations

from types import ModuleType
from typing import AbstractSet, Dict, FrozenSet, Iterable, Iterator, List, Mapping, Set, Tuple

from . import attested, azure, certificates, clock, firewall, imds, nic, proxy, route
from .finding import Kind, Rule

# Every file with rules. (In the frozen exe and in the script there is no folder to list.)
FAMILIES: Tuple[ModuleType, ...] = (
    attested,
    azure,
    certificates,
    clock,
    firewall,
    imds,
    nic,
    proxy,
    route,
)


class WrongOrder(Exception):
    """The rules do not say one order. The message names those that are wrong."""


def rules_of(families: Iterable[ModuleType]) -> List[Rule]:
    """Every rule that these modules declare, family by family."""
    return [item for family in families for item in vars(family).values() if isinstance(item, Rule)]


def in_order(rules: Iterable[Rule]) -> Tuple[Rule, ...]:
    """The rules in the one order in which each comes after its ``after`` and before its ``before``.

    :raises WrongOrder: a name is given twice, or is no rule's; rules form a circle, or two of them
        claim the same place
    """
    by_cause: Dict[str, Rule] = {}
    for rule in rules:
        if rule.cause in by_cause:
            raise WrongOrder(f"Two rules are called {rule.cause}.")
        by_cause[rule.cause] = rule
    waits_for: Dict[str, Set[str]] = {cause: set() for cause in by_cause}
    followers: Dict[str, Set[str]] = {cause: set() for cause in by_cause}
    for earlier, later in _pairs(by_cause):
        waits_for[later].add(earlier)
        followers[earlier].add(later)
    ordered: List[Rule] = []
    ready = [cause for cause, others in waits_for.items() if not others]
    while ready:
        if len(ready) > 1:
            raise WrongOrder(
                f"Rules claim the same place: {', '.join(sorted(ready))}. "
                "Give one of them before= the other, or another after=."
            )
        cause = ready.pop()
        ordered.append(by_cause[cause])
        del waits_for[cause]
        for follower in followers[cause]:
            waits_for[follower].discard(cause)
            if not waits_for[follower]:
                ready.append(follower)
    if waits_for:
        raise WrongOrder(f"Rules form a circle: {' after '.join(_circle(waits_for))}.")
    return tuple(ordered)


def _pairs(by_cause: Dict[str, Rule]) -> Iterator[Tuple[str, str]]:
    """Which cause comes before which, as the rules themselves say."""
    for cause, rule in by_cause.items():
        for name in (rule.after, rule.before):
            if name is not None and name not in by_cause:
                raise WrongOrder(f"{cause} names a rule that does not exist: {name}.")
        if rule.after is not None:
            yield rule.after, cause
        if rule.before is not None:
            yield cause, rule.before


def _circle(waits_for: Mapping[str, AbstractSet[str]]) -> List[str]:
    """Rules of which each waits for the next; the first is the last as well.

    :param waits_for: rules that all wait for another one of them
    """
    path = [min(waits_for)]
    while path[-1] not in path[:-1]:
        path.append(min(waits_for[path[-1]]))
    return path[path.index(path[-1]) :]


RULES: Tuple[Rule, ...] = in_order(rules_of(FAMILIES))
BY_CAUSE: Dict[str, Rule] = {rule.cause: rule for rule in RULES}

RESIDUAL = frozenset(rule.cause for rule in RULES if rule.kind is Kind.RESIDUAL)
# What a failure explains, by its cause. Any failure before a residual cause explains that one too.
EXPLAINS: Dict[str, FrozenSet[str]] = {
    rule.cause: frozenset(
        other.cause
        for other in RULES
        if other.cause in rule.explains or other.kind in rule.explains
    )
    for rule in RULES
    if rule.explains
}


def shown_by(check: str) -> Tuple[str, ...]:
    """The causes that the check with this id shows, in order of weight."""
    return tuple(rule.cause for rule in RULES if rule.shown_by == check)
