"""What a rule says: a finding with its fixes, and how names and addresses are written in both."""

from __future__ import annotations

import inspect
from enum import Enum
from typing import Any, Callable, Optional, Tuple

from ..fixes.commands import Fix, FixKind, RunOn, Shell, advice
from ..frozen import dataclass
from ..model.model import Model
from ..model.words import short

__all__ = ["Fix", "FixKind", "RunOn", "Shell", "advice"]  # rules make their findings of these

DETAIL_LIMIT = 800  # bytes of a detail, so that the portal report can always show it whole


class Severity(str, Enum):
    FAIL = "fail"  # decides the verdict
    WARN = "warn"
    INFO = "info"


class Verdict(str, Enum):
    HEALTHY = "healthy"
    DEGRADED = "degraded"
    BROKEN = "broken"
    INCONCLUSIVE = "inconclusive"


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


class Kind(str, Enum):
    """Causes that other causes explain as one."""

    ANSWER = "answer"  # an answer that is not this VM's metadata
    RESIDUAL = "residual"  # nothing on the VM explains the failure: so any failure explains it


@dataclass(frozen=True)
class Rule:
    """One cause, and all that is said of it: in its decorator, and in its docstring, which is its
    help page: the title line, the text, the Microsoft page.
    """

    cause: str
    # The verdicts that it can give: the first one unless the function says another. Without any,
    # the cause is a warning or information.
    verdicts: Tuple[Verdict, ...]
    recognise: Callable[[Model], Optional[Seen]]
    # From here on: see ``rule``.
    after: Optional[str] = None
    before: Optional[str] = None
    kind: Optional[Kind] = None
    explains: Tuple[str, ...] = ()
    shown_by: Optional[str] = None

    @property
    def title(self) -> str:
        return title_of(self.recognise)

    @property
    def text(self) -> str:
        return text_of(self.recognise).rpartition("\n")[0].strip()

    @property
    def doc(self) -> str:
        """The address of the Microsoft page."""
        return (self.recognise.__doc__ or "").rstrip().rpartition("\n")[2].strip()

    def __call__(self, model: Model) -> Optional[Finding]:
        seen = self.recognise(model)
        if seen is None:
            return None
        verdict = None
        if seen.severity is Severity.FAIL:
            verdict = seen.verdict or self.verdicts[0]
        return Finding(
            self.cause,
            seen.severity,
            verdict,
            self.title,
            short(seen.detail, DETAIL_LIMIT),
            seen.fix,
            self.doc,
        )


def rule(
    *verdicts: Verdict,
    after: Optional[str] = None,
    before: Optional[str] = None,
    kind: Optional[Kind] = None,
    explains: Tuple[str, ...] = (),
    shown_by: Optional[str] = None,
) -> Callable[[Callable[[Model], Optional[Seen]]], Rule]:
    """Makes a rule of a function whose name is the cause (``_`` for ``-``) and whose docstring is
    its help page.

    :param verdicts: that it can give; the first one unless the function says another
    :param after: the cause that comes before it in the order of weight; only the first has none
    :param before: the cause that comes after it, if that one names the same predecessor
    :param kind: what it has in common with the causes that others explain along with it
    :param explains: causes, or kinds of causes, that are this fault seen from another side: where
        this one is a failure, they are not reported, as their fix would contradict its fix
    :param shown_by: the id of the check whose line shows it
    """

    def make(function: Callable[[Model], Optional[Seen]]) -> Rule:
        # Checked also under python -OO, which takes the help pages away.
        if not function.__doc__:
            raise RuntimeError(
                f"{function.__name__}: its docstring, which is its help page, is missing"
            )
        cause = function.__name__.replace("_", "-")
        return Rule(cause, verdicts, function, after, before, kind, explains, shown_by)

    return make


def title_of(function: Callable[..., Any]) -> str:
    """The first line of a help page."""
    return (function.__doc__ or "").partition("\n")[0]


def text_of(function: Callable[..., Any]) -> str:
    """A help page below its title, without its indentation in the source."""
    return (inspect.getdoc(function) or "").partition("\n")[2].strip()
