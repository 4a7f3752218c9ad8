"""One mutant in a process of its own: ``python -m tests.mutation.trial MODULE CODE TEST...`` runs
the tests with the file CODE in the module's place, and ends with pytest's exit code.
"""

from __future__ import annotations

import sys
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType
from typing import Optional


def put_in_place(module: Path, code: Path) -> None:
    """Lets the module be imported from another file. Nothing on the disk changes."""
    original = SourceFileLoader.get_code

    def get_code(loader: SourceFileLoader, name: str) -> Optional[CodeType]:
        if Path(loader.path).resolve() == module:
            return compile(code.read_text("utf-8"), str(module), "exec")
        return original(loader, name)

    SourceFileLoader.get_code = get_code  # type: ignore[assignment, method-assign]


def main(module: str, code: str, *tests: str) -> int:
    import pytest

    put_in_place(Path(module).resolve(), Path(code))
    quietly = [
        "-q",
        "-x",
        "-n0",
        "-p",
        "no:cacheprovider",
        "--tb=no",
        "--no-header",
        "--no-summary",
    ]
    return int(pytest.main([*quietly, *tests]))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
