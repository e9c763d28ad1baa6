# SPDX-License-Identifier: GPL-3.0-or-later
"""Look at the dead, and give one of them all its attempts again."""

from __future__ import annotations

from uuid import UUID

from fastapi import APIRouter

from kit import Problem, problems
from kit.database import SessionDep
from kit.pages import LimitDep
from notifications.dead.schemas import DeadId, DeadList, DeadPublic, Requeued
from notifications.delivery import service
from notifications.deps import AdminDep, ConsumerDep

router = APIRouter(tags=["dead"])


@router.get("/dead", responses=problems(401, 403, 422, 503))
async def show_dead(_admin: AdminDep, session: SessionDep, consumer: ConsumerDep, limit: LimitDep) -> DeadList:
    """Show mails that no server took, then events that could not be handled; `limit` of each."""
    mails = [
        DeadPublic(
            id=str(mail.id),
            kind="mail",
            what=mail.template,
            error=mail.error,
            attempts=mail.attempts,
            user_id=mail.user_id,
            since=mail.created_at,
        )
        for mail in await service.dead(session=session, limit=limit)
    ]
    events = [
        DeadPublic(
            id=dead.entry_id,
            kind="event",
            what=dead.event.type if dead.event else "unreadable",
            error=dead.error,
            attempts=dead.attempts,
            since=dead.event.time if dead.event else None,
        )
        for dead in await consumer.dead(limit)
    ]
    return DeadList(items=mails + events)


@router.post("/dead/{dead_id}/requeue", status_code=202, responses=problems(401, 403, 404, 422, 503))
async def requeue(dead_id: DeadId, _admin: AdminDep, session: SessionDep, consumer: ConsumerDep) -> Requeued:
    """Try a dead mail or event again, as if for the first time."""
    if len(dead_id) == 36:
        found = await service.requeue(session=session, notification_id=UUID(dead_id))
    else:
        found = await consumer.requeue(dead_id)
    if not found:
        raise Problem(404, "Nothing dead has this id.")
    return Requeued(id=dead_id)
