"""The portal's report: within what Run Command keeps of the output."""

from __future__ import annotations

from typing import Dict, FrozenSet, List, Tuple

from .blocks import AT_PORTAL_DEPTH, Depth, Report, Room, Section
from .lines import Lines, end_line, head_line, section_lines

LIMIT = 3900  # bytes, every line end counted as two (CRLF)
MORE = "  (+{} more in the full report)"


def portal_report(report: Report) -> str:
    """What matters, in at most ``LIMIT`` bytes. Verdict, cause, fix and END line are always whole.

    It says how the warnings are fixed where there is room: when nothing else has to give way to it,
    or when there is nothing else to fix and ALSO stays whole.
    """
    lines, cut = _laid_out(report, AT_PORTAL_DEPTH | {Depth.ROOM})
    has_fix = bool(report.end.cause)
    if "ALSO" in cut or (cut and has_fix):
        lines, _ = _laid_out(report, AT_PORTAL_DEPTH)
    return "\n".join(lines) + "\n"


def _laid_out(report: Report, depths: FrozenSet[Depth]) -> Tuple[List[str], List[str]]:
    """The lines of the report, and the titles of the sections that had to be cut."""
    sections = [section for section in report.sections if section.depth in depths]
    printed = {section.title: section_lines(section, depths) for section in sections}
    head, end = head_line(report.head), end_line(report.end)
    shown: Dict[str, Tuple[str, ...]] = {}
    left = LIMIT - _cost([head, end])
    for section in sections:
        if section.room is Room.WHOLE:
            whole = printed[section.title]
            shown[section.title] = whole.lines
            left -= _cost(whole.under_title(whole.lines))
    shown.update(_shares(sections, printed, left))
    lines = [head]
    for section in sections:
        lines += printed[section.title].under_title(shown[section.title])
    cut = [title for title, kept in shown.items() if kept != printed[title].lines]
    return [*lines, end], cut


def _shares(
    sections: List[Section], printed: Dict[str, Lines], left: int
) -> Dict[str, Tuple[str, ...]]:
    """What the sections that can be cut may show, by title: those that go first, then each in order
    as far as the room goes.

    :param left: bytes
    """
    ordered = [section.title for section in sections if section.room is Room.FIRST]
    ordered += [section.title for section in sections if section.room is Room.LAST]
    shares: Dict[str, Tuple[str, ...]] = {}
    reserved = sum(_least(printed[title]) for title in ordered)
    for title in ordered:
        section = printed[title]
        reserved -= _least(section)
        shares[title] = _fitting(section, left - reserved)
        left -= _cost(section.under_title(shares[title]))
    return shares


def _least(section: Lines) -> int:
    """The bytes of a section that says no more than that the full report has it."""
    if not section.lines:
        return 0
    return _cost([section.title, MORE.format(len(section.lines))])


def _fitting(section: Lines, left: int) -> Tuple[str, ...]:
    """The lines from the top that fit into ``left`` bytes with the title and a word of how many are
    left out.
    """
    if _cost(section.under_title(section.lines)) <= left:
        return section.lines
    left -= _least(section)
    if left < 0:
        return ()
    kept: List[str] = []
    for line in section.lines:
        left -= _cost([line])
        if left < 0:
            break
        kept.append(line)
    return (*kept, MORE.format(len(section.lines) - len(kept)))


def _cost(lines: List[str]) -> int:
    """Bytes; the lines are ASCII."""
    return sum(len(line) + 2 for line in lines)
