"""What is kept of a text from outside without what may be secret in it: credentials, queries, tokens.

The time is linear in the text, whatever it is: each search goes on where the one before it ended.
"""

from __future__ import annotations

import re
from typing import List, Match, Pattern, Tuple
from urllib.parse import unquote

GONE = "..."
NOT_SHOWN = "{}:... (not shown)"  # an address of this scheme
SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]{0,15}):[/\\]")
RUN = re.compile(r"[^\s\"'<>]+")  # what an address, with its credentials, may be
USER = re.compile(r"[\w.%+\\-]{0,64}\Z")
QUERY = re.compile(r"[?#]\S*")
PRIVATE_KEY = re.compile(r"-----BEGIN [A-Z ]{0,30}PRIVATE KEY-----")
# name=value, "name": "value", \"name\":\"value\", <name>value<; the name perhaps percent-encoded
NAME = re.compile(
    r"(?<![\w.%-])(?P<name>[\w.%-]+)"
    r"(?:\\{0,8}[\"']?\s{0,4}[:=]\s{0,4}(?P<opening>\\{0,8}[\"'])?|(?P<element>>|&gt;))"
)
ENCODED = re.compile(  # name%3Dvalue
    r"(?<![\w.%-])(?P<name>[\w.%-]+?)%3[ADad](?P<opening>\\{0,8}[\"'])?(?P<element>(?!))?"
)
SECRET = re.compile(
    r"(?:token|secret|key|password|passwd|passwort|passphrase|passcode|pwd|psk|signature|assertion|credential"
    r"|authorization|cookie|jwt)s?[0-9_-]{0,3}\Z|(?:\A|[^a-z])(?:sig|sas|pw)\Z|pass[0-9_-]{0,3}\Z"
)
INNOCENT = ("bypass", "compass", "surpass", "trespass", "overpass", "underpass")  # that end in pass
LONGEST_NAME = 80  # the last characters of a name that are looked at
VALUE = re.compile(r"[^\s\"'&,;<>]*")
LINE = re.compile(r"[^\r\n]*")
OF_COOKIES = re.compile(r"[^\"'<>\r\n]*")  # all of a header: a=1; b=2
CREDENTIALS = re.compile(r"([A-Za-z][\w-]{0,30}[ \t]{1,4})(?=[^\s\"'<>])")  # of a header: a scheme, and what it needs
# Options of a command: --password x, -u user:x. (Not -p: that is iptables' protocol and route's persistent as well.)
OPTION = re.compile(
    r"(?<!\S)(--?[a-z-]{0,30}(?:password|passwd|passphrase|token|secret|key)\s{1,4}(?!-)"
    r"|(?:-[uU]|--(?:proxy-)?user)[\s=]{1,4}(?=[^\s:]{1,64}:))[^\s\"']+"
)
SCHEMES = re.compile(
    r"\b((?i:bearer|basic|negotiate|ntlm)\s{1,4})(?=\S{0,200}[0-9=]|\S{1,200}[A-Z])[^\s\"'&,;]+"
)
JWT = re.compile(r"(?<![\w-])eyJ[\w-]{5,}(?:\.[\w-]*){1,4}", re.ASCII)
LONG = re.compile(r"[A-Za-z0-9+/_=-]{24,}")
SHORTEST = 24  # characters of what is taken for a token
HEXADECIMAL = re.compile(r"[0-9a-fA-F]{32,}")
CLASSES = (re.compile("[0-9]"), re.compile("[a-z]"), re.compile("[A-Z]"))
CHANGE = re.compile("(?<=[a-z])[A-Z0-9]|(?<=[A-Z])[a-z0-9]|(?<=[0-9])[A-Za-z]")
RANDOM = 0.3  # changes between small letters, capitals and digits, for each character: words have half of that


def without_query(url: str) -> str:
    """An address without credentials, query and fragment; of one that may hide them elsewhere, only the scheme."""
    plain = re.sub(r"//[^/@?#\\]*@", "//", url)
    if "@" in plain or "\\" in plain:
        return not_shown(plain)
    return re.sub(r"[?#].*", "", plain, flags=re.DOTALL)


def not_shown(url: str) -> str:
    """What stands for an address that is not shown: its scheme, where it has one."""
    scheme = SCHEME.match(url)
    return NOT_SHOWN.format(scheme.group(1) if scheme else "address")


def beginning(text: str, limit: int) -> str:
    """The first characters of a text, whole words: of half an address it cannot be seen what in it is a password."""
    if len(text) <= limit:
        return text
    words = text[:limit].rsplit(None, 1)
    return words[0] if len(words) > 1 else ""


def without_secrets(text: str) -> str:
    """A text in which addresses have neither credentials nor query, and what looks secret is ``...``."""
    text = _without_private_keys(text)
    text = QUERY.sub("", RUN.sub(_without_credentials, text))
    text = SCHEMES.sub(rf"\1{GONE}", OPTION.sub(rf"\1{GONE}", _without_named(_without_named(text, NAME), ENCODED)))
    return LONG.sub(_without_tokens, JWT.sub(GONE, text))


