"""A diagnosis as text: the portal's report, within what Run Command keeps, and the full one."""

from __future__ import annotations

from ..diagnosis import Diagnosis
from ..facts import Facts
from ..model.words import to_ascii
from .blocks import End
from .content import UNKNOWN_VERSION, report
from .full import full_report
from .lines import end_line
from .portal import portal_report


def portal(diagnosis: Diagnosis, files: str = "not written") -> str:
    return portal_report(report(diagnosis, files))


def full(diagnosis: Diagnosis, files: str = "not written") -> str:
    return full_report(report(diagnosis, files))


def last_resort(facts: Facts, error: Exception) -> str:
    """What is printed where a report cannot be made.

    It has the END line all the same, made of nothing that could fail.
    """
    said = to_ascii(f"{type(error).__name__}: {error}")[:400]
    version = facts.tool_version or UNKNOWN_VERSION
    end = End("inconclusive", "tool-failed", 3, facts.host, facts.collected_at, version)
    return (
        "IMDS-CHECK\n"
        "VERDICT  INCONCLUSIVE: tool-failed\n"
        f"  The report could not be written: {said}.\n"
        f"{end_line(end)}\n"
    )
