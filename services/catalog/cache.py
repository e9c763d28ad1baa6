# SPDX-License-Identifier: GPL-3.0-or-later
"""Answers kept in Redis: a help and never a condition. Away or slow, it costs a request milliseconds and no error.

Every value carries the mark that stood when its making began, and a write changes the mark. So whatever was read before
a write, even by a reader who stores it afterwards, is no longer believed; nothing has to be found and deleted.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import structlog
from circuitbreaker import CircuitBreaker  # type: ignore[import-untyped]
from prometheus_client import CollectorRegistry, Counter, Gauge

from kit.redis import UNAVAILABLE, Redis

log = structlog.get_logger("catalog.cache")

T = TypeVar("T")

_MARK = b"catalog:mark"
_MARK_SIZE = 8
_FAILURES = (*UNAVAILABLE, TimeoutError)


class Cache:
    """Cache-aside of bytes that go stale together; at most one maker for each key in this process.

    `seconds` bound how stale an answer can be when a write could not tell Redis and its process then died.
    """

    def __init__(
        self, redis: Redis, registry: CollectorRegistry, *, seconds: int, timeout_seconds: float, retry_seconds: float
    ) -> None:
        self._redis = redis.client
        self._seconds = seconds
        self._timeout = timeout_seconds
        self._breaker = CircuitBreaker(
            failure_threshold=3, recovery_timeout=retry_seconds, expected_exception=_FAILURES, name="cache"
        )
        self._making: dict[tuple[bytes, str], asyncio.Task[bytes | None]] = {}
        self._mark = secrets.token_bytes(_MARK_SIZE)  # stands in while Redis has none to say
        self._owed = False  # a write happened that Redis has not heard of
        self._requests = Counter("cache_requests", "Reads through the cache.", ["outcome"], registry=registry)
        opened = Gauge("cache_circuit_open", "1 while the cache is left alone.", registry=registry)
        opened.set_function(lambda: self._breaker.opened)

    async def get(self, key: str, make: Callable[[], Awaitable[bytes | None]]) -> bytes | None:
        """Return what is kept under `key`, or make it; None, which `make` returns for nothing found, is not kept."""
        outcome, mark, kept = await self._look(key)
        self._requests.labels(outcome).inc()
        if kept is not None:
            return kept
        # The mark is part of the name: who comes after a write doesn't wait for an answer from before it.
        name = (mark or self._mark, key)
        if (task := self._making.get(name)) is None:
            task = self._making[name] = asyncio.create_task(self._make(key, mark, make))
            task.add_done_callback(lambda done: self._made(name, done))
        # Shielded: the others who wait still want it when the first one hangs up.
        return await asyncio.shield(task)

    def _made(self, name: tuple[bytes, str], task: asyncio.Task[bytes | None]) -> None:
        del self._making[name]
        if not task.cancelled():
            task.exception()  # seen, also when everybody who waited has hung up

    async def forget(self) -> None:
        """Believe nothing of what is kept; called after a write was committed, and before it is answered."""
        self._owed = True
        self._mark = secrets.token_bytes(_MARK_SIZE)
        await self._use(self._settle)

    async def _settle(self) -> None:
        if self._owed:
            await self._redis.set(_MARK, mark := self._mark)
            self._owed = mark != self._mark  # another write may have come meanwhile

    async def _look(self, key: str) -> tuple[str, bytes | None, bytes | None]:
        """Return what happened, the mark that stands, and the value if there is one to believe."""

        async def look() -> tuple[Any, Any]:  # bytes or None: the client decodes nothing
            await self._settle()
            mark, value = await self._redis.mget(_MARK, _name(key))
            if mark is None:  # the first one ever, or Redis has lost its data
                await self._redis.set(_MARK, secrets.token_bytes(_MARK_SIZE), nx=True)
                mark, value = await self._redis.get(_MARK), None
            return mark, value

        outcome, found = await self._use(look)
        if found is None:
            return outcome, None, None
        mark, value = found
        if mark is None or value is None or not value.startswith(mark):
            return "miss", mark, None
        return "hit", mark, value[_MARK_SIZE:]

    async def _make(self, key: str, mark: bytes | None, make: Callable[[], Awaitable[bytes | None]]) -> bytes | None:
        made = await make()
        if made is not None and mark is not None:
            await self._use(lambda: self._redis.set(_name(key), mark + made, ex=self._seconds))
        return made

    async def _use(self, ask: Callable[[], Awaitable[T]]) -> tuple[str, T | None]:
        """Ask Redis, if it is worth asking; returns what happened and the answer."""
        if self._breaker.opened:
            return "bypass", None
        try:
            with self._breaker:
                async with asyncio.timeout(self._timeout):
                    return "ok", await ask()
        except _FAILURES as error:
            log.warning("cache failed", error=type(error).__name__, left_alone=self._breaker.opened)
            return "error", None


def _name(key: str) -> str:
    return f"catalog:answer:{key}"