def _without_private_keys(text: str) -> str:
    """Private keys in PEM, each up to its end or the end of the text."""
    kept: List[str] = []
    at = 0
    for match in PRIVATE_KEY.finditer(text):
        if match.start() < at:
            continue
        end = text.find("-----END", match.end())
        kept += [text[at : match.end()], GONE]
        at = end if end >= 0 else len(text)
    return "".join([*kept, text[at:]])


def _without_credentials(match: Match[str]) -> str:
    """``//user:password@host`` becomes ``//host``, ``user:password@host`` becomes ``...@host``"""
    run = match.group()
    slashes, last = run.find("//"), run.rfind("@")
    if 0 <= slashes < last:
        run = run[: slashes + 2] + run[last + 1 :]
        last = run.rfind("@", 0, slashes)
    colon = run.find(":", 0, last) if last > 0 else -1
    if colon <= 0 or run[colon + 1 : colon + 2] == "\\" and colon == 1:  # C:\
        return run
    user = USER.search(run, max(0, colon - 64), colon)
    return run[: user.start() if user else colon] + GONE + run[last:]


def _without_named(text: str, pattern: Pattern[str]) -> str:
    """The values of names that say that they are secret."""
    kept: List[str] = []
    at = 0
    match = pattern.search(text)
    while match:
        name = _decoded(match.group("name"))
        is_name = not match.group("element") or text[max(0, match.start() - 4) : match.start()].endswith(("<", "&lt;"))
        if is_name and is_secret(name):
            shown, end = _value(text, name, match)
            kept += [text[at : match.end()], shown]
            at = end
        match = pattern.search(text, max(match.end(), at))
    return "".join([*kept, text[at:]])


def _decoded(name: str) -> str:
    """A name in small letters, percent-decoded as often as it may have been encoded."""
    name = name[-LONGEST_NAME:]
    for _ in range(3):
        name = unquote(name)
    return name.lower()


def is_secret(name: str) -> bool:
    """Whether a name (in small letters) is one of a secret."""
    return bool(SECRET.search(name)) and not name.endswith(INNOCENT)


def _value(text: str, name: str, match: Match[str]) -> Tuple[str, int]:
    """What is shown of the value behind a name, and where the value ends."""
    start, opening = match.end(), match.group("opening")
    if opening:
        end = _closing(text, start, opening)
    else:
        pattern: Pattern[str] = OF_COOKIES if name.endswith("cookie") else VALUE
        end = _end(pattern, text, start)
    kept = ""
    if name.endswith("authorization"):  # Digest has many values
        scheme = CREDENTIALS.match(text, start)
        if scheme:
            kept = scheme.group(1)
            end = end if opening else _end(LINE, text, start)
    return (kept + GONE if end > start else ""), end


def _end(pattern: Pattern[str], text: str, at: int) -> int:
    match = pattern.match(text, at)
    end = match.end() if match else at
    if text[end : end + 1] in ('"', "'"):  # \" ends a text inside a text
        while end > at and text[end - 1] == "\\":
            end -= 1
    return end


def _closing(text: str, at: int, opening: str) -> int:
    """Where a quoted value ends: at the quote that has no more backslashes before it than the opening one."""
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
        if count <= level and level or not level and count % 2 == 0:
            return first if level else found
        at = begin = found + 1


def _without_tokens(match: Match[str]) -> str:
    """A run of base64's characters without tokens: base64 with slashes goes whole, of a path the parts that are no words."""
    run = match.group()
    _, small, capital = (one.search(run) for one in CLASSES)
    if not (small and capital) and not HEXADECIMAL.search(run):
        return run
    if "/" not in run:
        return GONE if _is_token(run) else run
    if not run.startswith("/") and _is_random(run):
        return GONE
    parts = run.split("/")
    first, last = _without_words(parts)
    if _is_random("/".join(parts[first:last])):
        return "/".join([*parts[:first], GONE, *parts[last:]])
    gone = [_is_token(part) for part in parts]
    for number, part in enumerate(parts):  # what a slash has cut off a token
        beside = any(gone[max(0, number - 1) : number + 2])
        gone[number] = gone[number] or beside and _is_mixed(part)
    shown = [GONE if is_gone else part for is_gone, part in zip(gone, parts)]
    return "/".join(part for number, part in enumerate(shown) if part != GONE or shown[number - 1 : number] != [GONE])


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
    """Whether a text is long, and of digits (or a plus), capitals and small letters, or of hexadecimal digits alone."""
    digit, small, capital = (one.search(text) for one in CLASSES)
    is_mixed = bool(small and capital and (digit or "+" in text))
    return len(text) >= SHORTEST and is_mixed or bool(HEXADECIMAL.fullmatch(text))


def _is_random(text: str) -> bool:
    digit, small, capital = (one.search(text) for one in CLASSES)
    is_marked = "+" in text or text.endswith("=")
    return bool(small and capital and (digit or is_marked)) and (is_marked or _changes(text) > RANDOM * len(text))


def _is_mixed(text: str) -> bool:
    """Whether a short part of a token is none of a path."""
    return "+" in text or text.endswith("=") or len(text) > 3 and _changes(text) > RANDOM * len(text)


def _changes(text: str) -> int:
    return sum(1 for _ in CHANGE.finditer(text))
