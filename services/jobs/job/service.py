# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading and writing jobs, for those who ask for them and those who look after them."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import func, select, text, tuple_, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from jobs.job.models import Job


async def create(
    *, session: AsyncSession, kind: str, payload: dict[str, Any], owner: str, key: str | None, trace: str
) -> tuple[Job, bool]:
    """Store a job, ready to run, and tell whether it is new: the owner's key may have brought it before."""
    values = {"kind": kind, "payload": payload, "owner": owner, "idempotency_key": key, "trace": trace}
    new = insert(Job).values(**values)
    if key is not None:
        new = new.on_conflict_do_nothing(
            index_elements=["owner", "idempotency_key"], index_where=text("idempotency_key IS NOT NULL")
        )
    if job := (await session.scalars(new.returning(Job))).one_or_none():
        return job, True
    found = await session.scalars(select(Job).where(Job.owner == owner, Job.idempotency_key == key))
    return found.one(), False


async def by_id(*, session: AsyncSession, job_id: UUID) -> Job | None:
    """Find a job."""
    return await session.get(Job, job_id)


async def dead(*, session: AsyncSession, limit: int, before: tuple[datetime, UUID] | None) -> list[Job]:
    """List jobs that were given up, the latest first."""
    query = select(Job).where(Job.state == "dead").order_by(Job.due_at.desc(), Job.id.desc()).limit(limit)
    if before:
        query = query.where(tuple_(Job.due_at, Job.id) < before)
    return list(await session.scalars(query))


async def requeue(*, session: AsyncSession, job_id: UUID) -> Job | None:
    """Give a dead job all its attempts again; None when it is not dead."""
    statement = (
        update(Job)
        .where(Job.id == job_id, Job.state == "dead")
        .values(state="queued", failures=0, losses=0, queued_at=func.now(), due_at=func.now(), finished_at=None)
        .returning(Job)
    )
    return (await session.scalars(statement)).one_or_none()
