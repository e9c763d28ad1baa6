# SPDX-License-Identifier: GPL-3.0-or-later
"""Put an app together: the service's routes inside, what every service has around them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from fastapi import APIRouter, FastAPI
from fastapi.responses import JSONResponse
from fastapi_offline import FastAPIOffline

from kit import telemetry
from kit.clients import Client, DependencyFailed
from kit.database import UNAVAILABLE as DATABASE_UNAVAILABLE
from kit.database import Database
from kit.health import Check, Health
from kit.lifecycle import Lifecycle
from kit.metrics import Metrics
from kit.middleware import RequestMiddleware
from kit.problems import handle_problems
from kit.redis import UNAVAILABLE as REDIS_UNAVAILABLE
from kit.redis import Redis
from kit.settings import Settings
from kit.tasks import Job, running
from kit.tokens import Tokens, TokenSettings

Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[None]]


@dataclass(frozen=True, slots=True)
class Kit:
    """The shared parts of one app, found at `app.state.kit`."""

    settings: Settings
    lifecycle: Lifecycle
    metrics: Metrics
    health: Health


def create_app(
    settings: Settings,
    *,
    description: str = "",
    routers: Sequence[APIRouter] = (),
    checks: Mapping[str, Check] | None = None,
    database: Database | None = None,
    redis: Redis | None = None,
    clients: Sequence[Client] = (),
    background: Sequence[Job] = (),
    unavailable: Sequence[type[Exception]] = (),
    lifespan: Lifespan | None = None,
    metrics: Metrics | None = None,
) -> FastAPI:
    """Build the public app.

    `checks` decide readiness; the `database` is always one of them, `redis` only when `checks` names it. They and the
    `clients` are closed at the end; `SessionDep` and `CallerDep` find theirs at `app.state`. `background` jobs run as
    long as the app does. Errors of the `unavailable` types are answered with 503, as are those of the parts above.
    `lifespan` opens and closes what else the service holds. `metrics` are made here unless a part needed them before.
    A router with a prefix carries it itself, so that metrics see the whole template.
    """
    metrics = metrics or Metrics(settings)
    lifecycle = metrics.lifecycle
    if database:
        database.show(metrics.registry)
    health = Health({**({"database": database.check} if database else {}), **(checks or {})}, metrics)
    closing = [part.close for part in (*clients, redis, database) if part]
    tokens = None
    if isinstance(settings, TokenSettings):
        auth = Client("auth", settings.auth_url, settings=settings, metrics=metrics)
        tokens = Tokens(settings, auth)
        closing.append(auth.close)

    @asynccontextmanager
    async def whole_life(app: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            telemetry.start(settings)
            for close in (telemetry.stop, *closing):
                stack.push_async_callback(close)
            if lifespan:
                await stack.enter_async_context(lifespan(app))
            await stack.enter_async_context(running(*background))
            lifecycle.started = True
            yield
            lifecycle.started = False

    # The documentation page brings its own scripts: a cluster may have no way to a CDN.
    app = FastAPIOffline(
        title=settings.service,
        version=settings.version,
        description=description,
        redoc_url=None,
        redirect_slashes=False,
        lifespan=whole_life,
        telemetry={"tracing": False, "metrics": False, "logs": False},  # the middleware's are cheaper
    )
    app.state.kit = Kit(settings, lifecycle, metrics, health)
    app.state.database, app.state.redis, app.state.tokens = database, redis, tokens
    app.add_middleware(RequestMiddleware, settings=settings, lifecycle=lifecycle, metrics=metrics)
    handle_problems(app, {*unavailable, *DATABASE_UNAVAILABLE, *REDIS_UNAVAILABLE, DependencyFailed})
    # Our routers need nothing of what including them would add, and included ones are matched twice for each request.
    app.router.routes[:0] = [route for router in [*routers, _about(settings, health)] for route in router.routes]
    for route in app.router.routes:
        for method in (getattr(route, "methods", None) or set()) - {"HEAD", "OPTIONS"}:
            metrics.expect(method, getattr(route, "path", ""))
    return app


def _about(settings: Settings, health: Health) -> APIRouter:
    router = APIRouter(tags=["about"])

    @router.get("/health", responses={503: {"description": "A dependency is not available."}})
    async def show_health() -> JSONResponse:
        """Say whether the service and what it depends on are well."""
        report = await health.report()
        body = {"status": "ok" if report.ok else "unavailable", "dependencies": report.dependencies}
        return JSONResponse(body, 200 if report.ok else 503)

    @router.get("/info")
    async def show_info() -> dict[str, str]:
        """Say what is running."""
        return {"service": settings.service, "version": settings.version, "slot": settings.slot}

    return router
