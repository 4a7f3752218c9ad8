"""All rules that were read, one line each: a newer version can judge an old run by them.

A line has the fields of a rule, or of a chain, between tabs. A condition is its field and its
values, each on a line of its own (``!`` before the field: negated). ``#3`` stands for the rule
that is kept in full as ``Firewall.rules[3]``.
"""

from __future__ import annotations

import json
from dataclasses import replace
from functools import lru_cache
from typing import Iterable, List, NamedTuple, Optional, Sequence, Union

from ..facts import (
    Firewall,
    FirewallChain,
    FirewallMatch,
    FirewallPlace,
    FirewallRule,
    MatchField,
    RuleVerdict,
)
from ..facts.confidential import without_secrets

# That are kept in full, as they could match a packet to the platform.
RULES = 2000
# Of the JSON report: all rules, and about what one takes that is kept in full.
BYTES, BYTES_IN_FULL = 1_700_000, 700
# What begins the note on lines that are left out. It takes nothing from the judgement.
NOT_KEPT = "rules that cannot concern the platform and are not kept"
# The state of a rule, or that the line is of a chain.
IN_FORCE, OFF, INBOUND, CHAIN = "", "off", "in", "chain"
Entry = Union[FirewallChain, FirewallRule]
SEPARATORS = str.maketrans("\t\n", "  ")


class Everything(NamedTuple):
    """All chains and rules, each rule with its state."""

    chains: Sequence[FirewallChain]
    rules: Sequence[FirewallRule]
    states: Sequence[str] = ()


def recorded(base: Firewall, everything: Everything, met: Sequence[int]) -> Firewall:
    """``base`` with all rules: those that a packet can meet in full, every one as a line.

    :param met: their numbers; the first ``RULES`` count, and of more than that blocks before allows
    """
    rules = everything.rules
    if len(met) > RULES:
        met = sorted(met, key=lambda number: rules[number].action is RuleVerdict.ALLOW)
    places = {number: place for place, number in enumerate(met[:RULES])}
    entries: List[Entry] = [*everything.chains, *rules]
    states = [*[CHAIN] * len(everything.chains), *(everything.states or [IN_FORCE] * len(rules))]
    left = BYTES - BYTES_IN_FULL * len(places)
    lines: List[str] = []
    # chains have negative numbers here
    for number, (entry, state) in enumerate(zip(entries, states), -len(everything.chains)):
        if number in places:
            lines.append(f"#{places[number]}")
        elif left > 0:
            line = _line(entry, state)
            # quotes, comma, line end and indentation
            left -= len(json.dumps(line)) + 6
            if left > 0:
                lines.append(line)
    return replace(
        base,
        rules=tuple(rules[number] for number in places),
        cut_off=len(met) - len(places),
        lines=tuple(lines),
        lines_cut=len(entries) - len(lines),
    )


def shortened(firewall: Firewall, at_most: int) -> Firewall:
    """With so many lines of rules and chains that are not kept in full."""
    lines: List[str] = []
    for line in firewall.lines:
        at_most -= not line.startswith("#")
        if at_most >= 0 or line.startswith("#"):
            lines.append(line)
    cut = firewall.lines_cut + len(firewall.lines) - len(lines)
    return replace(firewall, lines=tuple(lines), lines_cut=cut)


def _line(entry: Entry, state: str) -> str:
    if isinstance(entry, FirewallChain):
        return chain_line(entry)
    return rule_line(_without_secrets(entry), state)


@lru_cache(maxsize=4096)
def _shown(text: str) -> str:
    return without_secrets(text)


def _without_secrets(rule: FirewallRule) -> FirewallRule:
    """A rule without secrets in the texts of whoever made it: its name and unknown conditions."""
    name, conditions = _shown(rule.name), list(rule.matches)
    for number, item in enumerate(conditions):
        if item.field is MatchField.OTHER:
            conditions[number] = replace(item, values=tuple(map(_shown, item.values)))
    made = replace(rule, name=name, matches=tuple(conditions))
    if made == rule:
        return rule
    return replace(made, id=_shown(rule.id))


def all_rules(firewall: Firewall) -> Optional[Everything]:
    """What the lines of a recorded run say; None where it has none, or they make no sense."""
    chains: List[FirewallChain] = []
    rules: List[FirewallRule] = []
    states: List[str] = []
    try:
        for line in firewall.lines:
            state = line.partition("\t")[0]
            if state == CHAIN:
                chains.append(read_chain(line))
                continue
            if line.startswith("#"):
                rule, state = firewall.rules[int(line[1:])], IN_FORCE
            else:
                rule = read_rule(line)
            rules.append(rule)
            states.append(state)
    except (ValueError, IndexError):
        return None
    if not firewall.lines:
        return None
    return Everything(chains, rules, states)


def chain_line(chain: FirewallChain) -> str:
    priority, policy = str(chain.priority), chain.policy.value
    place, hook = chain.place.value, chain.hook or ""
    return _joined([CHAIN, chain.id, place, hook, chain.kind, priority, policy])


def read_chain(line: str) -> FirewallChain:
    """A chain from its line. Raises ``ValueError``."""
    _, id, place, hook, kind, priority, policy = line.split("\t")
    return FirewallChain(
        id, FirewallPlace(place), hook or None, kind, int(priority), RuleVerdict(policy)
    )


def rule_line(rule: FirewallRule, state: str = IN_FORCE) -> str:
    packets = "" if rule.packets is None else str(rule.packets)
    shared = "" if rule.is_name_unique else "shared"
    fields = [state, rule.id, rule.place.value, rule.action.value, rule.name, shared]
    fields += [rule.chain or "", rule.target or "", packets]
    line = _joined(fields)
    for condition in rule.matches:
        sign = "!" if condition.negated else ""
        values = [value.translate(SEPARATORS) for value in condition.values]
        line += "\t" + "\n".join([sign + condition.field.value, *values])
    return line


def read_rule(line: str) -> FirewallRule:
    """A rule from its line. Raises ``ValueError``."""
    _, id, place, action, name, shared, chain, target, packets, *conditions = line.split("\t")
    return FirewallRule(
        id=id,
        place=FirewallPlace(place),
        action=RuleVerdict(action),
        name=name,
        chain=chain or None,
        target=target or None,
        matches=tuple(map(_condition, conditions)),
        packets=int(packets) if packets else None,
        is_name_unique=not shared,
    )


@lru_cache(maxsize=1024)
def _condition(text: str) -> FirewallMatch:
    field, *values = text.split("\n")
    return FirewallMatch(MatchField(field.lstrip("!")), tuple(values), field.startswith("!"))


def _joined(fields: Iterable[str]) -> str:
    return "\t".join(field.translate(SEPARATORS) for field in fields)
