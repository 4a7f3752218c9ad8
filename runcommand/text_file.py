"""The text of a file as shells write one: UTF-8 with or without a mark, or UTF-16, which PowerShell
5.1 writes by ``>``.
"""

from __future__ import annotations

import codecs

UTF_16 = {
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
    b"{\0": "utf-16-le",
    b"\0{": "utf-16-be",
}


def text_of(content: bytes, errors: str = "strict") -> str:
    """The text, without its mark.

    :param errors: what becomes of bytes that are no text, as ``bytes.decode`` takes it
    :raises UnicodeDecodeError: where it is ``strict``
    """
    return content.decode(UTF_16.get(content[:2], "utf-8-sig"), errors)
