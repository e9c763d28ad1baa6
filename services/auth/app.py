# SPDX-License-Identifier: GPL-3.0-or-later
"""The auth app: its parts, its routes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import structlog
from fastapi import FastAPI
from sqlalchemy.exc import SQLAlchemyError

import auth.families.routes
import auth.keys.routes
import auth.logins.routes
import auth.tokens.routes
import auth.users.routes
import kit.metrics
from auth.deps import Parts
from auth.keys.ring import Keyring
from auth.limits.rules import Rules
from auth.metrics import Metrics
from auth.passwords import Passwords
from auth.settings import Settings
from auth.tokens.signer import Signer
from auth.upkeep import Upkeep
from kit.database import Database
from kit.events import Relay
from kit.redis import Redis

log = structlog.get_logger("auth")

ROUTERS = [
    auth.users.routes.router,
    auth.logins.routes.router,
    auth.families.routes.router,
    auth.tokens.routes.router,
    auth.keys.routes.router,
]


def create(settings: Settings, *, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> FastAPI:
    """Build the app; nothing is connected before its lifespan starts. `now`: the clock of keys, sessions and limits."""
    shared = kit.metrics.Metrics(settings)
    database, redis = Database(settings), Redis(settings)
    passwords = Passwords(workers=settings.hash_workers, queue=settings.hash_queue, registry=shared.registry)
    keyring = Keyring(
        database,
        settings.secrets,
        lifetime=timedelta(minutes=settings.token_minutes),
        max_age=timedelta(days=settings.key_days),
        settle=timedelta(seconds=settings.key_settle_seconds),
        now=now,
    )
    signer = Signer(
        keyring, issuer=settings.token_issuer, audience=settings.token_audience, minutes=settings.token_minutes
    )
    parts = Parts(
        settings=settings,
        database=database,
        passwords=passwords,
        rules=Rules(settings),
        keyring=keyring,
        signer=signer,
        metrics=Metrics(shared.registry, keyring),
        now=now,
    )
    upkeep = Upkeep(parts)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        try:
            await upkeep.once()  # whoever is ready has keys and an administrator
        except SQLAlchemyError as error:
            log.warning("not ready yet", error=type(error).__name__)
        yield
        passwords.close()

    app = kit.create_app(
        settings,
        description=auth.__doc__ or "",
        routers=ROUTERS,
        checks={"keys": keyring.check},
        database=database,
        redis=redis,
        background=[upkeep.run, Relay(database, redis, shared, source=settings.service).run],
        lifespan=lifespan,
        metrics=shared,
    )
    app.state.auth = parts
    return app
