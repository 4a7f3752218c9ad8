"""Proxy settings, and what came of using them."""

from __future__ import annotations

from enum import Enum
from typing import Optional, Tuple

from ..frozen import dataclass
from .connection import Outcome
from .kinds import Account, BypassEntry, Message, Phrase, Server, Term, Url
from .platform import Exchange


class ProxyKind(str, Enum):
    """Whose rules say what bypasses a proxy."""

    WINHTTP = "winhttp"
    INTERNET_SETTINGS = "internet-settings"
    ENVIRONMENT = "environment"
    GUEST_AGENT = "guest-agent"


class Scope(str, Enum):
    """Whom a setting concerns."""

    MACHINE = "machine"
    SYSTEM = "system"  # the accounts of services
    USER = "user"


@dataclass(frozen=True)
class Proxy:
    """A proxy setting. Credentials and query strings are never kept."""

    place: Phrase  # where it is set: "WinHTTP", "Internet Settings", "/etc/environment"
    kind: ProxyKind
    scope: Scope
    user: Optional[Account] = None  # whose it is: an account's name or SID; None: everybody's
    # of http:// addresses: "10.1.2.3:3128"; another protocol is named: "socks5://10.1.2.3:1080"
    server: Optional[Server] = None
    # of an environment: "http_proxy"; of a key, where it is not the usual one
    variable: Optional[Term] = None
    # False: the setting says more (proxies of single protocols, a second list): not to be written
    # anew
    is_whole: bool = True
    # why it cannot be said what the setting comes to: "in a condition"
    undecided: Optional[Message] = None
    bypass: Tuple[BypassEntry, ...] = ()
    # of NO_PROXY, where it differs from no_proxy
    bypass_capitals: Optional[Tuple[BypassEntry, ...]] = None
    rivals: Tuple[Term, ...] = ()  # variables of the same environment that name another proxy
    pac_url: Optional[Url] = None
    auto_detect: bool = False


@dataclass(frozen=True)
class PacFile:
    """A proxy auto-configuration file: fetched, searched for the platform's addresses, never
    evaluated.
    """

    url: Url  # without its query
    outcome: Outcome  # ``http``: the file is here
    error: Optional[Message] = None
    size: int = 0  # bytes
    # of the addresses, and of what a pattern for them begins with, those that its text holds
    mentions: Tuple[Term, ...] = ()


@dataclass(frozen=True)
class ProxyTrial:
    """The same requests as the plain ones, through a proxy.

    An exchange that is None was not tried; ``error`` says why.
    """

    server: Server  # ``Proxy.server``
    imds: Optional[Exchange] = None
    wireserver: Optional[Exchange] = None
    error: Optional[Message] = None
    is_nowhere: bool = False  # its name has no address: no request gets through


@dataclass(frozen=True)
class ProxyReach:
    """What a request for a host brought through a proxy."""

    server: Server  # ``Proxy.server``
    outcome: Outcome
    status: Optional[int] = None
    error: Optional[Message] = None
