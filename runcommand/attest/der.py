"""Reads DER (ITU-T X.690): definite lengths of the shortest form, nothing left over.

It ends at once whatever the bytes are.
"""

from __future__ import annotations

import re
from datetime import datetime, timezone
from functools import lru_cache
from typing import List, NamedTuple, Optional

BOOLEAN, INTEGER, BIT_STRING, OCTET_STRING, OID = 0x01, 0x02, 0x03, 0x04, 0x06
UTC_TIME, GENERALIZED_TIME, SEQUENCE, SET = 0x17, 0x18, 0x30, 0x31
T61_STRING, UNIVERSAL_STRING, BMP_STRING = 0x14, 0x1C, 0x1E
LONGEST_LENGTH = 4  # bytes of a length: 4 GiB are more than any message


class Malformed(ValueError):
    """The bytes are not DER of the expected form; the message says where they are not."""


class Unsupported(ValueError):
    """The bytes may be right, and are of a kind that is not read here; the message names it."""


class Element(NamedTuple):
    """One element: its identifier octet, its contents, and all its bytes."""

    tag: int
    content: bytes
    whole: bytes


class Reader:
    """Takes the elements of some contents one by one.

    :param what: what is read, as messages name it
    """

    def __init__(self, data: bytes, what: str) -> None:
        self._data = data
        self._at = 0
        self._what = what

    def next_tag(self) -> Optional[int]:
        """The identifier octet of the next element; None at the end."""
        if self._at < len(self._data):
            return self._data[self._at]
        return None

    def take(self, *tags: int) -> Element:
        """The next element, which must have one of these tags (none given: any).

        Raises ``Malformed`` or ``Unsupported``.
        """
        data, start = self._data, self._at
        if start + 2 > len(data):
            raise Malformed(f"{self._what} ends too early")
        tag, length, at = data[start], data[start + 1], start + 2
        if tags and tag not in tags:
            raise Malformed(
                f"{self._what} has an element {tag:#04x} where {tags[0]:#04x} is expected"
            )
        if length == 0x80:
            raise Unsupported(f"{self._what} has an indefinite length, so it is not DER")
        if length > 0x80:
            count = length & 0x7F
            octets = data[at : at + count]
            if count > LONGEST_LENGTH or len(octets) < count:
                raise Malformed(f"{self._what} has an invalid length")
            if octets[0] == 0:
                raise Unsupported(
                    f"{self._what} has a length in a longer form than needed, so it is not DER"
                )
            length, at = int.from_bytes(octets, "big"), at + count
            if length < 0x80:
                raise Unsupported(
                    f"{self._what} has a length in a longer form than needed, so it is not DER"
                )
        if at + length > len(data):
            raise Malformed(
                f"{self._what} has a length of {length} bytes, but only {len(data) - at} are left"
            )
        self._at = at + length
        return Element(tag, data[at : self._at], data[start : self._at])

    def take_if(self, tag: int) -> Optional[Element]:
        """The next element if it has this tag; else None, and it stays the next."""
        if self.next_tag() == tag:
            return self.take()
        return None

    def enter(self, tag: int, what: str) -> Reader:
        """The elements inside the next one, which must have this tag."""
        return Reader(self.take(tag).content, what)

    def end(self) -> None:
        """Raises ``Malformed`` where something is left."""
        if self._at < len(self._data):
            raise Malformed(f"{self._what} has {len(self._data) - self._at} bytes too many")


def elements(data: bytes, what: str, at_most: int, *tags: int) -> List[Element]:
    """All elements of some contents, each of one of these tags.

    Raises ``Malformed`` where there are more than ``at_most``.
    """
    reader = Reader(data, what)
    found: List[Element] = []
    while reader.next_tag() is not None:
        if len(found) == at_most:
            raise Malformed(f"{what} has more than {at_most} elements")
        found.append(reader.take(*tags))
    return found


@lru_cache(maxsize=1024)
def object_identifier(content: bytes) -> str:
    """An OBJECT IDENTIFIER in dotted form. Raises ``Malformed``."""
    if not content or len(content) > 64 or content[-1] & 0x80:
        raise Malformed("an invalid object identifier")
    numbers, value = [], 0
    for octet in content:
        if octet == 0x80 and not value:
            raise Malformed("an object identifier in a longer form than needed")
        value = value << 7 | octet & 0x7F
        if not octet & 0x80:
            numbers.append(value)
            value = 0
    first = min(numbers[0] // 40, 2)
    return ".".join(map(str, (first, numbers[0] - 40 * first, *numbers[1:])))


def bits(content: bytes) -> bytes:
    """A BIT STRING of whole bytes. Raises ``Malformed``."""
    if not content or content[0]:
        raise Malformed("a bit string that is not whole bytes")
    return content[1:]


def time(element: Element) -> datetime:
    """A UTCTime or GeneralizedTime as RFC 5280 (4.1.2.5) has them. Raises ``Malformed``."""
    text = element.content.decode("latin-1")
    if element.tag == UTC_TIME and re.fullmatch(r"\d{12}Z", text, re.ASCII):
        century = "19" if text >= "50" else "20"
        text = century + text
    if not re.fullmatch(r"\d{14}Z", text, re.ASCII):
        raise Malformed("an invalid time")
    try:
        return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=timezone.utc)
    except ValueError:
        raise Malformed("an invalid time") from None
