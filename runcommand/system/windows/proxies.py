"""Proxy settings on Windows: WinHTTP's default, Internet Settings, environments.

https://learn.microsoft.com/troubleshoot/windows-client/networking/configure-client-proxy-server-settings-by-registry-file
"""

from __future__ import annotations

import struct
from dataclasses import replace
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Tuple

from ...collect import Board, NoFact
from ...collect.board import PAC_URLS
from ...facts import Proxy, ProxyKind, Scope
from ...facts.urls import without_query
from ...proxy.settings import PROCESS, of_environment, read_bypass, read_servers
from . import registry
from .registry import Root
from .source import Source, values_if_any

SETTINGS = "Software\\Microsoft\\Windows\\CurrentVersion\\Internet Settings"
POLICY = "Software\\Policies\\Microsoft\\Windows\\CurrentVersion\\Internet Settings"
ENVIRONMENT = "SYSTEM\\CurrentControlSet\\Control\\Session Manager\\Environment"
PROFILES = "SOFTWARE\\Microsoft\\Windows NT\\CurrentVersion\\ProfileList"
MACHINE_ENVIRONMENT = "the machine's environment"
LOCAL_SYSTEM = "S-1-5-18"
DEFAULT_HIVE = ".DEFAULT"  # another name of SYSTEM's hive
SERVICE_ACCOUNTS = {
    LOCAL_SYSTEM: "SYSTEM",
    DEFAULT_HIVE: "SYSTEM",
    "S-1-5-19": "LOCAL SERVICE",
    "S-1-5-20": "NETWORK SERVICE",
}
# Any other separator is each client's own matter.
WINHTTP_SEPARATORS, SETTINGS_SEPARATOR = r";\s", ";"
# Accounts whose hives are read; SYSTEM's first.
ACCOUNTS = 500
# Connections\DefaultConnectionSettings: a version and a counter, the flags (wininet.h,
# PROXY_TYPE_*), then three texts.
PROXY_TYPE_PROXY, PROXY_TYPE_AUTO_PROXY_URL, PROXY_TYPE_AUTO_DETECT = 0x2, 0x4, 0x8

# Of the named values.
TYPES = {"ProxyEnable": int, "ProxyServer": str, "ProxyOverride": str, "AutoConfigURL": str}

Note = Callable[[str], None]


class Blob(NamedTuple):
    """The values in DefaultConnectionSettings."""

    servers: str = ""
    bypass: str = ""
    pac_url: str = ""
    auto_detect: bool = False


def collect(source: Source, board: Board) -> Tuple[Proxy, ...]:
    """Every setting that names a proxy, a PAC or auto-detection.

    The machine's come first, then SYSTEM's, then the users'.
    """
    pacs: List[Tuple[Scope, str]] = []
    found: List[Proxy] = []

    def note(text: str) -> None:
        board.note("proxies", text)

    def add(place: str, scope: Scope, user: Optional[str], key: str, root: Root) -> None:
        values, blob = _settings(source, key, root, note)
        for setting in of_settings(place, scope, user, values, blob, note):
            if setting.pac_url:
                pacs.append((scope, setting.pac_url))
                setting = replace(setting, pac_url=without_query(setting.pac_url))
            found.append(setting)

    found += _of_winhttp(source, note)
    machine_environment = values_if_any(source, ENVIRONMENT, note)
    found += of_environment(_texts(machine_environment), MACHINE_ENVIRONMENT, note, any_case=True)
    policy = values_if_any(source, POLICY, note)
    per_user = registry.number(policy.get("ProxySettingsPerUser")) != 0
    if not per_user:
        add("Internet Settings of the machine", Scope.MACHINE, None, SETTINGS, Root.MACHINE)
    for sid in _accounts(source, note):
        scope, user = _account(source, sid)
        if per_user:
            add(f"Internet Settings of {sid}", scope, user, f"{sid}\\{SETTINGS}", Root.USERS)
        own = _texts(values_if_any(source, f"{sid}\\Environment", note, Root.USERS))
        found += of_environment(own, f"the environment of {sid}", note, scope, user, any_case=True)
    known = {(proxy.server, proxy.bypass) for proxy in found if proxy.kind is ProxyKind.ENVIRONMENT}
    own_process = of_environment(source.environment(), PROCESS, note, any_case=True)
    found += [proxy for proxy in own_process if (proxy.server, proxy.bypass) not in known]
    board.post(PAC_URLS, tuple(pacs))
    return tuple(found)


def _of_winhttp(source: Source, note: Note) -> List[Proxy]:
    try:
        default = source.default_proxy()
        if default is None:
            return []
        server = read_servers(default.servers)
    except (NoFact, ValueError) as reason:
        note(f"WinHTTP: {reason}")
        return []
    if server is None:
        return []
    bypass = read_bypass(default.bypass, WINHTTP_SEPARATORS, lambda text: note(f"WinHTTP: {text}"))
    is_whole = "=" not in default.servers
    return [
        Proxy(
            "WinHTTP", ProxyKind.WINHTTP, Scope.MACHINE, None, server, None, is_whole, bypass=bypass
        )
    ]


