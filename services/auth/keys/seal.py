# SPDX-License-Identifier: GPL-3.0-or-later
"""Private keys as the database may see them: AES-GCM under a key derived from the deployment's secret."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from auth.derive import derive

_NONCE = 12


class CannotOpen(Exception):
    """The private key was sealed under a secret that is not ours."""


class Seal:
    """Seals under the first of `secrets`, opens what was sealed under any of them."""

    def __init__(self, secrets: Sequence[str]) -> None:
        self._boxes = [AESGCM(derive(secret, "opsforge auth key encryption v1")) for secret in secrets]

    def close(self, key: Ed25519PrivateKey) -> bytes:
        """Return the sealed private part; bound to its kid, so that rows can't be swapped."""
        nonce = os.urandom(_NONCE)
        return nonce + self._boxes[0].encrypt(nonce, key.private_bytes_raw(), kid_of(key.public_key()).encode())

    def open(self, kid: str, sealed: bytes) -> Ed25519PrivateKey:
        """Return the private key, or raise CannotOpen."""
        for box in self._boxes:
            try:
                raw = box.decrypt(sealed[:_NONCE], sealed[_NONCE:], kid.encode())
                return Ed25519PrivateKey.from_private_bytes(raw)
            except InvalidTag:
                continue
        raise CannotOpen(kid)


def first_key(secret: str) -> Ed25519PrivateKey:
    """Return the key of a deployment that has none yet.

    It is the one that versions without stored keys derived from the same secret: tokens they issued stay valid.
    """
    return Ed25519PrivateKey.from_private_bytes(derive(secret, "opsforge auth ed25519 v1"))


def kid_of(key: Ed25519PublicKey) -> str:
    """Name a key after itself."""
    return hashlib.sha256(key.public_bytes_raw()).hexdigest()[:16]
