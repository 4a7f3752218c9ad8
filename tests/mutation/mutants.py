"""Every mutant of a module: one small change each, as Cosmic Ray makes them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, List

from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code
from cosmic_ray.plugins import get_operator

# Of each comparison its opposite, and of an inequality its edge. Cosmic Ray has ten for each, most
# of which (``is`` for ``<``) any test at all would kill.
COMPARISONS = (
    "Eq_NotEq",
    "NotEq_Eq",
    "Lt_LtE",
    "Lt_GtE",
    "LtE_Lt",
    "LtE_Gt",
    "Gt_GtE",
    "Gt_LtE",
    "GtE_Gt",
    "GtE_Lt",
    "Is_IsNot",
    "IsNot_Is",
)
ARITHMETIC = ("Add_Sub", "Sub_Add", "Mul_Div", "Div_Mul", "BitOr_BitAnd", "BitAnd_BitOr", "Mod_Mul")
OPERATORS = (
    *(f"core/ReplaceComparisonOperator_{name}" for name in COMPARISONS),
    *(f"core/ReplaceBinaryOperator_{name}" for name in ARITHMETIC),
    "core/ReplaceUnaryOperator_Delete_Not",
    "core/ReplaceUnaryOperator_Delete_USub",
    "core/AddNot",
    "core/ReplaceTrueWithFalse",
    "core/ReplaceFalseWithTrue",
    "core/ReplaceAndWithOr",
    "core/ReplaceOrWithAnd",
    "core/ReplaceBreakWithContinue",
    "core/ReplaceContinueWithBreak",
    "core/NumberReplacer",
    "core/ExceptionReplacer",
    "core/ZeroIterationForLoop",
)
# What cuts a text to a length for a sentence: another length is another sentence.
SHORTENING = ("short", "listed")


@dataclass(frozen=True)
class Mutant:
    """One change to one module."""

    path: str  # from the root of the project
    operator: str
    occurrence: int  # which of the places that the operator fits, from 0
    line: int  # from 1

    def code(self, source: str) -> str:
        """The whole module with the change."""
        changed = mutate_code(source, get_operator(self.operator)(), self.occurrence)
        assert changed is not None
        return str(changed)


def mutants_of(root: Path, path: str) -> List[Mutant]:
    """Every mutant of a module."""
    source = (root / path).read_text("utf-8")
    tree = get_ast(source)
    found: List[Mutant] = []
    for name in OPERATORS:
        operator = get_operator(name)()
        places = [
            (node, start)
            for node in ast_nodes(tree)
            for start, _ in operator.mutation_positions(node)
        ]
        for occurrence, (node, (line, _)) in enumerate(places):
            if not _shortens(node):
                found.append(Mutant(path, name, occurrence, line))
    return found


def changed_line(mutant: Mutant, source: str) -> str:
    """The first line that differs, as it became."""
    before, after = source.splitlines(), mutant.code(source).splitlines()
    for old, new in zip(before, after):
        if old != new:
            return new.strip()
    return "(a line less)"


def is_program(mutant: Mutant, source: str) -> bool:
    """Whether the change makes another program, one that can be compiled."""
    code = mutant.code(source)
    if code == source:
        return False
    try:
        compile(code, mutant.path, "exec")
    except SyntaxError:
        return False
    return True


def _shortens(node: Any) -> bool:
    """Whether a number is the length that a call of ``short`` or ``listed`` is given."""
    if node.type != "number":
        return False
    trailer = node.parent
    while trailer is not None and trailer.type != "trailer":
        trailer = trailer.parent
    called = trailer.get_previous_sibling() if trailer is not None else None
    return called is not None and getattr(called, "value", "") in SHORTENING
