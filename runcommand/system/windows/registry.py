"""Values of HKEY_LOCAL_MACHINE, read with care: absent as easily as present, and of any type."""

from __future__ import annotations

from typing import Any, Dict, List, Optional

from ...collect import NoFact
from ...facts import list_of


class NoKey(NoFact):
    """Raised where there is no such key."""


def values(key: str) -> Dict[str, Any]:
    """The values of a key, in the 64-bit view. Raises ``NoKey``, or ``NoFact`` where it may not be read."""
    import winreg  # exists on Windows only; what reads the values can be imported anywhere

    found: Dict[str, Any] = {}
    try:
        with winreg.OpenKey(  # type: ignore[attr-defined]
            winreg.HKEY_LOCAL_MACHINE,  # type: ignore[attr-defined]
            key,
            access=winreg.KEY_READ | winreg.KEY_WOW64_64KEY,  # type: ignore[attr-defined]
        ) as opened:
            number = winreg.QueryInfoKey(opened)[1]  # type: ignore[attr-defined]
            for index in range(number):
                name, value, _ = winreg.EnumValue(opened, index)  # type: ignore[attr-defined]
                found[name] = value
    except FileNotFoundError:
        raise NoKey(f"HKLM\\{key}: no such key") from None
    except OSError as error:
        raise NoFact(f"HKLM\\{key}: {error.strerror}") from None
    return found


def text(value: Any) -> Optional[str]:
    """A REG_SZ that is not empty; None where it is something else."""
    return value.strip("\0 ") or None if isinstance(value, str) else None


def texts(value: Any) -> List[str]:
    """The texts of a REG_MULTI_SZ, or of a REG_SZ in its place."""
    return [item for item in map(text, list_of(str, value) if isinstance(value, list) else [value]) if item]
