# SPDX-License-Identifier: GPL-3.0-or-later
"""Log-in, and checking what it gave."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from auth.deps import PartsDep, unauthorized
from auth.tokens.schemas import ClaimsPublic, Login, TokenCheck, TokenPublic
from auth.tokens.signer import InvalidToken
from auth.users import service
from kit import problems

router = APIRouter(tags=["tokens"])


@router.post("/login", responses=problems(401, 413, 422, 429, 503))
async def log_in(login: Login, parts: PartsDep) -> TokenPublic:
    """Exchange e-mail address and password for an access token."""
    # The connection goes back before the hash: a storm of log-ins waits for cores, not for connections.
    async with parts.database.session() as session:
        user = await service.by_email(session=session, email=login.email)
    password = login.password.get_secret_value()
    fits, renewed = await parts.passwords.verify(password, user.password_hash if user else None)
    if user is None or not fits:
        raise unauthorized("E-mail address or password is wrong.")
    if renewed:
        async with parts.database.session.begin() as session:
            await service.set_password_hash(session=session, user_id=user.id, password_hash=renewed)
    return TokenPublic(access_token=parts.signer.issue(user.id), expires_in=parts.signer.seconds)


@router.post("/validate", responses=problems(401, 413, 422))
async def validate(check: TokenCheck, parts: PartsDep) -> ClaimsPublic:
    """Check a token's signature, issuer, audience and time; asks no database."""
    try:
        return ClaimsPublic.model_validate(parts.signer.verify(check.token))
    except InvalidToken as error:
        raise unauthorized(str(error)) from None


@router.get("/.well-known/jwks.json")
async def show_keys(parts: PartsDep) -> dict[str, Any]:
    """Publish the key that tokens are checked with."""
    return parts.signer.jwks()
