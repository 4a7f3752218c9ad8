"""The name of a run's folder, its files, and which old folders are removed; for every system."""

from __future__ import annotations

import re
from typing import Iterable, Iterator, List, Tuple

KEPT = 10
FILES = ("report.txt", "report.json", "report.html")
_NAME = re.compile(r"\d{8}T\d{6}Z(-\d+)?")


def candidates(name: str) -> Iterator[str]:
    """The names to try, in order: another run may share the second, or somebody plant a file."""
    yield name
    for number in range(2, 100):
        yield f"{name}-{number}"


def outdated(names: Iterable[str], newest: str) -> List[str]:
    """Our folders beyond the newest ten, the oldest first.

    :param newest: the one that this run made; its name may be older after the clock was set back
    """
    ours = sorted((name for name in names if _NAME.fullmatch(name) and name != newest), key=_age)
    return ours[: 1 - KEPT]


def _age(name: str) -> Tuple[str, int]:
    stamp, _, number = name.partition("-")
    return stamp, int(number or 1)
