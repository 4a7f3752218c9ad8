"""The block in which ``imds-check.ps1`` sends the raw material that it collected.

A block is printable ASCII, in lines that survive the portal, a ticket, mail, CRLF, trimmed blanks
and indentation::

    RAW 1 2216 5f0c9a3e
      3VldT9swFP0rVp42qYnsJG3TvXWwbZVWQGR7Qnswyb3BUWJHtlNapv73XScFNmhhH0wgHqBRfX19fHx8...
      ...
    RAW END

The first line carries the version of the form, the number of characters and the first eight
hexadecimal digits of their SHA-256. The characters are base64 (RFC 4648) of raw DEFLATE (RFC 1951),
and that is UTF-8 text: one record a line, its fields between tabs. Within a field a tab, a line
feed, a carriage return and a backslash stand as ``\\t``, ``\\n``, ``\\r`` and ``\\\\``.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import zlib
from typing import Iterable, List, Match, Optional, Tuple

VERSION = 1
TEXT_LIMIT = 4 * 1024 * 1024  # bytes of the text in a block; PowerShell sends far less
LINE = 100  # characters
_ESCAPED = {"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"}
_PLAIN = {escape: character for character, escape in _ESCAPED.items()}
_BEGIN = re.compile(r"^[ \t>]*RAW (\d{1,4}) (\d{1,7}) ([0-9a-f]{8})[ \t\r]*$", re.MULTILINE)
_END = re.compile(r"^[ \t>]*RAW END[ \t\r]*$", re.MULTILINE)
_NOT_BASE64 = re.compile(r"[^A-Za-z0-9+/=]")

Record = Tuple[str, ...]


class Damaged(ValueError):
    """A block that cannot be read. Its text says, for the operator, what happened to it."""


def pack(records: Iterable[Record]) -> str:
    """A block of some records, in lines that end with a line feed."""
    text = "\n".join("\t".join(map(_escape, record)) for record in records)
    deflate = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    packed = deflate.compress(text.encode("utf-8")) + deflate.flush()
    characters = base64.b64encode(packed).decode("ascii")
    lines = [characters[at : at + LINE] for at in range(0, len(characters), LINE)]
    first = f"RAW {VERSION} {len(characters)} {_checksum(characters)}"
    return "\n".join([first, *(f"  {line}" for line in lines), "RAW END", ""])


def unpack(report: str) -> Optional[List[Record]]:
    """The records of the block in a report; None where it has no block. Raises ``Damaged``."""
    begins = list(_BEGIN.finditer(report))
    if not begins:
        if _END.search(report):
            raise Damaged("its first line is missing: the beginning of the text was cut off")
        return None
    if len(begins) > 1:
        raise Damaged(f"there are {len(begins)} of them: paste the output of one run alone")
    (begin,) = begins
    if int(begin[1]) != VERSION:
        raise Damaged(f"it has form {begin[1]}: a newer imds-check can read it")
    return _records(_content(report, begin))


def _content(report: str, begin: Match[str]) -> str:
    """The characters of a block, whole."""
    end = _END.search(report, begin.end())
    expected = int(begin[2])
    last = end.start() if end else len(report)
    characters = _NOT_BASE64.sub("", report[begin.end() : last])
    if not end:
        raise Damaged(f"its end is missing: {expected:,} characters were sent")
    if len(characters) != expected:
        raise Damaged(f"{len(characters):,} of its {expected:,} characters are there")
    if _checksum(characters) != begin[3]:
        raise Damaged("its checksum is another: characters were changed on the way")
    return characters


def _records(characters: str) -> List[Record]:
    inflate = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        content = inflate.decompress(base64.b64decode(characters, validate=True), TEXT_LIMIT)
        text = content.decode("utf-8")
    except (binascii.Error, zlib.error, UnicodeDecodeError) as error:
        raise Damaged(f"it cannot be unpacked: {error}") from None
    if inflate.unconsumed_tail:
        raise Damaged(f"unpacked it is larger than {TEXT_LIMIT:,} bytes")
    return [tuple(map(_unescape, line.split("\t"))) for line in text.split("\n") if line]


def _checksum(characters: str) -> str:
    return hashlib.sha256(characters.encode("ascii")).hexdigest()[:8]


def _escape(field: str) -> str:
    return re.sub(r"[\\\t\n\r]", lambda match: _ESCAPED[match[0]], field)


def _unescape(field: str) -> str:
    return re.sub(r"\\[\\tnr]", lambda match: _PLAIN[match[0]], field)
