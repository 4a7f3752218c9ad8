"""Proxy settings as text: an address, a list for several protocols, a bypass list, an environment.

Credentials are dropped.
"""

from __future__ import annotations

import re
from typing import Callable, Dict, List, Mapping, Optional, Tuple

from ..facts import Proxy, ProxyKind, Scope

PROCESS = "this process's environment"  # a place
DEFAULT_PORTS = {"http": 80, "https": 443}
SOCKS_PORT = 1080
HOST = re.compile(r"[A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\]")
# How an entry with credentials begins: http=, http://, user:
BEGINNING = re.compile(r"[A-Za-z][A-Za-z0-9+.-]{0,15}(?:=|://)|[A-Za-z0-9._%\\-]{1,64}:")
ENTRIES = 2000  # of a bypass list; Windows and environments end long before


def read_server(text: str) -> str:
    """A proxy as ``host:port``, with its scheme where that is not http. Raises ``ValueError``."""
    scheme, colons, rest = text.strip().rpartition("://")
    scheme = scheme.lower()
    if not colons:
        scheme = "http"
    # before the last @: a password may hold anything
    without_user = rest.rpartition("@")[2]
    authority = re.split(r"[/?#]", without_user, maxsplit=1)[0]
    match = re.fullmatch(rf"({HOST.pattern})(?::(\d{{0,5}}))?", authority)
    if not match or not re.fullmatch(r"[a-z][a-z0-9+.-]{0,15}", scheme):
        raise ValueError("no address of a proxy")
    port = int(match.group(2) or DEFAULT_PORTS.get(scheme, SOCKS_PORT))
    if not 0 < port < 65536:
        raise ValueError(f"no port of a proxy: {port}")
    server = f"{match.group(1)}:{port}"
    if scheme == "http":
        return server
    return f"{scheme}://{server}"


def read_servers(text: str) -> Optional[str]:
    """The proxy for http:// addresses in a list of WinINET and WinHTTP. Raises ``ValueError``.

    The list is ``host:80``, or ``http=host:80;https=...``. None where it names proxies for other
    protocols only (``socks=`` serves all).
    https://learn.microsoft.com/windows/win32/wininet/enabling-internet-functionality
    """
    entries = [entry for entry in re.split(r"[;\s]+", text.strip()) if entry]
    for before, entry in zip(entries, entries[1:]):
        if "@" in entry and "@" not in before and not BEGINNING.match(entry):
            raise ValueError("no address of a proxy: a blank may be a part of a password")
    named = [entry.partition("=") for entry in entries if "=" in entry]
    plain = [entry for entry in entries if "=" not in entry]
    for protocol, _, server in named:
        if protocol.lower() == "http":
            return read_server(server)
    if plain:
        return read_server(plain[0])
    for protocol, _, server in named:
        if protocol.lower() == "socks":
            if "://" not in server:
                server = f"socks://{server}"
            return read_server(server)
    if not named:
        raise ValueError("no address of a proxy")
    return None


def read_bypass(
    text: str, separators: str, note: Callable[[str], None] = lambda text: None
) -> Tuple[str, ...]:
    """The entries of a bypass list, without credentials and queries.

    :param separators: the characters between entries, as in a class of a regular expression
    :param note: is called where the list is longer than what is kept
    """
    found: List[str] = []
    for match in re.finditer(f"[^{separators}]+", text):
        entry = match.group().rpartition("@")[2].strip()
        if entry and len(found) == ENTRIES:
            note(f"a bypass list has more than {ENTRIES} entries: the others are left out")
            break
        if entry:
            found.append(re.sub(r"([?#]).+", r"\1...", entry, flags=re.DOTALL))
    return tuple(found)


def of_environment(
    variables: Mapping[str, str],
    place: str,
    note: Callable[[str], None],
    scope: Scope = Scope.MACHINE,
    user: Optional[str] = None,
    any_case: bool = False,
) -> List[Proxy]:
    """The proxies for http:// addresses in an environment, one for each that the variables name.

    :param note: is called with what cannot be read
    :param any_case: capitals make no difference (Windows)
    """
    if any_case:
        variables = {name.lower(): value for name, value in variables.items()}
    lists: List[Tuple[str, ...]] = []
    for name in ("no_proxy", "NO_PROXY"):
        if variables.get(name):
            lists.append(read_bypass(variables[name], ",", lambda text: note(f"{place}: {text}")))
    bypass: Tuple[str, ...] = ()
    capitals: Optional[Tuple[str, ...]] = None
    if lists:
        bypass = lists[0]
    # Go reads NO_PROXY first
    if lists[1:] and lists[1] != bypass:
        capitals = lists[1]
    servers: Dict[str, str] = {}
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        value = variables.get(name, "").strip()
        if not value:
            continue
        try:
            server = read_server(value)
        except ValueError as reason:
            note(f"{place}: {name}: {reason}")
            continue
        if server not in servers.values():
            servers[name] = server
    return [
        Proxy(
            place,
            ProxyKind.ENVIRONMENT,
            scope,
            user,
            server,
            name,
            is_whole=capitals is None,
            bypass=bypass,
            bypass_capitals=capitals,
            rivals=tuple(other for other in servers if other != name),
        )
        for name, server in servers.items()
    ]
