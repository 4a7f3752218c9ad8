"""Reads what Azure's clients print of a run command: the script's two streams, or an error.

The shapes: ``az vm run-command invoke`` and its REST answer (a list of statuses; Windows has one
for each stream, Linux one message with both), ``az vm run-command show --instance-view`` and its
REST answer, the objects of ``Invoke-AzVMRunCommand`` and ``Get-AzVMRunCommand`` by
``ConvertTo-Json``, and the portal's text.

https://learn.microsoft.com/azure/virtual-machines/run-command-overview
"""

from __future__ import annotations

import json
import re
from typing import Any, Dict, Iterator, List, Optional

from ..facts import dict_of, if_type, parse_json
from ..frozen import dataclass
from ..text_file import text_of

SIZE_LIMIT = 32 * 1024 * 1024  # bytes of what is read
STREAM_LIMIT = 4096  # bytes of each stream that Run Command keeps: the last ones
# Before each stream in the message of the Linux agent.
_STDOUT, _STDERR = "[stdout]\n", "[stderr]"
_STREAMS = {"stdout": "out", "stderr": "err"}
# What to do about an error from Azure, by a word of its code or message.
ANOTHER_WAY = "send the script in another way (README: When Run Command gives nothing back)"
_TO_DO = {
    "Conflict": "another run command is at work on this VM: wait until it has ended, and run again",
    "requires the VM to be running": "start the VM, and run again",
    "VMAgent": f"the VM's agent does not answer: {ANOTHER_WAY}",
    "Timeout": f"the VM did not answer in time: {ANOTHER_WAY}",
    "AuthorizationFailed": "the role Virtual Machine Contributor lets run commands be sent",
    "NotFound": "look at the names of the subscription, the resource group and the VM",
}
_CLI_ERROR = re.compile(r"^(?:ERROR: )?\((?P<code>\w+)\) (?P<message>.+)", re.MULTILINE)
_NOT_JSON = object()
QUOTES = 8  # how often a text may have been quoted
_DEPTH = 6  # levels of the object below which no result is looked for


class NoResult(ValueError):
    """There is no script output; the message says what there was."""


@dataclass(frozen=True)
class Result:
    """The output of one script on one VM."""

    out: str  # its standard output, or what is left of it; line ends are LF
    err: str = ""
    state: str = ""  # Azure's message on the run; empty where it says only that it succeeded


def read(content: bytes) -> List[Result]:
    """The results in what a client printed. Raises ``NoResult``."""
    text = text_given_back(content)
    if not text.strip():
        raise NoResult("it is empty: the command printed nothing, or its output went elsewhere")
    value = _json(text.strip())
    # --query gives one message
    if isinstance(value, str):
        text, value = _lines(value), _NOT_JSON
    if value is _NOT_JSON:
        error = _CLI_ERROR.search(text)
        if error and "END IMDS-CHECK" not in text:
            raise NoResult(_of_azure(error["code"], error["message"]))
        if text.lstrip()[0] in "{[":
            raise NoResult("it begins as JSON and does not end as such: it was cut off or changed")
        return [_streams(text) or Result(text)]
    results = list(_results(value, 0))
    if not results:
        other = f"it is JSON, but not what a run command gives back: {_kind(value)}{_hint(value)}"
        raise NoResult(_error(value) or other)
    return results


def is_given_back(content: bytes) -> bool:
    """Whether a file looks like output of Run Command.

    That is a client's JSON, the portal's text, Azure's error, or a report's text.
    """
    text = text_given_back(content)
    if _streams(text) or "END IMDS-CHECK " in text or _CLI_ERROR.search(text):
        return True
    value = _json(text.strip())
    return value is not _NOT_JSON and (any(_results(value, 0)) or _error(value) is not None)


def text_given_back(content: bytes) -> str:
    """The text of a file, whatever wrote it: with LF at line ends, plain blanks, unquoted."""
    return _unquoted(_lines(text_of(content, "replace")).replace("\u00a0", " "))


def _unquoted(text: str) -> str:
    """The text without the ``> `` that a mail or a ticket puts before each line.

    It stays as it is where one line has none.
    """
    lines = text.split("\n")
    for _ in range(QUOTES):
        first = {line.lstrip(" \t")[:1] for line in lines}
        if ">" not in first or first - {">", ""}:
            break
        lines = [line.lstrip(" \t")[1:] for line in lines]
        if all(line[:1] in ("", " ") for line in lines):
            lines = [line[1:] for line in lines]
        text = "\n".join(lines)
    return text


