"""A rule of iptables, as ``iptables-save`` writes it, made of validated words.

Only known options are taken, with values of their kind.

An option that is not in the table makes the rule one that is not printed as a command:
``--modprobe`` runs a program, ``-F`` empties a chain, ``-f`` after a second ``-I`` writes another
rule. See iptables(8) and iptables-extensions(8).
"""

from __future__ import annotations

import re
import shlex
from typing import Dict, List, Pattern, Tuple

from .commands import ChainName, IptablesWord, Part, Phrase, UnfitWord, Word, in_a_row, phrase

TEXT_LIMIT = 500  # characters of a rule: a longer one leaves no room in the report

NETWORKS = re.compile(r"[0-9.]{7,15}(/[0-9.]{1,15})?(,[0-9.]{7,15}(/[0-9.]{1,15})?){0,20}")
RANGE = re.compile(r"[0-9.]{7,15}(-[0-9.]{7,15})?")
PORTS = re.compile(r"[0-9]{1,5}([:-][0-9]{1,5})?(,[0-9]{1,5}([:-][0-9]{1,5})?){0,15}")
NUMBERS = re.compile(r"[0-9]{1,10}([:-][0-9]{1,10})?")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_+.@-]{0,31}")
NAMES = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,31}(,[A-Za-z0-9][A-Za-z0-9_-]{0,31}){0,15}")
MARK = re.compile(r"(0x)?[0-9a-fA-F]{1,8}(/(0x)?[0-9a-fA-F]{1,8})?")
PLACE = re.compile(
    r"[0-9.]{7,15}(-[0-9.]{7,15})?(:[0-9]{1,5}(-[0-9]{1,5})?)?|:[0-9]{1,5}(-[0-9]{1,5})?"
)
RATE = re.compile(r"[0-9]{1,10}/[a-z]{1,6}")
# A comment or the prefix of a log line: shown in quotes.
TEXT = re.compile(r"[A-Za-z0-9 ./:,_@%+=#()\[\]-]{0,255}")
NO_VALUE: Tuple[Pattern[str], ...] = ()

# The options of matches and targets, and what their values are.
OPTIONS: Dict[str, Tuple[Pattern[str], ...]] = {
    "-s": (NETWORKS,),
    "-d": (NETWORKS,),
    "-p": (NAME,),
    "-i": (NAME,),
    "-o": (NAME,),
    "-m": (NAME,),
    "-f": NO_VALUE,
    "-j": (NAME,),
    "-g": (NAME,),
    "--sport": (PORTS,),
    "--dport": (PORTS,),
    "--sports": (PORTS,),
    "--dports": (PORTS,),
    "--ports": (PORTS,),
    "--src-range": (RANGE,),
    "--dst-range": (RANGE,),
    "--uid-owner": (NUMBERS,),
    "--gid-owner": (NUMBERS,),
    "--socket-exists": NO_VALUE,
    "--ctstate": (NAMES,),
    "--ctdir": (NAME,),
    "--ctproto": (NAME,),
    "--state": (NAMES,),
    "--mark": (MARK,),
    "--src-type": (NAMES,),
    "--dst-type": (NAMES,),
    "--limit-iface-in": NO_VALUE,
    "--limit-iface-out": NO_VALUE,
    "--match-set": (NAME, NAMES),
    "--tcp-flags": (NAMES, NAMES),
    "--syn": NO_VALUE,
    "--icmp-type": (NAME,),
    "--limit": (RATE,),
    "--limit-burst": (NUMBERS,),
    "--length": (NUMBERS,),
    "--ttl-eq": (NUMBERS,),
    "--probability": (re.compile(r"[0-9.]{1,20}"),),
    "--mode": (NAME,),
    "--every": (NUMBERS,),
    "--packet": (NUMBERS,),
    "--comment": (TEXT,),
    "--reject-with": (NAME,),
    "--to-destination": (PLACE,),
    "--to-source": (PLACE,),
    "--to-ports": (PORTS,),
    "--random": NO_VALUE,
    "--random-fully": NO_VALUE,
    "--persistent": NO_VALUE,
    "--set-mark": (MARK,),
    "--set-xmark": (MARK,),
    "--save-mark": NO_VALUE,
    "--restore-mark": NO_VALUE,
    "--nfmask": (MARK,),
    "--ctmask": (MARK,),
    "--mask": (MARK,),
    "--notrack": NO_VALUE,
    "--log-prefix": (TEXT,),
    "--log-level": (NAME,),
    "--nflog-group": (NUMBERS,),
    "--nflog-prefix": (TEXT,),
    "--queue-num": (NUMBERS,),
    "--queue-balance": (NUMBERS,),
    "--queue-bypass": NO_VALUE,
}


class RuleOption(Word):
    """An option of iptables that a printed rule may have, or the ``!`` before it."""

    PATTERN = re.compile("|".join(["!", *map(re.escape, OPTIONS)]))


def delete_rule(rule: str) -> Phrase:
    """The words that delete a rule: ``-t filter -D OUTPUT -d 169.254.169.254/32 -j DROP``.

    :param rule: ``-t TABLE -A CHAIN ...`` (``FirewallRule.id``)
    :raises UnfitWord: where it holds an option that is not known, or a value that is not of the
    option's kind
    """
    if len(rule) > TEXT_LIMIT:
        raise UnfitWord("a rule that is too long to be printed")
    try:
        words = shlex.split(rule)
    except ValueError:
        raise UnfitWord("a rule whose quotes do not match") from None
    if len(words) < 4 or words[0] != "-t" or words[2] != "-A":
        raise UnfitWord("not a rule that was added to a chain of a table")
    begin = phrase("-t {table} -D {chain}", table=ChainName(words[1]), chain=ChainName(words[3]))
    return in_a_row([begin, *_options(words[4:])])


def _options(words: List[str]) -> List[Part]:
    parts: List[Part] = []
    at = 0
    while at < len(words):
        option = words[at]
        parts.append(RuleOption(option))
        at += 1
        if option == "!":
            continue
        for pattern in OPTIONS[option]:
            if at == len(words) or not pattern.fullmatch(words[at]):
                raise UnfitWord(f"not a value of {option}: {' '.join(words[at : at + 1])[:40]!r}")
            parts.append(IptablesWord(words[at]))
            at += 1
    return parts
