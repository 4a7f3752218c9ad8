"""iproute2's JSON output."""

from __future__ import annotations

from typing import Any, Dict, List, Sequence

from ...collect import NoFact
from ...facts import list_of, parse_json
from ..program import Programs
from .files import Note


def ip(programs: Programs, *arguments: str, note: Note = lambda text: None) -> List[Dict[str, Any]]:
    """The objects that ``ip -j ARGUMENTS`` prints. Raises ``NoFact``.

    :param note: is called where something else is among them, which is passed over
    """
    output = programs.run("ip", ["-j", *arguments]) or b"[]"
    return parse(output, arguments, note)


def parse(
    output: bytes, arguments: Sequence[str], note: Note = lambda text: None
) -> List[Dict[str, Any]]:
    """The objects in what ``ip -j ARGUMENTS`` printed. Raises ``NoFact``."""
    shown = f"ip -j {' '.join(arguments)}"
    try:
        parsed = parse_json(output.decode("utf-8", "replace"))
    except ValueError:
        parsed = None
    if not isinstance(parsed, list):
        raise NoFact(f"{shown}: printed no list of JSON objects")
    objects = list_of(dict, parsed)
    # old versions print {} for what a filter left out
    found = [item for item in objects if item]
    if len(objects) < len(parsed):
        if not found:
            raise NoFact(f"{shown}: printed no list of JSON objects")
        note(f"{shown}: {left_out(len(parsed) - len(objects), len(parsed))}")
    return found


def left_out(number: int, of: int) -> str:
    """The words of a note on rows that make no sense."""
    return f"{number} of {of} rows cannot be read, and are left out"
