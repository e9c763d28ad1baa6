# SPDX-License-Identifier: GPL-3.0-or-later
"""The worker as an app: its routes are those of every service, the jobs are its background."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

from fastapi import FastAPI

import jobs.worker
from jobs.kinds import KINDS, Kind
from jobs.queue.queues import Queues
from jobs.queue.receiver import AWAY, BatchReceiver
from jobs.settings import Settings
from jobs.status.service import Watch
from jobs.worker.ledger import PostgresLedger
from jobs.worker.metrics import WorkerMetrics
from jobs.worker.processes import Processes
from jobs.worker.upkeep import Presence, Upkeep
from kit import create_app
from kit.app import Kit
from kit.database import Database

_PRESENCE_SECONDS = 5.0


def create(given: Settings) -> FastAPI:
    """Build the app; nothing is connected before its lifespan starts.

    It has both ports as every service has, so `kit.serve` runs it, and SIGTERM, probes, metrics and drain are as
    everywhere. Drained means here that it takes no new jobs; `in_flight` counts jobs too.
    """
    # Nobody sends a worker requests, so nobody has to hear that it stops: it stops taking jobs at once.
    settings = given.model_copy(update={"linger_seconds": 0})
    database, queues = Database(settings), Queues(settings)
    upkeep = Upkeep(database, queues, settings)
    processes = Processes(settings.cpu_workers, seconds=settings.job_seconds)
    for kind in KINDS.values():
        queues.lanes[kind.lane].register_task(_task(kind, processes), kind.name)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        told = asyncio.Event()
        receivers = [asyncio.create_task(receiver.listen(told)) for receiver in receive()]
        yield
        told.set()
        with suppress(*AWAY):
            await presence.report()
        await asyncio.gather(*receivers)
        processes.kill()
        with suppress(*AWAY):
            await presence.leave()
        await queues.close()

    app = create_app(
        settings,
        description=jobs.worker.__doc__ or "",
        database=database,
        checks={"redis": queues.check},
        lifespan=lifespan,
        background=[upkeep.run_retries, upkeep.run_sweeps, lambda: presence.run(), lambda: watch.run()],
    )
    kit: Kit = app.state.kit
    lifecycle, registry = kit.lifecycle, kit.metrics.registry
    watch = Watch(database, registry, seconds=settings.status_seconds, limit=settings.queue_limit)
    ledger = PostgresLedger(database, settings, WorkerMetrics(registry), worker=queues.consumer)
    in_hand = 0

    def count_running(difference: int) -> None:
        nonlocal in_hand
        in_hand += difference
        lifecycle.in_flight += difference

    def state() -> tuple[str, int]:
        return "stopping" if lifecycle.stopping else "drained" if lifecycle.drained else "working", in_hand

    presence = Presence(
        database, name=queues.consumer, version=settings.version, state=state, seconds=_PRESENCE_SECONDS
    )

    def receive() -> list[BatchReceiver]:
        slots = {"io": settings.concurrency, "cpu": settings.cpu_workers}
        return [
            BatchReceiver(
                broker,
                ledger,
                slots=slots[lane],
                batch=settings.batch,
                drain_seconds=settings.drain_seconds,
                is_paused=lambda: lifecycle.drained or lifecycle.stopping,
                count_running=count_running,
            )
            for lane, broker in queues.lanes.items()
        ]

    return app


def _task(kind: Kind, processes: Processes) -> Callable[[Any], Awaitable[Any]]:
    # taskiq renames what it is given; the kind's own function keeps its name, by which a process finds it.
    async def run(payload: Any) -> Any:
        return await (kind.run(payload) if kind.lane == "io" else processes.run(kind.run, payload))

    return run
