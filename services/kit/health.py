# SPDX-License-Identifier: GPL-3.0-or-later
"""Health: is every dependency there? Asked often, looked at no more than once a second."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

import structlog

from kit.metrics import Metrics

log = structlog.get_logger("kit.health")

Check = Callable[[], Awaitable[object]]
"""Returns when the dependency answers, raises when it does not."""


@dataclass(frozen=True, slots=True)
class Report:
    """What the last look found: `ok` or the name of the error, by dependency."""

    dependencies: dict[str, str] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Tell whether every dependency answered."""
        return all(state == "ok" for state in self.dependencies.values())


class Health:
    """Runs the checks together, each within `timeout` seconds, and keeps the answer for `fresh` seconds."""

    def __init__(
        self,
        checks: Mapping[str, Check],
        metrics: Metrics,
        *,
        timeout: float = 2.0,
        fresh: float = 1.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._checks = dict(checks)
        self._metrics = metrics
        self._timeout = timeout
        self._fresh = fresh
        self._clock = clock
        self._lock = asyncio.Lock()
        self._last = Report()
        self._until = float("-inf")

    async def report(self) -> Report:
        """Return the state of the dependencies, at most `fresh` seconds old."""
        if self._clock() < self._until:
            return self._last
        async with self._lock:  # whoever waited here finds the answer of whoever looked
            if self._clock() >= self._until:
                states = await asyncio.gather(*(self._look(name) for name in self._checks))
                self._last = Report(dict(zip(self._checks, states, strict=True)))
                self._until = self._clock() + self._fresh
        return self._last

    async def _look(self, name: str) -> str:
        try:
            async with asyncio.timeout(self._timeout):
                await self._checks[name]()
            state = "ok"
        except Exception as error:  # any failure of a check means the dependency is not usable
            state = type(error).__name__
        if state != self._last.dependencies.get(name, "ok"):
            log.warning("dependency changed", dependency=name, state=state)
        self._metrics.dependency_up.labels(name).set(state == "ok")
        return state
