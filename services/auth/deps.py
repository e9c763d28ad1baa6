# SPDX-License-Identifier: GPL-3.0-or-later
"""What routes ask for, as named types."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from auth.keys.ring import Keyring
from auth.limits.client import client_of
from auth.limits.rules import Rules
from auth.metrics import Metrics
from auth.passwords import Passwords
from auth.settings import Settings
from auth.tokens.signer import Claims, InvalidToken, Signer
from auth.users.models import ADMIN, User
from kit import Problem
from kit.database import Database, SessionDep


@dataclass(frozen=True, slots=True)
class Parts:
    """What the service holds for its whole life, found at `app.state.auth`."""

    settings: Settings
    database: Database
    passwords: Passwords
    rules: Rules
    keyring: Keyring
    signer: Signer
    metrics: Metrics
    now: Callable[[], datetime]


def get_parts(request: Request) -> Parts:
    """Return the parts of the running app."""
    parts: Parts = request.app.state.auth
    return parts


PartsDep = Annotated[Parts, Depends(get_parts)]


def get_client(request: Request, parts: PartsDep) -> bytes:
    """Return who asks, as a digest: equal for equal addresses, and no address."""
    peer = request.client.host if request.client else ""
    forwarded = request.headers.getlist("x-forwarded-for")
    return parts.rules.key("client", client_of(peer, forwarded, parts.settings.trusted_proxies))


ClientDep = Annotated[bytes, Depends(get_client)]

_bearer = HTTPBearer(auto_error=False, description="The access token from /login.")


async def get_claims(
    parts: PartsDep, credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]
) -> Claims:
    """Return the caller's verified claims, or answer 401."""
    try:
        return await parts.signer.verify(credentials.credentials if credentials else "")
    except InvalidToken as error:
        raise unauthorized(str(error)) from None


ClaimsDep = Annotated[Claims, Depends(get_claims)]


async def get_admin(claims: ClaimsDep, session: SessionDep) -> Claims:
    """Return the claims of an administrator, or answer 403; here a role that was taken away is gone at once."""
    user = await session.get(User, claims.sub) if ADMIN in claims.roles else None
    if user is None or ADMIN not in user.roles:
        raise Problem(403, "This needs the role admin.")
    return claims


AdminDep = Annotated[Claims, Depends(get_admin)]


def unauthorized(detail: str) -> Problem:
    """Build the 401 that names the scheme to use."""
    return Problem(401, detail, headers={"WWW-Authenticate": 'Bearer realm="opsforge"'})
