"""The key of one report's pseudonyms. It lives as long as the run and is written nowhere.

A MAC address or an address of a network has so few possible values that a plain digest could be
undone by trying them all. What is computed here cannot be computed without the key (HMAC with
SHA-256, RFC 2104).
"""

from __future__ import annotations

import hashlib
import hmac
import os

KEY_BYTES = 32


class Key:
    """A keyed function.

    :param secret: for tests, which need the same pseudonyms twice; otherwise a new random one
    """

    def __init__(self, secret: bytes = b"") -> None:
        self._begun = hmac.new(secret or os.urandom(KEY_BYTES), digestmod=hashlib.sha256)

    def digest(self, message: bytes) -> bytes:
        """32 bytes that only who has the key can make of a message."""
        made = self._begun.copy()
        made.update(message)
        return made.digest()

    def derived(self, purpose: str) -> Key:
        """Another key, for one purpose: the same value then has unrelated digests in two places."""
        return Key(self.digest(purpose.encode()))
