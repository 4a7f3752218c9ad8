"""What a rule says: a finding with its fixes, and how names and addresses are written in both."""

from __future__ import annotations

import inspect
import re
from dataclasses import dataclass
from enum import Enum
from typing import Any, Callable, Optional, Sequence, Tuple
from urllib.parse import unquote, urlsplit

NAME_LIMIT = 48  # bytes of a name in a sentence
DETAIL_LIMIT = 800  # bytes of a detail, so that the portal report can always show it whole
COMMAND_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._:@()#+-]{0,62}")  # what may stand between quotes in a command


class Severity(str, Enum):
    FAIL = "fail"  # decides the verdict
    WARN = "warn"
    INFO = "info"


class Verdict(str, Enum):
    HEALTHY = "healthy"
    DEGRADED = "degraded"
    BROKEN = "broken"
    INCONCLUSIVE = "inconclusive"


class FixKind(str, Enum):
    COMMAND = "command"
    ADVICE = "advice"


class Shell(str, Enum):
    CMD = "cmd"
    POWERSHELL = "powershell"
    SH = "sh"


class RunOn(str, Enum):
    VM = "vm"
    OPERATOR = "operator"  # the machine of whoever runs az


@dataclass(frozen=True)
class Fix:
    """One line of what mends it: a command for a shell, or advice for a person."""

    kind: FixKind
    text: str
    shell: Optional[Shell] = None
    run_on: Optional[RunOn] = None


def command(shell: Shell, text: str) -> Fix:
    """A command to be pasted on the VM."""
    return Fix(FixKind.COMMAND, text, shell, RunOn.VM)


def operator_command(shell: Shell, text: str) -> Fix:
    """A command for the operator's own machine. Only validated words may go into its text."""
    return Fix(FixKind.COMMAND, text, shell, RunOn.OPERATOR)


def advice(text: str) -> Fix:
    return Fix(FixKind.ADVICE, text)


@dataclass(frozen=True)
class Finding:
    cause: str
    severity: Severity
    verdict: Optional[Verdict]  # what it makes of the run; None where the severity is not fail
    title: str
    detail: str
    fix: Tuple[Fix, ...] = ()
    doc: Optional[str] = None


@dataclass(frozen=True)
class Seen:
    """What a rule function returns when it recognises its cause."""

    detail: str
    fix: Tuple[Fix, ...] = ()
    severity: Severity = Severity.FAIL
    verdict: Optional[Verdict] = None  # None: the one that the rule is declared with


@dataclass(frozen=True)
class Rule:
    """One cause. Its help page is the docstring of its function: the title line, the text, the Microsoft page."""

    cause: str
    verdicts: Tuple[Verdict, ...]  # that it can give; the first one unless the function says another; none: a warning
    recognise: Callable[[Any], Optional[Seen]]
    title: str
    text: str
    doc: str

    def __call__(self, case: Any) -> Optional[Finding]:
        seen = self.recognise(case)
        if seen is None:
            return None
        verdict = (seen.verdict or self.verdicts[0]) if seen.severity is Severity.FAIL else None
        return Finding(
            self.cause, seen.severity, verdict, self.title, short(seen.detail, DETAIL_LIMIT), seen.fix, self.doc
        )


def rule(*verdicts: Verdict) -> Callable[[Callable[[Any], Optional[Seen]]], Rule]:
    """Makes a rule of a function whose name is the cause (``_`` for ``-``) and whose docstring is its help page."""

    def make(function: Callable[[Any], Optional[Seen]]) -> Rule:
        title, _, rest = (inspect.getdoc(function) or "").partition("\n")
        text, _, doc = rest.strip().rpartition("\n")
        if not (title and text and doc.startswith("https://")):  # also under python -OO, which this program cannot bear
            raise RuntimeError(f"{function.__name__}: its docstring, which is its help page, is missing")
        return Rule(function.__name__.replace("_", "-"), verdicts, function, title, text.strip(), doc)

    return make


# --- Words ----------------------------------------------------------------------------------------------------------


def to_ascii(text: str) -> str:
    """Printable ASCII: every other character, control characters too, as ``\\uXXXX`` of its UTF-16 form."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(c if " " <= c <= "~" else _escape(c) for c in text)


def _escape(character: str) -> str:
    units = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{int.from_bytes(units[i : i + 2], 'big'):04X}" for i in range(0, len(units), 2))


def short(text: str, limit: int = NAME_LIMIT) -> str:
    """A name from the VM or the network as it may stand in a sentence: printable ASCII, bounded."""
    plain = to_ascii(text[: limit + 1])  # one more, to see that there is more
    return plain if len(plain) <= limit else plain[: limit - 3] + "..."


def capital(text: str) -> str:
    """A text that begins a sentence."""
    return text[:1].upper() + text[1:]


def quoted(name: str) -> str:
    return f'"{short(name)}"'


def listed(items: Sequence[str], at_most: int = 3) -> str:
    """``a, b, c and 4 more``"""
    more = len(items) - at_most
    return ", ".join(items[:at_most]) + (f" and {more} more" if more > 0 else "")


def host_of(url: str) -> str:
    """The host that an address from the VM or the network names; empty where it names none."""
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def file_of(url: str) -> Optional[str]:
    """The file that an address names, as it may stand between quotes in a command; None where it names none such."""
    name = unquote(url.partition("?")[0].rpartition("/")[2])
    return name if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9 ._-]{0,80}[.](crt|cer|der)", name) else None


def usable_in_command(name: str) -> bool:
    """Whether a name may stand in a command: plain ASCII, no quote or other character that a shell reads."""
    return bool(COMMAND_NAME.fullmatch(name)) and not name.endswith(" ")
