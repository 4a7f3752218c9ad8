"""Values from the VM or the network, which may be of any type and form."""

from __future__ import annotations

import json
from typing import Any, Callable, Dict, List, Optional, Type, TypeVar, Union

T = TypeVar("T")


def parse_json(text: Union[str, bytes]) -> Any:
    """``json.loads`` held to RFC 8259 (no NaN).

    Raises ``ValueError``, also where the nesting is too deep.
    """

    def refuse(constant: str) -> None:
        raise ValueError(f"{constant} is not JSON")

    def integer(digits: str) -> int:
        if len(digits) > 20:  # a conversion of a million digits takes for ever
            raise ValueError("a number is too long")
        return int(digits)

    try:
        return json.loads(text, parse_constant=refuse, parse_int=integer)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def decimal(text: str) -> int:
    """A whole number of at most 11 characters. Raises ``ValueError``."""
    if len(text) > 11:
        raise ValueError("a number is too long")
    return int(text)


def if_valid(parse: Callable[[str], T], value: Any) -> Optional[T]:
    """``parse(value)``; None where the value is no text or ``parse`` refuses it.

    For data from the VM or the network.
    """
    if not isinstance(value, str):
        return None
    try:
        return parse(value)
    except ValueError:
        return None


def if_type(kind: Type[T], value: Any) -> Optional[T]:
    """The value where it is of exactly this type (True is no ``int``); else None."""
    if type(value) is kind:
        return value
    return None


def list_of(kind: Type[T], value: Any) -> List[T]:
    """The items of a parsed JSON list that are of one type; none where it is no list.

    For data from the VM or the network.
    """
    if not isinstance(value, list):
        return []
    return [item for item in value if isinstance(item, kind)]


def dict_of(value: Any) -> Dict[str, Any]:
    """A parsed JSON object; an empty one where it is something else."""
    return value if isinstance(value, dict) else {}
