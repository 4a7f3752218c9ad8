"""Facts to JSON, without loss; ``decoding`` has the way back."""

from __future__ import annotations

import dataclasses
from enum import Enum
from typing import Any


def to_json(value: Any) -> Any:
    """A fact (dataclass, tuple, enum or plain value) as what ``json.dumps`` takes."""
    if isinstance(value, tuple):
        return [to_json(item) for item in value]
    if isinstance(value, Enum):
        return value.value
    if dataclasses.is_dataclass(value):
        return {
            field.name: to_json(getattr(value, field.name)) for field in dataclasses.fields(value)
        }
    return value
