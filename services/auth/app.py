# SPDX-License-Identifier: GPL-3.0-or-later
"""The auth app: its parts, its routes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

import auth.tokens.routes
import auth.users.routes
from auth.deps import Parts
from auth.passwords import Passwords
from auth.settings import Settings
from auth.tokens.signer import Signer
from kit import create_app
from kit.database import UNAVAILABLE, Database


def create(settings: Settings) -> FastAPI:
    """Build the app; nothing is connected before its lifespan starts."""
    database = Database(settings.database_url.get_secret_value(), name=settings.service)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        yield
        passwords.close()
        await database.close()

    app = create_app(
        settings,
        description=auth.__doc__ or "",
        routers=[auth.users.routes.router, auth.tokens.routes.router],
        checks={"database": database.check},
        unavailable=UNAVAILABLE,
        lifespan=lifespan,
    )
    passwords = Passwords(
        workers=settings.hash_workers, queue=settings.hash_queue, registry=app.state.kit.metrics.registry
    )
    signer = Signer(
        settings.signing_secret.get_secret_value(),
        issuer=settings.token_issuer,
        audience=settings.token_audience,
        minutes=settings.token_minutes,
    )
    app.state.auth = Parts(database, passwords, signer)
    return app
