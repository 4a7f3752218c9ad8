"""Whether .NET Framework has what a script uses."""

from __future__ import annotations

import json
import subprocess
import tempfile
from pathlib import Path
from typing import Dict, List, Optional, Sequence, Tuple

from .inference import Node, Script, Use
from .listing import Framework
from .metadata import Member

# What the script does not tell: the type of a variable in a function.
KNOWN: Dict[Tuple[str, str], str] = {
    ("hide-secret", "match"): "System.Text.RegularExpressions.Match",  # a MatchEvaluator's
}


def syntax(engine: Path, script: Path) -> Node:
    """A script's syntax tree, by PowerShell's own parser; ``engine`` is a pwsh."""
    printer = Path(__file__).with_name("syntax.ps1")
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "tree.json"
        command = [str(engine), "-NoProfile", "-File", str(printer)]
        subprocess.run([*command, "-path", str(script), "-out", str(out)], check=True)
        tree: Node = json.loads(out.read_text("utf-8"))
    return tree


def inferred(tree: Node, framework: Framework) -> Script:
    return Script(tree, framework, KNOWN)


def missing(script: Script) -> List[str]:
    """What .NET Framework lacks of what a script uses where Windows PowerShell gets; each by its
    line, with the reason.
    """
    found = []
    for use in sorted(script.uses, key=lambda use: (use.line, str(use))):
        reason = "" if use.is_guarded else why_missing(use, script.framework)
        if reason:
            found.append(f"{use}: {reason}")
    return found


def why_missing(use: Use, framework: Framework) -> str:
    """Why a use cannot be; "" where it can."""
    if not use.types:
        return "its type is not known"
    if not use.member:
        return "" if all(map(framework.has, use.types)) else "no such type"
    members = []
    for name in use.types:
        members += framework.members(name, use.member)
    is_static = use.is_static and use.member != ".ctor"
    members = [member for member in members if member.is_static == is_static]
    if use.is_set or use.arguments is None:
        members = [member for member in members if member.parameters is None]
    if not members:
        return "no such member"
    if use.is_set:
        return _why_unfit(use.arguments or (), [(member.returns,) for member in members], framework)
    if use.arguments is None:
        return ""
    called = [_parameters(member, len(use.arguments)) for member in members]
    overloads = [parameters for parameters in called if parameters is not None]
    if use.member == "Split" and any(len(text) > 1 for text in use.arguments[0]):
        return "PowerShell 7 splits at the whole text, Windows PowerShell at each character of it"
    if not overloads:
        return f"no overload takes {len(use.arguments)} arguments"
    return _why_unfit(use.arguments, overloads, framework)


def _parameters(member: Member, count: int) -> Optional[Tuple[str, ...]]:
    """A method's parameters where it can be called with so many arguments; else None."""
    parameters = member.parameters
    if parameters is None:
        return None
    if len(parameters) == count:
        return parameters
    if parameters and parameters[-1].endswith("[]") and count >= len(parameters) - 1:
        return (parameters[:-1] + (parameters[-1][:-2],) * count)[:count]
    return None


def _why_unfit(
    arguments: Sequence[Tuple[str, ...]], overloads: Sequence[Tuple[str, ...]], framework: Framework
) -> str:
    """Why no overload takes the constant texts among the arguments: an enum has to have each, and
    a character is one.
    """
    wrong = ""
    for parameters in overloads:
        wrong = ""
        for said, parameter in zip(arguments, parameters):
            for text in said:
                if framework.is_enum(parameter) and not framework.members(parameter, text):
                    wrong = f"{parameter} has no {text}"
                if parameter == "System.Char" and len(text) != 1:
                    wrong = f'"{text}" is not one character'
        if not wrong:
            return ""
    return wrong
