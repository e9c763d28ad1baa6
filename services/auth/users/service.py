# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading and writing users."""

from __future__ import annotations

from uuid import UUID

from sqlalchemy import select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from auth.users.models import User


async def create(*, session: AsyncSession, email: str, password_hash: str) -> User | None:
    """Store a new user; None when the e-mail address is taken, also by a request that runs at the same time."""
    statement = insert(User).values(email=email, password_hash=password_hash).on_conflict_do_nothing().returning(User)
    return (await session.scalars(statement)).one_or_none()


async def by_email(*, session: AsyncSession, email: str) -> User | None:
    """Find a user by address."""
    return (await session.scalars(select(User).where(User.email == email))).one_or_none()


async def by_id(*, session: AsyncSession, user_id: UUID) -> User | None:
    """Find a user by id."""
    return await session.get(User, user_id)


async def set_password_hash(*, session: AsyncSession, user_id: UUID, password_hash: str) -> None:
    """Replace the stored hash."""
    await session.execute(update(User).where(User.id == user_id).values(password_hash=password_hash))
