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
# Bytes of the text in a block, and its records; the script sends far less of both.
TEXT_LIMIT = 1024 * 1024
RECORDS = 5000
LINE = 100  # characters
_ESCAPED = {"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"}
_PLAIN = {escape: character for character, escape in _ESCAPED.items()}
_BEGIN = re.compile(r"^[ \t>]*RAW (\d{1,4}) (\d{1,7}) ([0-9a-f]{8})[ \t\r]*$", re.MULTILINE)
_END = re.compile(r"^[ \t>]*RAW END[ \t\r]*$", re.MULTILINE)
# A first line in which a character was lost or changed.
_BROKEN_BEGIN = re.compile(r"^[ \t>]*RAW (?!END).*$", re.MULTILINE)
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
    if len(begins) > 1:
        raise Damaged(f"there are {len(begins)} of them: decode the output of one run at a time")
    if not begins:
        if _BROKEN_BEGIN.search(report):
            raise Damaged("its first line was changed on the way")
        if _END.search(report):
            raise Damaged("its first line is missing: the beginning of the text was cut off")
        return None
    (begin,) = begins
    if int(begin[1]) != VERSION:
        raise Damaged(f"it has version {int(begin[1])}, which a newer imds-check can read")
    return _records(_content(report, begin))


def _content(report: str, begin: Match[str]) -> str:
    """The characters of a block, whole."""
    end = _END.search(report, begin.end())
    expected = int(begin[2])
    if not end:
        raise Damaged(f"its end is missing: the text was cut off before {expected:,} characters")
    characters = _NOT_BASE64.sub("", report[begin.end() : end.start()])
    found = len(characters)
    if found < expected:
        raise Damaged(f"only {found:,} of its {expected:,} characters are there")
    if found > expected:
        raise Damaged(f"it has {found:,} characters, and only {expected:,} were sent")
    if _checksum(characters) != begin[3]:
        raise Damaged("its checksum does not match: characters were changed on the way")
    return characters


def _records(characters: str) -> List[Record]:
    inflate = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        content = inflate.decompress(base64.b64decode(characters, validate=True), TEXT_LIMIT)
        text = content.decode("utf-8")
    except (binascii.Error, zlib.error):
        raise Damaged("it cannot be unpacked: no imds-check.ps1 packed it like that") from None
    except UnicodeDecodeError:
        # what is cut at the limit may end within a character
        if len(content) < TEXT_LIMIT:
            raise Damaged("it cannot be unpacked: it holds no UTF-8 text") from None
        text = ""
    if inflate.unconsumed_tail or len(content) == TEXT_LIMIT:
        raise Damaged(f"unpacked it is larger than {TEXT_LIMIT:,} bytes: no script sends so much")
    if not inflate.eof:
        raise Damaged("it cannot be unpacked: it ends too early")
    lines = [line for line in text.split("\n") if line]
    if len(lines) > RECORDS:
        raise Damaged(f"it holds {len(lines):,} records: no script sends so many")
    return [tuple(map(_unescape, line.split("\t"))) for line in lines]


def _checksum(characters: str) -> str:
    return hashlib.sha256(characters.encode("ascii")).hexdigest()[:8]


def _escape(field: str) -> str:
    return re.sub(r"[\\\t\n\r]", lambda match: _ESCAPED[match[0]], field)


def _unescape(field: str) -> str:
    return re.sub(r"\\[\\tnr]", lambda match: _PLAIN[match[0]], field)
