"""``net462.json``: the part of .NET Framework 4.6.2 that the script reaches, and how it is found.

It is made from reference assemblies, which need not be there to use it:
``python -m tests.framework`` makes it anew.
"""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any, Dict, List, Optional, Set, Tuple

from .metadata import Member, NetType

PATH = Path(__file__).with_name("net462.json")
# The type accelerators of Windows PowerShell 5.1 that the script may use; all other names are full
# ones, with or without "System." (about_Type_Accelerators).
ACCELERATORS = {
    "bool": "System.Boolean",
    "byte": "System.Byte",
    "char": "System.Char",
    "double": "System.Double",
    "hashtable": "System.Collections.Hashtable",
    "int": "System.Int32",
    "long": "System.Int64",
    "object": "System.Object",
    "ref": "System.Management.Automation.PSReference",
    "regex": "System.Text.RegularExpressions.Regex",
    "scriptblock": "System.Management.Automation.ScriptBlock",
    "string": "System.String",
    "switch": "System.Management.Automation.SwitchParameter",
    "type": "System.Type",
    "uri": "System.Uri",
    "version": "System.Version",
    "void": "System.Void",
}


def _of_powershell(name: str, base: str = "System.Object", **members: str) -> NetType:
    """A type of PowerShell's own assembly, with what its properties give."""
    found = [Member(member, False, returns, None) for member, returns in members.items()]
    return NetType(f"{AUTOMATION}.{name}", AUTOMATION, base, tuple(found))


# .NET Framework has no reference assembly of these. They are the same since PowerShell 3.
AUTOMATION = "System.Management.Automation"
POWERSHELL = (
    _of_powershell(
        "ErrorRecord",
        Exception="System.Exception",
        InvocationInfo=f"{AUTOMATION}.InvocationInfo",
    ),
    _of_powershell("InvocationInfo", ScriptLineNumber="System.Int32"),
    _of_powershell("EngineIntrinsics", SessionState=f"{AUTOMATION}.SessionState"),
    _of_powershell("SessionState", LanguageMode=f"{AUTOMATION}.PSLanguageMode"),
    _of_powershell("PSLanguageMode", "System.Enum"),
    _of_powershell("PSVersionHashTable", PSVersion="System.Version"),
    _of_powershell("RuntimeException", "System.SystemException"),
    _of_powershell("PSReference"),
    _of_powershell("ScriptBlock"),
    _of_powershell("SwitchParameter", "System.ValueType"),
)
# What Windows' firewall says by COM (netfw.h); its type is known to the registry alone.
FIREWALL_POLICY = NetType(
    "INetFwPolicy2",
    "COM",
    "System.Object",
    (Member("CurrentProfileTypes", False, "System.Int32", None),),
)
# What a member gives in truth, where its own type is but a base of that.
NARROWER = {
    ("System.Activator", "CreateInstance"): "INetFwPolicy2",
    ("System.Net.Sockets.Socket", "LocalEndPoint"): "System.Net.IPEndPoint",
    ("System.Net.WebRequest", "Create"): "System.Net.HttpWebRequest",
    (
        "System.Net.WebRequest",
        "GetResponseAsync",
    ): "System.Threading.Tasks.Task`1<System.Net.HttpWebResponse>",
    (
        "System.Security.AccessControl.AuthorizationRuleCollection",
        "Item",
    ): "System.Security.AccessControl.FileSystemAccessRule",
}


def parts(name: str) -> Tuple[str, List[str]]:
    """A closed generic's definition and its arguments; of any other type itself and nothing."""
    if not name.endswith(">"):
        return name, []
    definition, _, rest = name[:-1].partition("<")
    arguments, depth, begin = [], 0, 0
    for at, character in enumerate(rest):
        if character == "<":
            depth += 1
        elif character == ">":
            depth -= 1
        elif character == "," and depth == 0:
            arguments.append(rest[begin:at])
            begin = at + 1
    return definition, [*arguments, rest[begin:]]


