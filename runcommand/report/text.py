"""The two text reports: the portal's, within what Run Command keeps, and the full one."""

from __future__ import annotations

from typing import Dict, List, Sequence, Set, Tuple

from ..diagnosis import Diagnosis
from ..facts import Facts
from ..model.words import to_ascii
from .tree import Section, end, head, sections, word

PORTAL_LIMIT = 3900  # bytes, every line end counted as two (CRLF)
MORE = "  (+{} more in the full report)"


def last_resort(facts: Facts, error: Exception) -> str:
    """What is printed where a report cannot be made: the END line all the same, made of nothing
    that could fail.
    """
    said = to_ascii(f"{type(error).__name__}: {error}")[:400]
    return (
        f"IMDS-CHECK\nVERDICT  INCONCLUSIVE: tool-failed\n  The report could not be written: {said}.\n"
        f"END IMDS-CHECK verdict=inconclusive cause=tool-failed exit=3 host={word(facts.host)} at={facts.collected_at} "
        f"v={word(facts.tool_version or '?')}\n"
    )


def full(diagnosis: Diagnosis, files: str = "not written") -> str:
    """Everything, for the ticket."""
    lines = [head(diagnosis)]
    for section in sections(diagnosis, files, full=True):
        lines += _print(section, section.lines)
    return "\n".join([*lines, end(diagnosis)]) + "\n"


def portal(diagnosis: Diagnosis, files: str = "not written") -> str:
    """What matters, in at most ``PORTAL_LIMIT`` bytes: verdict, cause, fix and END line are always
    whole.

    How the warnings are mended stands in it where there is room: when nothing else has to give way
    to it, or when there is nothing else to mend and ALSO stays whole.
    """
    lines, cut = _laid_out(diagnosis, sections(diagnosis, files, full=False, with_fixes=True))
    is_too_much = "ALSO" in cut if diagnosis.main is None else bool(cut)
    if is_too_much:
        lines, _ = _laid_out(diagnosis, sections(diagnosis, files, full=False))
    return "\n".join(lines) + "\n"


def _laid_out(diagnosis: Diagnosis, found: List[Section]) -> Tuple[List[str], Set[str]]:
    """The lines of the portal report, and the titles of the sections that had to be cut."""
    fixed = [
        head(diagnosis),
        end(diagnosis),
        *(line for s in found if s.whole for line in _print(s, s.lines)),
    ]
    left = PORTAL_LIMIT - sum(map(_cost, fixed))
    shares = _shares([section for section in found if not section.whole], left)
    lines = [head(diagnosis)]
    for section in found:
        lines += _print(section, section.lines if section.whole else shares[section.title])
    cut = {
        section.title
        for section in found
        if not section.whole and shares[section.title] != list(section.lines)
    }
    return [*lines, end(diagnosis)], cut


def _shares(optional: List[Section], left: int) -> Dict[str, List[str]]:
    """What each section may show of its lines: FILES and PATH first, then each in order as far as
    the room goes.
    """
    shares: Dict[str, List[str]] = {}
    ordered = sorted(optional, key=lambda section: section.title not in ("FILES", "PATH"))
    reserved = sum(map(_least, ordered))
    for section in ordered:
        reserved -= _least(section)
        shares[section.title] = _fitting(section, left - reserved)
        left -= sum(map(_cost, _print(section, shares[section.title])))
    return shares


def _least(section: Section) -> int:
    """The bytes of a section that says no more than that the full report has it."""
    if not section.lines:
        return 0
    return _cost(section.title) + _cost(MORE.format(len(section.lines)))


def _fitting(section: Section, left: int) -> List[str]:
    """The lines from the top that fit into ``left`` bytes with the title and a word of how many are
    left out.
    """
    whole = _print(section, section.lines)
    if sum(map(_cost, whole)) <= left:
        return list(section.lines)
    left -= _least(section)
    if left < 0:
        return []
    kept: List[str] = []
    for line in section.lines:
        left -= _cost(line)
        if left < 0:
            break
        kept.append(line)
    return [*kept, MORE.format(len(section.lines) - len(kept))]


def _print(section: Section, lines: Sequence[str]) -> List[str]:
    """A section's lines under its title; one short line stands beside it."""
    if not lines or not section.title:
        return list(lines)
    if len(lines) == 1 and section.title in ("PATH", "FILES"):
        return [f"{section.title:8} {lines[0].strip()}"]
    title = f"{section.title:8} {section.beside}" if section.beside else section.title
    return [title, *lines]


def _cost(line: str) -> int:
    return len(line.encode("ascii")) + 2
