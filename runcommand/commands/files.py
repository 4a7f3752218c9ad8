"""Files that the operator names."""

from __future__ import annotations

import os

from ..arguments import fail


def read_file(name: str, limit: int, what: str) -> bytes:
    """A file that the operator named; ``-`` is standard input. One that cannot be read, or is no
    such thing, ends the program.
    """
    try:
        if name != "-" and os.path.isdir(name):
            fail(f"{shown_path(name)}: it is a folder, not a file")
        with open(0 if name == "-" else name, "rb", closefd=name != "-") as file:
            content = file.read(limit + 1)
    except (OSError, ValueError) as error:
        fail(f"{shown_path(name)}: {getattr(error, 'strerror', None) or error}")
    if len(content) > limit:
        fail(f"{shown_path(name)}: larger than {limit >> 20} MiB, so not {what}")
    return content


def shown_path(name: str) -> str:
    """A file's name before what was wrong with it: the end of a long one says most."""
    if name == "-":
        return "standard input"
    if len(name) > 120:
        return f"...{name[-120:]}"
    return name or "''"
