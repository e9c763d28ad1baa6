# SPDX-License-Identifier: GPL-3.0-or-later
"""The queue of mails: which is due, and what became of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from notifications.inbox.models import Notification


def wait_seconds(attempts: int, *, base: float, cap: float, chance: float) -> float:
    """Return how long to wait after the failure of attempt number `attempts`; `chance` takes up to half off."""
    return float(min(cap, base * 2 ** min(attempts - 1, 30)) * (1 - chance / 2))


async def claim_due(*, session: AsyncSession, limit: int, lease_seconds: float) -> Sequence[Notification]:
    """Take mails whose time has come and count the attempt; nobody else takes them within the lease."""
    due = (
        select(Notification.id)
        .where(Notification.state == "queued", Notification.next_attempt_at <= func.clock_timestamp())
        .order_by(Notification.next_attempt_at)
        .limit(limit)
        .with_for_update(skip_locked=True)
        .cte("due")
    )
    statement = (
        update(Notification)
        .where(Notification.id.in_(select(due.c.id)))
        .values(
            next_attempt_at=func.clock_timestamp() + timedelta(seconds=lease_seconds),
            attempts=Notification.attempts + 1,
        )
        .returning(Notification)
    )
    return (await session.scalars(statement)).all()


async def mark_sent(*, session: AsyncSession, notification_id: UUID) -> None:
    """Write down that a mail has been taken by the server."""
    await session.execute(
        update(Notification)
        .where(Notification.id == notification_id)
        .values(state="sent", sent_at=func.now(), error="")
    )


async def mark_failed(*, session: AsyncSession, notification_id: UUID, error: str, seconds: float | None) -> None:
    """Write down a failure; the next attempt comes in `seconds`, None: never."""
    values: dict[str, object] = {"error": error}
    if seconds is None:
        values["state"] = "dead"
    else:
        values["next_attempt_at"] = func.clock_timestamp() + timedelta(seconds=seconds)
    await session.execute(
        update(Notification).where(Notification.id == notification_id, Notification.state == "queued").values(values)
    )


async def dead(*, session: AsyncSession, limit: int) -> Sequence[Notification]:
    """List dead mails, oldest first."""
    statement = select(Notification).where(Notification.state == "dead").order_by(Notification.created_at).limit(limit)
    return (await session.scalars(statement)).all()


async def requeue(*, session: AsyncSession, notification_id: UUID) -> bool:
    """Give a dead mail all its attempts again; False when there is no such dead mail."""
    statement = (
        update(Notification)
        .where(Notification.id == notification_id, Notification.state == "dead")
        .values(state="queued", attempts=0, next_attempt_at=func.now())
        .returning(Notification.id)
    )
    return (await session.scalars(statement)).one_or_none() is not None


@dataclass(frozen=True, slots=True)
class Backlog:
    """How many mails wait or are dead, and the age of the oldest that waits, in seconds."""

    queued: int
    dead: int
    age_seconds: float


async def backlog(*, session: AsyncSession) -> Backlog:
    """Look at the queue."""
    queued, dead_ones = Notification.state == "queued", Notification.state == "dead"
    age = func.extract("epoch", func.clock_timestamp() - func.min(Notification.created_at).filter(queued))
    statement = select(func.count().filter(queued), func.count().filter(dead_ones), func.coalesce(age, 0)).where(
        queued | dead_ones
    )
    waiting, gone, seconds = (await session.execute(statement)).one()
    return Backlog(waiting, gone, float(seconds))
