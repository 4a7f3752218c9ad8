"""GUID (guiddef.h), as COM and the licensing functions take it."""

from __future__ import annotations

from ctypes import Structure, c_ubyte, c_uint16, c_uint32
from uuid import UUID


class GUID(Structure):
    _fields_ = [
        ("Data1", c_uint32),
        ("Data2", c_uint16),
        ("Data3", c_uint16),
        ("Data4", c_ubyte * 8),
    ]

    @classmethod
    def of(cls, text: str) -> GUID:
        """From its usual text form."""
        return cls.from_buffer_copy(UUID(text).bytes_le)