class Framework:
    """Types by their full names, and their members with those of their bases."""

    def __init__(self, types: Dict[str, NetType]) -> None:
        self.types = {item.name: item for item in (*types.values(), *POWERSHELL, FIREWALL_POLICY)}
        self._names = {name.lower(): name for name in self.types}
        self._asked: Dict[str, Set[str]] = {}

    def resolve(self, written: str) -> Optional[str]:
        """The full name of a type as PowerShell finds it; None where there is none."""
        if written.endswith("[]"):
            element = self.resolve(written[:-2])
            return f"{element}[]" if element else None
        generic = re.fullmatch(r"([\w.]+)\[(.+)\]", written)
        if generic:
            arguments = [self.resolve(item) for item in generic[2].split(",")]
            definition = self.resolve(f"{generic[1]}`{len(arguments)}")
            if definition is None or None in arguments:
                return None
            return f"{definition}<{','.join(str(item) for item in arguments)}>"
        accelerated = ACCELERATORS.get(written.lower(), "")
        for name in (accelerated, written, f"System.{written}"):
            if name.lower() in self._names:
                found = self._names[name.lower()]
                self._asked.setdefault(found, set())
                return found
        return None

    def has(self, type_name: str) -> bool:
        return parts(type_name.replace("[]", ""))[0] in self.types

    def members(self, type_name: str, member: str) -> List[Member]:
        """The members of that name, in any case, with the type's own arguments put in."""
        if type_name.endswith("[]") and member == ".ctor":
            return [Member(".ctor", False, type_name, ("System.Int32",))]
        definition, arguments = parts(type_name)
        if definition.endswith("]"):
            definition, arguments = "System.Array", []
        item = self.types.get(definition)
        if item is None:
            return []
        self._asked.setdefault(definition, set()).add(member.lower())
        found = []
        for own in item.members:
            if own.name.lower() == member.lower():
                narrower = NARROWER.get((definition, own.name), own.returns)
                found.append(_closed(replace(own, returns=narrower), arguments))
        if item.base and member != ".ctor":
            found += self.members(_put_in(item.base, arguments), member)
        return found

    def is_enum(self, type_name: str) -> bool:
        if type_name not in self.types:
            return False
        self._asked.setdefault(type_name, set())
        return self.types[type_name].base == "System.Enum"

    def element(self, type_name: str) -> str:
        """What ``foreach`` over a value of this type gives: by its indexer with a number."""
        if type_name.endswith("[]"):
            return type_name[:-2]
        if type_name == "System.Collections.ICollection":
            return "System.Object"
        for indexer in self.members(type_name, "Item"):
            if indexer.parameters == ("System.Int32",):
                return indexer.returns
        return type_name

    def asked(self) -> Dict[str, NetType]:
        """The types that were asked for, with those of their members that were."""
        kept = {}
        for name, wanted in self._asked.items():
            item = self.types[name]
            members = [member for member in item.members if member.name.lower() in wanted]
            if item.assembly not in ("COM", AUTOMATION):
                kept[name] = replace(item, members=tuple(dict.fromkeys(members)))
        return kept


def _closed(member: Member, arguments: List[str]) -> Member:
    parameters = member.parameters
    if parameters is not None:
        parameters = tuple(_put_in(item, arguments) for item in parameters)
    returns = _put_in(member.returns, arguments)
    return Member(member.name, member.is_static, returns, parameters)


def _put_in(name: str, arguments: List[str]) -> str:
    for number, argument in enumerate(arguments):
        name = re.sub(rf"(?<!!)!{number}(?!\d)", argument.replace("\\", r"\\"), name)
    return name


def write(types: Dict[str, NetType]) -> None:
    """One line a member, so that a change can be read."""
    lines = []
    for name in sorted(types):
        item = types[name]
        members = [
            json.dumps([member.name, member.is_static, member.returns, member.parameters])
            for member in sorted(item.members, key=str)
        ]
        head = f" {json.dumps(name)}: {json.dumps([item.assembly, item.base])[:-1]}, ["
        if members:
            head += "\n  " + ",\n  ".join(members)
        lines.append(head + "]]")
    PATH.write_text("{\n" + ",\n".join(lines) + "\n}\n", "ascii")


def load() -> Framework:
    types = {}
    for name, (assembly, base, members) in json.loads(PATH.read_text("ascii")).items():
        types[name] = NetType(name, assembly, base, tuple(_member(*each) for each in members))
    return Framework(types)


def _member(name: str, is_static: bool, returns: str, parameters: Any) -> Member:
    return Member(name, is_static, returns, None if parameters is None else tuple(parameters))
