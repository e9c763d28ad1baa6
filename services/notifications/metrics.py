# SPDX-License-Identifier: GPL-3.0-or-later
"""The service's own metrics."""

from __future__ import annotations

import asyncio

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from kit.database import Database
from notifications.delivery import service


class NotificationMetrics:
    """Counters of this process, and gauges that a look at the queue sets now and then."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.stored = Counter("notifications", "Notifications stored.", ["template", "channel"], registry=registry)
        self.deliveries = Counter(
            "notifications_deliveries", "Attempts to hand a mail over.", ["template", "outcome"], registry=registry
        )
        self.send_seconds = Histogram("notifications_send_seconds", "Time of such an attempt.", registry=registry)
        self._queued = Gauge("notifications_queued", "Mails that wait.", registry=registry)
        self._age = Gauge("notifications_queued_age_seconds", "Age of the oldest of them.", registry=registry)
        self._dead = Gauge("notifications_dead", "Mails that were given up.", registry=registry)

    async def watch(self, database: Database, *, seconds: float) -> None:
        """Look at the queue every so many seconds until cancelled."""
        while True:
            async with database.session() as session:
                backlog = await service.backlog(session=session)
            self._queued.set(backlog.queued)
            self._age.set(backlog.age_seconds)
            self._dead.set(backlog.dead)
            await asyncio.sleep(seconds)
