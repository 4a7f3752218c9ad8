"""How names and addresses from the VM or the network are written in a sentence."""

from __future__ import annotations

from typing import Sequence
from urllib.parse import urlsplit

NAME_LIMIT = 48  # bytes of a name in a sentence


def to_ascii(text: str) -> str:
    """Printable ASCII: every other character, control characters too, as ``\\uXXXX`` of its UTF-16
    form.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(c if " " <= c <= "~" else _escape(c) for c in text)


def _escape(character: str) -> str:
    units = character.encode("utf-16-be", "surrogatepass")
    return "".join(
        f"\\u{int.from_bytes(units[i : i + 2], 'big'):04X}" for i in range(0, len(units), 2)
    )


def short(text: str, limit: int = NAME_LIMIT) -> str:
    """A name from the VM or the network as it may stand in a sentence: printable ASCII, bounded."""
    plain = to_ascii(text[: limit + 1])  # one more, to see that there is more
    if len(plain) <= limit:
        return plain
    return plain[: limit - 3] + "..."


def capital(text: str) -> str:
    """A text that begins a sentence."""
    return text[:1].upper() + text[1:]


def quoted(name: str) -> str:
    return f'"{short(name)}"'


def listed(items: Sequence[str], at_most: int = 3) -> str:
    """``a, b, c and 4 more``"""
    more = len(items) - at_most
    text = ", ".join(items[:at_most])
    if more > 0:
        text += f" and {more} more"
    return text


def host_of(url: str) -> str:
    """The host that an address from the VM or the network names; empty where it names none."""
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""
