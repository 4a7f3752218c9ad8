"""Whether .NET Framework has what a script uses."""

from __future__ import annotations

import json
import subprocess
import tempfile
from pathlib import Path
from typing import Dict, List, Optional, Sequence, Tuple

from .inference import AUTOMATIC, Node, Script, Use, nodes
from .listing import Framework
from .metadata import Member


def syntax(engine: Path, script: Path) -> Node:
    """A script's syntax tree, by PowerShell's own parser; ``engine`` is a pwsh."""
    printer = Path(__file__).with_name("syntax.ps1")
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "tree.json"
        command = [str(engine), "-NoProfile", "-File", str(printer)]
        subprocess.run([*command, "-path", str(script), "-out", str(out)], check=True)
        tree: Node = json.loads(out.read_text("utf-8"))
    return tree


def newer_than_5_1(tree: Node) -> List[str]:
    """What only a later PowerShell than 5.1 has, by its line."""
    found = []
    for node in nodes(tree):
        reason = _why_newer(node)
        if reason:
            found.append(f"line {node['line']}: {reason}")
    return found


def _why_newer(node: Node) -> str:
    kind, operator = node["kind"], str(node.get("Operator"))
    if kind in ("TernaryExpression", "PipelineChain"):
        return kind
    if operator.startswith("QuestionQuestion"):
        return operator
    for name in ("NullConditional", "Background", "CleanBlock", "ThrottleLimit"):
        if node.get(name):
            return name
    by = node["Right"].get("Elements") if operator in ("Ireplace", "Creplace") else None
    if by and by[1]["kind"] == "ScriptBlockExpression":
        return "-replace by a script block"
    if operator == "DotDot" and "String" in node["Left"]["kind"]:
        return "a range of characters"
    return ""


def unset(tree: Node) -> List[str]:
    """The variables that nothing in a script sets, which is an error in strict mode. PowerShell 7
    sets more by itself than 5.1.
    """
    known = {*AUTOMATIC, "_", "erroractionpreference"}
    read: Dict[str, int] = {}
    for node in nodes(tree):
        kind = node["kind"]
        if kind == "VariableExpression":
            read.setdefault(node["VariablePath"].lower(), node["line"])
        targets = []
        if kind == "AssignmentStatement":
            targets = node["Left"].get("Elements") or [node["Left"]]
        elif kind == "ForEachStatement":
            targets = [node["Variable"]]
        elif kind == "Parameter":
            targets = [node["Name"]]
        for target in targets:
            if target["kind"] == "ConvertExpression":
                target = target["Child"]
            known.add(target.get("VariablePath", "").lower())
    names = sorted(name for name in set(read) - known if not name.startswith("env:"))
    return [f"line {read[name]}: ${name}" for name in names]


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
