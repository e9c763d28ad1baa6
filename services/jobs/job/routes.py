# SPDX-License-Identifier: GPL-3.0-or-later
"""Asking for jobs, looking at them, and bringing the dead ones back."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated
from uuid import UUID

import structlog
from fastapi import APIRouter, Depends

from jobs.deps import KeyDep, PartsDep
from jobs.job import service
from jobs.job.models import Job
from jobs.job.schemas import DeadPublic, JobCreate, JobPublic
from jobs.kinds import KINDS
from jobs.queue.receiver import AWAY
from kit import Problem, problems
from kit.database import SessionDep
from kit.pages import CursorDep, LimitDep, Page, decode_cursor, encode_cursor
from kit.tokens import Caller, CallerDep, require_role
from kit.trace import left_trace

log = structlog.get_logger("jobs")

router = APIRouter(prefix="/api", tags=["jobs"])

AdminDep = Annotated[Caller, Depends(require_role("admin"))]


@router.post("/job", status_code=202, responses=problems(401, 403, 409, 413, 422, 429, 503))
async def submit(new: JobCreate, caller: CallerDep, parts: PartsDep, key: KeyDep = None) -> JobPublic:
    """Accept a job. Once this is answered, the job will be done or end up among the dead; it can't get lost."""
    if KINDS[new.kind].drill and not caller.service and "admin" not in caller.roles:
        raise Problem(403, "Jobs of this kind are drills: this needs the role admin.")
    if parts.status.is_full():
        raise Problem(429, "The queue is full; try again later.", headers={"Retry-After": "10"})
    payload = new.payload.model_dump(mode="json")
    async with parts.database.session.begin() as session:
        job, is_new = await service.create(
            session=session,
            kind=new.kind,
            payload=payload,
            owner=_owner(caller),
            key=key,
            trace=left_trace(),
        )
    if (job.kind, job.payload) != (new.kind, payload):
        raise Problem(409, "This idempotency key has been used for a different job.")
    if is_new:
        await _enqueue(parts, job)
    return JobPublic.model_validate(job)


@router.get("/job/{job_id}", responses=problems(401, 404, 422, 503))
async def show(job_id: UUID, caller: CallerDep, session: SessionDep) -> JobPublic:
    """Show how far one of the caller's jobs is, and its result; admins see everybody's."""
    job = await service.by_id(session=session, job_id=job_id)
    if job is None or (job.owner != _owner(caller) and "admin" not in caller.roles):
        raise Problem(404, "There is no such job.")
    return JobPublic.model_validate(job)


@router.get("/dead", responses=problems(401, 403, 422, 503))
async def list_dead(_admin: AdminDep, session: SessionDep, limit: LimitDep, cursor: CursorDep) -> Page[DeadPublic]:
    """List the jobs that were given up, the latest first."""
    before = decode_cursor(cursor, datetime, UUID) if cursor else None
    found = await service.dead(session=session, limit=limit + 1, before=before)
    shown = found[:limit]
    following = encode_cursor(shown[-1].due_at, shown[-1].id) if len(found) > limit and shown[-1].due_at else None
    return Page(items=[DeadPublic.model_validate(job) for job in shown], next=following)


@router.post("/dead/{job_id}/requeue", status_code=202, responses=problems(401, 403, 404, 409, 422, 503))
async def requeue(job_id: UUID, _admin: AdminDep, parts: PartsDep) -> JobPublic:
    """Give a dead job all its attempts again."""
    async with parts.database.session.begin() as session:
        job = await service.requeue(session=session, job_id=job_id)
        if job is None and await service.by_id(session=session, job_id=job_id) is None:
            raise Problem(404, "There is no such job.")
    if job is None:
        raise Problem(409, "This job is not dead.")
    await _enqueue(parts, job)
    return JobPublic.model_validate(job)


def _owner(caller: Caller) -> str:
    # A user's id is a UUID, which no service is called.
    return str(caller.id) if caller.id else caller.service


async def _enqueue(parts: PartsDep, job: Job) -> None:
    try:
        await parts.queues.enqueue([(job.id, job.kind)])
    except AWAY as error:  # the row is committed, so a sweep finds it
        log.warning("queued without Redis", job=str(job.id), error=type(error).__name__)
