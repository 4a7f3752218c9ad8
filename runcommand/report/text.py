"""The two text reports: the portal's, within what Run Command keeps, and the full one."""

from __future__ import annotations

from typing import List

from ..diagnosis import Diagnosis
from .tree import Section, end, head, sections

PORTAL_LIMIT = 3900  # bytes, every line end counted as two (CRLF)
MORE = "  (+{} more in the full report)"


def full(diagnosis: Diagnosis, files: str = "not written") -> str:
    """Everything, for the ticket."""
    lines = [head(diagnosis)]
    for section in sections(diagnosis, files, full=True):
        lines += _print(section, section.lines)
    return "\n".join([*lines, end(diagnosis)]) + "\n"


def portal(diagnosis: Diagnosis, files: str = "not written") -> str:
    """What matters, in at most ``PORTAL_LIMIT`` bytes: verdict, cause, fix and END line are always whole."""
    found = sections(diagnosis, files, full=False)
    fixed = [head(diagnosis), end(diagnosis), *(line for s in found if s.whole for line in _print(s, s.lines))]
    left = PORTAL_LIMIT - sum(map(_cost, fixed))
    shares = _shares([section for section in found if not section.whole], left)
    lines = [head(diagnosis)]
    for section in found:
        lines += _print(section, section.lines if section.whole else shares[section.title])
    return "\n".join([*lines, end(diagnosis)]) + "\n"


def _shares(optional: List[Section], left: int) -> "dict[str, List[str]]":
    """What each section may show of its lines: FILES and PATH first, then each in order as far as the room goes."""
    shares: "dict[str, List[str]]" = {}
    for section in sorted(optional, key=lambda section: section.title not in ("FILES", "PATH")):
        kept = list(section.lines)
        while kept and _total(section, kept, len(section.lines)) > left:
            kept.pop()
        hidden = len(section.lines) - len(kept)
        shares[section.title] = kept + ([MORE.format(hidden)] if kept and hidden else [])
        left -= sum(map(_cost, _print(section, shares[section.title])))
    return shares


def _total(section: Section, kept: List[str], of: int) -> int:
    more = [MORE.format(of - len(kept))] if len(kept) < of else []
    return sum(map(_cost, _print(section, [*kept, *more])))


def _print(section: Section, lines) -> List[str]:  # type: ignore[no-untyped-def]
    """A section's lines under its title; one short line stands beside it."""
    if not lines or not section.title:
        return list(lines)
    if len(lines) == 1 and section.title in ("PATH", "FILES"):
        return [f"{section.title:8} {lines[0].strip()}"]
    return [section.title, *lines]


def _cost(line: str) -> int:
    return len(line.encode("ascii")) + 2
