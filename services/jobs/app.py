# SPDX-License-Identifier: GPL-3.0-or-later
"""The jobs API: its parts, its routes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

import jobs.job.routes
import jobs.status.routes
from jobs.deps import Parts
from jobs.queue.queues import Queues
from jobs.settings import Settings
from jobs.status.service import Watch
from kit import create_app
from kit.database import Database


def create(settings: Settings) -> FastAPI:
    """Build the app; nothing is connected before its lifespan starts."""
    database, queues = Database(settings), Queues(settings)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        yield
        await queues.close()

    app = create_app(
        settings,
        description=jobs.__doc__ or "",
        routers=[jobs.job.routes.router, jobs.status.routes.router],
        database=database,
        checks={"redis": queues.check},
        lifespan=lifespan,
        background=[lambda: watch.run()],
    )
    watch = Watch(
        database,
        app.state.kit.metrics.registry,
        seconds=settings.status_seconds,
        limit=settings.queue_limit,
    )
    app.state.jobs = Parts(database, queues, watch)
    return app
