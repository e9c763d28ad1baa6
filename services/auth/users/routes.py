# SPDX-License-Identifier: GPL-3.0-or-later
"""Sign-up, who am I, a new password, and roles."""

from __future__ import annotations

from uuid import UUID

import structlog
from fastapi import APIRouter

from auth.deps import AdminDep, ClaimsDep, ClientDep, PartsDep, unauthorized
from auth.families import service as families
from auth.limits import service as limits
from auth.logins import service as logins
from auth.tokens import service as tokens
from auth.tokens.schemas import TokenPublic
from auth.users import service
from auth.users.models import ADMIN
from auth.users.schemas import PasswordChange, RolesChange, UserCreate, UserPublic
from kit import Problem, problems
from kit.database import SessionDep

log = structlog.get_logger("auth.users")

router = APIRouter(tags=["users"])


@router.post("/signup", status_code=201, responses=problems(400, 409, 413, 422, 429, 503))
async def sign_up(new: UserCreate, client: ClientDep, parts: PartsDep) -> UserPublic:
    """Create a user."""
    key, pace = parts.rules.key("signup", client.hex()), parts.rules.sign_ups
    # Hashed outside the transaction: no connection waits for it.
    with parts.passwords.place():
        wait = await limits.take(database=parts.database, key=key, pace=pace, now=parts.now())
        if wait:
            raise logins.Refused("limited", wait)
        password_hash = await parts.passwords.hash(new.password.get_secret_value())
    user = None
    if new.email != parts.settings.admin_email:  # that one is given by the settings alone
        async with parts.database.session.begin() as session:
            user = await service.create(session=session, email=new.email, password_hash=password_hash)
    if user is None:
        raise Problem(409, "This e-mail address is already in use.")
    parts.metrics.sign_ups.inc()
    return UserPublic.model_validate(user)


@router.get("/me", responses=problems(401, 503))
async def show_me(claims: ClaimsDep, session: SessionDep) -> UserPublic:
    """Show the user that the token was issued to."""
    user = await service.by_id(session=session, user_id=claims.sub)
    if user is None:
        raise unauthorized("This user no longer exists.")
    return UserPublic.model_validate(user)


@router.post("/me/password", responses=problems(400, 401, 409, 413, 422, 429, 503))
async def change_password(change: PasswordChange, claims: ClaimsDep, client: ClientDep, parts: PartsDep) -> TokenPublic:
    """Replace the password. Every session ends, and a new one begins with this answer.

    The old password is guarded as in a log-in: somebody with a stolen access token can't try many.
    """
    old, new = change.password.get_secret_value(), change.new_password.get_secret_value()
    person = await logins.check_password(parts=parts, email=claims.email, password=old, client=client)
    if person.id != claims.sub:
        raise unauthorized("This user no longer exists.")
    with parts.passwords.place():
        password_hash = await parts.passwords.hash(new)
    async with parts.database.session.begin() as session:
        version = await service.set_password(
            session=session, user_id=person.id, version=person.password_version, password_hash=password_hash
        )
    if version is None:
        raise Problem(409, "The password was changed by somebody else at the same time.")
    log.info("password changed, sessions ended", user=str(person.id))
    changed = logins.Person(person.id, person.email, person.roles, version, renewed=None)
    return await tokens.issue(parts=parts, session=await families.begin(parts=parts, person=changed, client=client))


@router.put("/users/{user_id}/roles", responses=problems(400, 401, 403, 404, 409, 413, 422, 503))
async def set_roles(user_id: UUID, change: RolesChange, admin: AdminDep, session: SessionDep) -> UserPublic:
    """Give somebody these roles (admin). Tokens that are out say so from their next refresh."""
    if user_id == admin.sub and ADMIN not in change.roles:
        raise Problem(409, "Administrators can't take their own role: ask another one.")
    user = await service.set_roles(session=session, user_id=user_id, roles=change.roles)
    if user is None:
        raise Problem(404, "There is no such user.")
    log.info("roles changed", user=str(user_id), roles=user.roles, by=str(admin.sub))
    return UserPublic.model_validate(user)
