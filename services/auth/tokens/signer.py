# SPDX-License-Identifier: GPL-3.0-or-later
"""Signing and checking access tokens.

EdDSA (Ed25519) rather than HS256: whoever checks a token needs only the public key, so a service that is broken into
can't issue tokens. Signing costs some 50 microseconds.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID, uuid4

import jwt

from auth.keys.ring import Keyring

_LEEWAY_SECONDS = 5  # clocks of two nodes


class InvalidToken(Exception):
    """The token proves nothing; the message says why and is fit for the caller."""


@dataclass(frozen=True, slots=True)
class Claims:
    """What a valid token says: the user's id, address and roles, and when it was issued and ends (Unix seconds)."""

    sub: UUID
    email: str
    roles: list[str]
    iat: int
    exp: int


class Signer:
    """Issues tokens with the active key of the ring and verifies those of any key that is not gone."""

    def __init__(self, keys: Keyring, *, issuer: str, audience: str, minutes: int) -> None:
        self._keys = keys
        self._issuer = issuer
        self._audience = audience
        self.seconds = minutes * 60

    async def issue(self, user_id: UUID, email: str, roles: Sequence[str]) -> str:
        """Return a token for the user, valid from now for `seconds`."""
        kid, key = await self._keys.signing_key()
        now = int(time.time())
        claims = {
            "iss": self._issuer,
            "aud": self._audience,
            "sub": str(user_id),
            "email": email,
            "roles": list(roles),
            "iat": now,
            "exp": now + self.seconds,
            "jti": uuid4().hex,
        }
        return jwt.encode(claims, key, algorithm="EdDSA", headers={"kid": kid})

    async def verify(self, token: str) -> Claims:
        """Return the claims of a token that we issued and that has not ended; raise InvalidToken for any other."""
        try:
            kid = jwt.get_unverified_header(token).get("kid")
            key = await self._keys.public_key(kid) if isinstance(kid, str) else None
            if key is None:
                raise InvalidToken("The token is missing or not valid.")
            # The algorithm is ours, never the token's word for it: that is what alg=none relies on.
            claims = jwt.decode(
                token,
                key,
                algorithms=["EdDSA"],
                issuer=self._issuer,
                audience=self._audience,
                leeway=_LEEWAY_SECONDS,
                options={"require": ["iss", "aud", "sub", "iat", "exp"]},
            )
            # Tokens of versions without roles are minutes old at most; they are a customer's.
            return Claims(
                UUID(claims["sub"]),
                str(claims.get("email", "")),
                list(claims.get("roles", ["customer"])),
                int(claims["iat"]),
                int(claims["exp"]),
            )
        except jwt.ExpiredSignatureError:
            raise InvalidToken("The token has expired.") from None
        except (jwt.InvalidTokenError, ValueError, TypeError):
            raise InvalidToken("The token is missing or not valid.") from None
