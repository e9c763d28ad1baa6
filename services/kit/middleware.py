# SPDX-License-Identifier: GPL-3.0-or-later
"""The one layer around every request: identity, body limit, metrics, access log, drain, last resort for errors."""

from __future__ import annotations

from time import perf_counter

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from kit import telemetry
from kit.lifecycle import Lifecycle
from kit.logs import AccessLog
from kit.metrics import Metrics
from kit.problems import Problem, problem_response
from kit.settings import Settings
from kit.trace import Trace, current_trace

log = structlog.get_logger("kit.middleware")

_CLOSE = (b"connection", b"close")
_TOO_LARGE = "The request body is too large."


class RequestMiddleware:
    """Pure ASGI, and one layer for all of it: each layer costs every request."""

    def __init__(self, app: ASGIApp, settings: Settings, lifecycle: Lifecycle, metrics: Metrics) -> None:
        self._app = app
        self._lifecycle = lifecycle
        self._metrics = metrics
        self._access = AccessLog(settings)
        self._max_body = settings.max_body_bytes
        self._share = settings.otlp_share if settings.otlp_endpoint else 0
        self._headers = [(b"x-opsforge-slot", settings.slot.encode())] if settings.slot else []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request; other scopes pass untouched."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun = perf_counter()
        given = dict(scope["headers"])
        trace = Trace.of(given.get(b"x-request-id", b""), given.get(b"traceparent", b""), share=self._share)
        context = current_trace.set(trace)
        status = 0  # 0: the peer left, or we stopped, before an answer began
        received = 0

        async def limited_receive() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self._max_body:
                raise Problem(413, _TOO_LARGE)
            return message

        async def marked_send(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = [*message["headers"], (b"x-request-id", trace.request_id.encode()), *self._headers]
                if self._lifecycle.closing:
                    headers.append(_CLOSE)
                message["headers"] = headers
            await send(message)

        self._lifecycle.in_flight += 1
        try:
            length = given.get(b"content-length", b"0")
            if length.isdigit() and int(length) > self._max_body:
                await problem_response(413, _TOO_LARGE)(scope, receive, marked_send)
            else:
                await self._app(scope, limited_receive, marked_send)
        except Exception:
            log.exception("unhandled error")
            if status:
                raise  # half an answer is out: only closing the connection tells the peer
            answer = problem_response(500, "Something went wrong here; the request id finds it in the logs.")
            await answer(scope, receive, marked_send)
        finally:
            self._lifecycle.in_flight -= 1
            self._tell(scope, trace, status, begun)
            current_trace.reset(context)

    def _tell(self, scope: Scope, trace: Trace, status: int, begun: float) -> None:
        """Metrics, log and span of an answered request."""
        seconds = perf_counter() - begun
        method = scope["method"]
        # The template, not the path: paths are as many as there are callers.
        route = getattr(scope.get("route"), "path", "unmatched")
        is_kept = trace.sampled and telemetry.active()
        self._metrics.observe(method, route, status, seconds, trace.trace_id if is_kept else "")
        client = scope.get("client")
        # No query string: people put secrets there.
        self._access.write(
            trace,
            method=method,
            path=scope["path"],
            route=route,
            status=status,
            seconds=seconds,
            client=client[0] if client else "",
        )
        if is_kept:
            telemetry.record(
                "SERVER",
                f"{method} {route}",
                trace,
                begun=begun,
                failed=status >= 500,
                attributes={"http.request.method": method, "http.route": route, "http.response.status_code": status},
            )
