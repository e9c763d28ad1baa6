# SPDX-License-Identifier: GPL-3.0-or-later
"""The management port: probes, metrics and drain. Nothing here is reachable through the gateway."""

from __future__ import annotations

from prometheus_client.exposition import choose_encoder
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from kit.health import Health
from kit.lifecycle import Lifecycle
from kit.metrics import Metrics


def create_management_app(lifecycle: Lifecycle, health: Health, metrics: Metrics) -> Starlette:
    """Build the management app over the state it shares with the public one."""

    async def live(_request: Request) -> Response:
        # Dependencies are no reason to restart us; a stuck event loop is, and then nobody answers.
        return JSONResponse({"status": "ok"})

    async def startup(_request: Request) -> Response:
        return JSONResponse({"started": lifecycle.started}, 200 if lifecycle.started else 503)

    async def ready(_request: Request) -> Response:
        report = await health.report()
        ok = report.ok and lifecycle.started and not lifecycle.stopping
        body = {"ready": ok, "stopping": lifecycle.stopping, "dependencies": report.dependencies}
        return JSONResponse(body, 200 if ok else 503)

    async def show_metrics(request: Request) -> Response:
        encode, media_type = choose_encoder(request.headers.get("accept", ""))
        return Response(encode(metrics.registry), media_type=media_type)

    async def drain(request: Request) -> Response:
        if request.method != "GET":
            lifecycle.drained = request.method == "PUT"
        return JSONResponse({"drained": lifecycle.drained, "in_flight": lifecycle.in_flight})

    return Starlette(
        routes=[
            Route("/health/live", live),
            Route("/health/startup", startup),
            Route("/health/ready", ready),
            Route("/metrics", show_metrics),
            Route("/drain", drain, methods=["GET", "PUT", "DELETE"]),
        ]
    )
