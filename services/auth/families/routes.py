# SPDX-License-Identifier: GPL-3.0-or-later
"""Refresh, and log-out."""

from __future__ import annotations

from fastapi import APIRouter

from auth.deps import ClientDep, PartsDep, unauthorized
from auth.families import service
from auth.families.schemas import Refresh
from auth.families.token import RefreshToken
from auth.tokens import service as tokens
from auth.tokens.schemas import TokenPublic
from kit import problems

router = APIRouter(tags=["tokens"])


@router.post("/refresh", responses=problems(400, 401, 413, 422, 503))
async def refresh(given: Refresh, client: ClientDep, parts: PartsDep) -> TokenPublic:
    """Exchange a refresh token for a new access token and the next refresh token.

    Each is good once; used again, it ends the whole session. An answer that got lost can be asked for again within
    seconds. No rate is counted here: that would cost as much as the refresh, and nobody guesses 256 bits.
    """
    token = RefreshToken.parse(given.refresh_token)
    if token is None:
        parts.metrics.refreshes.labels("refused").inc()
        raise unauthorized("The refresh token is not valid; log in again.")
    return await tokens.issue(parts=parts, session=await service.rotate(parts=parts, token=token, client=client))


@router.post("/logout", status_code=204, responses=problems(400, 413, 422, 503))
async def log_out(given: Refresh, parts: PartsDep) -> None:
    """End the session that a refresh token belongs to; 204 also when there is none to end.

    Access tokens are checked without asking anybody, so one that is out lives on until its end, minutes later.
    """
    token = RefreshToken.parse(given.refresh_token)
    if token and await service.end(database=parts.database, token=token, now=parts.now()):
        parts.metrics.log_outs.inc()
