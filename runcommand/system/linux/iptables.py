"""iptables' rules, from ``iptables-save -c`` (iptables(8), iptables-extensions(8))."""

from __future__ import annotations

import re
from typing import Dict, List, Optional, Set, Tuple

from ...facts import (
    FirewallChain,
    FirewallMatch,
    FirewallPlace,
    FirewallRule,
    MatchField,
    RuleVerdict,
)
from ...firewall.netfilter import SOURCE
from . import shell
from .ruleset import RULES_READ, Ruleset

# In the head line of the variant that keeps its rules in nftables.
NF_TABLES = "(nf_tables)"
# linux/netfilter_ipv4.h
PRIORITIES = {"raw": -300, "mangle": -150, "nat": -100, "filter": 0, "security": 50}
POLICIES = {"ACCEPT": RuleVerdict.ACCEPT, "DROP": RuleVerdict.DROP}
TARGETS = {
    "ACCEPT": RuleVerdict.ACCEPT,
    "DROP": RuleVerdict.DROP,
    "REJECT": RuleVerdict.REJECT,
    "RETURN": RuleVerdict.RETURN,
    "REDIRECT": RuleVerdict.REDIRECT,
    "DNAT": RuleVerdict.REDIRECT,
    "MARK": RuleVerdict.MARK,
    "CONNMARK": RuleVerdict.MARK,
    "CT": RuleVerdict.MARK,
    "NOTRACK": RuleVerdict.MARK,
    "NFQUEUE": RuleVerdict.DROP,
    "QUEUE": RuleVerdict.DROP,
}
# A program decides; where none runs, the packet is dropped.
QUEUES = ("NFQUEUE", "QUEUE")
# What a packet carries on: the mark, or the state of its connection.
MARKED = {"MARK": "mark", "CONNMARK": "mark", "CT": "state", "NOTRACK": "state"}
# One value each; several are separated by commas.
FIELDS = {
    "-s": MatchField.SOURCE,
    "-d": MatchField.DESTINATION,
    "-p": MatchField.PROTOCOL,
    "-i": MatchField.INTERFACE_IN,
    "-o": MatchField.INTERFACE_OUT,
    "--sport": MatchField.SOURCE_PORT,
    "--dport": MatchField.DESTINATION_PORT,
    "--sports": MatchField.SOURCE_PORT,
    "--dports": MatchField.DESTINATION_PORT,
    "--src-range": MatchField.SOURCE,
    "--dst-range": MatchField.DESTINATION,
    "--uid-owner": MatchField.USER,
    "--gid-owner": MatchField.GROUP,
    "--ctstate": MatchField.STATE,
    "--state": MatchField.STATE,
    "--mark": MatchField.MARK,
    "--dst-type": MatchField.DESTINATION_TYPE,
}
NOT_CONDITIONS = ("-m", "--comment", "--socket-exists", "-j", "-g")
MODULES = (
    "tcp", "udp", "multiport", "iprange", "owner", "conntrack", "state", "mark", "addrtype",
    "comment",
)  # fmt: skip
ALL_FLAGS = "FIN,SYN,RST,PSH,ACK,URG"
COUNTERS = re.compile(r"\[([0-9]{1,20}):[0-9]{1,20}\] ")
# A chain that matters has a rule, and is jumped to by another.
CHAINS_READ = RULES_READ // 2
LINE_LIMIT = 16384  # characters; a comment has at most 255, a list of ports 15 entries


def parse(text: str, place: FirewallPlace) -> Ruleset:
    """The rules of ``iptables-save -c``. A line that makes no sense is passed over and counted.

    Chains that are kept in nftables have nftables' names: ``ip filter OUTPUT``.
    """
    heads: List[Tuple[str, str]] = []  # table, line of a chain
    lines: List[Tuple[str, str]] = []  # table, line of a rule
    tables: Set[str] = set()
    table = ""
    family = place.value
    if NF_TABLES in text.partition("\n")[0]:
        family = "ip"
    for line in text.splitlines():
        if line.startswith("*"):
            table = line[1:].strip()
            tables.add(f"ip {table}")
        elif line.startswith(":"):
            heads.append((table, line))
        elif " -A " in f" {line}":
            lines.append((table, line))
    chains = [_chain(line, table, family, place) for table, line in heads[:CHAINS_READ]]
    known = {chain.id for chain in chains}
    rules: List[FirewallRule] = []
    for table, line in lines[:RULES_READ]:
        rule = _rule(line, f"{family} {table}", place, known)
        if rule:
            rules.append(rule)
    unread = len(heads) - len(chains) + len(lines) - len(rules)
    return Ruleset(chains, rules, tables, unread=unread)


