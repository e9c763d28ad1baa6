# SPDX-License-Identifier: GPL-3.0-or-later
"""Asking how much of what there was."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Query

from analytics.deps import AnalystDep, PartsDep
from analytics.events.types import EventType
from analytics.moments import Moment
from analytics.reports import service
from analytics.reports.buckets import Bucket, buckets
from analytics.reports.schemas import Point, Series, Summary
from kit import Problem, problems
from kit.database import SessionDep

router = APIRouter(tags=["reports"])


@router.get("/query", responses=problems(401, 403, 422, 503))
async def query(
    _analyst: AnalystDep,
    session: SessionDep,
    parts: PartsDep,
    event_type: Annotated[EventType, Query(alias="type")],
    bucket: Bucket = Bucket.HOUR,
    begin: Annotated[Moment | None, Query(alias="from", description="24 buckets before `to` unless told.")] = None,
    end: Annotated[Moment | None, Query(alias="to", description="Now unless told.")] = None,
) -> Series:
    """Count the events of a type by minute, hour or day, in whole buckets: at most 1500 of them."""
    end = end or parts.clock()
    try:
        times = buckets(begin or end - 24 * bucket.length, end, bucket)
    except ValueError as error:
        raise Problem(422, str(error)) from None
    start, stop = times[0], times[-1] + bucket.length
    found = await service.counts(session=session, event_type=event_type, begin=start, end=stop, bucket=bucket)
    points = [Point(time=time, count=found.get(time, 0)) for time in times]
    total = sum(point.count for point in points)
    return Series(type=event_type, bucket=bucket, start=start, end=stop, total=total, points=points)


@router.get("/summary", responses=problems(401, 403, 422, 503))
async def summarize(
    _analyst: AnalystDep, session: SessionDep, parts: PartsDep, days: Annotated[int, Query(ge=1, le=90)] = 7
) -> Summary:
    """Show orders, revenue and sign-ups of the last days (UTC), today included."""
    now = parts.clock()
    times = buckets(now - timedelta(days=days - 1), now + timedelta(microseconds=1), Bucket.DAY)
    return Summary(days=await service.by_day(session=session, days=times))
