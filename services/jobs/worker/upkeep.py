# SPDX-License-Identifier: GPL-3.0-or-later
"""What keeps the queue whole: retries come due, what Redis lost comes back, what is old goes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from uuid import UUID

import structlog
from sqlalchemy import delete, text
from sqlalchemy.dialects.postgresql import insert

from jobs.job.models import Worker
from jobs.queue.queues import Queues
from jobs.settings import Settings
from kit.database import Database

log = structlog.get_logger("jobs.worker")

_PAGE = 1000
# A row this young may still be on its way to Redis, in the hands of whoever wrote it.
_GRACE_SECONDS = 2.0
_CONSUMER_SECONDS = 3600.0

# Retries wait in PostgreSQL, not in a process, so a crash forgets none.
_DUE = text("""
    UPDATE jobs SET state = 'queued', queued_at = due_at WHERE id IN (
        SELECT id FROM jobs WHERE state = 'retrying' AND due_at <= now() ORDER BY due_at LIMIT :page
        FOR UPDATE SKIP LOCKED
    ) RETURNING id, kind
""")

_READY = text("""
    SELECT due_at, id, kind FROM jobs
    WHERE state = :state AND due_at < now() - make_interval(secs => :grace) AND (due_at, id) > (:due_at, :id)
    ORDER BY due_at, id LIMIT :page
""")

_OLD = text("""
    DELETE FROM jobs WHERE id IN (
        SELECT id FROM jobs WHERE state = 'done' AND finished_at < now() - make_interval(secs => :seconds) LIMIT :page
        FOR UPDATE SKIP LOCKED
    )
""")

# One worker at a time: the others would find the same. The lock goes with the transaction, so nobody has to release it.
_LOCK = text("SELECT pg_try_advisory_xact_lock(2600401)")

_BEGINNING = (datetime(1970, 1, 1, tzinfo=UTC), UUID(int=0))


class Upkeep:
    """Every worker has one; they do not get in each other's way."""

    def __init__(self, database: Database, queues: Queues, settings: Settings) -> None:
        self._database = database
        self._queues = queues
        self._settings = settings
        self._is_lost = asyncio.Event()
        for broker in queues.lanes.values():
            broker.on_lost = self._is_lost.set

    async def run_retries(self) -> None:
        """Queue retries as they come due, until cancelled."""
        while True:
            if await self.queue_due() < _PAGE:
                await asyncio.sleep(self._settings.schedule_seconds)

    async def run_sweeps(self) -> None:
        """Sweep every so often, and at once when Redis turns out to have lost its data, until cancelled."""
        while True:
            await self.sweep()
            await self.clean_up()
            try:
                async with asyncio.timeout(self._settings.sweep_seconds):
                    await self._is_lost.wait()
            except TimeoutError:
                continue
            self._is_lost.clear()

    async def queue_due(self) -> int:
        """Queue the retries that are due; return how many."""
        async with self._database.session.begin() as session:
            due = [(job, kind) for job, kind in await session.execute(_DUE, {"page": _PAGE})]
        # A crash just here is what the sweep is for.
        if due:
            await self._queues.enqueue(due)
        return len(due)

    async def sweep(self) -> int:
        """Tell Redis of every job that is ready and that it does not know; return how many.

        Ready are those that are queued, and those whose worker let the lease run out. Redis knows too little when it
        lost its data, or when a process died between the commit and the queue.
        """
        found = 0
        async with self._database.session.begin() as session:
            if not await session.scalar(_LOCK):
                return 0
            for state in ("queued", "running"):
                last = _BEGINNING
                while True:
                    place = {"due_at": last[0], "id": last[1], "page": _PAGE, "grace": _GRACE_SECONDS}
                    rows = (await session.execute(_READY, {"state": state} | place)).all()
                    missing = await self._queues.missing([(job, kind) for _, job, kind in rows])
                    if missing:
                        await self._queues.enqueue(missing)
                    found += len(missing)
                    if len(rows) < _PAGE:
                        break
                    last = (rows[-1][0], rows[-1][1])
        if found:
            log.warning("queued what Redis did not know", jobs=found)
        return found

    async def clean_up(self) -> None:
        """Delete some of the jobs that were done long ago, and forget workers that are long gone."""
        async with self._database.session.begin() as session:
            await session.execute(_OLD, {"seconds": self._settings.keep_days * 86_400, "page": _PAGE})
        for broker in self._queues.lanes.values():
            await broker.forget_consumers(_CONSUMER_SECONDS)


class Presence:
    """Says every so often that this worker is alive, and what it does."""

    def __init__(
        self, database: Database, *, name: str, version: str, state: Callable[[], tuple[str, int]], seconds: float
    ) -> None:
        self._database = database
        self._name = name
        self._version = version
        self._state = state
        self._seconds = seconds

    async def run(self) -> None:
        """Report until cancelled."""
        while True:
            await self.report()
            await asyncio.sleep(self._seconds)

    async def report(self) -> None:
        """Report once."""
        state, running = self._state()
        values = {"state": state, "running": running, "seen_at": text("now()")}
        new = insert(Worker).values(name=self._name, version=self._version, **values)
        async with self._database.session.begin() as session:
            await session.execute(new.on_conflict_do_update(index_elements=["name"], set_=values))
            await session.execute(text("DELETE FROM workers WHERE seen_at < now() - interval '1 hour'"))

    async def leave(self) -> None:
        """Say that this worker is gone."""
        async with self._database.session.begin() as session:
            await session.execute(delete(Worker).where(Worker.name == self._name))
