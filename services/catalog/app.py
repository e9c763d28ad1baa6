# SPDX-License-Identifier: GPL-3.0-or-later
"""The catalog app: its parts, its routes."""

from __future__ import annotations

import asyncio

from fastapi import FastAPI

import catalog.products.routes
import catalog.reservations.routes
import catalog.stock.routes
from catalog.cache import Cache
from catalog.deps import Parts
from catalog.metrics import CatalogMetrics
from catalog.seed import seed
from catalog.settings import Settings
from kit import create_app
from kit.database import Database
from kit.redis import Redis

_LOOK_SECONDS = 30


def create(settings: Settings) -> FastAPI:
    """Build the app; nothing is connected before its lifespan starts."""
    database = Database(settings)
    redis = Redis(settings, timeout=settings.cache_timeout_seconds)

    async def watch() -> None:
        await parts.metrics.watch(database, seconds=_LOOK_SECONDS)

    async def seed_demo() -> None:
        await seed(database)
        await parts.cache.forget()
        await asyncio.Event().wait()  # once is enough; a job that returns is run again

    app = create_app(
        settings,
        description=catalog.__doc__ or "",
        routers=[catalog.products.routes.router, catalog.stock.routes.router, catalog.reservations.routes.router],
        database=database,
        redis=redis,  # a help: without it everything works, so it is no condition of readiness
        background=[watch, *([seed_demo] if settings.seed_demo else [])],
    )
    registry = app.state.kit.metrics.registry
    cache = Cache(
        redis,
        registry,
        seconds=settings.cache_seconds,
        timeout_seconds=settings.cache_timeout_seconds,
        retry_seconds=settings.cache_retry_seconds,
    )
    parts = Parts(database, cache, CatalogMetrics(registry))
    app.state.catalog = parts
    return app
