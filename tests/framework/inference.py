"""Which types a script's expressions may have, as far as the script itself tells, and so which
members of which types it uses.

A variable has every type that is assigned to it somewhere in its function; a key of a hashtable
every type that is put under that key in any hashtable; a function gives whatever its statements
give. An array that passes a pipeline counts as its elements, as PowerShell unrolls it. "?" stands
for what cannot be known. As the order of statements is left out, a variable may have types that it
never has where a member of it is used: one of them has to have the member.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Dict, Iterable, List, Optional, Set, Tuple

from .listing import Framework
from .metadata import Member

Node = Dict[str, Any]
Types = Set[str]

UNKNOWN = "?"
STRING, NUMBER, LONG, DOUBLE, BOOLEAN, CHARACTER, DATE, SPAN, REGEX_MATCH, TYPE, HASHTABLE = (
    "System.String",
    "System.Int32",
    "System.Int64",
    "System.Double",
    "System.Boolean",
    "System.Char",
    "System.DateTime",
    "System.TimeSpan",
    "System.Text.RegularExpressions.Match",
    "System.Type",
    "System.Collections.Hashtable",
)
OBJECT = "System.Object"
MAY_BE_HASHTABLE = {UNKNOWN, OBJECT, HASHTABLE}
ERROR_RECORD = "System.Management.Automation.ErrorRecord"
SCRIPT_BLOCK = "System.Management.Automation.ScriptBlock"
AUTOMATIC: Dict[str, Types] = {
    "true": {BOOLEAN},
    "false": {BOOLEAN},
    "null": set(),
    "pid": {NUMBER},
    "lastexitcode": {NUMBER},
    "args": {"System.Object[]"},
    "matches": {HASHTABLE},
    "executioncontext": {"System.Management.Automation.EngineIntrinsics"},
    "psversiontable": {"System.Management.Automation.PSVersionHashTable"},
}
# What PowerShell itself gives every value.
INTRINSIC = {"count", "length"}
FRAMEWORK_ONLY = "isframework"
TRUTHS = {
    *("And", "Or", "Xor", "Is", "IsNot"),
    *(f"{case}{name}" for case in "IC" for name in ("eq", "ne", "gt", "ge", "lt", "le")),
    *(f"{case}{name}" for case in "IC" for name in ("like", "match", "contains", "in")),
    *(f"{case}not{name}" for case in "IC" for name in ("like", "match", "contains", "in")),
}
TEXTS = {"Format", "Join", "Ireplace", "Creplace"}
LISTS_OF_TEXT = {"Isplit", "Csplit"}


@dataclass(frozen=True)
class Use:
    """A member that the script uses, or a type that it names (``member`` is "" then)."""

    line: int
    function: str  # in small letters; "" outside of all
    types: Tuple[str, ...]
    member: str
    is_static: bool
    # Of each argument the constant texts that it may be; None where no method is called. What is
    # set is an argument too.
    arguments: Optional[Tuple[Tuple[str, ...], ...]]
    is_set: bool
    is_guarded: bool  # where PowerShell 7 alone gets

    def __str__(self) -> str:
        shown = "|".join(self.types) or "?"
        if not self.member:
            return f"line {self.line}: [{shown}]"
        dots = "::" if self.is_static else "."
        called = ""
        if self.arguments is not None and not self.is_set:
            called = f"({', '.join('|'.join(item) or '?' for item in self.arguments)})"
        return f"line {self.line}: {shown}{dots}{self.member}{called}"


@dataclass(frozen=True)
class Call:
    """A command that the script calls."""

    line: int
    function: str  # in small letters, where the call stands; "" outside of all
    name: str  # "" where it is no constant
    operator: str  # Unknown (none), Ampersand or Dot
    text: str  # of the variable or the text that names the command, where it is no constant
    arguments: Tuple[Tuple[str, ...], ...]  # each with the texts that it may be


class Script:
    """A script's syntax tree, as ``syntax.ps1`` prints it, with what is inferred from it."""

    def __init__(self, tree: Node, framework: Framework) -> None:
        self.framework = framework
        self.functions: Dict[str, Node] = {}
        self.variables: Dict[Tuple[str, str], Types] = {}
        self.keys: Dict[str, Types] = {}
        self.outputs: Dict[str, Types] = {}
        self.uses: Set[Use] = set()
        self.calls: Set[Call] = set()
        self._scope = ""
        self._items: List[Types] = []
        self._is_guarded = False
        for node in nodes(tree):
            if node["kind"] == "FunctionDefinition":
                self.functions[node["Name"].lower()] = node
        before = None
        while before != (before := self._size()):
            self.uses.clear()
            self._everything(tree)

    def _size(self) -> int:
        tables: Tuple[Dict[Any, Types], ...] = (self.variables, self.keys, self.outputs)
        return sum(len(types) for table in tables for types in table.values()) + 1

    def _everything(self, tree: Node) -> None:
        self._scope, self._items = "", []
        self._parameters(tree["ParamBlock"]["Parameters"])
        self._blocks(tree)
        for name, function in self.functions.items():
            self._scope, self._items = name, []
            block = function["Body"]
            self._parameters(
                function["Parameters"] or (block["ParamBlock"] or {}).get("Parameters")
            )
            self._add(self.outputs, name, self._blocks(block))

    def _parameters(self, parameters: Optional[List[Node]]) -> None:
        for parameter in parameters or ():
            name = parameter["Name"]["VariablePath"]
            for written in parameter["Types"]:
                self._assign_variable(name, self._named(written, parameter["line"]))

    def _blocks(self, block: Node) -> Types:
        given: Types = set()
        for part in ("BeginBlock", "ProcessBlock", "EndBlock"):
            if block[part]:
                given |= self._statements(block[part])
        return given

    # --- statements: each gives what it puts out

    def _statements(self, block: Node) -> Types:
        given: Types = set()
        for statement in block["Statements"]:
            given |= self._statement(statement)
        return given

    def _statement(self, node: Node) -> Types:
        """What a statement puts out; an assignment puts out nothing."""
        kind = node["kind"]
        if kind == "AssignmentStatement":
            self._of_AssignmentStatement(node)
            return set()
        if kind == "FunctionDefinition":
            return set()
        found = self._output(node)
        is_list_of_one = kind == "Pipeline" and _is_comma(node)
        return found if is_list_of_one else self._elements(found)

    def _output(self, node: Optional[Node]) -> Types:
        """What a statement or an expression gives to who takes it."""
        if node is None:
            return set()
        method = getattr(self, f"_of_{node['kind']}")
        found: Types = method(node)
        return found

    types = _output

    def _of_CommandExpression(self, node: Node) -> Types:
        return self.types(node["Expression"])

    def _of_StatementBlock(self, node: Node) -> Types:
        return self._statements(node)

    def _of_ReturnStatement(self, node: Node) -> Types:
        return self._output(node["Pipeline"])

    def _of_ThrowStatement(self, node: Node) -> Types:
        self._output(node["Pipeline"])
        return set()

    _of_ExitStatement = _of_ThrowStatement

    def _of_BreakStatement(self, node: Node) -> Types:
        return set()

    _of_ContinueStatement = _of_BreakStatement

    def _of_IfStatement(self, node: Node) -> Types:
        given: Types = set()
        outside = self._is_guarded
        is_left_by_framework = False
        for condition, block in node["Clauses"]:
            self._output(condition)
            self._is_guarded = outside or is_left_by_framework or _is_of_core(condition)
            given |= self._statements(block)
            self._is_guarded = outside or is_left_by_framework
            is_left_by_framework = is_left_by_framework or _is_of_framework(condition)
        if node["ElseClause"]:
            self._is_guarded = outside or is_left_by_framework
            given |= self._statements(node["ElseClause"])
        self._is_guarded = outside
        return given

    def _of_TryStatement(self, node: Node) -> Types:
        given = self._statements(node["Body"])
        for clause in node["CatchClauses"]:
            for caught in clause["CatchTypes"]:
                self._named(caught["TypeName"], clause["line"])
            self._items.append({ERROR_RECORD})
            given |= self._statements(clause["Body"])
            self._items.pop()
        if node["Finally"]:
            given |= self._statements(node["Finally"])
        return given

    def _of_SwitchStatement(self, node: Node) -> Types:
        self._items.append(self._elements(self._output(node["Condition"])))
        given: Types = set()
        for label, block in node["Clauses"]:
            self.types(label)
            given |= self._statements(block)
        if node["Default"]:
            given |= self._statements(node["Default"])
        self._items.pop()
        return given

    def _of_ForEachStatement(self, node: Node) -> Types:
        if node["kind"] == "ForEachStatement":
            items = self._elements(self._output(node["Condition"]))
            self._assign_variable(node["Variable"]["VariablePath"], items)
        else:
            self._output(node.get("Initializer"))
            self._output(node["Condition"])
            self._output(node.get("Iterator"))
        return self._statements(node["Body"])

    _of_ForStatement = _of_WhileStatement = _of_ForEachStatement
    _of_DoWhileStatement = _of_DoUntilStatement = _of_ForEachStatement

    # --- assignments

    def _of_AssignmentStatement(self, node: Node) -> Types:
        left, right = node["Left"], node["Right"]
        if left["kind"] == "ArrayLiteral":
            return self._assign_several(left["Elements"], right)
        found = self._output(right)
        if node["Operator"] != "Equals":
            found = self.types(left) | self._elements(found)
        self._assign(left, found, texts(right))
        return found

    def _assign_several(self, targets: List[Node], right: Node) -> Types:
        values = listed(right)
        if not values:
            found = self._output(right)
            for target in targets:
                self._assign(target, self._elements(found), ())
            return found
        given: Types = set()
        for number, target in enumerate(targets):
            is_last = number == len(targets) - 1
            for value in values[number:] if is_last else values[number : number + 1]:
                found = self.types(value)
                given |= found
                self._assign(target, found, texts(value))
        return given

    def _assign(self, target: Node, found: Types, said: Tuple[str, ...]) -> None:
        kind = target["kind"]
        if kind == "VariableExpression":
            self._assign_variable(target["VariablePath"], found)
        elif kind == "MemberExpression":
            if target["Static"]:
                owner = self._named(target["Expression"]["TypeName"], target["line"])
            else:
                owner = self.types(target["Expression"])
            if owner & MAY_BE_HASHTABLE:
                self._add(self.keys, target["Member"]["Value"].lower(), found)
            self.types(target)
            self._use(target, owner - MAY_BE_HASHTABLE, (said,), is_set=True)
        elif kind == "ConvertExpression":
            self._assign(target["Child"], self.types(target), said)
        else:
            self.types(target)

    def _assign_variable(self, name: str, found: Types) -> None:
        self._add(self.variables, (self._scope, name.lower()), found)

    @staticmethod
    def _add(table: Dict[Any, Types], key: Any, found: Types) -> None:
        table.setdefault(key, set()).update(found - {"System.Void"})

    # --- pipelines and commands

    def _of_Pipeline(self, node: Node) -> Types:
        passing: Types = set()
        for element in node["PipelineElements"]:
            if element["kind"] == "CommandExpression":
                passing = self.types(element["Expression"])
            else:
                passing = self._command(element, self._elements(passing))
        return passing

    def _command(self, node: Node, items: Types) -> Types:
        name_node, *arguments = node["CommandElements"]
        name = name_node.get("Value") if name_node["kind"] == "StringConstantExpression" else None
        if name is None:
            self.types(name_node)
        shown = name_node.get("text") or name_node.get("Value") or ""
        said = tuple(texts(argument) for argument in arguments)
        operator = node["InvocationOperator"]
        self.calls.add(Call(node["line"], self._scope, name or "", operator, shown, said))
        if name in ("ForEach-Object", "Where-Object"):
            self._items.append(items)
            given = self._blocks(arguments[0]["ScriptBlock"])
            self._items.pop()
            return items if name == "Where-Object" else given
        function = self.functions.get((name or "").lower())
        if function is None:
            for argument in arguments:
                self.types(argument)
            return {STRING} if name is None else set()
        self._bind(name.lower(), function, arguments)
        if function["Body"]["ProcessBlock"]:
            return items  # a filter
        return set(self.outputs.get(name.lower(), ()))

    def _bind(self, name: str, function: Node, arguments: List[Node]) -> None:
        """Gives the arguments of a call to the function's parameters that name no type."""
        parameters = list(function["Parameters"] or ())
        by_name = {item["Name"]["VariablePath"].lower(): item for item in parameters}
        named: Optional[Node] = None
        for argument in arguments:
            if argument["kind"] == "CommandParameter":
                named = by_name[argument["ParameterName"].lower()]
                parameters.remove(named)
                if argument["Argument"] or "switch" in named["Types"]:
                    self.types(argument["Argument"])
                    named = None
                continue
            found = self.types(argument)
            if argument.get("Splatted"):
                for parameter in parameters:
                    self._give(name, parameter, self._elements(found))
                continue
            parameter = named or (parameters.pop(0) if parameters else None)
            named = None
            if parameter:
                self._give(name, parameter, found)

    def _give(self, name: str, parameter: Node, found: Types) -> None:
        if not parameter["Types"]:
            self._add(self.variables, (name, parameter["Name"]["VariablePath"].lower()), found)

    # --- expressions

    def _of_StringConstantExpression(self, node: Node) -> Types:
        return {STRING}

    def _of_ExpandableStringExpression(self, node: Node) -> Types:
        for part in node["NestedExpressions"]:
            self.types(part)
        return {STRING}

    def _of_ConstantExpression(self, node: Node) -> Types:
        return {DOUBLE if isinstance(node["Value"], str) else NUMBER}

    def _of_VariableExpression(self, node: Node) -> Types:
        name = node["VariablePath"].lower()
        if name == "_":
            return set(self._items[-1]) if self._items else {UNKNOWN}
        if name.startswith("env:"):
            return {STRING}
        for scope in (self._scope, ""):
            if (scope, name) in self.variables:
                return set(self.variables[scope, name])
        if name in AUTOMATIC:
            return set(AUTOMATIC[name])
        # of a function that calls this one
        callers = [found for (_, other), found in self.variables.items() if other == name]
        return set().union(*callers) if callers else {UNKNOWN}

    def _of_CommandParameter(self, node: Node) -> Types:
        return self.types(node["Argument"])

    def _of_ParenExpression(self, node: Node) -> Types:
        return self._output(node["Pipeline"])

    def _of_SubExpression(self, node: Node) -> Types:
        return self._statements(node["SubExpression"])

    def _of_ArrayExpression(self, node: Node) -> Types:
        return self._arrays(self._statements(node["SubExpression"]))

    def _of_ArrayLiteral(self, node: Node) -> Types:
        found: Types = set()
        for element in node["Elements"]:
            found |= self.types(element)
        return self._arrays(found)

    def _of_Hashtable(self, node: Node) -> Types:
        for key, value in node["KeyValuePairs"]:
            found = self._output(value)
            for name in texts(key):
                self._add(self.keys, name.lower(), found)
        return {HASHTABLE}

    def _of_ScriptBlockExpression(self, node: Node) -> Types:
        self._blocks(node["ScriptBlock"])
        return {SCRIPT_BLOCK}

    def _of_TypeExpression(self, node: Node) -> Types:
        self._named(node["TypeName"], node["line"])
        return {TYPE}

    def _of_ConvertExpression(self, node: Node) -> Types:
        self.types(node["Child"])
        return self._named(node["Type"], node["line"])

    def _of_UnaryExpression(self, node: Node) -> Types:
        found = self.types(node["Child"])
        if node["TokenKind"] in ("Not", "Exclaim"):
            return {BOOLEAN}
        if node["TokenKind"] == "Join":
            return {STRING}
        return self._arrays(found) if node["TokenKind"] == "Comma" else found

    def _of_BinaryExpression(self, node: Node) -> Types:
        left, right = self.types(node["Left"]), self.types(node["Right"])
        operator = node["Operator"]
        if operator == "Is" and node["Left"]["kind"] == "VariableExpression":
            narrowed = self.framework.resolve(node["Right"]["TypeName"])
            if narrowed:
                self._assign_variable(node["Left"]["VariablePath"], {narrowed})
        if operator in TRUTHS:
            return {BOOLEAN} | {item for item in left if item.endswith("[]")}  # which it filters
        if operator in TEXTS:
            return {STRING}
        if operator in LISTS_OF_TEXT:
            return {f"{STRING}[]"}
        if operator == "DotDot":
            return {f"{NUMBER}[]"}
        if operator == "Minus" and DATE in left and DATE in right:
            return {SPAN}
        if operator == "Plus" and any(item.endswith("[]") for item in left):
            return left | self._arrays(self._elements(right))
        if left <= {NUMBER, LONG, DOUBLE} and right & {LONG, DOUBLE}:
            return left | right
        return left

    def _of_IndexExpression(self, node: Node) -> Types:
        owner = self.types(node["Target"])
        self.types(node["Index"])
        found: Types = set()
        for item in owner:
            if item == HASHTABLE:
                said = texts(node["Index"])
                found |= self.keys.get(said[0].lower(), {UNKNOWN}) if said else {UNKNOWN}
            elif item == STRING:
                found.add(CHARACTER)
            else:
                found.add(self.framework.element(item))
        if node["Target"].get("VariablePath", "").lower() == "matches":
            return {STRING}
        return found

    def _of_MemberExpression(self, node: Node) -> Types:
        return self._member(node, None)

    def _of_InvokeMemberExpression(self, node: Node) -> Types:
        arguments = []
        for argument in node["Arguments"] or ():
            if argument["kind"] == "ScriptBlockExpression" and node["Member"]["Value"] == "Replace":
                self._is_given_matches(argument["ScriptBlock"])
            self.types(argument)
            arguments.append(texts(argument))
        return self._member(node, tuple(arguments))

    def _is_given_matches(self, block: Node) -> None:
        """A script block as a MatchEvaluator, the one delegate that a script is likely to make."""
        for parameter in (block["ParamBlock"] or {}).get("Parameters") or ():
            self._assign_variable(parameter["Name"]["VariablePath"], {REGEX_MATCH})

    def _member(self, node: Node, arguments: Optional[Tuple[Tuple[str, ...], ...]]) -> Types:
        name: str = node["Member"]["Value"]
        if node["Static"]:
            owner = self._named(node["Expression"]["TypeName"], node["line"])
            if name.lower() == "new":
                self._use(node, owner, arguments)
                return owner
            return self._use(node, owner, arguments)
        owner = self.types(node["Expression"])
        found: Types = set()
        may_have_key = {item for item in owner if self._elements({item}) & MAY_BE_HASHTABLE}
        if may_have_key and arguments is None and name.lower() in self.keys:
            found |= self.keys[name.lower()]
            owner = owner - may_have_key
            if not owner:
                return found
        return found | self._use(node, owner, arguments)

    def _use(
        self,
        node: Node,
        owner: Types,
        arguments: Optional[Tuple[Tuple[str, ...], ...]],
        is_set: bool = False,
    ) -> Types:
        """Notes the use of a member; gives what it may be."""
        name, is_static = node["Member"]["Value"], node["Static"]
        if is_set and not owner:
            return set()
        having, given = set(), set()
        for item in owner - {UNKNOWN, OBJECT}:
            for found_in, members in self._found(item, name):
                fit = [member for member in members if member.is_static == is_static]
                if fit:
                    having.add(found_in)
                given |= {member.returns for member in fit}
        if not having and name.lower() in INTRINSIC and not is_static:
            return {NUMBER}
        seen = tuple(sorted(having or owner - {UNKNOWN}))
        member = ".ctor" if name.lower() == "new" and is_static else name
        use = Use(
            node["line"], self._scope, seen, member, is_static, arguments, is_set, self._is_guarded
        )
        self.uses.add(use)
        return {item for item in given if not item.startswith("!!")}

    def _found(self, item: str, name: str) -> Iterable[Tuple[str, List[Member]]]:
        """A type's members of a name; an array's elements have theirs too."""
        wanted = ".ctor" if name.lower() == "new" else name
        members = self.framework.members(item, wanted)
        if wanted == ".ctor":
            members = [_as_static(member) for member in members]
        yield item, members
        if not members and self.framework.element(item) != item:
            yield from self._found(self.framework.element(item), name)

    # --- types

    def _named(self, written: str, line: int) -> Types:
        """A type that the script names."""
        found = self.framework.resolve(written)
        seen = (found or written,)
        self.uses.add(Use(line, self._scope, seen, "", True, None, False, self._is_guarded))
        return {found} if found and found != "System.Void" else set()

    def _elements(self, found: Types) -> Types:
        return {self.framework.element(item) for item in found}

    @staticmethod
    def _arrays(found: Types) -> Types:
        arrays = set()
        for item in found:
            arrays.add(item if item.endswith("[]") or item == UNKNOWN else f"{item}[]")
        return arrays or {"System.Object[]"}


