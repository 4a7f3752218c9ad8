"""iproute2's JSON output."""

from __future__ import annotations

import json
from typing import Any, Dict, List

from ...collect import NotAvailable
from . import program


def ip(*arguments: str) -> List[Dict[str, Any]]:
    """The objects that ``ip -j ARGUMENTS`` prints. Raises ``NotAvailable``."""
    output = program.run("ip", ["-j", *arguments]) or b"[]"
    try:
        parsed = json.loads(output)
    except (ValueError, RecursionError):
        parsed = None
    if not isinstance(parsed, list) or not all(isinstance(item, dict) for item in parsed):
        raise NotAvailable(f"ip -j {' '.join(arguments)}: printed no list of JSON objects")
    return [item for item in parsed if item]  # old versions print {} for what a filter left out
