"""The registry, where keys may be absent, values of any type and hives broken."""

from __future__ import annotations

from enum import Enum
from typing import Any, Callable, Dict, List, Optional

from ...collect import NoFact
from ...facts import if_type, list_of

VALUES = 100_000  # values of one key that are read; so too its subkeys


class Root(str, Enum):
    """A predefined key (winreg.h), by its usual short name."""

    MACHINE = "HKLM"
    USERS = "HKU"


class NoKey(NoFact):
    """Raised where there is no such key."""


def values(key: str, root: Root = Root.MACHINE) -> Dict[str, Any]:
    """The values of a key, in the 64-bit view.

    Raises ``NoKey``, or ``NoFact`` where it cannot be read.
    """
    return dict(
        _each(key, root, 1, lambda winreg, opened, index: winreg.EnumValue(opened, index)[:2])
    )


def subkeys(key: str, root: Root = Root.MACHINE) -> List[str]:
    """The names of the keys below a key (an empty one: of the root). Raises like ``values``."""
    return _each(key, root, 0, lambda winreg, opened, index: winreg.EnumKey(opened, index))


def _each(key: str, root: Root, which: int, read: Callable[[Any, Any, int], Any]) -> List[Any]:
    """The result of ``read`` for each subkey or value of a key.

    :param which: the place of their number in the result of ``QueryInfoKey``
    """
    winreg = _winreg()
    found: List[Any] = []
    try:
        with _open(key, root) as opened:
            for index in range(min(winreg.QueryInfoKey(opened)[which], VALUES)):
                found.append(read(winreg, opened, index))
    except FileNotFoundError:
        # deleted meanwhile
        pass
    except OSError as error:
        raise NoFact(f"{root.value}\\{key}: {error.strerror}") from None
    return found


def _winreg() -> Any:
    """The module, which only Windows has; this file can be imported anywhere."""
    import winreg

    return winreg


def _open(key: str, root: Root) -> Any:
    winreg = _winreg()
    roots = {Root.MACHINE: "HKEY_LOCAL_MACHINE", Root.USERS: "HKEY_USERS"}
    access = winreg.KEY_READ | winreg.KEY_WOW64_64KEY
    try:
        return winreg.OpenKey(getattr(winreg, roots[root]), key, access=access)
    except FileNotFoundError:
        raise NoKey(f"{root.value}\\{key}: no such key") from None
    except OSError as error:
        raise NoFact(f"{root.value}\\{key}: {error.strerror}") from None


def text(value: Any) -> Optional[str]:
    """A REG_SZ that is not empty; None where it is something else."""
    if not isinstance(value, str):
        return None
    return value.strip("\0 ") or None


def texts(value: Any) -> List[str]:
    """The texts of a REG_MULTI_SZ, or of a REG_SZ in its place."""
    if not isinstance(value, list):
        value = [value]
    return [item for item in map(text, list_of(str, value)) if item]


def number(value: Any) -> Optional[int]:
    """A REG_DWORD; None where it is something else."""
    return if_type(int, value)