def _lines(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _json(text: str) -> Any:
    """The JSON in a text, perhaps after a client's warnings; ``_NOT_JSON`` where there is none."""
    starts = [0]
    warnings = re.match(r"(?:(?:WARNING|ERROR)[^\n]*\n)+", text)
    if warnings:
        starts.append(warnings.end())
    for start in starts:
        try:
            return parse_json(text[start:])
        except ValueError:
            continue
    return _NOT_JSON


def _results(value: Any, depth: int) -> Iterator[Result]:
    if isinstance(value, list):
        items = [_lower(item) for item in value if isinstance(item, dict)]
        statuses = [item for item in items if _is_status(item)]
        if statuses:
            yield _of_statuses(statuses)
            return
        inner = value
    elif isinstance(value, dict):
        # Az.Compute flattens the instance view
        view = {key.replace("instanceview", "", 1): found for key, found in _lower(value).items()}
        if isinstance(view.get("output"), str) and ("executionstate" in view or "exitcode" in view):
            yield Result(_lines(view["output"]), _lines(_text(view.get("error"))), _state(view))
            return
        inner = list(value.values())
    else:
        return
    if depth < _DEPTH:
        for item in inner:
            yield from _results(item, depth + 1)


def _lower(value: Dict[str, Any]) -> Dict[str, Any]:
    """The object with keys in lower case: PowerShell writes them with capitals."""
    return {key.lower(): found for key, found in value.items()}


def _is_status(status: Dict[str, Any]) -> bool:
    return (
        isinstance(status.get("code"), str)
        and "/" in status["code"]
        and isinstance(status.get("message"), str)
    )


def _of_statuses(statuses: List[Dict[str, Any]]) -> Result:
    found: Dict[str, List[str]] = {"out": [], "err": [], "state": []}
    for status in statuses:
        component, _, state = status["code"].rpartition("/")
        stream = _STREAMS.get(component.rpartition("/")[2].lower())
        message = _lines(status["message"])
        if stream:
            found[stream].append(message)
            continue
        both = _streams(message)
        if both:
            return both
        if message.strip():
            shown = _text(status.get("displaystatus")) or state
            found["state"].append(f"{shown}: {status['message'].strip()}")
    return Result("".join(found["out"]), "".join(found["err"]), "".join(found["state"]))


def _streams(message: str) -> Optional[Result]:
    """Both streams in the Linux agent's message; None where it is another message."""
    begin = message.find(_STDOUT)
    end = message.find(_STDERR, begin + len(_STDOUT))
    if begin < 0 or end < 0:
        return None
    state = message[:begin].strip().rstrip(":")
    if state == "Enable succeeded":
        state = ""
    out = message[begin + len(_STDOUT) : end]
    if out.endswith("\n"):
        out = out[:-1]
    err = message[end + len(_STDERR) :]
    if err.startswith("\n"):
        err = err[1:]
    return Result(out, err, state)


def _state(view: Dict[str, Any]) -> str:
    state = _text(view.get("executionstate"))
    if state == "Succeeded":
        return ""
    parts = (state.strip(), _text(view.get("executionmessage")).strip())
    return ": ".join(part for part in parts if part)


def _text(value: Any) -> str:
    return if_type(str, value) or ""


def _error(value: Any) -> Optional[str]:
    """The code and message of Azure's error object; None where it is something else."""
    error = _lower(dict_of(value))
    if isinstance(error.get("error"), dict):
        error = _lower(error["error"])
    if isinstance(error.get("code"), str) and isinstance(error.get("message"), str):
        return _of_azure(error["code"], error["message"])
    return None


def _of_azure(code: str, message: str) -> str:
    lines = [f"it is an error of Azure, not a script's output: {code}: {message.strip()}"]
    for word, to_do in _TO_DO.items():
        if word in f"{code} {message}":
            lines.append(f"- {to_do}")
    return "\n".join(lines)


def _hint(value: Any) -> str:
    """What to ask for, where a managed run command was shown without its output."""
    if isinstance(value, dict) and "instanceview" in _lower(value):
        return (
            ". Its output was not asked for: --instance-view "
            "(Get-AzVMRunCommand: -Expand InstanceView)"
        )
    return ""


def _kind(value: Any) -> str:
    if value == {}:
        return "an empty object"
    if isinstance(value, dict):
        return f"an object with {', '.join(map(repr, list(value)[:6]))}"
    if isinstance(value, list):
        return f"a list of {len(value)}"
    return json.dumps(value)[:60]
