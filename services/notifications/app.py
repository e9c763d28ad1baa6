# SPDX-License-Identifier: GPL-3.0-or-later
"""The notifications app: its parts, its routes, its background."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

import notifications.dead.routes
import notifications.inbox.routes
from kit import create_app
from kit.database import Database
from kit.events import Consumer
from kit.metrics import Metrics
from kit.redis import Redis
from notifications.delivery.mail import Mailer, Server
from notifications.delivery.sender import Sender
from notifications.inbox.listener import Listener
from notifications.letters.letter import TYPES
from notifications.metrics import NotificationMetrics
from notifications.settings import Settings


def create(settings: Settings) -> FastAPI:
    """Build the app; nothing is connected before its lifespan starts."""
    kit_metrics = Metrics(settings)
    metrics = NotificationMetrics(kit_metrics.registry)
    database, redis = Database(settings), Redis(settings)
    listener = Listener(database=database, metrics=metrics, mail=settings.smtp_url is not None)
    consumer = Consumer(
        redis,
        kit_metrics,
        group=settings.service,
        handle=listener.handle,
        types=TYPES,
        visibility=settings.event_visibility_seconds,
        pause_seconds=settings.event_pause_seconds,
    )
    mailer = Mailer(Server.of(settings.smtp_url.get_secret_value()), settings.senders) if settings.smtp_url else None

    async def watch() -> None:
        await metrics.watch(database, seconds=settings.watch_seconds)

    background = [consumer.run, watch]
    if mailer:
        background.append(Sender(database=database, post=mailer, metrics=metrics, settings=settings).run)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        yield
        if mailer:
            mailer.close()

    app = create_app(
        settings,
        description=notifications.__doc__ or "",
        routers=[notifications.inbox.routes.router, notifications.dead.routes.router],
        database=database,
        redis=redis,  # no matter for readiness: without it, the inbox is still there, and events wait in the stream
        background=background,
        lifespan=lifespan,
        metrics=kit_metrics,
    )
    app.state.consumer = consumer
    return app
