# SPDX-License-Identifier: GPL-3.0-or-later
"""The orders app: its parts, its routes, its background."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx2
from fastapi import FastAPI

import orders.carts.routes
import orders.orders.routes
from kit import create_app
from kit.clients import Client
from kit.database import Database
from kit.events import Consumer, Relay
from kit.metrics import Metrics
from kit.redis import Redis
from orders.deps import Parts
from orders.metrics import OrderMetrics
from orders.orders.driver import Driver
from orders.orders.inbox import TYPES, Inbox
from orders.orders.steps import Steps
from orders.settings import Settings


def create(settings: Settings, *, transport: httpx2.AsyncBaseTransport | None = None) -> FastAPI:
    """Build the app; nothing is connected before its lifespan starts. `transport` carries the calls to others."""
    metrics = Metrics(settings)
    database, redis = Database(settings), Redis(settings)
    catalog = Client(
        "catalog",
        settings.catalog_url,
        settings=settings,
        metrics=metrics,
        key=settings.catalog_key,
        transport=transport,
    )
    payments = Client(
        "payments",
        settings.payments_url,
        settings=settings,
        metrics=metrics,
        key=settings.payments_key,
        transport=transport,
    )
    own = OrderMetrics(metrics.registry)
    driver = Driver(database=database, steps=Steps(catalog=catalog, payments=payments), metrics=own, settings=settings)
    inbox = Inbox(database=database, metrics=own, driver=driver)
    relay = Relay(database, redis, metrics, source=settings.service)
    consumer = Consumer(redis, metrics, group=settings.service, handle=inbox.handle, types=TYPES)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        yield
        await driver.close()

    app = create_app(
        settings,
        description=orders.__doc__ or "",
        routers=[orders.carts.routes.router, orders.orders.routes.router],
        database=database,
        redis=redis,  # no condition of readiness: events wait in the outbox, and payments can be asked
        clients=[catalog, payments],
        background=[driver.run, relay.run, consumer.run] if settings.background else [],
        lifespan=lifespan,
        metrics=metrics,
    )
    app.state.orders = Parts(settings, database, own, driver, inbox)
    return app
