"""What a rule says: a finding with its fixes, and how names and addresses are written in both."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from enum import Enum
from typing import Any, Callable, Optional, Tuple

from ..fixes.commands import Fix, FixKind, RunOn, Shell, advice
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


@dataclass(frozen=True)
class Rule:
    """One cause. Its help page is the docstring of its function: the title line, the text, the
    Microsoft page.
    """

    cause: str
    verdicts: Tuple[
        Verdict, ...
    ]  # that it can give; the first one unless the function says another; none: a warning
    recognise: Callable[[Any], Optional[Seen]]
    title: str
    text: str
    doc: str

    def __call__(self, model: Any) -> Optional[Finding]:
        seen = self.recognise(model)
        if seen is None:
            return None
        verdict = (seen.verdict or self.verdicts[0]) if seen.severity is Severity.FAIL else None
        return Finding(
            self.cause,
            seen.severity,
            verdict,
            self.title,
            short(seen.detail, DETAIL_LIMIT),
            seen.fix,
            self.doc,
        )


def rule(*verdicts: Verdict) -> Callable[[Callable[[Any], Optional[Seen]]], Rule]:
    """Makes a rule of a function whose name is the cause (``_`` for ``-``) and whose docstring is
    its help page.
    """

    def make(function: Callable[[Any], Optional[Seen]]) -> Rule:
        title, _, rest = (inspect.getdoc(function) or "").partition("\n")
        text, _, doc = rest.strip().rpartition("\n")
        if not (
            title and text and doc.startswith("https://")
        ):  # also under python -OO, which this program cannot bear
            raise RuntimeError(
                f"{function.__name__}: its docstring, which is its help page, is missing"
            )
        return Rule(
            function.__name__.replace("_", "-"), verdicts, function, title, text.strip(), doc
        )

    return make
