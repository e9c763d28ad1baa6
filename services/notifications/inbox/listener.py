# SPDX-License-Identifier: GPL-3.0-or-later
"""The listener: what is done with each event of the stream."""

from __future__ import annotations

from kit.database import Database
from kit.events import Event
from notifications.inbox import service
from notifications.letters import letter
from notifications.metrics import NotificationMetrics


class Listener:
    """Turns an event into notifications, once: an event that is handed over again finds them stored."""

    def __init__(self, *, database: Database, metrics: NotificationMetrics, mail: bool) -> None:
        self._database = database
        self._metrics = metrics
        self._mail = mail

    async def handle(self, event: Event) -> None:
        """Store what the event gives to tell; raises Unreadable."""
        written = letter.write(event.type, event.data)
        async with self._database.session.begin() as session:
            channels = await service.store(session=session, event_id=event.id, letter=written, mail=self._mail)
        for channel in channels:
            self._metrics.stored.labels(written.template, channel).inc()
