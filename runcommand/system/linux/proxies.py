"""Proxy settings on Linux: environments of this process, logins and services; the Azure agent."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path
from typing import Callable, Dict, Iterable, List, Mapping, NamedTuple, Optional, Tuple

from ...collect import Board, NoFact
from ...facts import Proxy, ProxyKind, Scope
from ...proxy.settings import PROCESS, of_environment, read_server
from ..program import Programs
from . import shell
from .files import key_values, read

ENVIRONMENT = Path("/etc/environment")
PROFILE_D = Path("/etc/profile.d")
WAAGENT_CONF = Path("/etc/waagent.conf")
SYSTEMD = "systemd's environment"
SERVERS = ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY")
VARIABLES = (*SERVERS, "no_proxy", "NO_PROXY")
FILES = 200  # of profile.d
SCRIPT_LIMIT, SCRIPTS_LIMIT = 256 * 1024, 512 * 1024  # bytes of one script, of all
LINE_LIMIT, VALUE_LIMIT = 16384, 8192  # characters
EXPANSION_LIMIT = 1024 * 1024  # characters that variables expand to, in all scripts together
AMBIGUOUS = (
    "no proxy is read from it: a # or a blank in it may be a comment's, or part of a password"
)
IN_A_CONDITION = "in a condition or a function"
WORKED_OUT = "worked out by the script"
SYSTEMCTL_S = 1.5  # the requests through the proxies wait for it
REFERENCE = re.compile(r"\$(?:(\w+)|\{(\w+)(?::?([+-])([^{}]*))?\})")
# A comment that may be the other half of an address.
HALF_AN_ADDRESS = re.compile(r"#(?:\S[^@]*)?@")
# The words behind an address.
ITS_OTHER_HALF = re.compile(r"[ \t]+[^;&|()<>=]*@|[;&|()<>]+[^\s;&|()<>=]*@")
UNKNOWN = re.compile(r"`[^`]*`?|\$\([^)]*\)?|\$\{[^}]*\}?|\$\w*")
ESCAPE = re.compile(r"\\(?:x([0-9a-fA-F]{2})|([0-7]{3})|(.))", re.DOTALL)  # in $'...'
LETTERS = {"n": "\n", "t": "\t", "r": "\r", "a": "\a", "b": "\b", "f": "\f", "v": "\v", "s": " "}

Note = Callable[[str], None]


def collect(programs: Programs, board: Board) -> Tuple[Proxy, ...]:
    """Every setting that names a proxy.

    A setting that this process has from one of the other places is reported once, as that place's.
    """

    def note(text: str) -> None:
        board.note("proxies", text)

    environment = read(ENVIRONMENT, note=note) or ""
    found = of_file(environment, note)
    found += of_profiles(_profiles(note), note, read_environment(environment))
    found += of_agent(read(WAAGENT_CONF, note=note) or "", note)
    try:
        shown = programs.run("systemctl", ["show-environment"], SYSTEMCTL_S)
        found += of_environment(parse_shown(shown.decode("utf-8", "replace")), SYSTEMD, note)
    except NoFact as missing:
        note(str(missing))
    known = {(proxy.server, proxy.variable, proxy.bypass) for proxy in found}
    for proxy in of_environment(dict(os.environ), PROCESS, note):
        if (proxy.server, proxy.variable, proxy.bypass) not in known:
            found.append(proxy)
    return tuple(found)


def of_file(text: str, note: Note) -> List[Proxy]:
    """What ``/etc/environment`` says."""
    return of_environment(read_environment(text, note), str(ENVIRONMENT), note)


def read_environment(text: str, note: Note = lambda text: None) -> Dict[str, str]:
    """The variables of ``/etc/environment``.

    For pam_env (_assemble_line and _parse_env_file in pam_env.c; its behaviour agrees) the first
    ``#`` of a line begins a comment wherever it stands, between quotes too; nothing is expanded;
    one pair of quotes around a value is removed; a backslash at the end joins lines; the last line
    of a name counts. Other readers (``EnvironmentFile=`` of systemd, a shell) take a ``#`` inside a
    value as part of it. So a proxy with a ``#`` in its password works for some programs, and is a
    broken address for those of a login. Half of it is no proxy, and may be half of the password:
    the whole value is taken where it is one word or quoted, otherwise nothing.

    :param note: is called with each such value
    """
    found: Dict[str, str] = {}
    cut: Dict[str, bool] = {}
    ambiguous: Dict[str, bool] = {}
    too_long = 0
    for line in re.sub(r"\\[ \t]*\n", "", text).splitlines():
        name, equals, value = line.strip().partition("=")
        if name.startswith("export "):
            name = name[len("export ") :]
        if not equals or name not in VARIABLES:
            continue
        if len(value) > VALUE_LIMIT:
            too_long += 1
            continue
        found[name], cut[name] = _without_comment(value)
        if name in SERVERS and _is_ambiguous(value):
            found[name] = ""
            ambiguous[name] = True
        else:
            ambiguous.pop(name, None)
    for name in filter(cut.get, cut):
        note(
            f"{ENVIRONMENT}: {name} has a # inside its value: pam_env, which reads it for logins, "
            "ends the value there"
        )
    for name in ambiguous:
        note(f"{ENVIRONMENT}: {name}: {AMBIGUOUS}")
    if too_long:
        note(f"{ENVIRONMENT}: {too_long} values of more than {VALUE_LIMIT} characters are left out")
    return found


def _without_comment(text: str) -> Tuple[str, bool]:
    """A value without its quotes and a comment; True where the ``#`` is inside an address."""
    quote = _quote(text)
    kept, sign, rest = text.partition("#")
    # the quote is closed behind the #
    if quote and sign and quote not in kept[1:]:
        inside = rest.partition(quote)[0]
    else:
        inside = re.split(r"\s", rest, maxsplit=1)[0]
    # kept may end in the middle of a password: it is never taken alone
    if kept.strip() and "@" in inside:
        is_one_word = bool(quote) or kept[-1:].strip() != ""
        if not is_one_word:
            return "", True
        return f"{kept}#{inside}".strip("\"'").strip(), True
    kept = kept.strip()
    if quote:
        kept = kept[1:]
        if kept[-1:] in ("'", '"'):
            kept = kept[:-1]
    return kept.strip(), False


