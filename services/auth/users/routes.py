# SPDX-License-Identifier: GPL-3.0-or-later
"""Sign-up, and who am I."""

from __future__ import annotations

from fastapi import APIRouter

from auth.deps import ClaimsDep, PartsDep, SessionDep, unauthorized
from auth.users import service
from auth.users.schemas import UserCreate, UserPublic
from kit import Problem, problems

router = APIRouter(tags=["users"])


@router.post("/signup", status_code=201, responses=problems(409, 413, 422, 429, 503))
async def sign_up(new: UserCreate, parts: PartsDep) -> UserPublic:
    """Create a user."""
    # Hashed outside the transaction: no connection waits for it.
    password_hash = await parts.passwords.hash(new.password.get_secret_value())
    async with parts.database.session.begin() as session:
        user = await service.create(session=session, email=new.email, password_hash=password_hash)
    if user is None:
        raise Problem(409, "This e-mail address is already in use.")
    return UserPublic.model_validate(user)


@router.get("/me", responses=problems(401, 503))
async def show_me(claims: ClaimsDep, session: SessionDep) -> UserPublic:
    """Show the user that the token was issued to."""
    user = await service.by_id(session=session, user_id=claims.sub)
    if user is None:
        raise unauthorized("This user no longer exists.")
    return UserPublic.model_validate(user)
