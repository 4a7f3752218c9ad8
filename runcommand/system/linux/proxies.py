"""Where Linux keeps proxy settings: environments, of this process, of logins, of services; and the Azure agent's own."""

from __future__ import annotations

import os
import re
import shlex
from pathlib import Path
from typing import Callable, Dict, Iterable, List, Mapping, Tuple

from ...collect import Board, NoFact
from ...facts import Proxy, ProxyKind, Scope
from ..program import Programs
from ..proxies import of_environment, read_server
from .files import key_values, read

ENVIRONMENT = Path("/etc/environment")
PROFILE_D = Path("/etc/profile.d")
WAAGENT_CONF = Path("/etc/waagent.conf")
SYSTEMD = "systemd's environment"
PROCESS = "this process's environment"
VARIABLES = ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY", "no_proxy", "NO_PROXY")
FILES = 200  # of profile.d
ASSIGNMENT = re.compile(r"""([A-Za-z_]\w*)=((?:"(?:[^"\\]|\\.)*"|'[^']*'|\\.|[^\s;&|"'\\])*)""")
REFERENCE = re.compile(r"\$(?:(\w+)|\{(\w+)\})")

Note = Callable[[str], None]


def collect(programs: Programs, board: Board) -> Tuple[Proxy, ...]:
    """Every setting that names a proxy. What this process has of one of the other places is told once, as that place's."""

    def note(text: str) -> None:
        board.note("proxies", text)

    found = (
        of_file(read(ENVIRONMENT) or "", note)
        + of_profiles(_profiles(), note)
        + of_agent(read(WAAGENT_CONF) or "", note)
    )
    try:
        shown = programs.run("systemctl", ["show-environment"]).decode("utf-8", "replace")
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
        if equals and name in VARIABLES:
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


def of_profiles(scripts: Iterable[Tuple[str, str]], note: Note) -> List[Proxy]:
    """What the assignments of login scripts come to. They are read, not run: one that asks a program or a condition is told.

    :param scripts: (path, text) in their order
    """
    values: Dict[str, str] = {}
    places: Dict[str, str] = {}
    for path, text in scripts:
        for line in text.splitlines():
            if line.lstrip().startswith("#"):
                continue
            for name, raw in ASSIGNMENT.findall(line):
                value = _expand(raw, values)
                if value is not None:
                    values[name] = value
                    places[name] = path
                elif name in VARIABLES:
                    note(f"{path}: {name}: its value is worked out by the script")
    mine = {name: value for name, value in values.items() if name in VARIABLES}
    place = next((places[name] for name in VARIABLES[:4] if mine.get(name)), str(PROFILE_D))
    return of_environment(mine, place, note)


def _expand(raw: str, values: Mapping[str, str]) -> "str | None":
    """The value of an assignment; None where more than variables and quotes is in it."""
    if re.search(r"`|\$\(|\$\{[^}]*[^\w}]", raw):
        return None
    plain = REFERENCE.sub(lambda match: values.get(match.group(1) or match.group(2), ""), raw)
    try:
        words = shlex.split(plain)
    except ValueError:
        return None
    return " ".join(words)


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
