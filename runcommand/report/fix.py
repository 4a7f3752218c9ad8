"""FIX, and the other findings with theirs."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Dict, List, Set, Tuple, Union

from ..diagnosis import Diagnosis
from ..rules.finding import Finding, Fix, FixKind, RunOn, Severity, Shell
from .blocks import Commands, Depth, FindingItem, Link, Paragraph, Place, Room, Section

# of a command: by them a person knows it again
FIRST_WORDS = re.compile(r"[a-z0-9]+( [a-z-][a-z0-9-]*){1,2}(?= |$)")
FixBlock = Union[Paragraph, Commands, Link]


def fix(diagnosis: Diagnosis) -> List[Section]:
    """How to fix the cause.

    The title says where to run the first of the commands, and with which rights.
    """
    main = diagnosis.main
    if main is None:
        return []
    blocks = fix_blocks(main)
    places = [block.place for block in blocks if isinstance(block, Commands)]
    section = Section("FIX", tuple(blocks), room=Room.WHOLE)
    if places:
        section = replace(section, beside=places[0])
    return [section]


def fix_blocks(finding: Finding) -> List[FixBlock]:
    """The fixes in order, and the page."""
    blocks: List[FixBlock] = []
    for item in finding.fix:
        if item.kind is FixKind.COMMAND:
            blocks.append(Commands(place_of(item), (as_pasted(item),)))
        else:
            blocks.append(Paragraph(item.text, is_item=True))
    blocks += _harmless_answers(finding)
    if finding.doc:
        blocks.append(Link(finding.doc))
    return blocks


def _harmless_answers(finding: Finding) -> List[Paragraph]:
    """What the commands may answer without that being a fault.

    Each answer comes with the command that gives it.
    """
    answers: Dict[str, str] = {}
    for item in finding.fix:
        if item.harmless:
            answers.setdefault(item.harmless, _first_words(item.text))
    if not answers:
        return []
    named = ", ".join(f'"{answer}" ({command})' for answer, command in answers.items())
    return [Paragraph(f"You can ignore: {named}.", is_item=True)]


def _first_words(command: str) -> str:
    found = FIRST_WORDS.match(command)
    if found:
        return found.group()
    return command.partition(" ")[0]


def place_of(item: Fix) -> Place:
    """Where a command is to be run, and with which rights."""
    if item.run_on is RunOn.OPERATOR:
        return Place("operator", "sh", "on your own machine, with the Azure CLI (az login)")
    if item.shell is Shell.SH:
        return Place("vm", "sh", "on this VM, as root")
    return Place("vm", "cmd", "on this VM, in an elevated Command Prompt")


def as_pasted(item: Fix) -> str:
    """A command as it can be pasted into the system's usual shell.

    On Windows that is cmd or PowerShell, whichever is open.
    """
    if item.shell is Shell.POWERSHELL:
        return f'powershell -NoProfile -Command "{item.text}"'
    return item.text


def also(diagnosis: Diagnosis) -> Tuple[FindingItem, ...]:
    """The other findings, in order of weight.

    The portal's report shows the fix of a warning too where there is room, unless FIX has its
    commands.
    """
    others, known = diagnosis.findings, set()
    if diagnosis.main:
        others, known = diagnosis.findings[1:], _commands(diagnosis.main)
    items = []
    for finding in others:
        is_worth_room = finding.severity is Severity.WARN and not _commands(finding) <= known
        depth = Depth.FULL
        if is_worth_room:
            depth = Depth.ROOM
        blocks = tuple(_at(depth, block) for block in fix_blocks(finding))
        severity, cause = finding.severity.value, finding.cause
        items.append(FindingItem(severity, cause, finding.detail, blocks))
    return tuple(items)


def _at(depth: Depth, block: FixBlock) -> FixBlock:
    if isinstance(block, Link):
        return replace(block, depth=Depth.FULL)
    return replace(block, depth=depth)


def _commands(finding: Finding) -> Set[str]:
    return {item.text for item in finding.fix if item.kind is FixKind.COMMAND}
