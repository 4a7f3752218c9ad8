"""Facts from JSON. A VM needs it not: the operator replays a recorded run."""

from __future__ import annotations

import dataclasses
from enum import Enum
from functools import lru_cache
from typing import Any, Callable, Dict, NamedTuple, Tuple, Type, Union, get_type_hints

from .addresses import (
    Address,
    Cidr,
    Mac,
    NextHop,
    PrefixLength,
    parse_address,
    parse_cidr,
    parse_mac,
    parse_next_hop,
)
from .run import Facts
from .times import Instant, parse_instant
from .untrusted import if_valid

FLOAT_EXACT = 2**53  # whole numbers below it are floats without loss
NUMBER_LIMIT = 2**63


class FactsError(ValueError):
    """Facts that cannot be read; the message names the path and what was wrong there."""


def facts_from_json(value: Any) -> Facts:
    """Facts from parsed JSON.

    Unknown keys are passed over; anything of the wrong type raises ``FactsError``.
    """
    facts: Facts = _decode(Facts, value, "facts")
    return facts


class Form(NamedTuple):
    """What a value of a NewType is called, is made of, and must satisfy."""

    name: str
    made_of: type
    fits: Callable[[Any], bool]


def _parsed_by(parse: Callable[[str], object]) -> Callable[[Any], bool]:
    return lambda text: if_valid(parse, text) is not None


FORMS: Dict[Any, Form] = {
    Address: Form("IPv4 address", str, _parsed_by(parse_address)),
    NextHop: Form("IP address", str, _parsed_by(parse_next_hop)),
    Cidr: Form("IPv4 network", str, _parsed_by(parse_cidr)),
    PrefixLength: Form("prefix length", int, lambda length: 0 <= length <= 32),
    Mac: Form("MAC address", str, lambda text: if_valid(parse_mac, text) == text),
    Instant: Form("UTC time", str, _parsed_by(parse_instant)),
}


class Field(NamedTuple):
    """A field of a class: its resolved type, and whether it has no default."""

    name: str
    kind: Any
    is_required: bool


@lru_cache(maxsize=None)
def _fields(cls: Type[Any]) -> Tuple[Field, ...]:
    hints = get_type_hints(cls)
    return tuple(
        Field(field.name, hints[field.name], field.default is dataclasses.MISSING)
        for field in dataclasses.fields(cls)
    )


def _decode(expected: Any, value: Any, path: str) -> Any:
    """A parsed JSON value as the type that the schema expects there."""
    origin = getattr(expected, "__origin__", None)
    if origin is Union:  # Optional is the only union in the schema
        if value is None:
            return None
        return _decode(expected.__args__[0], value, path)
    if origin is tuple:
        return _list(expected.__args__[0], value, path)
    if isinstance(expected, type) and dataclasses.is_dataclass(expected):
        return _object(expected, value, path)
    if expected in FORMS:
        return _of_form(FORMS[expected], value, path)
    if isinstance(expected, type) and issubclass(expected, Enum):
        return _member(expected, value, path)
    return _plain(getattr(expected, "__supertype__", expected), value, path)


def _list(kind: Any, value: Any, path: str) -> Tuple[Any, ...]:
    if not isinstance(value, list):
        raise _mismatch(path, "list", value)
    return tuple(_decode(kind, item, f"{path}[{number}]") for number, item in enumerate(value))


def _object(cls: Any, value: Any, path: str) -> Any:
    if not isinstance(value, dict):
        raise _mismatch(path, "object", value)
    known = {}
    for field in _fields(cls):
        if field.name in value:
            known[field.name] = _decode(field.kind, value[field.name], f"{path}.{field.name}")
        elif field.is_required:
            raise FactsError(f"{path}.{field.name}: missing")
    return cls(**known)


def _of_form(form: Form, value: Any, path: str) -> Any:
    if type(value) is not form.made_of or not form.fits(value):
        raise FactsError(f"{path}: expected {form.name}, got {_show(value)}")
    return value


def _member(expected: Type[Enum], value: Any, path: str) -> Enum:
    try:
        return expected(value)
    except ValueError:
        allowed = ", ".join(member.value for member in expected)
        raise FactsError(f"{path}: expected one of {allowed}, got {_show(value)}") from None


def _plain(expected: Type[Any], value: Any, path: str) -> Any:
    """A str, bool, int or float; a whole number is a float too."""
    if expected is float and type(value) is int and abs(value) < FLOAT_EXACT:
        return float(value)
    if type(value) is not expected:
        raise _mismatch(path, expected.__name__, value)
    if expected in (int, float) and not abs(value) < NUMBER_LIMIT:
        raise FactsError(f"{path}: {expected.__name__} out of range")
    return value


def _mismatch(path: str, expected: str, value: Any) -> FactsError:
    return FactsError(f"{path}: expected {expected}, got {_type_name(value)}")


def _type_name(value: Any) -> str:
    """As JSON calls it, where that is another name."""
    return {type(None): "null", dict: "object"}.get(type(value), type(value).__name__)


def _show(value: Any) -> str:
    if isinstance(value, (str, int, float)):
        return repr(value)[:60]
    return _type_name(value)
