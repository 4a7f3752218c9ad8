"""The texts that a script's expressions may come to, where constants alone make them: registry
paths and names of programs. ``*`` stands for what is not constant.
"""

from __future__ import annotations

from itertools import product
from typing import Dict, Iterator, List, Optional, Set, Tuple

from .inference import Node, listed, sole_expression

ANY = "*"


class Wording:
    """``of(function, node)``: what a text may be in a function ("" outside of all)."""

    def __init__(self, tree: Node) -> None:
        self._values: Dict[Tuple[str, str], List[Optional[Node]]] = {}
        self._open: Set[Tuple[str, str]] = set()
        self.functions: Dict[str, List[Node]] = {"": []}
        self._divide(tree, "")
        for function, parts in self.functions.items():
            for part in parts:
                self._note(function, part)

    def _divide(self, value: object, function: str) -> None:
        """Puts each node under the function that it stands in."""
        if isinstance(value, list):
            for item in value:
                self._divide(item, function)
        elif isinstance(value, dict):
            if value["kind"] == "FunctionDefinition":
                function = value["Name"].lower()
                self.functions[function] = []
            self.functions[function].append(value)
            for part in value.values():
                self._divide(part, function)

    def _note(self, function: str, node: Node) -> None:
        """Notes what a variable is set to."""
        if node["kind"] == "AssignmentStatement":
            for target, value in _pairs(node["Left"], node["Right"]):
                self._set(function, target, [value])
        elif node["kind"] == "ForEachStatement":
            values: List[Optional[Node]] = list(listed(node["Condition"]))
            expression = sole_expression(node["Condition"])
            self._set(function, node["Variable"], values or [expression])
        elif node["kind"] == "Parameter":
            self._set(function, node["Name"], [None])

    def _set(self, function: str, target: Node, values: List[Optional[Node]]) -> None:
        if target["kind"] == "VariableExpression":
            name = target["VariablePath"].lower()
            self._values.setdefault((function, name), []).extend(values)

    def of(self, function: str, node: Optional[Node]) -> Set[str]:
        if node is None:
            return {ANY}
        kind = node["kind"]
        if kind == "StringConstantExpression":
            return {node["Value"]}
        if kind == "VariableExpression":
            return self._variable(function, node["VariablePath"].lower())
        if kind == "ArrayLiteral":
            return {text for item in node["Elements"] for text in self.of(function, item)}
        if kind == "ExpandableStringExpression":
            return set(self._expanded(function, node))
        parts = _alternatives(node)
        return {text for part in parts for text in self.of(function, part)} or {ANY}

    def _variable(self, function: str, name: str) -> Set[str]:
        for place in ((function, name), ("", name)):
            if place in self._values and place not in self._open:
                self._open.add(place)
                found: Set[str] = set()
                for value in self._values[place]:
                    found |= self.of(place[0], value)
                self._open.discard(place)
                return found
        return {ANY}

    def _expanded(self, function: str, node: Node) -> Iterator[str]:
        """Each text with one value for every variable in it."""
        parts = node["NestedExpressions"]
        for values in product(*(sorted(self.of(function, part)) for part in parts)):
            text = node["Value"]
            for part, value in zip(parts, values):
                text = text.replace(part["text"], value, 1)
            yield text


def _alternatives(node: Node) -> List[Node]:
    """The parts each of which makes some of the values that an expression has."""
    kind = node["kind"]
    if kind == "BinaryExpression" and node["Operator"] == "Plus":
        return [node["Left"], node["Right"]]
    if kind == "ArrayExpression":
        return list(node["SubExpression"]["Statements"])
    if kind == "Pipeline":
        *_, last = node["PipelineElements"]
        if (
            last["kind"] == "Command"
            and last["CommandElements"][0].get("Value") == "ForEach-Object"
        ):
            return list(last["CommandElements"][1]["ScriptBlock"]["EndBlock"]["Statements"])
    expression = sole_expression(node)
    return [expression] if expression else []


def _pairs(left: Node, right: Node) -> Iterator[Tuple[Node, Optional[Node]]]:
    """What is set to what; several variables at once to the elements of a list."""
    if left["kind"] != "ArrayLiteral":
        yield left, sole_expression(right)
        return
    values = listed(right)
    for number, target in enumerate(left["Elements"]):
        yield target, values[number] if len(values) == len(left["Elements"]) else None
