"""Which HTTP clients bypass a proxy for an address, by each client's own rules.

One bypass list means different things to them.
"""

from __future__ import annotations

from enum import Enum
from typing import Callable, Dict, Sequence, Tuple

from ..facts import (
    LINK_LOCAL,
    LOOPBACK,
    Proxy,
    ProxyKind,
    contains,
    if_valid,
    parse_cidr,
    prefix_length,
)
from ..firewall.packet import HTTP_PORT

NO_IMPLICIT = "<-loopback>"  # turns WinINET's implicit rules off


class Client(str, Enum):
    """A kind of HTTP client, by the name that people know it by."""

    WININET = "WinINET"
    WINHTTP = "WinHTTP"
    DOTNET_FRAMEWORK = ".NET Framework"
    DOTNET = ".NET"
    CURL = "curl"
    PYTHON = "Python urllib"
    REQUESTS = "Python requests"
    GO = "Go"


Bypass = Sequence[str]  # the entries of a list, as they were separated


def clients(proxy: Proxy) -> Tuple[Client, ...]:
    """The clients that take a proxy from this place for http:// addresses.

    curl does not read ``HTTP_PROXY`` in capitals (https://curl.se/docs/manpage.html, ENVIRONMENT),
    urllib and Go do not read ``all_proxy``. The Azure Linux agent sends requests for both platform
    addresses without its own proxy (Azure/WALinuxAgent, protocol/wire.py and imds.py).
    """
    if proxy.server is None:
        return ()
    if proxy.kind is not ProxyKind.ENVIRONMENT:
        return tuple(_RULES[proxy.kind])
    found = {
        "HTTP_PROXY": (Client.PYTHON, Client.REQUESTS, Client.GO, Client.DOTNET),
        "all_proxy": (Client.CURL, Client.REQUESTS, Client.DOTNET),
        "ALL_PROXY": (Client.CURL, Client.REQUESTS, Client.DOTNET),
    }.get(
        proxy.variable or "",
        (Client.CURL, Client.PYTHON, Client.REQUESTS, Client.GO, Client.DOTNET),
    )
    taken = {
        client
        for rival in proxy.rivals
        for client in _PREFER.get((rival, proxy.variable or ""), ())
    }
    return tuple(client for client in found if client not in taken)


# Of two variables that name different proxies, who takes the first and not the second.
_LOWER_FIRST = (Client.CURL, Client.PYTHON, Client.REQUESTS, Client.DOTNET)
_PREFER: Dict[Tuple[str, str], Tuple[Client, ...]] = {
    ("http_proxy", "HTTP_PROXY"): _LOWER_FIRST,
    ("HTTP_PROXY", "http_proxy"): (Client.GO,),
    ("http_proxy", "all_proxy"): tuple(Client),
    ("http_proxy", "ALL_PROXY"): tuple(Client),
    ("HTTP_PROXY", "all_proxy"): (Client.REQUESTS, Client.DOTNET),
    ("HTTP_PROXY", "ALL_PROXY"): (Client.REQUESTS, Client.DOTNET),
    ("all_proxy", "ALL_PROXY"): tuple(Client),
}


def through(proxy: Proxy, address: str) -> Tuple[Client, ...]:
    """The clients that send requests for an IPv4 address (port 80) through a proxy."""
    rules = _RULES[proxy.kind]
    lists: Dict[Client, Bypass] = dict.fromkeys(rules, proxy.bypass)
    # Go reads NO_PROXY first
    if proxy.bypass_capitals is not None:
        lists[Client.GO] = proxy.bypass_capitals
    return tuple(client for client in clients(proxy) if not rules[client](lists[client], address))


# --- Internet Settings and WinHTTP ---


def _by_wininet(bypass: Bypass, address: str) -> bool:
    """``[scheme://]host[:port]`` with ``*`` anywhere.

    ``<local>`` means names without a dot, never an IPv4 address. Link-local addresses are bypassed
    without an entry, unless ``<-loopback>`` turns that off
    (https://learn.microsoft.com/windows/win32/wininet/enabling-internet-functionality;
    https://chromium.googlesource.com/chromium/src/+/HEAD/net/docs/proxy.md, "Implicit bypass
    rules").
    """
    entries = [word.lower() for entry in bypass for word in entry.split()]
    if NO_IMPLICIT not in entries and _is_local(address):
        return True
    return _by_winhttp(entries, address)


def _is_local(address: str) -> bool:
    return contains(LINK_LOCAL, address) or contains(LOOPBACK, address)


def _by_winhttp(bypass: Bypass, address: str) -> bool:
    """Entries as in WinINET. No documentation says that anything is bypassed without an entry.

    (https://learn.microsoft.com/windows/win32/api/winhttp/ns-winhttp-winhttp_proxy_info)
    """
    for entry in bypass:
        scheme, colons, rest = entry.lower().rpartition("://")
        name, colon, port = rest.partition(":")
        is_scheme = not colons or scheme == "http"
        is_port = not colon or port == str(HTTP_PORT)
        if is_scheme and is_port and _glob(name, address):
            return True
    return False


