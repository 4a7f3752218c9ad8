"""Types and members of .NET assemblies, from their metadata (ECMA-335, partition II).

``dnfile`` reads the tables; the signatures in the blob heap are read here (II.23.2).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional, Tuple

# II.23.1.16, ELEMENT_TYPE_*
PRIMITIVES = {
    0x01: "System.Void",
    0x02: "System.Boolean",
    0x03: "System.Char",
    0x04: "System.SByte",
    0x05: "System.Byte",
    0x06: "System.Int16",
    0x07: "System.UInt16",
    0x08: "System.Int32",
    0x09: "System.UInt32",
    0x0A: "System.Int64",
    0x0B: "System.UInt64",
    0x0C: "System.Single",
    0x0D: "System.Double",
    0x0E: "System.String",
    0x16: "System.TypedReference",
    0x18: "System.IntPtr",
    0x19: "System.UIntPtr",
    0x1C: "System.Object",
}
POINTER, BY_REFERENCE, VALUE_TYPE, CLASS, TYPE_VARIABLE, ARRAY, GENERIC = range(0x0F, 0x16)
VECTOR, METHOD_VARIABLE, REQUIRED_MODIFIER, OPTIONAL_MODIFIER = range(0x1D, 0x21)
GENERIC_METHOD = 0x10  # II.23.2.1
NO_PARAMETERS = None  # a field or a property that is no indexer


@dataclass(frozen=True)
class Member:
    """A public member. ``parameters`` is None for what is read without brackets."""

    name: str
    is_static: bool
    returns: str
    parameters: Optional[Tuple[str, ...]]


@dataclass(frozen=True)
class NetType:
    """A public type; its full name, such as ``System.Threading.Tasks.Task`1``."""

    name: str
    assembly: str
    base: str
    members: Tuple[Member, ...]


class Signature:
    """A signature in the blob heap, read from left to right."""

    def __init__(self, blob: bytes, tables: Any) -> None:
        self._blob = blob
        self._at = 0
        self._tables = tables

    def method(self) -> Tuple[str, Tuple[str, ...]]:
        """What a method returns, and its parameters (II.23.2.1)."""
        convention = self._byte()
        if convention & GENERIC_METHOD:
            self._number()
        count = self._number()
        returns = self.type()
        return returns, tuple(self.type() for _ in range(count))

    def field(self) -> str:
        """The type of a field (II.23.2.4)."""
        self._byte()
        return self.type()

    def type(self) -> str:
        """A type's name (II.23.2.12): ``N<A,B>``, ``T[]``, ``T&``; ``!0`` is a type's variable."""
        kind = self._byte()
        if kind in PRIMITIVES:
            return PRIMITIVES[kind]
        if kind in (REQUIRED_MODIFIER, OPTIONAL_MODIFIER):
            self._number()
            return self.type()
        if kind in (VALUE_TYPE, CLASS):
            return self._reference()
        if kind == BY_REFERENCE:
            return self.type() + "&"
        if kind == POINTER:
            return self.type() + "*"
        if kind == VECTOR:
            return self.type() + "[]"
        if kind == ARRAY:
            return self._array()
        if kind == TYPE_VARIABLE:
            return f"!{self._number()}"
        if kind == METHOD_VARIABLE:
            return f"!!{self._number()}"
        if kind == GENERIC:
            self._byte()
            name = self._reference()
            count = self._number()
            return f"{name}<{','.join(self.type() for _ in range(count))}>"
        raise ValueError(f"element type {kind:#x}")

    def _array(self) -> str:
        """An array of several dimensions, with sizes and lower bounds (II.23.2.13)."""
        name = self.type()
        rank = self._number()
        for _ in range(2):
            for _ in range(self._number()):
                self._number()
        return f"{name}[{',' * (rank - 1)}]"

    def _reference(self) -> str:
        """TypeDefOrRefOrSpecEncoded (II.23.2.8)."""
        token = self._number()
        table = (self._tables.TypeDef, self._tables.TypeRef, self._tables.TypeSpec)[token & 3]
        return _full_name(table.get_with_row_index(token >> 2), self._tables)

    def _byte(self) -> int:
        value = self._blob[self._at]
        self._at += 1
        return value

    def _number(self) -> int:
        """A compressed unsigned integer (II.23.2)."""
        first = self._byte()
        if first < 0x80:
            return first
        if first < 0xC0:
            return (first & 0x3F) << 8 | self._byte()
        return (first & 0x1F) << 24 | self._byte() << 16 | self._byte() << 8 | self._byte()


def types(path: Path) -> Iterator[NetType]:
    """The public types of an assembly that lie in no other type."""
    import dnfile  # only who makes the list anew needs it

    image = dnfile.dnPE(str(path))
    tables = image.net.mdtables
    for row in tables.TypeDef:
        if row.Flags.tdPublic:
            members = (*_methods(row, tables), *_fields(row, tables))
            base = ""
            if row.Extends.row_index:
                base = _full_name(row.Extends.row, tables)
            yield NetType(_full_name(row, tables), path.stem, base, members)


def _methods(row: Any, tables: Any) -> Iterator[Member]:
    """Methods and constructors; a property is what its getter or setter makes it."""
    seen = set()
    for index in row.MethodList:
        method = index.row
        if not method.Flags.mdPublic:
            continue
        name, is_static = str(method.Name), bool(method.Flags.mdStatic)
        returns, parameters = Signature(method.Signature.value, tables).method()
        yield Member(name, is_static, returns, parameters)
        kind, _, rest = name.partition("_")
        if not method.Flags.mdSpecialName or kind not in ("get", "set") or rest in seen:
            continue
        seen.add(rest)
        if kind == "set":
            returns, parameters = parameters[-1], parameters[:-1]
        yield Member(rest, is_static, returns, parameters or NO_PARAMETERS)


def _fields(row: Any, tables: Any) -> Iterator[Member]:
    for index in row.FieldList:
        field = index.row
        if field.Flags.fdPublic and not field.Flags.fdSpecialName:
            returns = Signature(field.Signature.value, tables).field()
            yield Member(str(field.Name), bool(field.Flags.fdStatic), returns, NO_PARAMETERS)


def _full_name(row: Any, tables: Any) -> str:
    """The full name of a row of TypeDef, TypeRef or TypeSpec."""
    if not hasattr(row, "TypeName"):
        return Signature(row.Signature.value, tables).type()
    scope = getattr(row, "ResolutionScope", None)
    name = str(row.TypeName)
    if row.TypeNamespace:
        return f"{row.TypeNamespace}.{name}"
    if scope is not None and hasattr(scope.row, "TypeName"):
        return f"{_full_name(scope.row, tables)}+{name}"
    return name


def read(folder: Path, assemblies: List[str]) -> Dict[str, NetType]:
    """The public types of some assemblies in a folder, by full name."""
    found: Dict[str, NetType] = {}
    for assembly in assemblies:
        for item in types(folder / f"{assembly}.dll"):
            found.setdefault(item.name, item)
    return found
