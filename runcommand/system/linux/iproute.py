"""iproute2's JSON output."""

from __future__ import annotations

import json
from typing import Any, Dict, List

from ...collect import NoFact
from ..program import Programs


def ip(programs: Programs, *arguments: str) -> List[Dict[str, Any]]:
    """The objects that ``ip -j ARGUMENTS`` prints. Raises ``NoFact``."""
    output = programs.run("ip", ["-j", *arguments]) or b"[]"
    try:
        parsed = json.loads(output)
    except (ValueError, RecursionError):
        parsed = None
    if not isinstance(parsed, list) or not all(isinstance(item, dict) for item in parsed):
        raise NoFact(f"ip -j {' '.join(arguments)}: printed no list of JSON objects")
    return [item for item in parsed if item]  # old versions print {} for what a filter left out
