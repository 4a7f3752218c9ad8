"""Removes from a text from outside what may be secret in it.

That is credentials, queries and tokens.

The time is linear in the text, whatever it is: each search goes on where the one before it ended.
"""

from __future__ import annotations

import re
from typing import List, Match, Pattern, Tuple
from urllib.parse import unquote

REMOVED = "..."  # stands for what is not shown

# Addresses and their credentials
INNER_QUOTE = r"(?<=[\w!$%*+.~^-])[\"'](?=[\w!$%*+.~^@-])"  # one inside a word: pa"ss
# What an address, with its credentials, may be.
WORD = re.compile(rf"[^\s\"'<>]+(?:{INNER_QUOTE}[^\s\"'<>]+)*")
USER = re.compile(r"[\w.%+\\-]{0,64}\Z")
QUOTED_CREDENTIALS = re.compile(  # "user:pass word@host", "http://user:pass word@host"
    r"([\"'](?:[\w-]{1,30}=)?)((?:[A-Za-z][A-Za-z0-9+.-]{0,15}:)?//)?[\w.%+\\-]{0,64}:(?![\s/])[^\"'<>\r\n]{1,200}@"
)
QUERY = re.compile(r"[?#]\S*")
PRIVATE_KEY = re.compile(r"-----BEGIN [A-Z ]{0,30}PRIVATE KEY-----")

# Names of secrets
LONGEST_NAME = 80  # the last characters of a name that are looked at
# between a name and its value: name=value, "name": "value", "name" => "value", name%3Dvalue
SEPARATOR = re.compile(
    r"(?<=[\w.%\s\"';-])(?:=>|:=|[:=]|(?P<encoded>%(?:25){0,4}3[ADad]))\s{0,4}(?P<opening>\\{0,8}[\"']|&quot;)?"
)
HTML_QUOTE = "&quot;"
NAME_BACKWARDS = re.compile(r"[\w.%-]+")
ELEMENT = re.compile(  # <name>, <name attribute="x">, &lt;name&gt;
    r"(?:<|&lt;)(?P<name>[\w.:-]{1,80})(?:\s(?:[^<>&]|&(?![lg]t;)){0,300})?(?:>|&gt;)"
)
SECRET_NAME = re.compile(
    r"(?:token|secret|key|password|passwd|passwort|passphrase|passcode|pwd|psk|signature|assertion|credential"
    r"|authorization|cookie|jwt)s?[0-9]{0,3}\Z|pass[0-9]{0,3}\Z|pw[0-9]{0,3}\Z"
    r"|(?:secret|password|passphrase|token)(?:value|text|string|data)[0-9]{0,3}\Z|secretid[0-9]{0,3}\Z"
)
SHORT_SECRET_NAME = re.compile(r"(?:\A|[^a-z])(?:sig|sas)\Z")
BETWEEN_WORDS = re.compile("[_.-]")  # of a name: pass-word, MY_PASS_PHRASE
INNOCENT = (  # that end as a secret's name does
    "bypass", "compass", "surpass", "trespass", "overpass", "underpass", "monkey", "turkey",
    "donkey", "hockey", "jockey", "whiskey",
)  # fmt: skip

