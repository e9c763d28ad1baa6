# SPDX-License-Identifier: GPL-3.0-or-later
"""Who is calling: users by tokens of auth (EdDSA, public keys), services by tokens they sign (HS256, shared key)."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated, Any
from uuid import UUID

import jwt
import structlog
from fastapi import Depends, Request
from fastapi.security import HTTPBearer
from pydantic import Field, SecretStr

from kit.clients import INTERNAL_KID, SERVICE_TOKEN_SECONDS, Client, DependencyFailed
from kit.problems import Problem
from kit.settings import Settings

log = structlog.get_logger("kit.tokens")

_LEEWAY_SECONDS = 5  # clocks of two nodes
_FRESH_SECONDS = 300.0
_MIN_REFETCH_SECONDS = 5.0
_REMEMBERED = 1024
_MAX_TOKEN = 4096


class TokenSettings(Settings):
    """A service that asks who is calling."""

    auth_url: str = Field(default="http://auth", pattern=r"^https?://\S+$")
    token_issuer: str = "opsforge-auth"
    token_audience: str = "opsforge"
    internal_key: SecretStr | None = Field(default=None, description="What services that may call us sign with.")
    jwks: str = Field(default="", description="A fixed JSON Web Key Set instead of the one that auth publishes.")


@dataclass(frozen=True, slots=True)
class Caller:
    """Whoever a token speaks for: a user (`id`), or another service (`service`, and then no id)."""

    id: UUID | None
    email: str = ""
    roles: frozenset[str] = frozenset()
    service: str = ""

    @property
    def user_id(self) -> UUID:
        """The user's id; only for callers known to be users."""
        assert self.id
        return self.id


class InvalidToken(Exception):
    """The token proves nothing; the message says why and is fit for the caller."""


