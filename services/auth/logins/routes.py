# SPDX-License-Identifier: GPL-3.0-or-later
"""Log-in."""

from __future__ import annotations

from fastapi import APIRouter

from auth.deps import ClientDep, PartsDep
from auth.families import service as families
from auth.logins import service
from auth.logins.schemas import Login
from auth.tokens import service as tokens
from auth.tokens.schemas import TokenPublic
from kit import problems

router = APIRouter(tags=["tokens"])


@router.post("/login", responses=problems(400, 401, 413, 422, 429, 503))
async def log_in(login: Login, client: ClientDep, parts: PartsDep) -> TokenPublic:
    """Exchange e-mail address and password for an access token and a refresh token.

    429 says when to come back: too many attempts from here or on this account, or too many log-ins at once.
    """
    with parts.metrics.count_log_in():
        password = login.password.get_secret_value()
        person = await service.check_password(parts=parts, email=login.email, password=password, client=client)
        session = await families.begin(parts=parts, person=person, client=client)
    return await tokens.issue(parts=parts, session=session)