def _quote(text: str) -> str:
    """The quote that a value begins with; else an empty text."""
    if text[:1] in ("'", '"'):
        return text[:1]
    return ""


def _is_ambiguous(text: str) -> bool:
    """Whether an ``@`` follows a blank or ``#`` that may end the address or be in its password.

    Not where quotes hold all of it, where it is one word, or in a comment that stands apart: blank,
    ``#``, blank.
    """
    quote = _quote(text)
    closed = 0
    if quote:
        closed = text.find(quote, 1) + 1
    rest = text[closed:]
    if closed and rest[:1].strip() == "":
        return False
    address = re.split(r"\s#(?:\s|\Z)", rest, maxsplit=1)[0]
    before_at = address.rpartition("@")[0].strip()
    return bool(re.search(r"\s", before_at))


def parse_shown(text: str) -> Dict[str, str]:
    """The variables of ``systemctl show-environment``: plain, or in ``$'...'`` with escapes.

    There are no comments in it.
    """
    found: Dict[str, str] = {}
    for line in text.splitlines():
        name, equals, value = line.partition("=")
        if equals and name in VARIABLES and len(value) <= VALUE_LIMIT:
            quoted = value.startswith("$'") and value.endswith("'") and len(value) > 2
            found[name] = value.strip("\"'")
            if quoted:
                found[name] = ESCAPE.sub(_character, value[2:-1])
    return found


def _character(match: re.Match[str]) -> str:
    """What an escape in ``$'...'`` stands for."""
    hexadecimal, octal, other = match.groups()
    if other:
        return LETTERS.get(other, other)
    if hexadecimal:
        return chr(int(hexadecimal, 16))
    return chr(int(octal, 8))