# Their values
NEXT_NAME = r"[\"']?[\w.%-]{1,80}[\"']?\s{0,4}(?:[:=]|%3[ADad])"
IN_A_VALUE = (  # a quote, or what else often ends one
    rf"{INNER_QUOTE}|(?<=\\)[\"'](?=\w)|[,;&](?![\s\"'&,;<>]|\Z|[lg]t;|quot;|#|{NEXT_NAME})"
)
VALUE = re.compile(rf"[^\s\"'&,;<>]*(?:(?:{IN_A_VALUE})[^\s\"'&,;<>]*)*")
# Up to %26, an encoded &.
ENCODED_VALUE = re.compile(r"[^\s\"'&<>%]*(?:%(?!(?:25){0,4}26)[^\s\"'&<>%]*)*")
ELEMENT_VALUE = re.compile(r"<!\[CDATA\[[^<]*|[^<&]*(?:&(?!lt;)[^<&]*)*(?=</|&lt;/)")
LINE = re.compile(r"[^\r\n]*")
COOKIES = re.compile(r"[^\"'<>\r\n]*")  # all of a header: a=1; b=2
PIECE_OF_JSON = re.compile(
    r"\\.|\"[^\"\\]*(?:\\.[^\"\\]*)*\"?|'[^'\\]*(?:\\.[^'\\]*)*'?|[\[{]|[\]}]", re.DOTALL
)
# What it needs comes behind it.
HEADER_SCHEME = re.compile(r"([A-Za-z][\w-]{0,30}[ \t]{1,4})(?=[^\s\"'<>])")
# Options of a command: --password x, -u user:x. (Not -p: that is iptables' protocol and route's
# persistent as well.)
OPTION = re.compile(
    r"((?<!\S)--?(?:[a-z-]{0,30}(?:password|passwd|passphrase|token|secret|key)|(?:[a-z-]{0,30}-)?(?:pass|pw|pwd))\s{1,4}(?!-)"
    r"|(?<!\S)(?:-[uU]|--(?:proxy-)?user)[\s=]{1,4}(?=[\"']?[^\s:\"']{1,64}:)"
    r"|(?<![\w-])sshpass\s{1,4}(?:-v\s{1,4})?-p\s{0,4})"
    r"(?:[^\s\"']|\"[^\"\r\n]*\"?|'[^'\r\n]*'?)+"
)
AUTHENTICATION = re.compile(
    r"\b((?i:bearer|basic|negotiate|ntlm)\s{1,4})(?=\S{0,200}[0-9=]|\S{1,200}[A-Z])[^\s\"'&,;]+"
)

# Tokens without a name
JWT = re.compile(r"(?<![\w-])eyJ[\w-]{5,}(?:\.[\w-]*){1,4}", re.ASCII)
BASE64_RUN = re.compile(r"[A-Za-z0-9+/_=-]{24,}")
SHORTEST_TOKEN = 24  # characters
HEXADECIMAL = re.compile(r"[0-9a-fA-F]{32,}")
DIGIT, SMALL_LETTER, CAPITAL = re.compile("[0-9]"), re.compile("[a-z]"), re.compile("[A-Z]")
KIND_CHANGE = re.compile("(?<=[a-z])[A-Z0-9]|(?<=[A-Z])[a-z0-9]|(?<=[0-9])[A-Za-z]")
# Changes between small letters, capitals and digits for each character of random text. Words have
# half of that.
RANDOM_CHANGES = 0.3


def without_secrets(text: str) -> str:
    """A text in which addresses have neither credentials nor query, and what looks secret is
    ``...``.
    """
    text = _without_private_keys(text)
    text = QUOTED_CREDENTIALS.sub(_without_quoted_credentials, text)
    text = QUERY.sub("", WORD.sub(_without_credentials, text))
    text = _without_named(_without_elements(text))
    text = OPTION.sub(rf"\1{REMOVED}", text)
    text = AUTHENTICATION.sub(rf"\1{REMOVED}", text)
    return BASE64_RUN.sub(_without_tokens, JWT.sub(REMOVED, text))


def _without_private_keys(text: str) -> str:
    """Private keys in PEM, each up to its end or the end of the text."""
    kept: List[str] = []
    at = 0
    for match in PRIVATE_KEY.finditer(text):
        if match.start() < at:
            continue
        end = text.find("-----END", match.end())
        kept += [text[at : match.end()], REMOVED]
        if end < 0:
            end = len(text)
        at = end
    return "".join([*kept, text[at:]])


def _without_quoted_credentials(match: Match[str]) -> str:
    """``"user:pass word@`` becomes ``"...@``, ``"http://user:pass word@`` becomes ``"http://``"""
    opening, slashes = match.groups()
    if slashes:
        return f"{opening}{slashes}"
    return f"{opening}{REMOVED}@"


