# SPDX-License-Identifier: GPL-3.0-or-later
"""The keys as one replica knows them, and the hand that moves them on."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

import structlog
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from jwt.algorithms import OKPAlgorithm
from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncSession

from auth.keys.models import ACTIVE, NEXT, RETIRING, SigningKey
from auth.keys.plan import Plan, plan
from auth.keys.seal import CannotOpen, Seal, first_key, kid_of
from kit import Problem
from kit.database import Database

log = structlog.get_logger("auth.keys")

_STALE_SECONDS = 30.0
_MISS_SECONDS = 1.0
# A replica may sign with the key it knows for _STALE_SECONDS after a rotation; the rest is for clocks of two nodes.
_MARGIN = timedelta(seconds=_STALE_SECONDS + 30)


class NotSettled(Exception):
    """The next key was published too recently to sign; `seconds` says how long to wait."""

    def __init__(self, seconds: float) -> None:
        super().__init__(seconds)
        self.seconds = seconds


class NoSigningKey(Problem):
    """There is no active key, or none that our secret opens."""

    def __init__(self) -> None:
        super().__init__(503, "There is no key to sign tokens with.", headers={"Retry-After": "5"})


class Keyring:
    """The keys in memory, read again every few seconds (`tend`) and when a token names a key not seen yet.

    `lifetime` is how long tokens live: so long does a retiring key verify. What was read last goes on verifying while
    the database is away; signing with it ends after half a minute, for the others may have rotated.
    """

    def __init__(
        self,
        database: Database,
        secrets: Sequence[str],
        *,
        lifetime: timedelta,
        max_age: timedelta,
        settle: timedelta,
        now: Callable[[], datetime],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database = database
        self._seal = Seal(secrets)
        self._secret = secrets[0]
        self._lifetime = lifetime
        self._max_age = max_age
        self._settle = settle
        self._now = now
        self._monotonic = monotonic
        self._keys: dict[str, SigningKey] = {}
        self._publics: dict[str, Ed25519PublicKey] = {}
        self._active: tuple[str, Ed25519PrivateKey] | None = None
        self._read_at = self._missed_at = float("-inf")

    async def signing_key(self) -> tuple[str, Ed25519PrivateKey]:
        """Return kid and key to sign with; raise NoSigningKey while there is none that we can open."""
        if self._monotonic() - self._read_at > _STALE_SECONDS:
            await self._read()
        if self._active is None:
            raise NoSigningKey
        return self._active

    async def public_key(self, kid: str) -> Ed25519PublicKey | None:
        """Return the key to verify with, None for one that is unknown or gone."""
        if kid not in self._publics and self._monotonic() - self._missed_at >= _MISS_SECONDS:
            self._missed_at = self._monotonic()  # or invented kids would have us read for each of them
            await self._read()
        key = self._keys.get(kid)
        return self._publics[kid] if key and not self._gone(key) else None

    async def check(self) -> None:
        """Return when there is a key to sign with."""
        await self.signing_key()

    def listed(self) -> list[SigningKey]:
        """Return the keys that are published, the oldest state first."""
        return sorted((key for key in self._keys.values() if not self._gone(key)), key=lambda key: key.state_since)

    async def jwks(self) -> dict[str, Any]:
        """Return the public keys as a JSON Web Key Set: the next one as well, so that verifiers have it in time."""
        if not self._keys:
            await self._read()
        return {"keys": [self._jwk(key.kid) for key in self.listed()]}

    def _jwk(self, kid: str) -> dict[str, Any]:
        return {**OKPAlgorithm.to_jwk(self._publics[kid], as_dict=True), "kid": kid, "use": "sig", "alg": "EdDSA"}

    def age(self) -> float:
        """Return for how many seconds the active key has been signing; 0 while none is known."""
        key = next((key for key in self._keys.values() if key.state == ACTIVE), None)
        return (self._now() - key.state_since).total_seconds() if key else 0.0

    def count(self, state: str) -> int:
        """Return how many keys are in `state`."""
        return sum(key.state == state for key in self.listed())

    async def tend(self, *, rotate: bool = False) -> None:
        """Read the keys, and move them on where that is due: make the missing, rotate the old, forget the gone.

        With `rotate` the next key becomes the active one now; raises NotSettled when it is too young for that.
        """
        await self._read()
        if not (rotate or self._plan(list(self._keys.values()), rotate=False)):
            return
        async with self._database.session.begin() as session:
            # Writers one after the other; readers don't notice.
            await session.execute(text("LOCK TABLE signing_keys IN SHARE ROW EXCLUSIVE MODE"))
            keys = list(await session.scalars(select(SigningKey)))
            if rotate:
                self._require_settled(keys)
            await self._apply(session, keys, rotate=rotate)
        await self._read()

    def _plan(self, keys: Sequence[SigningKey], *, rotate: bool) -> Plan:
        return plan(keys, now=self._now(), max_age=self._max_age, settle=self._settle, rotate=rotate)

    def _require_settled(self, keys: Sequence[SigningKey]) -> None:
        since = next((key.state_since for key in keys if key.state == NEXT), self._now())
        wait = (since + self._settle - self._now()).total_seconds()
        if wait > 0:
            raise NotSettled(wait)

    async def _apply(self, session: AsyncSession, keys: Sequence[SigningKey], *, rotate: bool) -> None:
        now, by_kid = self._now(), {key.kid: key for key in keys}
        wanted = self._plan(keys, rotate=rotate)
        for kid in wanted.forget:
            await session.delete(by_kid[kid])
        if wanted.retire:
            retired = by_kid[wanted.retire]
            retired.state, retired.state_since, retired.ends_at = RETIRING, now, now + self._lifetime + _MARGIN
            await session.flush()  # there is only one active key at any time
        if wanted.promote:
            by_kid[wanted.promote].state, by_kid[wanted.promote].state_since = ACTIVE, now
            await session.flush()
        if wanted.make_first:
            session.add(self._row(first_key(self._secret), ACTIVE))
        if wanted.make_next:
            session.add(self._row(Ed25519PrivateKey.generate(), NEXT))
        if wanted:
            log.info("keys moved on", retired=wanted.retire, active=wanted.promote, gone=list(wanted.forget))

    def _row(self, key: Ed25519PrivateKey, state: str) -> SigningKey:
        public = key.public_key()
        return SigningKey(
            kid=kid_of(public),
            state=state,
            state_since=self._now(),
            public=public.public_bytes_raw(),
            sealed=self._seal.close(key),
        )

    async def _read(self) -> None:
        begun = self._monotonic()
        async with self._database.session() as session:
            keys = {key.kid: key for key in await session.scalars(select(SigningKey))}
        self._publics = {kid: Ed25519PublicKey.from_public_bytes(key.public) for kid, key in keys.items()}
        self._keys = keys
        self._active = next((self._open(key) for key in keys.values() if key.state == ACTIVE), None)
        self._read_at = begun

    def _open(self, key: SigningKey) -> tuple[str, Ed25519PrivateKey] | None:
        if self._active and self._active[0] == key.kid:
            return self._active
        try:
            return key.kid, self._seal.open(key.kid, key.sealed)
        except CannotOpen:
            log.error("the signing secret is not the one that the active key was sealed under", kid=key.kid)
            return None

    def _gone(self, key: SigningKey) -> bool:
        return key.ends_at is not None and key.ends_at <= self._now()
