# SPDX-License-Identifier: GPL-3.0-or-later
"""Refresh tokens: opaque to callers, a family's id and a secret to us."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass
from uuid import UUID

LENGTH = 64
_FORM = re.compile(rf"^[A-Za-z0-9_-]{{{LENGTH}}}\Z")
_SECRET = 32


@dataclass(frozen=True, slots=True)
class RefreshToken:
    """One token. Knowing the id is no use: nobody learns it but from a token of the family."""

    family_id: UUID
    secret: bytes

    @classmethod
    def first(cls, family_id: UUID) -> RefreshToken:
        """Make the token that a family begins with."""
        return cls(family_id, secrets.token_bytes(_SECRET))

    @classmethod
    def parse(cls, text: str) -> RefreshToken | None:
        """Read what a caller sent; None when it was never one of ours."""
        if not _FORM.match(text):
            return None
        raw = base64.urlsafe_b64decode(text)
        return cls(UUID(bytes=raw[:16]), raw[16:])

    def successor(self, salt: bytes) -> RefreshToken:
        """Return the token that replaces this one under `salt`.

        As random as the salt, which is new for every rotation. Given both again it is the same token again: that is how
        a lost answer is repeated with no token stored.
        """
        return RefreshToken(self.family_id, hmac.digest(self.secret, salt, "sha256"))

    @property
    def digest(self) -> bytes:
        """What the database knows the token by. The secret is random, so a plain digest can't be searched."""
        return hashlib.sha256(self.family_id.bytes + self.secret).digest()

    def __str__(self) -> str:
        return base64.urlsafe_b64encode(self.family_id.bytes + self.secret).decode()
