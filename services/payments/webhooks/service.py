# SPDX-License-Identifier: GPL-3.0-or-later
"""Remembering which events have been heard."""

from __future__ import annotations

import hashlib
from typing import Literal

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from payments.book.transitions import Verdict
from payments.webhooks.models import WebhookEvent

Heard = Verdict | Literal["repeated", "changed", "unknown payment"]


async def remember(*, session: AsyncSession, event_id: str, body: bytes) -> Literal["new", "repeated", "changed"]:
    """Store an event; says when it was stored before, and whether it then said something else."""
    digest = hashlib.sha256(body).hexdigest()
    statement = insert(WebhookEvent).values(id=event_id, digest=digest).on_conflict_do_nothing().returning(WebhookEvent)
    if (await session.scalars(statement)).one_or_none():
        return "new"
    stored = await session.scalar(select(WebhookEvent.digest).where(WebhookEvent.id == event_id))
    return "repeated" if stored == digest else "changed"