def nodes(value: Any) -> Iterable[Node]:
    """Every node of a syntax tree."""
    if isinstance(value, dict):
        yield value
        for part in value.values():
            yield from nodes(part)
    elif isinstance(value, list):
        for part in value:
            yield from nodes(part)


def texts(node: Optional[Node]) -> Tuple[str, ...]:
    """The constant texts that an expression or a statement may come to; none where it is other."""
    if node is None:
        return ()
    kind = node["kind"]
    if kind == "StringConstantExpression":
        return (node["Value"],)
    if kind == "CommandExpression":
        return texts(node["Expression"])
    if kind == "Pipeline" and len(node["PipelineElements"]) == 1:
        return texts(node["PipelineElements"][0])
    if kind == "IfStatement":
        blocks = [block for _, block in node["Clauses"]] + [node["ElseClause"]]
        return tuple(text for block in blocks for text in texts(block))
    if kind == "StatementBlock" and len(node["Statements"]) == 1:
        return texts(node["Statements"][0])
    return ()


def sole_expression(node: Node) -> Optional[Node]:
    """The expression that a pipeline is, where it is nothing else."""
    if node["kind"] == "CommandExpression":
        return node["Expression"]
    if node["kind"] == "Pipeline" and len(node["PipelineElements"]) == 1:
        return sole_expression(node["PipelineElements"][0])
    return None


