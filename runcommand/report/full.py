"""The full report: everything, for the ticket."""

from __future__ import annotations

from .blocks import AT_FULL_DEPTH, Report
from .lines import end_line, head_line, section_lines


def full_report(report: Report) -> str:
    lines = [head_line(report.head)]
    for section in report.sections:
        if section.depth in AT_FULL_DEPTH:
            printed = section_lines(section, AT_FULL_DEPTH)
            lines += printed.under_title(printed.lines)
    return "\n".join([*lines, end_line(report.end)]) + "\n"
