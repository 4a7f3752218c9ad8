"""Addresses from outside without credentials and query; the whole words that a text begins with.

Apart from ``confidential``, whose patterns take a healthy run 3 ms to compile.
"""

from __future__ import annotations

import re

NOT_SHOWN = "{}:... (not shown)"  # an address of this scheme
SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]{0,15}):[/\\]")


def without_query(url: str) -> str:
    """An address without credentials, query and fragment.

    Of one that may hide them elsewhere, only the scheme.
    """
    plain = re.sub(r"//[^/@?#\\]*@", "//", url)
    if "@" in plain or "\\" in plain:
        return not_shown(plain)
    return re.sub(r"[?#].*", "", plain, flags=re.DOTALL)


def not_shown(url: str) -> str:
    """What stands for an address that is not shown: its scheme, where it has one."""
    scheme = SCHEME.match(url)
    return NOT_SHOWN.format(scheme.group(1) if scheme else "address")


def beginning(text: str, limit: int) -> str:
    """The first characters of a text, in whole words.

    Half an address does not show what in it is a password.
    """
    if len(text) <= limit:
        return text
    words = text[:limit].rsplit(None, 1)
    if len(words) < 2:
        return ""
    return words[0]
