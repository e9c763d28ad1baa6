# SPDX-License-Identifier: GPL-3.0-or-later
"""The payments app: its parts, its routes, its background."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

import payments.book.routes
import payments.webhooks.routes
from kit import create_app
from kit.database import Database
from kit.events import Relay
from kit.metrics import Metrics
from kit.redis import Redis
from payments.book.cashier import Cashier
from payments.book.driver import Driver
from payments.deps import Parts
from payments.metrics import PaymentMetrics
from payments.providers.local import LocalProvider
from payments.reconciliation.service import Reconciler
from payments.settings import Settings


def create(settings: Settings) -> FastAPI:
    """Build the app; nothing is connected before its lifespan starts."""
    kit_metrics = Metrics(settings)
    metrics = PaymentMetrics(kit_metrics.registry)
    database, redis, provider = Database(settings), Redis(settings), LocalProvider(settings)
    cashier = Cashier(database=database, provider=provider, metrics=metrics, settings=settings)
    relay = Relay(database, redis, kit_metrics, source=settings.service)
    driver = Driver(cashier, seconds=settings.driver_seconds)
    reconciler = Reconciler(database=database, provider=provider, metrics=metrics, settings=settings)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        yield
        await provider.close()

    app = create_app(
        settings,
        description=payments.__doc__ or "",
        routers=[payments.book.routes.router, payments.webhooks.routes.router],
        database=database,
        redis=redis,  # no matter for readiness: without it, events wait in the outbox
        background=[relay.run, driver.run, reconciler.run, provider.run],
        lifespan=lifespan,
        metrics=kit_metrics,
    )
    app.state.payments = Parts(cashier, metrics)
    return app
