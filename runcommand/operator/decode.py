"""Finds imds-check's report in what Run Command gave back, and the exit code in its last line."""

from __future__ import annotations

import json
import re
from typing import List, Optional

from ..facts import parse_json
from ..frozen import dataclass
from ..report.json_report import SCHEMA
from .run_command import STREAM_LIMIT, NoResult, Result, read, text_given_back

_HEAD = re.compile(r"^IMDS-CHECK \d\S*  \S.*$", re.MULTILINE)
_END = re.compile(r"^END IMDS-CHECK verdict=(\S+) cause=(\S+) exit=([0-3]) .*$", re.MULTILINE)
# What a mail or a ticket has put before the first line of a report, or before its last one.
_INDENTED_HEAD = re.compile(r"^([ \t>]{1,80})IMDS-CHECK \d\S*  \S", re.MULTILINE)
_INDENTED_END = re.compile(r"^([ \t>]{1,80})END IMDS-CHECK verdict=", re.MULTILINE)


NO_REPORT = 3  # the exit code where there is none


@dataclass(frozen=True)
class Decoded:
    report: str  # text as it was printed on the VM, or JSON; empty where there is none
    exit_code: int  # of the report's last line; ``NO_REPORT``
    told: List[str]  # what the reader has to know of it
    err: str  # the VM's standard error


def decode(content: bytes) -> List[Decoded]:
    """What became of each script that the content tells of (mostly one), in order."""
    whole = _json_report(text_given_back(content))
    if whole:
        return [whole]
    try:
        return [_decode(result) for result in read(content)]
    except NoResult as error:
        return [Decoded("", NO_REPORT, [f"No report: {error}."], "")]


def _decode(result: Result) -> Decoded:
    told = [f"Azure says of the run: {result.state}"] if result.state else []
    whole = _json_report(result.out)
    if whole:
        return Decoded(whole.report, whole.exit_code, told, result.err)
    out = _outdented(result.out)
    ends = list(_END.finditer(out))
    if not ends:
        return Decoded("", NO_REPORT, [*told, *_instead(result.out)], result.err)
    end = ends[-1]
    heads = [
        match.start()
        for match in _HEAD.finditer(out, ends[-2].end() if len(ends) > 1 else 0, end.start())
    ]
    before, report = out[: heads[0]] if heads else "", out[heads[0] if heads else 0 : end.end()]
    if not heads:
        told.append(
            "The beginning of the report was cut off: Run Command keeps the last "
            f"{STREAM_LIMIT:,} bytes. Its last line is whole: verdict {end[1]}, cause {end[2]}."
        )
    others = "\n".join(part.strip() for part in (before, out[end.end() :]) if part.strip())
    if others:
        told.append(f"Beside the report the script printed:\n{others}")
    return Decoded(report + "\n", int(end[3]), told, result.err)


def _outdented(out: str) -> str:
    """A report that stands indented or quoted, without what stands before each of its lines; any
    other text as it is.

    Within a report every line that another wrote is indented, so that none passes for its last
    line. What is taken away is therefore only what stands before its first line too; where that is
    cut off, what stands before every line.
    """
    if _HEAD.search(out) or _END.search(out):
        return out
    head, ends = _INDENTED_HEAD.search(out), _INDENTED_END.findall(out)
    if not ends:
        return out
    lines = out.split("\n")
    before = head[1] if head else ends[-1]
    if not head and not all(
        line.startswith(before) for line in lines[1:] if line.strip()
    ):  # the first one may be cut
        return out
    return "\n".join(_without(line, before) for line in lines)


def _without(line: str, before: str) -> str:
    """A line without what stands before it; of one that was trimmed, nothing is left."""
    if line.startswith(before):
        return line[len(before) :]
    return "" if line == before.rstrip() else line


def _json_report(text: str) -> Optional[Decoded]:
    try:
        report = parse_json(text) if text.lstrip()[:1] == "{" else None
    except ValueError:
        return None
    if (
        not isinstance(report, dict)
        or report.get("schema") != SCHEMA
        or report.get("exit") not in (0, 1, 2, 3)
    ):
        return None
    return Decoded(json.dumps(report, indent=1) + "\n", report["exit"], [], "")


def _instead(out: str) -> List[str]:
    """What there is in a report's place."""
    if not out.strip():
        return [
            "No report: the script printed nothing. It was not started, was ended by force, or its "
            "output was lost."
        ]
    shown = f"What there is:\n{out.strip()[-2000:]}"
    if out.rstrip().endswith("}") and '": ' in out:
        return [
            "No report: what there is looks like the end of a JSON report, of which Run Command "
            f"keeps the last {STREAM_LIMIT:,} bytes. Ask for the report as text, which is the "
            "default, or let a managed run command write to a blob.",
            shown,
        ]
    if "\\nEND IMDS-CHECK" in out:
        return [
            "No report: it stands there with its line ends escaped, as by -o yaml. Take -o json.",
            shown,
        ]
    return ["No report: there is no line that begins with END IMDS-CHECK.", shown]
