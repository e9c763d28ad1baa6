# SPDX-License-Identifier: GPL-3.0-or-later
"""From the one secret that a deployment has to keep, a key for each purpose; none of them tells of another."""

from __future__ import annotations

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF


def derive(secret: str, purpose: str) -> bytes:
    """Return 32 bytes for `purpose`, always the same ones."""
    return HKDF(SHA256(), 32, salt=None, info=purpose.encode()).derive(secret.encode())
