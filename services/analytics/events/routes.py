# SPDX-License-Identifier: GPL-3.0-or-later
"""Sending events in."""

from __future__ import annotations

from datetime import timedelta

from fastapi import APIRouter
from fastapi.exceptions import RequestValidationError

from analytics.deps import Parts, PartsDep
from analytics.events import service
from analytics.events.schemas import BatchCreate, BatchPublic, EventCreate
from analytics.events.service import Arrival
from analytics.events.types import is_reserved
from kit import Problem, problems
from kit.database import SessionDep
from kit.tokens import Caller, CallerDep

router = APIRouter(tags=["events"])

_AHEAD = timedelta(minutes=5)  # clocks of phones


@router.post("/events", responses=problems(400, 401, 403, 413, 422, 503))
async def send_events(caller: CallerDep, batch: BatchCreate, parts: PartsDep, session: SessionDep) -> BatchPublic:
    """Take in 1 to 500 events, all of them or none. One whose id is known changes nothing: send again what got lost.

    A user's events are kept under the user's id. Types that begin with order, payment, notification, user or job are
    for services: a user's batch with one of them is answered with 403.
    """
    who = "service" if caller.service else "user"
    try:
        _check(caller, batch.events, parts)
    except (Problem, RequestValidationError):
        parts.events.labels(who, "refused").inc(len(batch.events))
        raise
    arrivals = [
        Arrival(event.id, event.type, event.time, event.data, source=caller.service or "user", user_id=caller.id)
        for event in batch.events
    ]
    stored = await service.store(session=session, arrivals=arrivals)
    known = len(arrivals) - stored
    parts.events.labels(who, "stored").inc(stored)
    parts.events.labels(who, "known").inc(known)
    return BatchPublic(stored=stored, known=known)


def _check(caller: Caller, events: list[EventCreate], parts: Parts) -> None:
    """Return when the caller may send these now; nothing was written yet."""
    if not caller.service and (reserved := sorted({event.type for event in events if is_reserved(event.type)})):
        raise Problem(403, f"Only services may send {', '.join(reserved[:5])}.")
    now = parts.clock()
    oldest = now - timedelta(days=parts.settings.raw_days)
    mistakes = [
        {"loc": ("body", "events", place, "time"), "msg": message, "type": "value_error"}
        for place, event in enumerate(events)
        for wrong, message in (
            (event.time < oldest, f"more than {parts.settings.raw_days} days ago"),
            (event.time > now + _AHEAD, "in the future"),
        )
        if wrong
    ]
    if mistakes:
        raise RequestValidationError(mistakes)
