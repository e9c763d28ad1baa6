# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading and writing users."""

from __future__ import annotations

from collections.abc import Iterable
from uuid import UUID

import structlog
from sqlalchemy import Select, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from auth.deps import Parts
from auth.users.models import ADMIN, CUSTOMER, User
from kit.events import publish

log = structlog.get_logger("auth.users")


async def create(*, session: AsyncSession, email: str, password_hash: str) -> User | None:
    """Store a new user; None when the e-mail address is taken, also by a request that runs at the same time."""
    statement = insert(User).values(email=email, password_hash=password_hash).on_conflict_do_nothing().returning(User)
    user = (await session.scalars(statement)).one_or_none()
    if user:
        publish(session, type="user.signed_up", subject=user.id, data={})
    return user


async def by_id(*, session: AsyncSession, user_id: UUID) -> User | None:
    """Find a user by id."""
    return await session.get(User, user_id)


async def set_roles(*, session: AsyncSession, user_id: UUID, roles: Iterable[str]) -> User | None:
    """Give a user these roles beside `customer`; None when there is no such user. Their next token says so."""
    wanted = sorted({CUSTOMER, *roles})
    statement = update(User).where(User.id == user_id).values(roles=wanted).returning(User)
    return (await session.scalars(statement)).one_or_none()


async def set_password(*, session: AsyncSession, user_id: UUID, version: int, password_hash: str) -> int | None:
    """Replace the password of `version` and return the new version; None when somebody else has just replaced it.

    Every session of the user is over with that: each carries the version that it was begun under.
    """
    statement = (
        update(User)
        .where(User.id == user_id, User.password_version == version)
        .values(password_hash=password_hash, password_version=version + 1)
        .returning(User.password_version)
    )
    return (await session.scalars(statement)).one_or_none()


def _is_admin(email: str) -> Select[UUID]:
    return select(User.id).where(User.email == email, User.roles.contains([ADMIN]))


async def have_admin(*, parts: Parts) -> None:
    """Have the administrator that the settings name; leaves one who is there alone, whatever their password is by now.

    Sign-up never gives this address away. Should somebody have had it before it was the administrator's, the account
    changes hands: password and sessions of whoever had it are over.
    """
    settings, session_of = parts.settings, parts.database.session
    if settings.admin_password is None:
        return
    async with session_of() as session:
        found = await session.scalar(_is_admin(settings.admin_email))
    if found:
        return
    password_hash = await parts.passwords.hash(settings.admin_password.get_secret_value())
    roles = [ADMIN, CUSTOMER]
    statement = insert(User).values(email=settings.admin_email, password_hash=password_hash, roles=roles)
    statement = statement.on_conflict_do_update(
        index_elements=[User.email],
        set_={"password_hash": password_hash, "roles": roles, "password_version": User.password_version + 1},
        where=~User.roles.contains([ADMIN]),
    )
    async with session_of.begin() as session:
        await session.execute(statement)
    log.info("there is an administrator now")
