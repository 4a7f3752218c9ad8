"""The lines of CHECKS."""

from __future__ import annotations

from typing import Sequence, Tuple

from ..model.words import short
from ..rules.checks import Check, Status
from .blocks import CheckLine, Checks, Depth

ID_LIMIT = 40
SUMMARY_LIMIT = 236
_ORDER = {Status.FAIL: 0, Status.ERROR: 1, Status.WARN: 2, Status.OK: 3, Status.SKIP: 4}


def checks(found: Sequence[Check]) -> Tuple[Checks, ...]:
    """A line for each check.

    In the portal's report the ones that matter come first, and all that did not apply share a line;
    the full report says of each why.
    """
    if not found:
        return ()
    ranked = sorted(found, key=lambda check: _ORDER[check.status])
    skipped = [check for check in ranked if check.status is Status.SKIP]
    if len(skipped) < 2:  # a single one has room for its reason
        skipped = []
    lines = tuple(_line(check) for check in ranked if check not in skipped)
    ids = tuple(short(check.id, ID_LIMIT) for check in skipped)
    return (
        Checks(lines, ids, Depth.PORTAL),
        Checks(tuple(map(_line, found)), depth=Depth.FULL),
    )


def _line(check: Check) -> CheckLine:
    return CheckLine(
        check.status.value, short(check.id, ID_LIMIT), short(check.summary, SUMMARY_LIMIT)
    )
