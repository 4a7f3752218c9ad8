"""Where Linux keeps proxy settings: environments, of this process, of logins, of services; and the Azure agent's own."""

from __future__ import annotations

import os
import re
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Callable, Dict, Iterable, List, Mapping, NamedTuple, Optional, Tuple

from ...collect import Board, NoFact
from ...facts import Proxy, ProxyKind, Scope
from ..program import Programs
from ..proxies import PROCESS, of_environment, read_server
from .files import key_values, read

ENVIRONMENT = Path("/etc/environment")
PROFILE_D = Path("/etc/profile.d")
WAAGENT_CONF = Path("/etc/waagent.conf")
SYSTEMD = "systemd's environment"
VARIABLES = ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY", "no_proxy", "NO_PROXY")
FILES = 200  # of profile.d
LINE_LIMIT, VALUE_LIMIT = 16384, 8192  # characters
IN_A_CONDITION = "in a condition or a function"
SYSTEMCTL_S = 1.5  # the requests through the proxies wait for it
WORD = r"""(?:"(?:[^"\\]|\\.)*"|'[^']*'|\\.|[^\s;&|"'\\#()<>])*"""
NAME = r"[A-Za-z_]\w{0,63}"
ASSIGNMENT = re.compile(rf"(?<![\w$])({NAME})(\+?)=({WORD})")
SIMPLE = re.compile(  # assignments and nothing else
    rf"\s*(?:export\s+)?{NAME}\+?={WORD}(?:\s+{NAME}\+?={WORD})*\s*(?:;\s*export(?:\s+{NAME})+\s*)?;?(?:\s*|\s+#.*)"
)
COMMENT = re.compile(r"\s#.*")
UNSET = re.compile(r"\s*(?:unset|export\s+-n)((?:\s+[A-Za-z_]\w*)+)\s*;?\s*(?:#.*)?")
OPENS, CLOSES = (
    re.compile(r"\s*(?:if|case|for|while|until|select)\b|.*[({]\s*$"),
    re.compile(r"\s*(?:fi|esac|done|\}|\))"),
)
REFERENCE = re.compile(r"\$(?:(\w+)|\{(\w+)\}|\{(\w+):?([+-])([^{}]*)\})")
UNKNOWN = re.compile(r"`[^`]*`?|\$\([^)]*\)?|\$\{[^}]*\}?|\$\w*")

Note = Callable[[str], None]


def collect(programs: Programs, board: Board) -> Tuple[Proxy, ...]:
    """Every setting that names a proxy. What this process has of one of the other places is told once, as that place's."""

    def note(text: str) -> None:
        board.note("proxies", text)

    environment = read(ENVIRONMENT) or ""
    found = of_file(environment, note) + of_profiles(_profiles(), note, parse_assignments(environment))
    found += of_agent(read(WAAGENT_CONF) or "", note)
    try:
        shown = programs.run("systemctl", ["show-environment"], SYSTEMCTL_S).decode("utf-8", "replace")
        found += of_environment(parse_assignments(shown), SYSTEMD, note)
    except NoFact as missing:
        note(str(missing))
    known = {(proxy.server, proxy.variable, proxy.bypass) for proxy in found}
    own = of_environment(dict(os.environ), PROCESS, note)
    return tuple(found + [proxy for proxy in own if (proxy.server, proxy.variable, proxy.bypass) not in known])


def of_file(text: str, note: Note) -> List[Proxy]:
    """What ``/etc/environment`` says (pam_env: no expansion, the last line of a name counts)."""
    return of_environment(parse_assignments(text), str(ENVIRONMENT), note)


def parse_assignments(text: str) -> Dict[str, str]:
    """The ``NAME=value`` lines of a text, perhaps quoted, perhaps after ``export``; the last of each name counts."""
    found: Dict[str, str] = {}
    for line in text.splitlines():
        name, equals, value = line.strip().partition("=")
        name = name[len("export ") :].strip() if name.startswith("export ") else name
        if equals and name in VARIABLES and len(value) <= VALUE_LIMIT:
            value = value[1:] if value.startswith("$'") else value  # systemctl's own way to quote
            try:
                found[name] = " ".join(shlex.split(value, comments=True))
            except ValueError:
                found[name] = value.strip("\"'")
    return found


