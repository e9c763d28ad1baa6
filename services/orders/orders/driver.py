# SPDX-License-Identifier: GPL-3.0-or-later
"""Brings every order to an end: claim it, call, write down. No transaction is open during a call.

A claim is a lease in the order's row. Whoever dies in between leaves a lease that ends by itself, and the next driver
takes the same step again.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from contextlib import suppress

import structlog

from kit.clients import DependencyFailed
from kit.database import UNAVAILABLE, Database
from kit.trace import current_trace, resume
from orders.metrics import OrderMetrics
from orders.orders import service
from orders.orders.models import Order
from orders.orders.outcomes import Outcome, Unexpected
from orders.orders.steps import Steps
from orders.orders.transitions import STEPS, State
from orders.settings import Settings

log = structlog.get_logger("orders.driver")

_INLINE_MOST = 100
_MEASURE_SECONDS = 5.0
_GRACE_SECONDS = 5.0


def backoff(attempts: int, *, base: float, cap: float, chance: float) -> float:
    """Return how many seconds to wait after `attempts` looks in vain: doubling from `base` to `cap`.

    `chance` (0 to 1) takes up to half off, so that what failed together does not come back together.
    """
    return float(min(cap, base * 2 ** min(attempts, 30)) * (1 - chance / 2))


class Driver:
    """Drives orders: those just placed at once, all others when they are due. Every replica runs one."""

    def __init__(self, *, database: Database, steps: Steps, metrics: OrderMetrics, settings: Settings) -> None:
        self._database = database
        self._steps = steps
        self._metrics = metrics
        self._settings = settings
        self._nudged = asyncio.Event()
        self._due: set[asyncio.Task[None]] = set()
        self._inline: set[asyncio.Task[None]] = set()
        self._more = False
        self._measure_at = float("-inf")

    @property
    def inline_lease_seconds(self) -> float:
        """For how long an order is leased to whoever places it; 0 when it is left to the background."""
        inline = self._settings.inline_seconds and len(self._inline) < _INLINE_MOST
        return self._settings.lease_seconds if inline else 0

    def nudge(self) -> None:
        """Look for orders that are due now instead of at the next poll."""
        self._nudged.set()

    async def drive_inline(self, order: Order) -> None:
        """Drive an order that was just leased; return after `inline_seconds` at the latest, and drive on behind."""
        task = self._start(order, self._inline)
        await asyncio.wait({task}, timeout=self._settings.inline_seconds)

    async def run(self) -> None:
        """Drive what is due until cancelled. Raises what the database raises when it is away."""
        while True:
            self._nudged.clear()
            await self._measure()
            await self.start_due()
            with suppress(TimeoutError):
                async with asyncio.timeout(self._settings.poll_seconds * random.uniform(0.8, 1.2)):
                    await self._nudged.wait()

    async def start_due(self) -> Sequence[asyncio.Task[None]]:
        """Claim orders that are due, as many as there is room for, and begin to drive them."""
        room = self._settings.batch - len(self._due)
        if room <= 0:
            return []
        async with self._database.session.begin() as session:
            claimed = await service.claim(session=session, limit=room, lease_seconds=self._settings.lease_seconds)
        self._more = len(claimed) == room
        return [self._start(order, self._due) for order in claimed]

    async def close(self) -> None:
        """Let what is being driven come to a stop; what takes too long is left to the next driver."""
        tasks = self._due | self._inline
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=_GRACE_SECONDS)
            for task in late:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _start(self, order: Order, tasks: set[asyncio.Task[None]]) -> asyncio.Task[None]:
        task = asyncio.create_task(self._drive(order))
        tasks.add(task)
        task.add_done_callback(lambda _: self._on_end(task, tasks))
        return task

    def _on_end(self, task: asyncio.Task[None], tasks: set[asyncio.Task[None]]) -> None:
        tasks.discard(task)
        if self._more:  # others wait for the place that is free now
            self.nudge()

    async def _drive(self, order: Order) -> None:
        """Take steps for a leased order until it has to wait or is finished."""
        current_trace.set(resume(order.traceparent))  # a task of its own: nobody else sees it
        step = STEPS[State(order.state)]
        try:
            seen: Order | None = order
            while seen:
                step = STEPS[State(seen.state)]
                seen, result = await self._take_step(seen)
                self._metrics.steps.labels(step, result).inc()
        except UNAVAILABLE as error:  # the lease ends by itself
            self._metrics.steps.labels(step, "failed").inc()
            log.warning("the database is away", order_id=str(order.id), error=type(error).__name__)
        except Exception:  # one order that can't be driven must not stop the others
            self._metrics.steps.labels(step, "failed").inc()
            log.exception("step failed", order_id=str(order.id), step=step)

    async def _take_step(self, seen: Order) -> tuple[Order | None, str]:
        """Take one step and write it down; returns the order if it can be driven on, and what came of the step."""
        outcome, result = await self._look(seen)
        settings = self._settings
        async with self._database.session.begin() as session:
            recorded = await service.record(
                session=session,
                seen=seen,
                outcome=outcome,
                lease_seconds=settings.lease_seconds,
                retry_seconds=backoff(
                    seen.attempts, base=settings.retry_seconds, cap=settings.retry_cap_seconds, chance=random.random()
                ),
            )
        if recorded is None:
            return None, "stale"
        change, go_on = recorded
        self._metrics.count(change)
        if change.moved:
            log.info("order moved", order_id=str(seen.id), before=seen.state, after=change.order.state, why=outcome.why)
            result = "moved"
        elif go_on:
            result = "stale"
        return (change.order if go_on else None), result

    async def _look(self, seen: Order) -> tuple[Outcome, str]:
        try:
            async with asyncio.timeout(self._settings.step_seconds):
                return await self._steps.take(seen), "waiting"
        except (DependencyFailed, TimeoutError) as error:
            log.warning("step without an answer", order_id=str(seen.id), state=seen.state, error=str(error))
            return Outcome(None, "no answer"), "unavailable"
        except Unexpected as error:
            log.error("step with an unexpected answer", order_id=str(seen.id), state=seen.state, error=str(error))
            return Outcome(None, "unexpected answer"), "unexpected"

    async def _measure(self) -> None:
        now = asyncio.get_running_loop().time()
        if now < self._measure_at:
            return
        self._measure_at = now + _MEASURE_SECONDS
        async with self._database.session() as session:
            number, age = await service.unfinished(session=session)
        self._metrics.unfinished.set(number)
        self._metrics.oldest.set(age)
