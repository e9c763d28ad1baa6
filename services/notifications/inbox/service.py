# SPDX-License-Identifier: GPL-3.0-or-later
"""Storing and reading notifications."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import func, literal, select, tuple_
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from kit.trace import left_trace
from notifications.inbox.models import Channel, Notification
from notifications.letters.letter import Letter


async def store(*, session: AsyncSession, event_id: UUID, letter: Letter, mail: bool) -> list[Channel]:
    """Put a letter into the inbox and, with `mail`, into the queue; returns the channels that didn't have it yet."""
    address = letter.email or await _last_address(session, letter.user_id) if mail else ""
    shared = {
        "event_id": event_id,
        "template": letter.template,
        "user_id": letter.user_id,
        "subject": letter.subject,
        "body": letter.body,
        "trace": left_trace(),
    }
    rows = [shared | {"channel": "inbox", "address": "", "state": "sent", "sent_at": func.now()}]
    if address:
        rows.append(shared | {"channel": "mail", "address": address, "state": "queued", "sent_at": None})
    new: list[Channel] = []
    for row in rows:
        statement = insert(Notification).values(row).on_conflict_do_nothing().returning(Notification.channel)
        new.extend(await session.scalars(statement))
    return new


async def of_user(
    *, session: AsyncSession, user_id: UUID, limit: int, after: tuple[datetime, UUID] | None
) -> Sequence[Notification]:
    """List a user's inbox, newest first, beginning after the given one."""
    statement = select(Notification).where(Notification.user_id == user_id, Notification.channel == "inbox")
    if after:
        statement = statement.where(tuple_(Notification.created_at, Notification.id) < tuple_(*map(literal, after)))
    statement = statement.order_by(Notification.created_at.desc(), Notification.id.desc()).limit(limit)
    return (await session.scalars(statement)).all()


async def _last_address(session: AsyncSession, user_id: UUID) -> str:
    statement = (
        select(Notification.address)
        .where(Notification.user_id == user_id, Notification.channel == "mail")
        .order_by(Notification.created_at.desc())
        .limit(1)
    )
    return await session.scalar(statement) or ""
