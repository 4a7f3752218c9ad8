"""iptables' rules, from ``iptables-save -c`` (iptables(8), iptables-extensions(8))."""

from __future__ import annotations

import re
import shlex
from typing import Dict, List, Optional, Set, Tuple

from ...facts import FirewallChain, FirewallMatch, FirewallPlace, FirewallRule, MatchField, RuleVerdict
from .ruleset import Ruleset, reduced

NF_TABLES = "(nf_tables)"  # in the head line of the variant that keeps its rules in nftables
PRIORITIES = {"raw": -300, "mangle": -150, "nat": -100, "filter": 0, "security": 50}  # linux/netfilter_ipv4.h
TARGETS = {
    "ACCEPT": RuleVerdict.ACCEPT,
    "DROP": RuleVerdict.DROP,
    "REJECT": RuleVerdict.REJECT,
    "RETURN": RuleVerdict.RETURN,
    "REDIRECT": RuleVerdict.REDIRECT,
    "DNAT": RuleVerdict.REDIRECT,
}
QUEUES = ("NFQUEUE", "QUEUE")  # a program decides, or nobody does and the packet is lost
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
KNOWN_MODULES = ("tcp", "udp", "multiport", "iprange", "owner", "conntrack", "state", "mark", "addrtype", "comment")
WITHOUT_VALUE = ("--syn", "--random", "--persistent", "--socket-exists", "--fragment", "-f")
COUNTERS = re.compile(r"\[(\d+):\d+\] ")


def parse(text: str, place: FirewallPlace) -> Ruleset:
    """The rules of ``iptables-save``. A line that makes no sense is passed over."""
    chains: List[FirewallChain] = []
    lines: List[Tuple[str, str]] = []  # table, line
    tables: Set[str] = set()
    table = ""
    for line in text.splitlines():
        if line.startswith("*"):
            table = line[1:].strip()
            tables.add(f"ip {table}")
        elif line.startswith(":"):
            name, _, rest = line[1:].partition(" ")
            policy = {"ACCEPT": RuleVerdict.ACCEPT, "DROP": RuleVerdict.DROP}.get(rest.partition(" ")[0])
            hook, kind = name.lower() if policy else None, "nat" if table == "nat" else "filter"
            priority = PRIORITIES.get(table, 0)
            id = chain_id(place, table, name)
            chains.append(FirewallChain(id, place, hook, kind, priority, policy or RuleVerdict.ACCEPT))
        elif " -A " in f" {line}":
            lines.append((table, line))
    known = {chain.id for chain in chains}
    rules = [_rule(line, table, place, known) for table, line in lines]
    return reduced(chains, [rule for rule in rules if rule], tables)


def chain_id(place: FirewallPlace, table: str, chain: str) -> str:
    return f"{place.value} {table} {chain}"


def _rule(line: str, table: str, place: FirewallPlace, chains: Set[str]) -> Optional[FirewallRule]:
    counters = COUNTERS.match(line)
    text = line[counters.end() :] if counters else line
    try:
        words = shlex.split(text)
    except ValueError:
        return None
    if len(words) < 2 or words[0] != "-A":
        return None
    options = _options(words[2:])
    matches: List[FirewallMatch] = []
    values: Dict[str, str] = {}
    for negated, option, value in options:
        if option in FIELDS:
            field = FIELDS[option]
            items = value.replace("0x0/0x0", "0x0").split(",")
            if field in (MatchField.SOURCE_PORT, MatchField.DESTINATION_PORT):
                items = [item.replace(":", "-") for item in items]
            matches.append(FirewallMatch(field, tuple(items), negated))
        elif option == "--syn":
            matches.append(FirewallMatch(MatchField.STATE, ("new",), negated))
        elif option == "-m" and value not in KNOWN_MODULES:
            matches.append(FirewallMatch(MatchField.OTHER, (f"-m {value}",)))
        elif option == "--tcp-flags":
            syn_only = value.split(" ")[-1] == "SYN" and "SYN" in value and "ACK" in value
            field = MatchField.STATE if syn_only else MatchField.OTHER
            matches.append(FirewallMatch(field, ("new",) if syn_only else (f"{option} {value}",), negated))
        else:
            values[option] = value
    target = values.get("-j") or values.get("-g")
    action, goes_to = RuleVerdict.OTHER, None
    if target in TARGETS:
        action = TARGETS[target]
        if action is RuleVerdict.REDIRECT:
            goes_to = values.get("--to-destination") or f"port {values.get('--to-ports', '?')} of this machine"
    elif target in QUEUES:
        action = RuleVerdict.DROP
        matches.append(FirewallMatch(MatchField.OTHER, (f"-j {target}",)))
    elif target and chain_id(place, table, target) in chains:
        action = RuleVerdict.GOTO if "-g" in values else RuleVerdict.JUMP
        goes_to = chain_id(place, table, target)
    return FirewallRule(
        id=f"-t {table} {text}",
        place=place,
        action=action,
        name=values.get("--comment", ""),
        chain=chain_id(place, table, words[1]),
        target=goes_to,
        matches=tuple(matches),
        packets=int(counters.group(1)) if counters else None,
    )


def _options(words: List[str]) -> List[Tuple[bool, str, str]]:
    """(negated, option, value) of a rule's words; an option with several values has them in one text."""
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
        while at < len(words) and word not in WITHOUT_VALUE and words[at] != "!" and not words[at].startswith("-"):
            values.append(words[at])
            at += 1
        found.append((negated, word, " ".join(values)))
        negated = False
    return found