def listed(node: Node) -> List[Node]:
    """The elements of a statement that is a list of values."""
    expression = sole_expression(node)
    if expression and expression["kind"] == "ArrayLiteral":
        elements: List[Node] = expression["Elements"]
        return elements
    return []


def _is_comma(node: Node) -> bool:
    expression = sole_expression(node)
    return bool(expression) and expression.get("TokenKind") == "Comma"


def _is_of_framework(condition: Node) -> bool:
    """``$IsFramework``, or what holds only where it holds."""
    expression = sole_expression(condition)
    return bool(expression) and expression.get("VariablePath", "").lower() == FRAMEWORK_ONLY


def _is_of_core(condition: Node) -> bool:
    """``-not $IsFramework``, or a version of PowerShell that is at least 6."""
    expression = sole_expression(condition)
    if expression is None:
        return False
    if expression["kind"] == "UnaryExpression" and expression["TokenKind"] == "Not":
        return expression["Child"].get("VariablePath", "").lower() == FRAMEWORK_ONLY
    if expression["kind"] != "BinaryExpression" or expression["Operator"] != "Ige":
        return False
    left, right = expression["Left"], expression["Right"]
    if left.get("Member", {}).get("Value") != "PSVersion" or right["kind"] != "ConvertExpression":
        return False
    (version,) = texts(right["Child"])
    return int(version.partition(".")[0]) >= 6


def _as_static(member: Member) -> Member:
    """A constructor, which is called as ::new()."""
    return replace(member, is_static=True)
