"""Blocks as lines of plain ASCII text, for the portal's report and the full one."""

from __future__ import annotations

import textwrap
from typing import Any, Callable, Dict, FrozenSet, List, Optional, Sequence, Tuple

from ..frozen import dataclass
from ..model.words import capital, short, to_ascii
from .blocks import (
    Block,
    CheckLine,
    Checks,
    Commands,
    Depth,
    End,
    FindingItem,
    Head,
    KeyValues,
    Line,
    Link,
    Paragraph,
    Path,
    Place,
    RawText,
    Row,
    Section,
    Table,
)

WIDTH = 117  # characters of a wrapped line
SKIP = "skip"


@dataclass(frozen=True)
class Lines:
    """A section as text: the lines under its title, or one line beside it."""

    title: str
    lines: Tuple[str, ...]
    is_beside: bool = False

    def under_title(self, lines: Sequence[str]) -> List[str]:
        """Some of the lines with the title; nothing where there is none."""
        if self.is_beside:
            return [f"{self.title:8} {line.strip()}" for line in lines]
        if lines:
            return [self.title, *lines]
        return []


def head_line(head: Head) -> str:
    version, host = short(head.version, 20), short(head.host, 63)
    return f"IMDS-CHECK {version}  {host}  {head.collected_at}  {head.elapsed_s:.1f} s"


def end_line(end: End) -> str:
    """Made for machines: words without spaces, ``-`` for an empty one."""
    return (
        f"END IMDS-CHECK verdict={end.verdict} cause={end.cause or '-'} exit={end.exit_code} "
        f"host={_word(end.host)} at={end.collected_at} v={_word(end.version)}"
    )


def _word(text: str) -> str:
    """A value of the END line: ASCII, bounded, without spaces or equals signs."""
    return short(text, 63).replace(" ", "_").replace("=", "_") or "-"


def section_lines(section: Section, depths: FrozenSet[Depth]) -> Lines:
    """What a report of these depths shows of a section.

    Every line under the title is indented or marked, so none can pass for an END line.
    """
    blocks = [block for block in section.blocks if block.depth in depths]
    lines = tuple(map(to_ascii, block_lines(blocks, depths, section.beside)))
    beside = _beside(section)
    if beside and not section.blocks:
        return Lines(section.title, (f"  {to_ascii(beside)}",), is_beside=True)
    if beside:
        return Lines(f"{section.title:8} {beside}", lines)
    return Lines(section.title, lines)


def _beside(section: Section) -> str:
    if isinstance(section.beside, Place):
        return section.beside.text
    if isinstance(section.beside, Path):
        return path_line(section.beside)
    return section.beside


def block_lines(
    blocks: Sequence[Block], depths: FrozenSet[Depth], place: object = None
) -> List[str]:
    """The blocks' lines.

    A heading says where commands run, if elsewhere than those before them.

    :param place: where the first ones are to be run, if the section's title has said it
    """
    lines: List[str] = []
    for block in blocks:
        if isinstance(block, Commands) and block.place != place:
            place = block.place
            lines.append(f"  {capital(block.place.text)}:")
        lines += WRITERS[type(block)](block, depths)
    return lines


def _paragraph(block: Paragraph, depths: FrozenSet[Depth]) -> List[str]:
    if block.is_item:
        return wrap(f"- {block.text}", "  ", "    ")
    return wrap(block.text, "  ")


def _commands(block: Commands, depths: FrozenSet[Depth]) -> List[str]:
    return [f"  {text}" for text in block.texts]


def _link(block: Link, depths: FrozenSet[Depth]) -> List[str]:
    return [f"  {block.address}"]


def _key_values(block: KeyValues, depths: FrozenSet[Depth]) -> List[str]:
    return wrap("  ".join(f"{key}={value}" for key, value in block.pairs), "  ")


def path_line(path: Path) -> str:
    return " ".join([path.client, *(f"{step.passage.value} {step.text}" for step in path.steps)])


def _checks(block: Checks, depths: FrozenSet[Depth]) -> List[str]:
    lines = list(map(_check_line, block.lines))
    if block.not_applied:
        lines.append(f"  {SKIP:5} did not apply: {', '.join(block.not_applied)}")
    return lines


def _check_line(check: CheckLine) -> str:
    return f"  {check.status:5} {check.id:20} {check.summary}"


def _finding_item(block: FindingItem, depths: FrozenSet[Depth]) -> List[str]:
    lines = wrap(f"{block.severity:4} {block.cause}: {block.detail}", "  ", "       ")
    fix = [item for item in block.fix if item.depth in depths]
    return lines + [f"     {line}" for line in block_lines(fix, depths)]


def _table(block: Table, depths: FrozenSet[Depth]) -> List[str]:
    rows = [row for row in block.rows if row.depth in depths]
    if not rows:
        return []
    titles = tuple(column.title for column in block.columns)
    lines = [_row_line(block, Row(titles))]
    for row in rows:
        lines.append(_row_line(block, row))
        lines += [f"    {note}" for note in row.notes]
    return lines


def _row_line(table: Table, row: Row) -> str:
    line = "> " if row.is_marked else "  "
    for column, cell in zip(table.columns, row.cells):
        if column.is_number:
            line += cell.rjust(column.width) + "  "
        else:
            line += cell.ljust(column.width)
    return line.rstrip()


def _line(block: Line, depths: FrozenSet[Depth]) -> List[str]:
    if block.is_note:
        return [f"      {block.text}"]
    return [f"{block.mark:1} {block.text}"]


def _raw_text(block: RawText, depths: FrozenSet[Depth]) -> List[str]:
    lines = [f"  {line.expandtabs()}".rstrip() for line in block.text.splitlines()]
    if block.is_cut:
        lines.append("  (cut)")
    return lines


WRITERS: Dict[type, Callable[[Any, FrozenSet[Depth]], List[str]]] = {
    Paragraph: _paragraph,
    Commands: _commands,
    Link: _link,
    KeyValues: _key_values,
    Checks: _checks,
    FindingItem: _finding_item,
    Table: _table,
    Line: _line,
    RawText: _raw_text,
}


def wrap(text: str, first: str, rest: Optional[str] = None) -> List[str]:
    """Text in lines of ``WIDTH`` at most where it has a space to be broken at.

    :param first: indents the first line, and the others too without ``rest``
    """
    if rest is None:
        rest = first
    return textwrap.wrap(
        to_ascii(text),
        WIDTH,
        initial_indent=first,
        subsequent_indent=rest,
        break_long_words=False,
        break_on_hyphens=False,
    )
