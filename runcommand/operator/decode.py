"""Finds imds-check's report in the output of Run Command, the exit code in its last line, and the
facts in its block of raw material.
"""

from __future__ import annotations

import json
import re
from typing import List, Optional

from ..facts import Facts, dict_of, parse_json
from ..frozen import dataclass
from ..report.json_report import SCHEMA
from . import block
from .material import facts_of
from .run_command import STREAM_LIMIT, NoResult, Result, read, text_given_back

_HEAD = re.compile(r"^IMDS-CHECK \d\S*  \S.*$", re.MULTILINE)
_END = re.compile(r"^END IMDS-CHECK verdict=(\S+) cause=(\S+) exit=([0-3]) .*$", re.MULTILINE)
# What a mail or a ticket puts before the first line of a report, or before its last one.
_INDENTED_HEAD = re.compile(r"^([ \t>]{1,80})IMDS-CHECK \d\S*  \S", re.MULTILINE)
_INDENTED_END = re.compile(r"^([ \t>]{1,80})END IMDS-CHECK verdict=", re.MULTILINE)


AGAIN = "To get the cause, run the script again and decode its whole output."
SHORT = f"What the report itself says still counts. {AGAIN}"
NO_END = (
    "The end of the text was cut off: its last line is missing. The raw material in it is whole, "
    "and this is its diagnosis."
)
NO_REPORT = 3  # the exit code where there is no report


@dataclass(frozen=True)
class Decoded:
    report: str  # text as it was printed on the VM, or JSON; empty where there is no report
    exit_code: int  # from the report's last line, or ``NO_REPORT``
    notes: List[str]  # what the reader has to know about it
    err: str  # the VM's standard error
    facts: Optional[Facts] = None  # of the block of raw material, where the report has one


def decode(content: bytes) -> List[Decoded]:
    """The outcome of each script in the content (mostly one), in order."""
    whole = _json_report(text_given_back(content))
    if whole:
        return [whole]
    try:
        return [_decode(result) for result in read(content)]
    except NoResult as error:
        return [Decoded("", NO_REPORT, [f"No report: {error}."], "")]


def _decode(result: Result) -> Decoded:
    notes: List[str] = []
    if result.state:
        notes.append(f"Azure says of the run: {result.state}")
    whole = _json_report(result.out)
    if whole:
        return Decoded(whole.report, whole.exit_code, notes, result.err)
    out = _outdented(result.out)
    ends = list(_END.finditer(out))
    if not ends:
        return _without_end(out, notes, result)
    end = ends[-1]
    # behind the end of another report
    earliest = 0
    if len(ends) > 1:
        earliest = ends[-2].end()
        notes.append(f"There are {len(ends)} reports in this text: this is the last one.")
    start = earliest
    head = next(_HEAD.finditer(out, earliest, end.start()), None)
    if head:
        start = head.start()
    else:
        notes.append(
            "The beginning of the report was cut off: Run Command keeps the last "
            f"{STREAM_LIMIT:,} bytes. Its last line is whole: verdict {end[1]}, cause {end[2]}."
        )
    around = (out[earliest:start].strip(), block.without(out[end.end() :], block.DOCUMENT).strip())
    others = "\n".join(part for part in around if part)
    if others:
        notes.append(f"Beside the report the script printed:\n{others}")
    report = out[start : end.end()].lstrip("\n") + "\n"
    document = _document(out[earliest:] + "\n" + result.err, notes)
    facts = _facts_or_damage(out[earliest : end.end()], document, SHORT, notes)
    err = block.without(result.err, block.DOCUMENT)
    return Decoded(report, int(end[3]), notes, err, facts)


def _without_end(out: str, notes: List[str], result: Result) -> Decoded:
    """What there is of a report whose last line is missing: its block may be whole."""
    found: List[str] = []
    document = _document(result.err, found)
    facts = _facts_or_damage(out, document, AGAIN, found)
    if facts is not None:
        notes.append(NO_END)
        err = block.without(result.err, block.DOCUMENT)
        return Decoded(out, NO_REPORT, notes, err, facts)
    return Decoded("", NO_REPORT, [*notes, *_instead(result.out), *found], result.err)


def _facts_or_damage(
    text: str, document: List[block.Record], to_do: str, notes: List[str]
) -> Optional[Facts]:
    """What the block of a report tells; None where it has none, or a damaged one: then a note says
    what happened to it, and what to do.

    :param document: the records of the second block
    """
    try:
        records = block.unpack(text)
        if records is None:
            return None
        return facts_of([*records, *document])
    except block.Damaged as damage:
        said = str(damage)
    except ValueError:
        said = "it holds records that no imds-check.ps1 sends"
    notes.append(f"The block of raw material in it is damaged: {said}. {to_do}")
    return None


def _document(text: str, notes: List[str]) -> List[block.Record]:
    """The records of the block that is on standard error; a note where it is damaged."""
    try:
        return block.unpack(text, block.DOCUMENT) or []
    except block.Damaged as damage:
        notes.append(f"The block with the attested document is damaged: {damage}.")
        return []


def _outdented(out: str) -> str:
    """An indented or quoted report without what precedes each line; any other text as it is.

    Within a report every line from elsewhere is indented, so that it cannot pass for the last line.
    So only what also precedes the first line is removed; where the first line was cut off, only
    what precedes every line.
    """
    if _HEAD.search(out) or _END.search(out):
        return out
    head, ends = _INDENTED_HEAD.search(out), _INDENTED_END.findall(out)
    if not ends:
        return out
    lines = out.split("\n")
    if head:
        before = head[1]
    else:
        before = ends[-1]
        # the first line may be cut
        if not all(line.startswith(before) for line in lines[1:] if line.strip()):
            return out
    return "\n".join(_without(line, before) for line in lines)


def _without(line: str, before: str) -> str:
    """A line without what precedes it; empty where nothing else was in it before it was trimmed."""
    if line.startswith(before):
        return line[len(before) :]
    if line == before.rstrip():
        return ""
    return line


def _json_report(text: str) -> Optional[Decoded]:
    if text.lstrip()[:1] != "{":
        return None
    try:
        report = dict_of(parse_json(text))
    except ValueError:
        return None
    if report.get("schema") != SCHEMA or report.get("exit") not in (0, 1, 2, 3):
        return None
    return Decoded(json.dumps(report, indent=1) + "\n", report["exit"], [], "")


def _instead(out: str) -> List[str]:
    """What to say where there is no report."""
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
