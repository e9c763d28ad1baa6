# SPDX-License-Identifier: GPL-3.0-or-later
"""Put an app together: the service's routes inside, what every service has around them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from dataclasses import dataclass

from fastapi import APIRouter, FastAPI
from fastapi.responses import JSONResponse
from fastapi_offline import FastAPIOffline

from kit.health import Check, Health
from kit.lifecycle import Lifecycle
from kit.metrics import Metrics
from kit.middleware import RequestMiddleware
from kit.problems import handle_problems
from kit.settings import Settings

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
    unavailable: Sequence[type[Exception]] = (),
    lifespan: Lifespan | None = None,
) -> FastAPI:
    """Build the public app.

    `checks` decide readiness, errors of the `unavailable` types are answered with 503, `lifespan` opens and closes
    what the service holds. A router with a prefix carries it itself, so that metrics see the whole template.
    """
    lifecycle = Lifecycle()
    metrics = Metrics(settings, lifecycle)
    health = Health(checks or {}, metrics)

    @asynccontextmanager
    async def whole_life(app: FastAPI) -> AsyncIterator[None]:
        async with lifespan(app) if lifespan else nullcontext():
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
    )
    app.state.kit = Kit(settings, lifecycle, metrics, health)
    app.add_middleware(RequestMiddleware, settings=settings, lifecycle=lifecycle, metrics=metrics)
    handle_problems(app, unavailable)
    for router in [_about(settings, health), *routers]:
        app.include_router(router)
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