def _by_dotnet_framework(bypass: Bypass, address: str) -> bool:
    """An entry with a port matches no URL with the default port.

    Nothing is bypassed without an entry (Microsoft's reference source, System.Net: WebProxy,
    WebProxyDataBuilder).
    """
    for entry in bypass:
        scheme, colons, name = entry.lower().rpartition("://")
        is_scheme = not colons or _glob(scheme, "http")
        if is_scheme and _glob(name, address):
            return True
    return False


def _by_dotnet_settings(bypass: Bypass, address: str) -> bool:
    """Entries are separated by ``;`` alone, and cut at a blank; their scheme is ignored.

    (dotnet/runtime, System.Net.Http: HttpWindowsProxy.)
    """
    for entry in bypass:
        word = (entry.lower().split() or [""])[0]
        for scheme in ("http://", "https://"):
            if word.startswith(scheme):
                word = word[len(scheme) :]
        if _glob(word, address):
            return True
    return False


def _by_urllib_settings(bypass: Bypass, address: str) -> bool:
    """An entry is a pattern for the whole address; before Python 3.13, for its beginning.

    (CPython, urllib.request.proxy_bypass_registry.)
    """
    return any(_glob(entry.lower(), address) for entry in bypass)


def _glob(pattern: str, text: str) -> bool:
    """Whether a text matches a pattern in which ``*`` stands for anything. In linear time."""
    first, *rest = pattern.split("*")
    if not rest:
        return text == pattern
    if not text.startswith(first):
        return False
    at = len(first)
    for piece in rest[:-1]:
        found = text.find(piece, at)
        if found < 0:
            return False
        at = found + len(piece)
    return len(text) - at >= len(rest[-1]) and text.endswith(rest[-1])


# --- no_proxy ---


def _by_curl(bypass: Bypass, address: str) -> bool:
    """Addresses, networks (since 7.86.0), or ``*`` alone. Blanks do not separate since 8.9.0.

    (https://curl.se/libcurl/c/CURLOPT_NOPROXY.html)
    """
    return list(bypass) == ["*"] or any(
        entry == address or _in_network(entry, address) for entry in bypass
    )


def _by_urllib(bypass: Bypass, address: str) -> bool:
    """Ends of names, also of addresses, or ``*`` alone; no networks.

    (https://docs.python.org/3/library/urllib.request.html#urllib.request.getproxies).
    """
    if list(bypass) == ["*"]:
        return True
    names = [name for name in (entry.lstrip(".").lower() for entry in bypass) if name]
    return any(f".{address}".endswith(f".{name}") for name in names)


def _by_requests(bypass: Bypass, address: str) -> bool:
    """urllib's rules, and networks (psf/requests, requests.utils.should_bypass_proxies)."""
    entries = [entry.replace(" ", "") for entry in bypass]
    return _by_urllib(bypass, address) or any(
        entry == address or _in_network(entry, address) for entry in entries
    )


def _by_go(bypass: Bypass, address: str) -> bool:
    """Addresses and ends of names, each with or without a port; networks; ``*`` anywhere.

    (https://pkg.go.dev/golang.org/x/net/http/httpproxy#Config).
    """
    for entry in map(str.lower, bypass):
        if entry == "*" or _in_network(entry, address, shortest=0):
            return True
        name, _, port = entry.partition(":")
        if not name or port not in ("", str(HTTP_PORT)):
            continue
        end = name
        if name.startswith("*."):
            end = name[1:]
        elif not name.startswith("."):
            end = f".{name}"
        if name == address or address.endswith(end):
            return True
    return False


def _by_dotnet(bypass: Bypass, address: str) -> bool:
    """Whole names or, after a dot, the end of one; neither ``*`` nor networks.

    (https://learn.microsoft.com/dotnet/api/system.net.http.httpclient.defaultproxy).
    """
    entries = [entry.lower() for entry in bypass]
    return any(
        address == entry or (entry.startswith(".") and f".{address}".endswith(entry))
        for entry in entries
    )


def _in_network(entry: str, address: str, shortest: int = 1) -> bool:
    cidr = if_valid(parse_cidr, entry)
    return cidr is not None and prefix_length(cidr) >= shortest and contains(cidr, address)


Rules = Dict[Client, Callable[[Bypass, str], bool]]
_RULES: Dict[ProxyKind, Rules] = {
    ProxyKind.WINHTTP: {Client.WINHTTP: _by_winhttp},
    ProxyKind.INTERNET_SETTINGS: {
        Client.WININET: _by_wininet,
        Client.DOTNET_FRAMEWORK: _by_dotnet_framework,
        Client.DOTNET: _by_dotnet_settings,
        Client.PYTHON: _by_urllib_settings,
    },
    ProxyKind.ENVIRONMENT: {
        Client.CURL: _by_curl,
        Client.PYTHON: _by_urllib,
        Client.REQUESTS: _by_requests,
        Client.GO: _by_go,
        Client.DOTNET: _by_dotnet,
    },
    ProxyKind.GUEST_AGENT: {},
}
