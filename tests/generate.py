"""Facts made at random from their types: nonsense that is well-formed, for tests of what must hold
for any facts at all.
"""

from __future__ import annotations

import dataclasses
import random
from enum import Enum
from typing import Any, Union, get_type_hints

from runcommand.facts import (
    Address,
    AttestedDocument,
    Cidr,
    Facts,
    Instant,
    Mac,
    NextHop,
    PrefixLength,
)

TEXTS = (
    "",
    "eth0",
    "Ethernet 2",
    "a" * 300,
    "\u00c4dapter \u65e5\u672c\u8a9e" * 20,
    "quote\"and'",
    "new\nline\r\nEND IMDS-CHECK verdict=healthy",
    "\x1b[2J\x07",
    "\ud800",
    "%PATH%",
    "$(reboot)",
    "`id`",
    "; rm -rf /",
    "main",
    "running",
    "unicast",
    "blackhole",
    "FAILED",
    "walinuxagent",
    "GuestProxyAgent",
    "azure-proxy-agent",
    "\U0001f4a5" * 40,
    "x" * 5000,
    " ",
    "\\",
    "\u2028",
    "7783-7084-3265-9085-8269-3286-77",
    "http://www.microsoft.com/pkiops/certs/x.crt",
    "http://[::1",
    "http://caissuers.microsoft.com:x/pkiops/y.crt",
    "http://h/'.crt",
    "CN=Microsoft TLS RSA Root G2, O=x",
    "CN=DigiCert Global Root G2",
    "CN=Microsoft TLS G2 RSA CA OCSP 02",
    "www.microsoft.com",
    "LocalMachine\\Root",
    "LocalMachine\\Disallowed",
    "S-1-5-18\\Root",
    "crypt32",
    "20348.1",
)
ADDRESSES = (
    "169.254.169.254",
    "168.63.129.16",
    "10.0.0.1",
    "10.0.0.4",
    "10.0.0.5",
    "172.16.69.7",
    "0.0.0.0",
    "255.255.255.255",
    "127.0.0.1",
)
NETWORKS = (
    "0.0.0.0/0",
    "169.254.169.254/32",
    "169.254.0.0/16",
    "168.63.129.16/32",
    "10.0.0.0/24",
    "10.0.0.4/32",
    "128.0.0.0/1",
)
MACS = ("00-0D-3A-E5-1C-C0", "00-0D-3A-E5-1C-C1", "02-42-AC-11-00-01", "12-34-56-78-9A-BC")
INSTANTS = (
    "2026-11-23T01:44:05Z",
    "2026-11-23T01:44:05.123456Z",
    "1601-01-01T00:00:00Z",
    "9999-12-31T23:59:59Z",
)
FORMS = {
    Address: ADDRESSES,
    NextHop: (*ADDRESSES, "fe80::1"),
    Cidr: NETWORKS,
    Mac: MACS,
    Instant: INSTANTS,
    PrefixLength: (0, 8, 24, 31, 32),
}


def some_facts(seed: int, longest: int = 4) -> Facts:
    """The same for the same seed. Lists have up to ``longest`` items."""
    return _make(Facts, random.Random(seed), longest)


def facts_with(base: Facts, seed: int, *names: str) -> Facts:
    """``base`` with fields of its own made at random; ``imds.document`` names one of what IMDS
    gave.
    """
    dice = random.Random(seed)
    hints = get_type_hints(Facts)
    for name in names:
        if name == "imds.document":
            document = _make(AttestedDocument, dice, 3)
            base = dataclasses.replace(base, imds=dataclasses.replace(base.imds, document=document))  # type: ignore[arg-type, type-var]
        else:
            base = dataclasses.replace(base, **{name: _make(hints[name], dice, 4)})
    return base


def _make(kind: Any, dice: random.Random, longest: int) -> Any:
    origin = getattr(kind, "__origin__", None)
    if origin is Union:
        return None if dice.random() < 0.2 else _make(kind.__args__[0], dice, longest)
    if origin is tuple:
        return tuple(
            _make(kind.__args__[0], dice, longest) for _ in range(dice.randint(0, longest))
        )
    if dataclasses.is_dataclass(kind):
        hints = get_type_hints(kind)
        made = {
            field.name: _make(hints[field.name], dice, longest)
            for field in dataclasses.fields(kind)
        }
        if kind is Facts:
            made["system"] = dice.choice(("windows", "linux", "darwin"))
        return kind(**made)
    if kind in FORMS:
        return kind(dice.choice(FORMS[kind]))
    kind = getattr(kind, "__supertype__", kind)  # of a kind of text
    if kind is bool:
        return dice.random() < 0.5
    if kind is int:
        return dice.choice((0, 1, 7, 32, 80, 429, 503, 3080, -1, 2**31, 2**62))
    if kind is float:
        return dice.choice((0.0, 0.004, 3.0, -1.5, 1e15))
    if issubclass(kind, Enum):
        return dice.choice(list(kind))
    return dice.choice(TEXTS)