def _profiles() -> Iterable[Tuple[str, str]]:
    """The scripts of profile.d, in the order in which a login shell reads them."""
    try:
        paths = sorted(path for path in PROFILE_D.iterdir() if path.suffix == ".sh")[:FILES]
    except OSError:
        return []
    return [(str(path), read(path) or "") for path in paths]


class _Assigned(NamedTuple):
    """What a variable has come to."""

    value: str
    place: Optional[str] = None  # the script that said so; None: it was so before
    doubt: Optional[str] = None  # why it may be otherwise


def of_profiles(scripts: Iterable[Tuple[str, str]], note: Note, before: Mapping[str, str] = {}) -> List[Proxy]:
    """What the assignments of login scripts come to. They are read, not run: what stands in a condition or a function, and what a
    program works out, is undecided.

    :param scripts: (path, text) in their order
    :param before: the environment that a login has before them
    """
    known = {name: _Assigned(before[name]) for name in ("no_proxy", "NO_PROXY") if name in before}
    for path, text in scripts:
        depth = 0
        for line in re.sub(r"\\\n", "", text).splitlines():
            if line.lstrip().startswith("#"):
                continue
            if len(line) > LINE_LIMIT:
                note(f"{path}: a line of {len(line)} characters is left out")
                continue
            depth = max(0, depth - bool(CLOSES.match(line)))
            unset = UNSET.fullmatch(line)
            if unset and not depth:
                for name in unset.group(1).split():
                    known.pop(name, None)
            elif SIMPLE.fullmatch(line):
                for name, plus, raw in ASSIGNMENT.findall(COMMENT.sub("", line)):
                    value, is_whole = _expand(raw, known)
                    value = known[name].value + value if plus and name in known else value
                    doubt = IN_A_CONDITION if depth else None if is_whole else "worked out by the script"
                    known[name] = _Assigned(value, path, doubt)
            elif not re.match(r"\s*(?:echo|printf)\b", line):  # more than assignments: they may come to be, or not
                for name, _, raw in ASSIGNMENT.findall(COMMENT.sub("", line)):
                    if name in VARIABLES:
                        known[name] = _Assigned(_expand(raw, known)[0], path, IN_A_CONDITION)
            depth += bool(OPENS.match(line))
    mine = {name: known[name] for name in VARIABLES if name in known}
    place = next(
        (item.place for name, item in mine.items() if name in VARIABLES[:4] and item.value and item.place), None
    )
    if not any(name in VARIABLES[:4] and item.place for name, item in mine.items()):
        return []
    doubt = next((item.doubt for item in mine.values() if item.doubt and item.value), None)
    values = {name: item.value for name, item in mine.items()}
    return [replace(proxy, undecided=doubt) for proxy in of_environment(values, place or str(PROFILE_D), note)]


def _expand(raw: str, known: Mapping[str, _Assigned]) -> Tuple[str, bool]:
    """The value of an assignment, and whether all of it is known."""

    def one(match: "re.Match[str]") -> str:
        name, sign, other = match.group(1) or match.group(2) or match.group(3), match.group(4), match.group(5)
        own = known[name].value if name in known else ""
        if not sign:
            return own
        return (REFERENCE.sub(one, other) if own else "") if sign == "+" else own or other

    if len(raw) > VALUE_LIMIT:
        return "", False
    plain = REFERENCE.sub(one, raw)[: 2 * VALUE_LIMIT]
    literal = UNKNOWN.sub("", plain)
    try:
        words = shlex.split(literal[:VALUE_LIMIT])
    except ValueError:
        return literal[:VALUE_LIMIT].strip("\"'"), False
    return " ".join(words), literal == plain and len(literal) <= VALUE_LIMIT


def of_agent(text: str, note: Note) -> List[Proxy]:
    """The Azure Linux agent's own proxy (waagent.conf); ``None`` stands for none."""
    values = key_values(text)
    host, port = values.get("HttpProxy.Host", "None"), values.get("HttpProxy.Port", "None")
    if not host or host.lower() == "none":
        return []
    try:
        server = read_server(f"{host}:{port}" if port.isdecimal() else host)
    except ValueError as reason:
        note(f"{WAAGENT_CONF}: HttpProxy.Host: {reason}")
        return []
    return [Proxy(str(WAAGENT_CONF), ProxyKind.GUEST_AGENT, Scope.SYSTEM, None, server, "HttpProxy.Host")]
