# SPDX-License-Identifier: GPL-3.0-or-later
"""What routes ask for, as named types."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from sqlalchemy.ext.asyncio import AsyncSession

from auth.passwords import Passwords
from auth.tokens.signer import Claims, InvalidToken, Signer
from kit import Problem
from kit.database import Database


@dataclass(frozen=True, slots=True)
class Parts:
    """What the service holds for its whole life, found at `app.state.auth`."""

    database: Database
    passwords: Passwords
    signer: Signer


def get_parts(request: Request) -> Parts:
    """Return the parts of the running app."""
    parts: Parts = request.app.state.auth
    return parts


PartsDep = Annotated[Parts, Depends(get_parts)]


async def get_session(parts: PartsDep) -> AsyncIterator[AsyncSession]:
    """Open one transaction; it commits when the route returned and rolls back when it raised."""
    async with parts.database.session.begin() as session:
        yield session


# Committed before the answer goes out: who reads 201 can rely on it.
SessionDep = Annotated[AsyncSession, Depends(get_session, scope="function")]

_bearer = HTTPBearer(auto_error=False, description="The access token from /login.")


async def get_claims(
    parts: PartsDep, credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]
) -> Claims:
    """Return the caller's verified claims, or answer 401."""
    try:
        return parts.signer.verify(credentials.credentials if credentials else "")
    except InvalidToken as error:
        raise unauthorized(str(error)) from None


ClaimsDep = Annotated[Claims, Depends(get_claims)]


def unauthorized(detail: str) -> Problem:
    """Build the 401 that names the scheme to use."""
    return Problem(401, detail, headers={"WWW-Authenticate": 'Bearer realm="opsforge"'})
