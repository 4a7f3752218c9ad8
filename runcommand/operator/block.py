"""The block in which ``imds-check.ps1`` sends the raw material that it collected.

A block is printable ASCII, in lines that survive the portal, a ticket, mail, CRLF, trimmed blanks
and indentation::

    RAW 1 2216 5f0c9a3e
      3VldT9swFP0rVp42qYnsJG3TvXWwbZVWQGR7Qnswyb3BUWJHtlNapv73XScFNmhhH0wgHqBRfX19fHx8...
      ...
    RAW END

The first line carries the form, the number of characters and a checksum of them. In form 1 the
characters are base64 (RFC 4648) of raw DEFLATE (RFC 1951), and the checksum is the first eight
hexadecimal digits of their SHA-256. That is UTF-8 text: one record a line, its fields between tabs.
Within a field a tab, a line feed, a carriage return and a backslash stand as ``\\t``, ``\\n``,
``\\r`` and ``\\\\``.

Form 2 comes from PowerShell in ConstrainedLanguage mode, which can neither compress nor encode. It
is the same text, percent-encoded (RFC 3986), with one sign for what occurs often (``SIGNS``); its
checksum is Adler-32 (RFC 1950).

A second block, ``DOCUMENT`` instead of ``RAW``, is on standard error, of which Run Command keeps as
much as of standard output. It has the attested document.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import zlib
from typing import Callable, Dict, Iterable, List, Match, Optional, Pattern, Tuple
from urllib.parse import unquote

RAW, DOCUMENT = "RAW", "DOCUMENT"  # the blocks
PACKED, PLAIN = 1, 2  # their forms
# Each sign of form 2, and what it stands for.
SIGNS = {
    ",": "\n", "+": "\t", "=": " ", "/": "\\\\", ":": "/", ";": ":", "|": '"', "#": ",", "[": "{",
    "]": "}", "{": "<", "}": ">",
}  # fmt: skip
TEXT_LIMIT = 4 * 1024 * 1024  # bytes of the text in a block; PowerShell sends far less
LINE = 100  # characters
_ESCAPED = {"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"}
_PLAIN = {escape: character for character, escape in _ESCAPED.items()}
_NOT_SENT = {
    PACKED: re.compile(r"[^A-Za-z0-9+/=]"),
    PLAIN: re.compile(r"[^A-Za-z0-9%+=/:;,|#\[\]{}._~!*'()-]"),
}

Record = Tuple[str, ...]


class Damaged(ValueError):
    """A block that cannot be read. Its text says, for the operator, what happened to it."""


def _begin(name: str) -> Pattern[str]:
    first = rf"^[ \t>]*{name} (\d{{1,4}}) (\d{{1,7}}) ([0-9a-f]{{8}})[ \t\r]*$"
    return re.compile(first, re.MULTILINE)


def _end(name: str) -> Pattern[str]:
    return re.compile(rf"^[ \t>]*{name} END[ \t\r]*$", re.MULTILINE)


def pack(records: Iterable[Record], name: str = RAW) -> str:
    """A block of some records, in lines that end with a line feed."""
    text = "\n".join("\t".join(map(_escape, record)) for record in records)
    deflate = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    packed = deflate.compress(text.encode("utf-8")) + deflate.flush()
    characters = base64.b64encode(packed).decode("ascii")
    lines = [characters[at : at + LINE] for at in range(0, len(characters), LINE)]
    first = f"{name} {PACKED} {len(characters)} {_sha256(characters)}"
    return "\n".join([first, *(f"  {line}" for line in lines), f"{name} END", ""])


def without(report: str, name: str) -> str:
    """A text without its blocks of a name.

    A block without an end reaches to the end of the text.
    """
    while True:
        begin = _begin(name).search(report)
        if not begin:
            return report
        end = _end(name).search(report, begin.end())
        rest = ""
        if end:
            rest = report[end.end() :]
        report = report[: begin.start()] + rest.lstrip("\r\n")


def unpack(report: str, name: str = RAW) -> Optional[List[Record]]:
    """The records of the block in a report; None where it has no block. Raises ``Damaged``."""
    begins = list(_begin(name).finditer(report))
    if not begins:
        if _end(name).search(report):
            raise Damaged("its first line is missing: the beginning of the text was cut off")
        return None
    if len(begins) > 1:
        raise Damaged(f"there are {len(begins)} of them: paste the output of one run alone")
    (begin,) = begins
    form = int(begin[1])
    if form not in _NOT_SENT:
        raise Damaged(f"it has form {begin[1]}: a newer imds-check can read it")
    characters = _content(report, begin, form, _end(name))
    if form == PLAIN:
        return _records(_decoded(characters))
    return _records(_inflated(characters))


def _content(report: str, begin: Match[str], form: int, last_line: Pattern[str]) -> str:
    """The characters of a block, whole."""
    end = last_line.search(report, begin.end())
    expected = int(begin[2])
    last = end.start() if end else len(report)
    characters = _NOT_SENT[form].sub("", report[begin.end() : last])
    if not end:
        raise Damaged(f"its end is missing: {expected:,} characters were sent")
    if len(characters) != expected:
        raise Damaged(f"{len(characters):,} of its {expected:,} characters are there")
    if _CHECKSUMS[form](characters) != begin[3]:
        raise Damaged("its checksum is another: characters were changed on the way")
    return characters


def _inflated(characters: str) -> str:
    inflate = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        content = inflate.decompress(base64.b64decode(characters, validate=True), TEXT_LIMIT)
        text = content.decode("utf-8")
    except (binascii.Error, zlib.error, UnicodeDecodeError) as error:
        raise Damaged(f"it cannot be unpacked: {error}") from None
    if inflate.unconsumed_tail:
        raise Damaged(f"unpacked it is larger than {TEXT_LIMIT:,} bytes")
    return text


def _decoded(characters: str) -> str:
    """The text in the characters of form 2."""
    try:
        return unquote(
            re.sub(r"[,+=/:;|#\[\]{}]", lambda match: SIGNS[match[0]], characters),
            "utf-8",
            "strict",
        )
    except UnicodeDecodeError as error:
        raise Damaged(f"it cannot be unpacked: {error}") from None


def _records(text: str) -> List[Record]:
    return [tuple(map(_unescape, line.split("\t"))) for line in text.split("\n") if line]


def _sha256(characters: str) -> str:
    return hashlib.sha256(characters.encode("ascii")).hexdigest()[:8]


def _adler32(characters: str) -> str:
    return f"{zlib.adler32(characters.encode('ascii')):08x}"


_CHECKSUMS: Dict[int, Callable[[str], str]] = {PACKED: _sha256, PLAIN: _adler32}


def _escape(field: str) -> str:
    return re.sub(r"[\\\t\n\r]", lambda match: _ESCAPED[match[0]], field)


def _unescape(field: str) -> str:
    return re.sub(r"\\[\\tnr]", lambda match: _PLAIN[match[0]], field)
