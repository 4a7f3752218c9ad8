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
# Bytes of the text in a block, and its records; the script sends far less of both.
TEXT_LIMIT = 1024 * 1024
RECORDS = 5000
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
    if len(begins) > 1:
        raise Damaged(f"there are {len(begins)} of them: decode the output of one run at a time")
    if not begins:
        # one in which a character was lost or changed
        if re.search(rf"^[ \t>]*{name} (?!END).*$", report, re.MULTILINE):
            raise Damaged("its first line was changed on the way")
        if _end(name).search(report):
            raise Damaged("its first line is missing: the beginning of the text was cut off")
        return None
    (begin,) = begins
    form = int(begin[1])
    if form not in _NOT_SENT:
        raise Damaged(f"it has version {form}, which a newer imds-check can read")
    characters = _content(report, begin, form, _end(name))
    if form == PLAIN:
        return _records(_decoded(characters))
    return _records(_inflated(characters))


def _content(report: str, begin: Match[str], form: int, last_line: Pattern[str]) -> str:
    """The characters of a block, whole."""
    end = last_line.search(report, begin.end())
    expected = int(begin[2])
    if not end:
        raise Damaged(f"its end is missing: the text was cut off before {expected:,} characters")
    characters = _NOT_SENT[form].sub("", report[begin.end() : end.start()])
    found = len(characters)
    if found < expected:
        raise Damaged(f"only {found:,} of its {expected:,} characters are there")
    if found > expected:
        raise Damaged(f"it has {found:,} characters, and only {expected:,} were sent")
    if _CHECKSUMS[form](characters) != begin[3]:
        raise Damaged("its checksum does not match: characters were changed on the way")
    return characters


def _inflated(characters: str) -> str:
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
    return text


def _decoded(characters: str) -> str:
    """The text in the characters of form 2."""
    try:
        return unquote(
            re.sub(r"[,+=/:;|#\[\]{}]", lambda match: SIGNS[match[0]], characters),
            "utf-8",
            "strict",
        )
    except UnicodeDecodeError:
        raise Damaged("it cannot be unpacked: it holds no UTF-8 text") from None


def _records(text: str) -> List[Record]:
    lines = [line for line in text.split("\n") if line]
    if len(lines) > RECORDS:
        raise Damaged(f"it holds {len(lines):,} records: no script sends so many")
    return [tuple(map(_unescape, line.split("\t"))) for line in lines]


def _sha256(characters: str) -> str:
    return hashlib.sha256(characters.encode("ascii")).hexdigest()[:8]


def _adler32(characters: str) -> str:
    return f"{zlib.adler32(characters.encode('ascii')):08x}"


_CHECKSUMS: Dict[int, Callable[[str], str]] = {PACKED: _sha256, PLAIN: _adler32}


def _escape(field: str) -> str:
    return re.sub(r"[\\\t\n\r]", lambda match: _ESCAPED[match[0]], field)


def _unescape(field: str) -> str:
    return re.sub(r"\\[\\tnr]", lambda match: _PLAIN[match[0]], field)