class Tokens:
    """Checks tokens. Auth's keys are fetched once, again for a key never seen, and kept while auth is away."""

    def __init__(
        self, settings: TokenSettings, client: Client | None, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._settings = settings
        self._client = client
        self._clock = clock
        self._keys: dict[str, Any] = _read_jwks(json.loads(settings.jwks)) if settings.jwks else {}
        self._fetched = float("-inf")
        self._fetching: asyncio.Task[None] | None = None
        # Checking a signature takes longer than the rest of a small request.
        self._known: dict[str, tuple[Caller, int]] = {}

    async def verify(self, token: str) -> Caller:
        """Return who the token speaks for; raise InvalidToken, or DependencyFailed while no keys of auth are known."""
        known = self._known.get(token)
        if known and known[1] > time.time():
            self._refresh_if_old()
            return known[0]
        if not token or len(token) > _MAX_TOKEN:
            raise InvalidToken("The token is missing or not valid.")
        try:
            kid = jwt.get_unverified_header(token).get("kid")
            if not isinstance(kid, str):
                raise InvalidToken("The token is missing or not valid.")
            if kid == INTERNAL_KID:
                caller, until = self._verify_service(token)
            else:
                caller, until = self._verify_user(token, await self._key(kid))
        except jwt.ExpiredSignatureError:
            raise InvalidToken("The token has expired.") from None
        except (jwt.InvalidTokenError, ValueError, TypeError):
            raise InvalidToken("The token is missing or not valid.") from None
        if len(self._known) >= _REMEMBERED:
            self._known.clear()
        self._known[token] = (caller, until)
        return caller

    # The key decides the algorithm, never the token: that is what alg=none and HS256 with a public key rely on.

    def _verify_service(self, token: str) -> tuple[Caller, int]:
        if not self._settings.internal_key:
            raise InvalidToken("The token is missing or not valid.")
        claims = jwt.decode(
            token,
            self._settings.internal_key.get_secret_value(),
            algorithms=["HS256"],
            audience=self._settings.service,
            leeway=_LEEWAY_SECONDS,
            options={"require": ["iss", "aud", "iat", "exp"]},
        )
        service, begin, end = claims["iss"], int(claims["iat"]), int(claims["exp"])
        if not service or end - begin > SERVICE_TOKEN_SECONDS:
            raise InvalidToken("The token is missing or not valid.")
        return Caller(None, service=service), end

    def _verify_user(self, token: str, key: Any) -> tuple[Caller, int]:
        claims = jwt.decode(
            token,
            key,
            algorithms=["EdDSA"],
            issuer=self._settings.token_issuer,
            audience=self._settings.token_audience,
            leeway=_LEEWAY_SECONDS,
            options={"require": ["iss", "aud", "sub", "iat", "exp"]},
        )
        roles = claims.get("roles", [])
        if not isinstance(roles, list):
            raise InvalidToken("The token is missing or not valid.")
        return Caller(UUID(claims["sub"]), str(claims.get("email", "")), frozenset(roles)), int(claims["exp"])

    async def _key(self, kid: str) -> Any:
        if kid not in self._keys and not self._settings.jwks:
            if self._clock() - self._fetched >= _MIN_REFETCH_SECONDS:
                await asyncio.shield(self._fetch())
            if not self._keys:
                raise DependencyFailed("auth", "unreachable")
        self._refresh_if_old()
        try:
            return self._keys[kid]
        except KeyError:
            raise InvalidToken("The token is missing or not valid.") from None

    def _refresh_if_old(self) -> None:
        if not self._settings.jwks and self._clock() - self._fetched >= _FRESH_SECONDS:
            self._fetch()

    def _fetch(self) -> asyncio.Task[None]:
        """Begin to fetch the keys, unless that is under way."""
        if self._fetching is None or self._fetching.done():
            self._fetching = asyncio.create_task(self._fetch_keys())
        return self._fetching

    async def _fetch_keys(self) -> None:
        assert self._client
        try:
            answer = await self._client.request("GET", "/.well-known/jwks.json")
            keys = _read_jwks(answer.json()) if answer.status_code == 200 else {}
            if keys:
                self._keys = keys
                self._known.clear()  # a key that is gone takes its tokens along
        except (DependencyFailed, ValueError, jwt.PyJWTError) as error:
            log.warning("auth's keys are not to be had", error=type(error).__name__, kept=len(self._keys))
        self._fetched = self._clock()


def _read_jwks(document: Any) -> dict[str, Any]:
    """Return the Ed25519 keys of a JSON Web Key Set by their kid; whatever else it holds is not for us."""
    keys = document.get("keys") if isinstance(document, dict) else None
    found = {}
    for key in keys if isinstance(keys, list) else []:
        match key:
            case {"kty": "OKP", "crv": "Ed25519", "kid": str(kid)} if kid != INTERNAL_KID:
                found[kid] = jwt.PyJWK(key, algorithm="EdDSA").key
    return found


class _Bearer(HTTPBearer):
    """Reads and verifies in one step: each dependency costs every request."""

    def __init__(self) -> None:
        super().__init__(auto_error=False, description="The access token from auth's /login.")

    async def __call__(self, request: Request) -> Caller:  # type: ignore[override]
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        tokens: Tokens = request.app.state.tokens
        try:
            return await tokens.verify(token.strip() if scheme.lower() == "bearer" else "")
        except InvalidToken as error:
            raise unauthorized(str(error)) from None


CallerDep = Annotated[Caller, Depends(_Bearer())]
"""The verified caller, a user or a service; 401 for anybody else."""


async def get_user(caller: CallerDep) -> Caller:
    """Return the user who calls, or answer 403."""
    if caller.id is None:
        raise Problem(403, "This is for users.")
    return caller


async def get_service(caller: CallerDep) -> Caller:
    """Return the service that calls, or answer 403."""
    if not caller.service:
        raise Problem(403, "This is for other services.")
    return caller


UserDep = Annotated[Caller, Depends(get_user)]
ServiceDep = Annotated[Caller, Depends(get_service)]


def require_role(*roles: str) -> Callable[[Caller], Awaitable[Caller]]:
    """Make a dependency that returns the caller when they have one of the roles, and answers 403 otherwise."""

    async def check(caller: CallerDep) -> Caller:
        if caller.roles.isdisjoint(roles):
            raise Problem(403, f"This needs the role {' or '.join(roles)}.")
        return caller

    return check


def unauthorized(detail: str) -> Problem:
    """Build the 401 that names the scheme to use."""
    return Problem(401, detail, headers={"WWW-Authenticate": 'Bearer realm="opsforge"'})