def _without_credentials(match: Match[str]) -> str:
    """``//user:password@host`` becomes ``//host``, ``user:password@host`` becomes ``...@host``"""
    word = match.group()
    slashes, last = word.find("//"), word.rfind("@")
    if 0 <= slashes < last:
        word = word[: slashes + 2] + word[last + 1 :]
        last = word.rfind("@", 0, slashes)
    colon = word.find(":", 0, max(0, last))
    is_drive = colon == 1 and word[2:3] == "\\"  # C:\
    if colon <= 0 or is_drive:
        return word
    user = USER.search(word, max(0, colon - 64), colon)
    assert user is not None  # it may be empty
    return word[: user.start()] + REMOVED + word[last:]


def _without_elements(text: str) -> str:
    """The values of XML elements whose names say that they are secret."""
    kept: List[str] = []
    at = 0
    for match in ELEMENT.finditer(text):
        if match.start() < at or not is_secret(match.group("name").lower()):
            continue
        end = _end(ELEMENT_VALUE, text, match.end())
        if end == match.end():
            end = _end(VALUE, text, match.end())
        if end > match.end():
            kept += [text[at : match.end()], REMOVED]
            at = end
    return "".join([*kept, text[at:]])


def _without_named(text: str) -> str:
    """The values of names that say that they are secret."""
    kept: List[str] = []
    at = before = 0  # what is kept ends there; the separator before this one does
    match = SEPARATOR.search(text)
    while match:
        name = _name_before(text, before, match.start())
        before = match.end()
        if is_secret(name):
            shown, before = _value(text, name, match)
            kept += [text[at : match.end()], shown]
            at = before
        match = SEPARATOR.search(text, before)
    return "".join([*kept, text[at:]])


def _name_before(text: str, begin: int, end: int) -> str:
    """The name before a separator, in small letters, percent-decoded as often as it may have been
    encoded.

    :param begin: it does not begin before
    """
    before = text[max(begin, end - LONGEST_NAME) : end]
    for _ in range(3):
        if "%" not in before:
            break
        before = unquote(before)
    before = before.rstrip()
    if before.endswith(HTML_QUOTE):
        before = before[: -len(HTML_QUOTE)]
    if before[-1:] in ('"', "'"):
        before = before[:-1].rstrip("\\")
    name = NAME_BACKWARDS.match(before[::-1])
    if name is None:
        return ""
    return name.group()[::-1].lower()


def is_secret(name: str) -> bool:
    """Whether a name (in small letters) is one of a secret."""
    joined = BETWEEN_WORDS.sub("", name)
    if joined.endswith(INNOCENT):
        return False
    return bool(SECRET_NAME.search(joined) or SHORT_SECRET_NAME.search(name))


def _value(text: str, name: str, match: Match[str]) -> Tuple[str, int]:
    """What is shown of the value behind a name, and where the value ends."""
    start = match.end()
    end = _end_of_value(text, name, match)
    kept = ""
    if name.endswith("authorization"):  # Digest has many values
        scheme = HEADER_SCHEME.match(text, start)
        if scheme:
            kept = scheme.group(1)
        if scheme and not match.group("opening"):
            end = _end(LINE, text, start)
    if end == start:
        return "", end
    return kept + REMOVED, end


def _end_of_value(text: str, name: str, match: Match[str]) -> int:
    """Where the value behind a name ends."""
    start, opening = match.end(), match.group("opening")
    if opening == HTML_QUOTE:
        end = text.find(HTML_QUOTE, start)
        if end < 0:
            return len(text)
        return end
    if opening:
        return _closing(text, start, opening)
    if text[start : start + 1] in ("[", "{"):
        return _end_of_list(text, start)
    if name.endswith("cookie"):
        return _end(COOKIES, text, start)
    if match.group("encoded"):
        return _end(ENCODED_VALUE, text, start)
    return _end(VALUE, text, start)


