# SPDX-License-Identifier: GPL-3.0-or-later
"""Measuring the queue. PostgreSQL is asked, not Redis: it knows also what Redis has forgotten."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Gauge
from sqlalchemy import func, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from jobs.job.models import Worker
from jobs.status.schemas import StatusPublic, WorkerPublic
from kit.database import Database

WORKER_SECONDS = 15.0
"""A worker that has not been heard of for so long is not shown."""

_OPEN = text(
    "SELECT state, count(*), extract(epoch FROM now() - min(due_at))::float8 FROM jobs WHERE state <> 'done' GROUP BY 1"
)


async def measure(*, session: AsyncSession) -> StatusPublic:
    """Count the open jobs, and list the workers."""
    by_state = {state: (count, age) for state, count, age in await session.execute(_OPEN)}
    alive = Worker.seen_at > func.now() - func.make_interval(0, 0, 0, 0, 0, 0, WORKER_SECONDS)
    workers = await session.scalars(select(Worker).where(alive).order_by(Worker.name).limit(1000))
    depth, age = by_state.get("queued", (0, 0.0))
    return StatusPublic(
        depth=depth,
        oldest_age_seconds=max(age, 0.0),
        running=by_state.get("running", (0,))[0],
        retrying=by_state.get("retrying", (0,))[0],
        dead=by_state.get("dead", (0,))[0],
        workers=[WorkerPublic.model_validate(worker) for worker in workers],
    )


@dataclass(slots=True)
class _Gauges:
    depth: Gauge
    age: Gauge
    states: Gauge
    workers: Gauge


class Watch:
    """Measures every `seconds`, for the metrics and for saying no when the queue is full."""

    def __init__(self, database: Database, registry: CollectorRegistry, *, seconds: float, limit: int) -> None:
        self._database = database
        self._seconds = seconds
        self._limit = limit
        self._depth = 0
        self._gauges = _Gauges(
            Gauge("queue_depth", "Jobs that wait for a worker.", registry=registry),
            Gauge("queue_oldest_age_seconds", "How long the first of them has been waiting.", registry=registry),
            Gauge("queue_jobs", "Jobs that are not done.", ["state"], registry=registry),
            Gauge("queue_workers", "Workers heard of lately.", registry=registry),
        )

    def is_full(self) -> bool:
        """Tell whether more jobs wait than should."""
        return self._depth >= self._limit

    async def run(self) -> None:
        """Measure until cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(self._seconds)

    async def look(self) -> None:
        """Measure once."""
        async with self._database.session() as session:
            status = await measure(session=session)
        self._depth = status.depth
        self._gauges.depth.set(status.depth)
        self._gauges.age.set(status.oldest_age_seconds)
        self._gauges.workers.set(len(status.workers))
        for state in ("running", "retrying", "dead"):
            self._gauges.states.labels(state).set(getattr(status, state))
