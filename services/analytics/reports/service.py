# SPDX-License-Identifier: GPL-3.0-or-later
"""Adding up minutes."""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime, timedelta

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from analytics.events.models import Minute
from analytics.events.types import PAID, PLACED, SIGNED_UP
from analytics.reports.buckets import Bucket
from analytics.reports.schemas import Day


async def counts(
    *, session: AsyncSession, event_type: str, begin: datetime, end: datetime, bucket: Bucket
) -> dict[datetime, int]:
    """Return how many events there were, by the beginning of the bucket; empty buckets are left out."""
    part = func.date_trunc(bucket.value, Minute.minute, "UTC")
    statement = (
        select(part, func.sum(Minute.count))
        .where(Minute.type == event_type, Minute.minute >= begin, Minute.minute < end)
        .group_by(part)
    )
    return {moment: int(count) for moment, count in await session.execute(statement)}


async def by_day(*, session: AsyncSession, days: list[datetime]) -> list[Day]:
    """Return what the shop did on each of the days, which follow each other."""
    part = func.date_trunc("day", Minute.minute, "UTC")
    statement = (
        select(part, Minute.type, Minute.currency, func.sum(Minute.count), func.sum(Minute.amount_cents))
        .where(
            Minute.type.in_((PLACED, PAID, SIGNED_UP)),
            Minute.minute >= days[0],
            Minute.minute < days[-1] + timedelta(days=1),
        )
        .group_by(part, Minute.type, Minute.currency)
    )
    seen: defaultdict[tuple[datetime, str], int] = defaultdict(int)
    revenue: defaultdict[datetime, dict[str, int]] = defaultdict(dict)
    for day, event_type, currency, count, cents in await session.execute(statement):
        seen[day, event_type] += int(count)
        if currency:
            revenue[day][currency] = int(cents)
    return [
        Day(
            day=day.date(),
            orders=seen[day, PLACED],
            paid=seen[day, PAID],
            revenue_cents=revenue[day],
            sign_ups=seen[day, SIGNED_UP],
        )
        for day in days
    ]
