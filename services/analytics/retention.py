# SPDX-License-Identifier: GPL-3.0-or-later
"""Forgetting what is too old, a little at a time."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import structlog
from prometheus_client import Counter

from analytics.deps import Parts
from analytics.events import service
from analytics.events.models import Minute, RawEvent
from kit.database import Database

log = structlog.get_logger("analytics.retention")

_ROWS = 1000
_MARGIN = timedelta(hours=1)  # nothing is forgotten that could still be accepted: clocks of replicas differ


class Retention:
    """Removes events and minutes that are older than the settings say."""

    def __init__(self, database: Database, parts: Parts, removed: Counter) -> None:
        self._database = database
        self._parts = parts
        self._removed = removed

    async def run(self) -> None:
        """Sweep now and every `sweep_seconds`, until cancelled."""
        while True:
            await self.sweep()
            await asyncio.sleep(self._parts.settings.sweep_seconds)

    async def sweep(self) -> None:
        """Remove what is too old, in transactions so small that nobody waits for them."""
        settings, now = self._parts.settings, self._parts.clock()
        for table, days in ((RawEvent, settings.raw_days), (Minute, settings.minute_days)):
            before = now - timedelta(days=days) - _MARGIN
            total, rows = 0, _ROWS
            while rows == _ROWS:
                async with self._database.session.begin() as session:
                    rows = await service.forget(session=session, table=table, before=before, limit=_ROWS)
                total += rows
                self._removed.labels(table.__tablename__).inc(rows)
            if total:
                log.info("forgotten", table=table.__tablename__, rows=total, before=before.isoformat())
