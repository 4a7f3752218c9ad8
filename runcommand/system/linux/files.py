"""Small text files of the system, which may be absent, long or hold anything."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import IO, Callable, Dict, Optional

SIZE_LIMIT = 1024 * 1024
NONBLOCK = getattr(os, "O_NONBLOCK", 0)  # POSIX'

Note = Callable[[str], None]


def read(
    path: Path, limit: int = SIZE_LIMIT, note: Optional[Note] = None, last: bool = False
) -> Optional[str]:
    """The stripped text of a file; None where it cannot be read or is empty.

    Of a file of more than ``limit`` bytes whole lines are kept: half a line may be half a password.

    :param note: is called where the file is longer than ``limit``
    :param last: keep the end of a long file, not its beginning
    """
    try:
        # a pipe in its place must not block
        opened = os.open(path, os.O_RDONLY | NONBLOCK)
        with os.fdopen(opened, "rb") as file:
            if not stat.S_ISREG(os.fstat(opened).st_mode):
                return None
            content = file.read(limit + 1)
            if len(content) > limit:
                content = _part(file, content, limit, last)
                if note:
                    kept = "last" if last else "first"
                    note(f"{path}: only its {kept} {limit >> 10} KiB are read")
            return content.decode("utf-8", "replace").strip() or None
    except OSError:
        return None


def _part(file: IO[bytes], beginning: bytes, limit: int, last: bool) -> bytes:
    """The first whole lines of a long file, or its last ones."""
    if not last:
        return beginning[:limit].rpartition(b"\n")[0]
    file.seek(-limit, os.SEEK_END)
    return file.read(limit).partition(b"\n")[2]


def key_values(text: str) -> Dict[str, str]:
    """The ``KEY=VALUE`` lines of a text; the first of each key counts."""
    found: Dict[str, str] = {}
    for line in text.splitlines():
        key, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            found.setdefault(key.strip(), value.strip().strip('"'))
    return found
