# SPDX-License-Identifier: GPL-3.0-or-later
"""The analytics app: its parts, its routes."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from fastapi import FastAPI
from prometheus_client import Counter

import analytics.events.routes
import analytics.reports.routes
from analytics.deps import Parts, utc_now
from analytics.events.intake import take_in
from analytics.retention import Retention
from analytics.settings import Settings
from kit import create_app
from kit.database import Database
from kit.events import Consumer, Event
from kit.redis import Redis


def create(settings: Settings, *, clock: Callable[[], datetime] = utc_now) -> FastAPI:
    """Build the app; nothing is connected before its lifespan starts. `clock` says what time it is, in UTC."""
    database = Database(settings)
    redis = Redis(settings)

    async def consume() -> None:
        await consumer.run()

    async def retain() -> None:
        await retention.run()

    async def handle(event: Event) -> None:
        await take_in(event, database, parts)

    app = create_app(
        settings,
        description=analytics.__doc__ or "",
        routers=[analytics.events.routes.router, analytics.reports.routes.router],
        database=database,
        redis=redis,  # no condition of readiness: without it the stream waits, and everything else works
        background=[consume, retain],
    )
    metrics = app.state.kit.metrics
    events = Counter("analytics_events", "Events by who brought them.", ["via", "outcome"], registry=metrics.registry)
    removed = Counter("analytics_rows_removed", "Rows past their time.", ["table"], registry=metrics.registry)
    parts = Parts(settings, events, clock)
    consumer = Consumer(redis, metrics, group="analytics", handle=handle)
    retention = Retention(database, parts, removed)
    app.state.analytics = parts
    return app