def _end_of_list(text: str, at: int) -> int:
    """Where a list or an object of JSON ends; the end of the text where it is not closed."""
    depth = 0
    for piece in PIECE_OF_JSON.finditer(text, at):
        if piece.group() in ("[", "{"):
            depth += 1
        elif piece.group() in ("]", "}"):
            depth -= 1
        if depth == 0:
            return piece.end()
    return len(text)


def _end(pattern: Pattern[str], text: str, at: int) -> int:
    match = pattern.match(text, at)
    if match is None:
        return at
    end = match.end()
    if text[end : end + 1] in ('"', "'"):  # \" ends a text inside a text
        while end > at and text[end - 1] == "\\":
            end -= 1
    return end


def _closing(text: str, at: int, opening: str) -> int:
    """Where a quoted value ends: at the quote that has no more backslashes before it than the
    opening one.
    """
    quote, level = opening[-1], len(opening) - 1
    begin = at
    while True:
        found = text.find(quote, at)
        if found < 0:
            return len(text)
        first = found
        while first > begin and text[first - 1] == "\\":
            first -= 1
        count = found - first
        if level and count <= level:
            return first
        if not level and count % 2 == 0:
            return found
        at = begin = found + 1


def _without_tokens(match: Match[str]) -> str:
    """A run of base64's characters without tokens.

    Base64 with slashes goes whole; of a path only the parts that are no words.
    """
    run = match.group()
    small, capital = SMALL_LETTER.search(run), CAPITAL.search(run)
    if not (small and capital) and not HEXADECIMAL.search(run):
        return run
    if "/" not in run:
        if _is_token(run):
            return REMOVED
        return run
    if not run.startswith("/") and _is_random(run):
        return REMOVED
    parts = run.split("/")
    first, last = _without_words(parts)
    if _is_random("/".join(parts[first:last])):
        return "/".join([*parts[:first], REMOVED, *parts[last:]])
    gone = [_is_token(part) for part in parts]
    for number, part in enumerate(parts):  # what a slash has cut off a token
        beside = any(gone[max(0, number - 1) : number + 2])
        gone[number] = gone[number] or (beside and _is_mixed(part))
    shown: List[str] = []
    for is_gone, part in zip(gone, parts):
        if is_gone:
            part = REMOVED
        if part != REMOVED or shown[-1:] != [REMOVED]:
            shown.append(part)
    return "/".join(shown)


def _without_words(parts: List[str]) -> Tuple[int, int]:
    """Which parts of a path are left when those at its ends that are plain words are taken away."""
    first, last = 0, len(parts)
    while first < last and _is_word(parts[first]):
        first += 1
    while last > first and _is_word(parts[last - 1]):
        last -= 1
    return first, last


def _is_word(part: str) -> bool:
    return not (_changes(part) or "+" in part or "=" in part)


def _is_token(text: str) -> bool:
    """Whether a text looks like a token.

    It is long, and of digits (or a plus), capitals and small letters, or of hexadecimal digits
    alone.
    """
    digit, small, capital = DIGIT.search(text), SMALL_LETTER.search(text), CAPITAL.search(text)
    is_mixed = bool(small and capital and (digit or "+" in text))
    return (len(text) >= SHORTEST_TOKEN and is_mixed) or bool(HEXADECIMAL.fullmatch(text))


def _is_random(text: str) -> bool:
    digit, small, capital = DIGIT.search(text), SMALL_LETTER.search(text), CAPITAL.search(text)
    is_marked = "+" in text or text.endswith("=")
    is_mixed = bool(small and capital and (digit or is_marked))
    return is_mixed and (is_marked or _has_random_changes(text))


def _is_mixed(text: str) -> bool:
    """Whether a short part of a token is none of a path."""
    return "+" in text or text.endswith("=") or (len(text) > 3 and _has_random_changes(text))


def _has_random_changes(text: str) -> bool:
    return _changes(text) >= RANDOM_CHANGES * len(text)


def _changes(text: str) -> int:
    return sum(1 for _ in KIND_CHANGE.finditer(text))