def _profiles(note: Note) -> Iterable[Tuple[str, str]]:
    """The scripts of profile.d, in the order in which a login shell reads them."""
    try:
        paths = sorted(path for path in PROFILE_D.iterdir() if path.suffix == ".sh")
    except OSError:
        return []
    scripts: List[Tuple[str, str]] = []
    size = 0
    for path in paths:
        if len(scripts) == FILES or size >= SCRIPTS_LIMIT:
            note(f"{PROFILE_D}: of {len(paths)} scripts the first {len(scripts)} are read")
            break
        text = read(path, SCRIPT_LIMIT, note) or ""
        size += len(text)
        scripts.append((str(path), text))
    return scripts


class _Assigned(NamedTuple):
    """The value of a variable."""

    value: str
    place: Optional[str] = None  # the script that set it; None: it was set before the scripts
    doubt: Optional[str] = None  # why the value is not certain


class _Login:
    """The variables of a login while its scripts are read."""

    def __init__(self, before: Mapping[str, str]) -> None:
        self.variables: Dict[str, _Assigned] = {}
        for name in ("no_proxy", "NO_PROXY"):
            if name in before:
                self.variables[name] = _Assigned(before[name])
        self.expansion_left = EXPANSION_LIMIT
        # values that would have expanded to more
        self.refused = 0

    def may_expand_to(self, size: int) -> bool:
        """Whether variables may expand to so many more characters; if so, these count as used."""
        if size > self.expansion_left:
            self.refused += 1
            return False
        self.expansion_left -= size
        return True


def of_profiles(
    scripts: Iterable[Tuple[str, str]], note: Note, before: Mapping[str, str] = {}
) -> List[Proxy]:
    """The proxies that login scripts set.

    The scripts are read, not run: values set in a condition or a function, and values that a
    program works out, are undecided.

    :param scripts: (path, text) in their order
    :param before: the environment of a login before the scripts
    """
    login = _Login(before)
    for path, text in scripts:
        _read_script(path, text[:SCRIPT_LIMIT], login, note)
    if login.refused:
        note(
            f"{PROFILE_D}: {login.refused} values are left out: "
            f"variables expand to more than {EXPANSION_LIMIT // 1024} KiB in all"
        )
    assigned = {name: login.variables[name] for name in VARIABLES if name in login.variables}
    servers = [item for name, item in assigned.items() if name in SERVERS and item.place]
    if not servers:
        return []
    place = next((item.place for item in servers if item.value), None)
    doubt = next((item.doubt for item in assigned.values() if item.doubt and item.value), None)
    values = {name: item.value for name, item in assigned.items()}
    found = of_environment(values, place or str(PROFILE_D), note)
    return [replace(proxy, undecided=doubt) for proxy in found]


def _read_script(path: str, text: str, login: _Login, note: Note) -> None:
    """Applies the assignments of a script."""
    depth = left_out = cut = 0
    for written in re.sub(r"\\\n", "", text).splitlines():
        if len(written) > LINE_LIMIT:
            left_out += 1
            continue
        line = shell.read_line(written)
        # what is left may be half a password
        if _is_cut_short(line.code, written):
            cut += 1
            continue
        closed, opened = shell.nesting(line.words)
        depth = max(0, depth - closed)
        doubt = IN_A_CONDITION if depth else None
        assignments = shell.only_assignments(line)
        if assignments is None:
            doubt = IN_A_CONDITION
            assignments = []
            if line.words and line.words[0] not in ("echo", "printf"):
                assignments = shell.assignments_anywhere(line.code, VARIABLES)
        for assignment in assignments:
            _assign(assignment, path, doubt, login)
        depth += opened
    if left_out:
        note(f"{path}: {left_out} lines of more than {LINE_LIMIT} characters are left out")
    if cut:
        note(f"{path}: {cut} lines are left out in which a # or a blank cuts an address short")


