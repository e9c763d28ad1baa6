# SPDX-License-Identifier: GPL-3.0-or-later
"""Checking an access token."""

from __future__ import annotations

from fastapi import APIRouter

from auth.deps import PartsDep, unauthorized
from auth.tokens.schemas import ClaimsPublic, TokenCheck
from auth.tokens.signer import InvalidToken
from kit import problems

router = APIRouter(tags=["tokens"])


@router.post("/validate", responses=problems(400, 401, 413, 422, 503))
async def validate(check: TokenCheck, parts: PartsDep) -> ClaimsPublic:
    """Check a token's signature, issuer, audience and time; asks the database only for a key not seen yet."""
    try:
        return ClaimsPublic.model_validate(await parts.signer.verify(check.token))
    except InvalidToken as error:
        raise unauthorized(str(error)) from None
