"""``@dataclass(frozen=True)`` as the standard library has it, for a program that starts often.

The standard decorator writes and compiles five functions for each class, 0.6 ms, which for all
classes of this program is a third of a healthy run. Here all classes share the same five functions.
What it makes is a dataclass in every other respect: ``dataclasses.replace``, ``fields`` and
``is_dataclass`` work on it, and type checkers see the standard one.
"""

from __future__ import annotations

import dataclasses
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Callable, Dict, Tuple, Type, TypeVar

if TYPE_CHECKING:
    from dataclasses import dataclass as dataclass
else:

    def dataclass(*, frozen: bool) -> Callable[[Type[T]], Type[T]]:
        """Makes the class a frozen dataclass that is compared and hashed by its values.

        Fields have a default value or none; ``default_factory`` is for the standard decorator.
        """
        assert frozen
        return _made


T = TypeVar("T")


def _made(cls: Type[T]) -> Type[T]:
    if not cls.__doc__:  # else the standard decorator makes one, of the signature
        cls.__doc__ = cls.__name__
    made = dataclasses.dataclass(init=False, repr=False, eq=False)(cls)
    fields = dataclasses.fields(made)  # type: ignore[arg-type]
    names = tuple(field.name for field in fields)
    defaults = {
        field.name: field.default for field in fields if field.default is not dataclasses.MISSING
    }
    made._names = names  # type: ignore[attr-defined]
    made._known = frozenset(names)  # type: ignore[attr-defined]
    made._defaults = defaults  # type: ignore[attr-defined]
    made._checks_itself = hasattr(made, "__post_init__")  # type: ignore[attr-defined]
    made._values = staticmethod(_values_of(names))  # type: ignore[attr-defined]
    for shared in _SHARED:
        if shared.__name__ not in vars(cls):
            setattr(made, shared.__name__, shared)
    return made


def _values_of(names: Tuple[str, ...]) -> Callable[[Any], Tuple[Any, ...]]:
    """What reads an object's values in the order of its fields."""
    if len(names) > 1:
        return attrgetter(*names)
    return lambda made: tuple(getattr(made, name) for name in names)


# --- what all classes share ---


def __init__(self: Any, *given: Any, **named: Any) -> None:
    names: Tuple[str, ...] = self._names
    values: Dict[str, Any] = self.__dict__
    values.update(self._defaults)
    values.update(zip(names, given))
    is_twice = False
    if named:
        values.update(named)
        is_twice = not named.keys().isdisjoint(names[: len(given)])
    if values.keys() != self._known or len(given) > len(names) or is_twice:
        raise TypeError(f"{type(self).__name__}{names}: got {len(given)} values and {set(named)}")
    if self._checks_itself:
        self.__post_init__()


def __eq__(self: Any, other: Any) -> Any:
    if other.__class__ is not self.__class__:
        return NotImplemented
    return self._values(self) == self._values(other)


def __hash__(self: Any) -> int:
    return hash(self._values(self))


def __repr__(self: Any) -> str:
    shown = ", ".join(f"{name}={getattr(self, name)!r}" for name in self._names)
    return f"{type(self).__qualname__}({shown})"


def __setattr__(self: Any, name: str, value: Any) -> None:
    raise dataclasses.FrozenInstanceError(f"cannot assign to field {name!r}")


def __delattr__(self: Any, name: str) -> None:
    raise dataclasses.FrozenInstanceError(f"cannot delete field {name!r}")


_SHARED = (__init__, __eq__, __hash__, __repr__, __setattr__, __delattr__)
