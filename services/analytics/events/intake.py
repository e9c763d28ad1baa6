# SPDX-License-Identifier: GPL-3.0-or-later
"""The stream of the shop's events, taken in beside what callers send."""

from __future__ import annotations

from datetime import timedelta

from analytics.deps import Parts
from analytics.events import service
from analytics.events.service import Arrival
from kit.database import Database
from kit.events import Event


async def take_in(event: Event, database: Database, parts: Parts) -> None:
    """Store one event of the stream. One that is too old to be known again is left out: it would be counted twice."""
    if event.time < parts.clock() - timedelta(days=parts.settings.raw_days):
        parts.events.labels("stream", "too_old").inc()
        return
    arrival = Arrival(event.id, event.type, event.time, event.data, event.source, event.subject)
    async with database.session.begin() as session:
        stored = await service.store(session=session, arrivals=[arrival])
    parts.events.labels("stream", "stored" if stored else "known").inc()