def _is_cut_short(code: str, written: str) -> bool:
    """Whether a line sets a proxy's address whose other half, with the ``@``, is outside the word.

    :param code: the line without its comment
    :param written: the whole line
    """
    if "@" not in code:
        return "=" in code and bool(HALF_AN_ADDRESS.match(written, len(code)))
    for assignment, end in shell.places_of_assignments(code, SERVERS):
        if not _quote(assignment.value or "") and ITS_OTHER_HALF.match(code, end):
            return True
    return False


def _assign(assignment: shell.Assignment, path: str, doubt: Optional[str], login: _Login) -> None:
    name = assignment.name
    if assignment.value is None:
        if doubt is None:
            login.variables.pop(name, None)
        return
    value, is_whole = _expand(assignment.value, login)
    if assignment.is_added and name in login.variables:
        value = login.variables[name].value + value
    # half a value may be half a password
    if len(value) > VALUE_LIMIT:
        value, is_whole = "", False
    if not is_whole and doubt is None:
        doubt = WORKED_OUT
    login.variables[name] = _Assigned(value, path, doubt)


def _expand(raw: str, login: _Login) -> Tuple[str, bool]:
    """The value of an assignment, and whether all of it is known; empty where it grows too long.

    The words are split first. The value of a variable was split when it was assigned, and is
    inserted as it is.
    """
    if len(raw) > VALUE_LIMIT:
        return "", False
    if "$" not in raw:
        return _split(raw)
    raw = raw.replace("\0", "")  # a shell drops them
    references = list(REFERENCE.finditer(raw))
    numbers = iter(range(len(references)))
    plain, is_whole = _split(REFERENCE.sub(lambda match: f"\0{next(numbers)}\0", raw))
    return _with_references(plain, is_whole, references, login)


def _split(raw: str) -> Tuple[str, bool]:
    """The words of a value, and whether all of them are known."""
    literal = UNKNOWN.sub("", raw)
    try:
        words = shell.split(literal)
    except ValueError:
        return literal.strip("\"'"), False
    return " ".join(words), literal == raw


def _with_references(
    plain: str, is_whole: bool, references: List[re.Match[str]], login: _Login
) -> Tuple[str, bool]:
    """A value with ``$NAME``, ``${NAME}``, ``${NAME:-other}`` and ``${NAME:+other}`` replaced."""
    # every second piece is the number of a reference
    pieces = plain.split("\0")
    size = 0
    for at in range(1, len(pieces), 2):
        pieces[at], is_known = _referred(references[int(pieces[at])], login)
        is_whole = is_whole and is_known
        size += len(pieces[at])
        if size > VALUE_LIMIT:
            return "", False
    if not login.may_expand_to(size):
        return "", False
    return "".join(pieces), is_whole


def _referred(match: re.Match[str], login: _Login) -> Tuple[str, bool]:
    """The text that a reference stands for, and whether all of it is known."""
    name, sign, other = match.group(1) or match.group(2), match.group(3), match.group(4)
    own = ""
    if name in login.variables:
        own = login.variables[name].value
    is_other = (sign == "+" and own != "") or (sign == "-" and own == "")
    if is_other:
        return _expand(other, login)
    if sign == "+":
        return "", True
    return own, True


def of_agent(text: str, note: Note) -> List[Proxy]:
    """The Azure Linux agent's own proxy (waagent.conf); ``None`` stands for none."""
    values = key_values(text)
    if _is_ambiguous(values.get("HttpProxy.Host", "")):
        note(f"{WAAGENT_CONF}: HttpProxy.Host: {AMBIGUOUS}")
        return []
    host, _ = _without_comment(values.get("HttpProxy.Host", "None"))
    port, _ = _without_comment(values.get("HttpProxy.Port", "None"))
    if not host or host.lower() == "none":
        return []
    if port.isdecimal():
        host += f":{port}"
    try:
        server = read_server(host)
    except ValueError as reason:
        note(f"{WAAGENT_CONF}: HttpProxy.Host: {reason}")
        return []
    return [
        Proxy(
            str(WAAGENT_CONF), ProxyKind.GUEST_AGENT, Scope.SYSTEM, None, server, "HttpProxy.Host"
        )
    ]
