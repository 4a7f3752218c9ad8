"""The blocks that a report is made of. A writer of a format needs nothing else: no facts, no rules.

Texts are as they came from the VM or the network: bounded, but neither ASCII nor escaped for any
format. That is the writer's work.
"""

from __future__ import annotations

from enum import Enum
from typing import Tuple, Union

from ..frozen import dataclass


class Depth(Enum):
    """Which reports show a block."""

    ALL = "all"
    FULL = "full"  # the portal's report has no room for it
    PORTAL = "portal"  # the full report says the same at length, or in another place
    ROOM = "room"  # full, and the portal's report if nothing else has to give way


AT_FULL_DEPTH = frozenset((Depth.ALL, Depth.FULL, Depth.ROOM))
AT_PORTAL_DEPTH = frozenset((Depth.ALL, Depth.PORTAL))


class Room(Enum):
    """Which sections give way where a report has a limit."""

    WHOLE = "whole"  # never cut
    FIRST = "first"  # gets its room before the others
    LAST = "last"  # cut from its end, as far as it must be


@dataclass(frozen=True)
class Paragraph:
    """A text that may be wrapped."""

    text: str
    is_item: bool = False  # of a list
    depth: Depth = Depth.ALL


@dataclass(frozen=True)
class Place:
    """Where commands are to be run."""

    run_on: str  # vm, operator
    shell: str  # cmd, sh: what they are pasted into
    text: str  # both in words, with the rights that the commands need


@dataclass(frozen=True)
class Commands:
    """Commands as they are pasted, never wrapped."""

    place: Place
    texts: Tuple[str, ...]
    depth: Depth = Depth.ALL


@dataclass(frozen=True)
class Link:
    address: str
    depth: Depth = Depth.ALL


@dataclass(frozen=True)
class KeyValues:
    pairs: Tuple[Tuple[str, str], ...]
    depth: Depth = Depth.ALL


class Passage(Enum):
    """Whether the request gets from one step to the next."""

    PASSED = "->"
    STOPPED = "-X->"
    UNKNOWN = "-?->"


@dataclass(frozen=True)
class Step:
    text: str
    passage: Passage = Passage.PASSED  # to this step


@dataclass(frozen=True)
class Path:
    """A request from the client to the host."""

    client: str
    steps: Tuple[Step, ...]


@dataclass(frozen=True)
class CheckLine:
    status: str  # ok, fail, warn, skip, error
    id: str
    summary: str


@dataclass(frozen=True)
class Checks:
    lines: Tuple[CheckLine, ...]
    not_applied: Tuple[str, ...] = ()  # ids of those that have no line
    depth: Depth = Depth.ALL


@dataclass(frozen=True)
class FindingItem:
    """A finding beside the one that explains the verdict."""

    severity: str  # fail, warn, info
    cause: str
    detail: str
    fix: Tuple[Union[Paragraph, Commands, Link], ...]
    depth: Depth = Depth.ALL


@dataclass(frozen=True)
class Column:
    title: str
    width: int  # characters
    is_number: bool = False


@dataclass(frozen=True)
class Row:
    cells: Tuple[str, ...]
    is_marked: bool = False
    depth: Depth = Depth.ALL
    notes: Tuple[str, ...] = ()  # below it


@dataclass(frozen=True)
class Table:
    columns: Tuple[Column, ...]
    rows: Tuple[Row, ...]
    depth: Depth = Depth.ALL


@dataclass(frozen=True)
class Line:
    """A line of evidence, not to be wrapped."""

    text: str
    mark: str = ""  # ">": what decides; "*": the primary NIC
    depth: Depth = Depth.ALL
    is_note: bool = False  # on the line before it


@dataclass(frozen=True)
class RawText:
    """What a program printed."""

    text: str
    is_cut: bool
    depth: Depth = Depth.ALL


Block = Union[Paragraph, Commands, Link, KeyValues, Checks, FindingItem, Table, Line, RawText]


@dataclass(frozen=True)
class Section:
    title: str
    blocks: Tuple[Block, ...] = ()
    beside: Union[str, Place, Path] = ""  # stands in the title's line
    room: Room = Room.LAST
    depth: Depth = Depth.ALL


@dataclass(frozen=True)
class Head:
    version: str
    host: str
    collected_at: str  # RFC 3339, UTC
    elapsed_s: float


@dataclass(frozen=True)
class End:
    """The last line, for machines: it alone carries the verdict."""

    verdict: str
    cause: str  # empty when healthy
    exit_code: int
    host: str
    collected_at: str
    version: str


@dataclass(frozen=True)
class Report:
    head: Head
    sections: Tuple[Section, ...]
    end: End
