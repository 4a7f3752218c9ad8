"""Points in time, as UTC text."""

from __future__ import annotations

import re
from datetime import datetime, timezone
from typing import NewType

Instant = NewType("Instant", str)  # "2026-11-23T01:44:05Z", with or without a fraction


def instant(when: datetime) -> Instant:
    """A point in time (aware) as its UTC text, to the microsecond where it has any."""
    return Instant(when.astimezone(timezone.utc).replace(tzinfo=None).isoformat() + "Z")


def parse_instant(text: str) -> datetime:
    """The point in time that an ``Instant`` names. Raises ``ValueError``."""
    match = re.fullmatch(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,6}))?Z", text, re.ASCII)
    if not match:
        raise ValueError(f"not a UTC time: {text[:40]!r}")
    whole = datetime.strptime(match.group(1), "%Y-%m-%dT%H:%M:%S")
    return whole.replace(
        microsecond=int((match.group(2) or "0").ljust(6, "0")), tzinfo=timezone.utc
    )
