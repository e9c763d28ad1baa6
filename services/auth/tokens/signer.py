# SPDX-License-Identifier: GPL-3.0-or-later
"""Signing and checking tokens.

EdDSA (Ed25519) rather than HS256: whoever checks a token needs only the public key, so a service that is broken into
can't issue tokens. Signing costs some 50 microseconds.
"""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from jwt.algorithms import OKPAlgorithm

_LEEWAY_SECONDS = 5  # clocks of two nodes


class InvalidToken(Exception):
    """The token proves nothing; the message says why and is fit for the caller."""


@dataclass(frozen=True, slots=True)
class Claims:
    """What a valid token says: the user's id, and when it was issued and ends (Unix seconds)."""

    sub: UUID
    iat: int
    exp: int


class Signer:
    """Issues and verifies tokens with the one key derived from `secret`."""

    def __init__(self, secret: str, *, issuer: str, audience: str, minutes: int) -> None:
        # An Ed25519 key is 32 random bytes, so any strong random string gives one: nobody has to handle key files.
        seed = HKDF(SHA256(), 32, salt=None, info=b"opsforge auth ed25519 v1").derive(secret.encode())
        self._key = Ed25519PrivateKey.from_private_bytes(seed)
        self._public = self._key.public_key()
        self._kid = hashlib.sha256(self._public.public_bytes_raw()).hexdigest()[:16]
        self._issuer = issuer
        self._audience = audience
        self.seconds = minutes * 60

    def issue(self, user_id: UUID) -> str:
        """Return a token for the user, valid from now for `seconds`."""
        now = int(time.time())
        claims = {
            "iss": self._issuer,
            "aud": self._audience,
            "sub": str(user_id),
            "iat": now,
            "exp": now + self.seconds,
            "jti": uuid4().hex,
        }
        return jwt.encode(claims, self._key, algorithm="EdDSA", headers={"kid": self._kid})

    def verify(self, token: str) -> Claims:
        """Return the claims of a token that we issued and that has not ended; raise InvalidToken for any other."""
        try:
            # The algorithm is ours, never the token's word for it: that is what alg=none relies on.
            claims = jwt.decode(
                token,
                self._public,
                algorithms=["EdDSA"],
                issuer=self._issuer,
                audience=self._audience,
                leeway=_LEEWAY_SECONDS,
                options={"require": ["iss", "aud", "sub", "iat", "exp"]},
            )
            return Claims(UUID(claims["sub"]), int(claims["iat"]), int(claims["exp"]))
        except jwt.ExpiredSignatureError:
            raise InvalidToken("The token has expired.") from None
        except (jwt.InvalidTokenError, ValueError):
            raise InvalidToken("The token is missing or not valid.") from None

    def jwks(self) -> dict[str, Any]:
        """Return the public key as a JSON Web Key Set."""
        key = OKPAlgorithm.to_jwk(self._public, as_dict=True)
        return {"keys": [{**key, "kid": self._kid, "use": "sig", "alg": "EdDSA"}]}
