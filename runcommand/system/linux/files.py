"""Small text files of the system, read with care: bounded, whatever is in them, absent as easily as present."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Dict, Optional

SIZE_LIMIT = 1024 * 1024
NONBLOCK = getattr(os, "O_NONBLOCK", 0)  # POSIX'


def read(path: Path, limit: int = SIZE_LIMIT) -> Optional[str]:
    """The text of a file without blanks at its ends; None where it cannot be read or is empty."""
    try:
        opened = os.open(path, os.O_RDONLY | NONBLOCK)  # a pipe in its place must not stall
        with os.fdopen(opened, "rb") as file:
            if not stat.S_ISREG(os.fstat(opened).st_mode):
                return None
            return file.read(limit).decode("utf-8", "replace").strip() or None
    except OSError:
        return None


def key_values(text: str) -> Dict[str, str]:
    """The ``KEY=VALUE`` lines of a text; the first of each key counts."""
    found: Dict[str, str] = {}
    for line in text.splitlines():
        key, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            found.setdefault(key.strip(), value.strip().strip('"'))
    return found
