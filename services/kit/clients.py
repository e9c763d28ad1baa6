# SPDX-License-Identifier: GPL-3.0-or-later
"""Calls to other services: bounded in time, tried again within a budget, given up early when the other side is down."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any
from uuid import uuid4

import httpx2
import jwt
import stamina
from circuitbreaker import CircuitBreaker  # type: ignore[import-untyped]
from prometheus_client import Counter, Gauge, Histogram
from pydantic import SecretStr

from kit import telemetry
from kit.metrics import Metrics
from kit.settings import Settings
from kit.trace import Trace, current_trace

SERVICE_TOKEN_SECONDS = 60
INTERNAL_KID = "internal"
"""The `kid` of tokens that services sign for each other."""

_IDEMPOTENT = frozenset({"GET", "HEAD", "PUT", "DELETE", "OPTIONS"})
_ATTEMPTS = 3
_BREAKER_FAILURES, _BREAKER_SECONDS = 5, 5


class DependencyFailed(Exception):
    """Another service did not answer, or answered 5xx, and trying again did not help; callers see it as 503."""

    def __init__(self, dependency: str, outcome: str) -> None:
        super().__init__(f"{dependency}: {outcome}")
        self.dependency = dependency
        self.outcome = outcome


class RetryBudget:
    """Retries may add a tenth to the calls, and a few: when all fail, they must not become three times as many."""

    def __init__(self, *, share: float = 0.1, few: float = 5) -> None:
        self._share, self._most, self._left = share, 2 * few, few

    def earn(self) -> None:
        """Count a call."""
        self._left = min(self._left + self._share, self._most)

    def spend(self) -> bool:
        """Take one retry, if there is one."""
        if self._left < 1:
            return False
        self._left -= 1
        return True


class Client:
    """One dependency: `await client.request("GET", "/products")`.

    `key` is the dependency's internal key: with it, calls carry a token that says which service is calling. `timeout`
    bounds each attempt, in seconds.
    """

    def __init__(
        self,
        name: str,
        base_url: str,
        *,
        settings: Settings,
        metrics: Metrics,
        key: SecretStr | None = None,
        timeout: float = 2.0,
        transport: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        self.name = name
        self._caller = settings.service
        self._key = key
        self._timeout = timeout
        self._token, self._token_until = "", 0.0
        self._budget = RetryBudget()
        self._breaker = CircuitBreaker(_BREAKER_FAILURES, _BREAKER_SECONDS, DependencyFailed, name)
        self._http = httpx2.AsyncClient(
            base_url=base_url,
            timeout=timeout,
            transport=transport,
            verify=base_url.startswith("https:"),  # the certificates of all the world take 2 MB
            trust_env=False,  # inside the cluster no proxy is between us
            limits=httpx2.Limits(max_connections=50, max_keepalive_connections=20, keepalive_expiry=30),
        )
        parts = _metrics(metrics)
        self._outcomes, self._seconds = parts[0], parts[1].labels(name)
        parts[2].labels(name).set_function(lambda: self._breaker.opened)

    async def request(
        self,
        method: str,
        path: str,
        *,
        json: Any = None,
        params: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        retry: bool | None = None,
    ) -> httpx2.Response:
        """Return the answer, 4xx included; raise DependencyFailed when there is none or it is 5xx.

        Tries again when that is harmless: `retry` is True for idempotent methods unless told otherwise.
        """
        self._budget.earn()
        again = method in _IDEMPOTENT if retry is None else retry
        async for attempt in stamina.retry_context(
            on=lambda error: again and self._worth_retrying(error),
            attempts=_ATTEMPTS,
            timeout=_ATTEMPTS * self._timeout,
            wait_initial=0.05,
            wait_max=0.5,
            wait_jitter=0.1,
        ):
            with attempt:
                return await self._attempt(method, path, json=json, params=params, headers=headers)
        raise AssertionError("unreachable")

    async def close(self) -> None:
        """Close every pooled connection."""
        await self._http.aclose()

    def _worth_retrying(self, error: Exception) -> bool:
        return isinstance(error, DependencyFailed) and error.outcome != "open" and self._budget.spend()

    async def _attempt(self, method: str, path: str, **content: Any) -> httpx2.Response:
        if self._breaker.opened:
            self._outcomes.labels(self.name, "open").inc()
            raise DependencyFailed(self.name, "open")
        begun = time.perf_counter()
        response = None
        within = current_trace.get()
        trace = within.child() if within else Trace.of(b"", b"", share=telemetry.active())
        content["headers"] = {**self._headers(trace), **(content["headers"] or {})}
        try:
            async with asyncio.timeout(self._timeout):  # httpx2 bounds each read, not the sum of them
                response = await self._http.request(method, path, **content)
            outcome = "failed" if response.status_code >= 500 else "refused" if response.status_code >= 400 else "ok"
        except (TimeoutError, httpx2.TimeoutException):
            outcome = "timeout"
        except httpx2.TransportError:
            outcome = "unreachable"
        self._seconds.observe(time.perf_counter() - begun)
        telemetry.record(
            "CLIENT",
            f"{method} {self.name}",
            trace,
            begun=begun,
            failed=response is None or outcome == "failed",
            attributes={"http.request.method": method, "url.path": path, "peer.service": self.name, "outcome": outcome},
        )
        self._outcomes.labels(self.name, outcome).inc()
        with self._breaker:  # only now: a call that was cancelled says nothing about the other side
            if response is None or outcome == "failed":
                raise DependencyFailed(self.name, outcome)
        return response

    def _headers(self, trace: Trace) -> dict[str, str]:
        headers = {"traceparent": trace.traceparent, "x-request-id": trace.request_id}
        if self._key:
            headers["authorization"] = f"Bearer {self._service_token(self._key)}"
        return headers

    def _service_token(self, key: SecretStr) -> str:
        now = time.time()
        if now > self._token_until:
            self._token = service_token(key, caller=self._caller, callee=self.name, now=int(now))
            self._token_until = now + SERVICE_TOKEN_SECONDS / 2
        return self._token


def service_token(key: SecretStr, *, caller: str, callee: str, now: int) -> str:
    """Sign a token that says: I am `caller`, for `callee` only, for a minute from `now` (Unix seconds)."""
    claims = {"iss": caller, "aud": callee, "iat": now, "exp": now + SERVICE_TOKEN_SECONDS, "jti": uuid4().hex}
    return jwt.encode(claims, key.get_secret_value(), algorithm="HS256", headers={"kid": INTERNAL_KID})


def _metrics(metrics: Metrics) -> tuple[Counter, Histogram, Gauge]:
    return metrics.once(
        "clients",
        lambda registry: (
            Counter("client_requests", "Calls to another service.", ["dependency", "outcome"], registry=registry),
            Histogram("client_request_duration_seconds", "Time of a call.", ["dependency"], registry=registry),
            Gauge("client_circuit_open", "1 while calls are not even tried.", ["dependency"], registry=registry),
        ),
    )
