"""Shell words and lines of login scripts: read, never run, in linear time.

``shlex`` does not do: it appends to its word character by character, in time that grows with the
square of the word.
"""

from __future__ import annotations

import re
from typing import List, NamedTuple, Optional, Sequence, Tuple

# Each piece is matched where the last one ended. No two kinds begin alike, so nothing is tried
# twice.
_QUOTED = r"""(?P<double>"[^"\\]*(?:\\.[^"\\]*)*")|(?P<single>'[^']*')|(?P<escaped>\\.)"""
_WORD = re.compile(rf"""(?P<blank>\s+)|(?P<plain>[^\s"'\\]+)|{_QUOTED}""", re.DOTALL)
_LINE = re.compile(
    rf"""(?P<blank>\s+)|(?P<plain>[^\s"'\\;&|()<>#]+)|{_QUOTED}|(?P<operator>;|[&|()<>]+)|(?P<hash>\#+)""",
    re.DOTALL,
)
_SPECIAL = re.compile(r"""["'\\;&|()<>#]""")
_ESCAPED = re.compile(r'\\(["\\])')  # what a backslash escapes between double quotes
_ASSIGNMENT = re.compile(r"([A-Za-z_]\w{0,63})(\+?)=", re.ASCII)
_NAME = re.compile(r"[A-Za-z_]\w{0,63}", re.ASCII)
_OPENING = ("if", "case", "for", "while", "until", "select")
_CLOSING = ("fi", "esac", "done")
_BEFORE_A_COMMAND = ("then", "do", "else", "elif", "if", "while", "until", "!", "{")


def split(text: str) -> List[str]:
    """The words of a text without their quotes, as a POSIX shell splits them.

    Raises ``ValueError`` for an open quote.
    """
    if not _SPECIAL.search(text):
        return text.split()
    words: List[str] = []
    word: List[str] = []
    at, is_word = 0, False
    while at < len(text):
        match = _WORD.match(text, at)
        if match is None:
            raise ValueError("a quote is not closed")
        at = match.end()
        if match.lastgroup == "blank":
            if is_word:
                words.append("".join(word))
            word, is_word = [], False
            continue
        is_word = True
        word.append(_meant(match.group(), match.lastgroup))
    if is_word:
        words.append("".join(word))
    return words


def _meant(piece: str, kind: Optional[str]) -> str:
    """A piece of a word without its quotes."""
    if kind == "double":
        return _ESCAPED.sub(r"\1", piece[1:-1])
    if kind == "single":
        return piece[1:-1]
    if kind == "escaped":
        return piece[1:]
    return piece


class Assignment(NamedTuple):
    """``NAME=VALUE``, the value with its quotes. None: the name is unset."""

    name: str
    is_added: bool  # NAME+=VALUE
    value: Optional[str]


class Line(NamedTuple):
    """One line of a script."""

    words: List[str]  # with their quotes; an operator (``;``, ``&&``, ``(``) is one of them
    code: str  # without the comment
    is_whole: bool  # no quote is left open


def read_line(text: str) -> Line:
    """The words of a line up to its comment, or up to a quote that is left open."""
    if not _SPECIAL.search(text):
        return Line(text.split(), text, is_whole=True)
    words: List[str] = []
    word: List[str] = []
    at = 0
    while at < len(text):
        match = _LINE.match(text, at)
        if match is None or (match.lastgroup == "hash" and not word):
            break
        at = match.end()
        if match.lastgroup not in ("blank", "operator"):
            word.append(match.group())
            continue
        if word:
            words.append("".join(word))
            word = []
        if match.lastgroup == "operator":
            words.append(match.group())
    if word:
        words.append("".join(word))
    if at < len(text) and text[at] != "#":
        return Line(words, text, is_whole=False)
    return Line(words, text[:at], is_whole=True)


def only_assignments(line: Line) -> Optional[List[Assignment]]:
    """What a line sets and unsets, in order; None where it does, or may do, anything else."""
    if not line.is_whole:
        return None
    found: List[Assignment] = []
    for command in _commands(line.words):
        made = _assignments(command)
        if made is None:
            return None
        found += made
    return found


def _commands(words: Sequence[str]) -> List[List[str]]:
    """The words of a line, split at each ``;``."""
    commands: List[List[str]] = [[]]
    for word in words:
        if word == ";":
            commands.append([])
        else:
            commands[-1].append(word)
    return [command for command in commands if command]


def _assignments(command: Sequence[str]) -> Optional[List[Assignment]]:
    """What one command sets and unsets; None where it is another command."""
    if command[0] == "unset":
        return _unset(command[1:])
    if command[:2] == ["export", "-n"]:
        return _unset(command[2:])
    is_export = command[0] == "export"
    if is_export:
        command = command[1:]
    found: List[Assignment] = []
    for word in command:
        match = _ASSIGNMENT.match(word)
        if match:
            found.append(Assignment(match.group(1), bool(match.group(2)), word[match.end() :]))
        elif not (is_export and _NAME.fullmatch(word)):
            return None
    return found


def _unset(names: Sequence[str]) -> Optional[List[Assignment]]:
    """The names that a command unsets; None where one of them is an option or a pattern."""
    if not all(_NAME.fullmatch(name) for name in names):
        return None
    return [Assignment(name, False, None) for name in names]


def assignments_anywhere(code: str, names: Sequence[str]) -> List[Assignment]:
    """The assignments to ``names`` anywhere in a line: in conditions, functions, quoted texts."""
    return [assignment for assignment, _ in places_of_assignments(code, names)]


def places_of_assignments(code: str, names: Sequence[str]) -> List[Tuple[Assignment, int]]:
    """The assignments to ``names``, each with the place where its word ends."""
    wanted = re.compile(rf"(?<![\w$])({'|'.join(map(re.escape, names))})(\+?)=")
    found: List[Tuple[Assignment, int]] = []
    match = wanted.search(code)
    while match:
        end = _end_of_word(code, match.end())
        found.append(
            (Assignment(match.group(1), bool(match.group(2)), code[match.end() : end]), end)
        )
        match = wanted.search(code, end)
    return found


def _end_of_word(text: str, at: int) -> int:
    while at < len(text):
        piece = _LINE.match(text, at)
        if piece is None or piece.lastgroup in ("blank", "operator"):
            return at
        at = piece.end()
    return at


def nesting(words: Sequence[str]) -> Tuple[int, int]:
    """(blocks that a line closes and did not open, blocks that it leaves open).

    A block is a condition, a loop or a function.
    """
    closed = opened = 0
    before = ";"
    for word in words:
        is_command = before in _BEFORE_A_COMMAND or before[:1] in ";&|(" or before == ")"
        if word == "{" or (is_command and word in _OPENING):
            opened += 1
        elif word == "}" or (is_command and word in _CLOSING):
            if opened:
                opened -= 1
            else:
                closed += 1
        before = word
    if words and words[-1] == "(":
        opened += 1
    elif words and words[0] == ")":
        closed += 1
    return closed, opened