def _chain(line: str, table: str, family: str, place: FirewallPlace) -> FirewallChain:
    """A line ``:NAME POLICY [COUNTERS]``; a chain of users has no policy, and no hook."""
    name, _, rest = line[1:].partition(" ")
    id = f"{family} {table} {name}"
    kind = "nat"
    if table != kind:
        kind = "filter"
    policy = POLICIES.get(rest.partition(" ")[0])
    priority = PRIORITIES.get(table, 0)
    if policy is None:
        return FirewallChain(id, place, None, kind, priority, RuleVerdict.ACCEPT)
    return FirewallChain(id, place, name.lower(), kind, priority, policy)


def _rule(line: str, table: str, place: FirewallPlace, chains: Set[str]) -> Optional[FirewallRule]:
    if len(line) > LINE_LIMIT:
        return None
    text = line
    packets: Optional[int] = None
    counters = COUNTERS.match(line)
    if counters:
        text = line[counters.end() :]
        packets = int(counters.group(1))
    try:
        words = shell.split(text)
    except ValueError:
        return None
    if len(words) < 2 or words[0] != "-A":
        return None
    matches: List[FirewallMatch] = []
    values: Dict[str, str] = {}
    for negated, option, value in _options(words[2:]):
        condition = _match(option, value, negated)
        # what follows the target is the target's own
        if condition and "-j" not in values and "-g" not in values:
            matches.append(condition)
        values[option] = value
    target = values.get("-j") or values.get("-g") or ""
    if target in QUEUES:
        matches.append(FirewallMatch(MatchField.OTHER, (f"-j {target}",)))
    action, goes_to = _action(target, values, table, chains)
    return FirewallRule(
        id=f"-t {table.partition(' ')[2]} {text}",
        place=place,
        action=action,
        name=values.get("--comment", ""),
        chain=f"{table} {words[1]}",
        target=goes_to,
        matches=tuple(matches),
        packets=packets,
    )


def _action(
    target: str, values: Dict[str, str], table: str, chains: Set[str]
) -> Tuple[RuleVerdict, Optional[str]]:
    """What a target does, and the rule's ``FirewallRule.target``."""
    action = TARGETS.get(target, RuleVerdict.OTHER)
    if action is RuleVerdict.MARK:
        return action, MARKED[target]
    if action is RuleVerdict.REDIRECT:
        port = f"port {values.get('--to-ports', '?')} of this machine"
        return action, values.get("--to-destination") or port
    if target in ("SNAT", "MASQUERADE"):
        return action, SOURCE + values.get("--to-source", "of the interface")
    if action is RuleVerdict.OTHER and f"{table} {target}" in chains:
        jump = RuleVerdict.GOTO if "-g" in values else RuleVerdict.JUMP
        return jump, f"{table} {target}"
    return action, None


def _match(option: str, value: str, negated: bool) -> Optional[FirewallMatch]:
    """The condition of one option; None where the option is no condition.

    An unknown option is a condition that cannot be decided.
    """
    if option in FIELDS:
        field, items = FIELDS[option], value.split(",")
        if field in (MatchField.SOURCE_PORT, MatchField.DESTINATION_PORT):
            items = [item.replace(":", "-") for item in items]
        return FirewallMatch(field, tuple(items), negated)
    if option in ("--syn", "--tcp-flags"):
        mask, _, wanted = (value or "FIN,SYN,RST,ACK SYN").partition(" ")
        flags = f"{mask}/{wanted}".replace("ALL", ALL_FLAGS)
        return FirewallMatch(MatchField.TCP_FLAGS, (flags,), negated)
    # a further fragment, which a small packet does not have
    if option in ("-f", "--fragment"):
        return FirewallMatch(MatchField.PROTOCOL, ("fragment",), negated)
    if option not in NOT_CONDITIONS or (option == "-m" and value not in MODULES):
        return FirewallMatch(MatchField.OTHER, (f"{option} {value}".strip(),))
    return None


def _options(words: List[str]) -> List[Tuple[bool, str, str]]:
    """(negated, option, value) of a rule's words; several values are joined by blanks."""
    found: List[Tuple[bool, str, str]] = []
    negated = False
    at = 0
    while at < len(words):
        word = words[at]
        at += 1
        if word == "!":
            negated = True
            continue
        values: List[str] = []
        while at < len(words) and words[at] != "!" and not words[at].startswith("-"):
            values.append(words[at])
            at += 1
        found.append((negated, word, " ".join(values)))
        negated = False
    return found