def of_settings(
    place: str, scope: Scope, user: Optional[str], values: Dict[str, Any], blob: Blob, note: Note
) -> List[Proxy]:
    """The proxy in the values of an Internet Settings key, with the whole address of the PAC.

    The binary value counts where the named ones turn no proxy on.
    """
    servers = None
    if registry.number(values.get("ProxyEnable")):
        servers = registry.text(values.get("ProxyServer"))
    bypass = registry.text(values.get("ProxyOverride")) or ""
    if servers and blob.servers and (servers, bypass) != (blob.servers, blob.bypass):
        note(
            f"{place}: ProxyServer or ProxyOverride and DefaultConnectionSettings disagree; "
            "the named values are judged"
        )
    variable = None
    if not servers and blob.servers:
        servers, bypass, variable = blob.servers, blob.bypass, "DefaultConnectionSettings"
    server = None
    for name, kind in TYPES.items():
        if name in values and type(values[name]) is not kind:
            note(f"{place}: {name} has a value of another type")
    if servers:
        try:
            server = read_servers(servers)
        except ValueError as reason:
            note(f"{place}: ProxyServer: {reason}")
    pac_url = registry.text(values.get("AutoConfigURL")) or blob.pac_url or None
    auto_detect = blob.auto_detect or registry.number(values.get("AutoDetect")) == 1
    if not (server or pac_url or auto_detect):
        return []
    return [
        Proxy(
            place,
            ProxyKind.INTERNET_SETTINGS,
            scope,
            user,
            server,
            variable,
            is_whole="=" not in (servers or ""),
            bypass=read_bypass(bypass, SETTINGS_SEPARATOR, lambda text: note(f"{place}: {text}")),
            pac_url=pac_url,
            auto_detect=auto_detect,
        )
    ]


def parse_blob(raw: Any) -> Blob:
    """DefaultConnectionSettings; what is cut or of another type is left out."""
    if not isinstance(raw, bytes) or len(raw) < 12:
        return Blob()
    flags = struct.unpack_from("<I", raw, 8)[0]
    servers, at = _text_at(raw, 12)
    bypass, at = _text_at(raw, at)
    pac_url, _ = _text_at(raw, at)
    if not flags & PROXY_TYPE_PROXY:
        servers = ""
    if not flags & PROXY_TYPE_AUTO_PROXY_URL:
        pac_url = ""
    return Blob(servers, bypass, pac_url, bool(flags & PROXY_TYPE_AUTO_DETECT))


def _text_at(raw: bytes, at: int) -> Tuple[str, int]:
    """A text behind its length, and where the next one begins; empty where it is cut."""
    if at + 4 > len(raw):
        return "", at + 4
    length = struct.unpack_from("<I", raw, at)[0]
    end = at + 4 + length
    if length > len(raw):
        return "", end
    return raw[at + 4 : end].decode("latin-1").strip("\0 "), end


def _settings(source: Source, key: str, root: Root, note: Note) -> Tuple[Dict[str, Any], Blob]:
    blob = values_if_any(source, f"{key}\\Connections", note, root).get("DefaultConnectionSettings")
    return values_if_any(source, key, note, root), parse_blob(blob)


def _accounts(source: Source, note: Note) -> List[str]:
    """The SIDs whose hives are loaded, the service accounts first."""
    try:
        names = source.subkeys("", Root.USERS)
    except NoFact as missing:
        note(str(missing))
        return []
    sids = [
        name for name in names if name.startswith("S-1-") and not name.lower().endswith("_classes")
    ]
    if LOCAL_SYSTEM not in sids and DEFAULT_HIVE in names:
        sids.append(DEFAULT_HIVE)
    return sorted(sids, key=lambda sid: (sid not in SERVICE_ACCOUNTS, sid))[:ACCOUNTS]


def _account(source: Source, sid: str) -> Tuple[Scope, str]:
    """The scope and the user of an account's settings."""
    if sid in SERVICE_ACCOUNTS:
        return Scope.SYSTEM, SERVICE_ACCOUNTS[sid]
    return Scope.USER, _user(source, sid)


def _user(source: Source, sid: str) -> str:
    """The name of the user's profile folder, which needs no domain controller; else the SID."""
    try:
        path = registry.text(source.values(f"{PROFILES}\\{sid}").get("ProfileImagePath"))
    except NoFact:
        path = None
    return (path or sid).rstrip("\\").rpartition("\\")[2]


def _texts(values: Dict[str, Any]) -> Dict[str, str]:
    return {name: value for name, value in values.items() if isinstance(value, str)}
