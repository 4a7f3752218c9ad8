"""What is kept of a text from outside without what may be secret in it: credentials, queries, tokens."""

from __future__ import annotations

import re

NOT_SHOWN = "{}:... (not shown)"  # an address of this scheme
CREDENTIALS = re.compile(r"//[^\s\"'<>]*@")
QUERY = re.compile(r"[?#]\S*")
NAMED = re.compile(  # password=..., "access_token": "...", Bearer ...
    r"((?i:(?:token|secret|key|password|passwd|pwd|signature|\bsig|assertion|credentials?|authorization|cookie)[\"']?\s{0,4}[:=]\s{0,4}"
    r"[\"']?(?:(?:bearer|basic)\s+)?)|(?i:\b(?:bearer|basic|negotiate)\s+)(?=\S*[0-9=]|\S+[A-Z]))[^\s\"'&,;]+"
)
OPAQUE = re.compile(  # long, and of digits, capitals and small letters, or of hexadecimal digits alone: no word of any language
    r"(?<![\w+=-])(?=[A-Za-z+_=-]{0,200}[0-9])(?=[A-Z0-9+_=-]{0,200}[a-z])(?=[a-z0-9+_=-]{0,200}[A-Z])[\w+=-]{24,}"
    r"|(?<![\w-])[0-9a-fA-F]{32,}(?![\w-])",
    re.ASCII,
)


def without_query(url: str) -> str:
    """An address without credentials, query and fragment; of one that may hide them elsewhere, only the scheme."""
    plain = re.sub(r"//[^/@?#\\]*@", "//", url)
    if "@" in plain or "\\" in plain:
        return NOT_SHOWN.format(plain.partition(":")[0][:10])
    return re.sub(r"[?#].*", "", plain, flags=re.DOTALL)


def without_secrets(text: str) -> str:
    """A text in which addresses have neither credentials nor query, and what looks like a password or token is ``...``."""
    return OPAQUE.sub("...", NAMED.sub(r"\1...", QUERY.sub("", CREDENTIALS.sub("//", text))))
