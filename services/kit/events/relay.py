# SPDX-License-Identifier: GPL-3.0-or-later
"""From the outbox to the stream: at least once, in the order they were written, also after Redis has lost its data."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta

import structlog
from prometheus_client import Counter, Gauge
from sqlalchemy import Text, cast, delete, event, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from kit.database import Database
from kit.events.event import FIELD, MARK, STREAM, Event
from kit.events.outbox import PUBLISHED, OutboxEvent
from kit.metrics import Metrics
from kit.redis import Redis
from kit.tasks import forever

log = structlog.get_logger("kit.events")

_LOCK = 0x0F5F0E17
_BATCH = 100
_STREAM_LENGTH = 100_000
_HOUSEKEEPING_SECONDS = 5.0


class Relay:
    """Moves events of one service. Every replica may run one; the database lets one of them work at a time.

    A crash between Redis and the commit sends a batch twice, which consumers bear. Sent events stay for `keep`; in
    Redis the number of the last batch stays beside them (the mark): when Redis comes back with an older mark, or with
    none, what it has forgotten is sent again.
    """

    def __init__(
        self,
        database: Database,
        redis: Redis,
        metrics: Metrics,
        *,
        source: str,
        poll_seconds: float = 1.0,
        keep: timedelta = timedelta(hours=1),
    ) -> None:
        self._database = database
        self._redis = redis
        self._source = source
        self._poll = poll_seconds
        self._keep = keep
        self._mark = -1
        self._mark_key = MARK.format(source=source)
        self._housekeeping_due = float("-inf")
        self._nudged = asyncio.Event()
        self._relayed = Counter("events_relayed", "Events put on the stream.", ["type"], registry=metrics.registry)
        self._pending = Gauge("events_outbox_pending", "Events not yet on the stream.", registry=metrics.registry)
        self._age = Gauge(
            "events_outbox_age_seconds", "Age of the oldest event not yet on the stream.", registry=metrics.registry
        )
        event.listen(database.session_class, "after_commit", self._on_commit)

    def nudge(self) -> None:
        """Look now instead of at the next poll. A commit with an event in it does this by itself."""
        self._nudged.set()

    async def run(self) -> None:
        """Relay until cancelled, whatever goes away and comes back."""
        await forever(self._run)

    async def _run(self) -> None:
        while True:
            self._nudged.clear()
            await self._housekeep()
            if await self.move():
                continue
            with suppress(TimeoutError):
                async with asyncio.timeout(self._poll):
                    await self._nudged.wait()

    async def move(self) -> bool:
        """Move one batch; tells whether there may be more to do at once."""
        async with self._database.session.begin() as session:
            if not await session.scalar(select(func.pg_try_advisory_xact_lock(_LOCK))):
                return False  # another replica is at work
            if await self._notice_loss(session):
                return True  # committed before anything is sent, for sending moves the mark
            waiting = select(OutboxEvent).where(OutboxEvent.batch.is_(None)).order_by(OutboxEvent.sequence)
            found = list(await session.scalars(waiting.limit(_BATCH)))
            if not found:
                return False
            # Numbers of transactions rise in the order of the lock.
            batch = int((await session.scalars(select(cast(func.pg_current_xact_id(), Text)))).one())
            await self._send(found, batch)
            sequences = [row.sequence for row in found]
            await session.execute(update(OutboxEvent).where(OutboxEvent.sequence.in_(sequences)).values(batch=batch))
        self._mark = batch
        for row in found:
            self._relayed.labels(row.type).inc()
        return len(found) == _BATCH

    async def _notice_loss(self, session: AsyncSession) -> bool:
        """Put back what Redis has forgotten; tells whether there was anything."""
        mark = int(await self._redis.client.get(self._mark_key) or 0)
        if mark == self._mark:
            return False
        lost = await session.execute(
            update(OutboxEvent).where(OutboxEvent.batch > mark).values(batch=None).returning(OutboxEvent.sequence)
        )
        self._mark = mark
        if number := len(lost.all()):
            log.warning("Redis has lost events, sending them again", events=number)
        return number > 0

    async def _send(self, rows: Sequence[OutboxEvent], batch: int) -> None:
        pipeline = self._redis.client.pipeline(transaction=True)
        for row in rows:
            content = Event(
                id=row.id,
                type=row.type,
                source=self._source,
                subject=row.subject,
                time=row.time,
                trace=row.trace,
                data=row.data,
            ).model_dump_json()
            pipeline.xadd(STREAM, {FIELD: content}, maxlen=_STREAM_LENGTH, approximate=True)
        pipeline.set(self._mark_key, batch)
        await pipeline.execute()

    async def _housekeep(self) -> None:
        """Count what waits, and drop what was sent long ago; every few seconds."""
        now = asyncio.get_running_loop().time()
        if now < self._housekeeping_due:
            return
        self._housekeeping_due = now + _HOUSEKEEPING_SECONDS
        async with self._database.session.begin() as session:
            waiting = OutboxEvent.batch.is_(None)
            oldest = func.extract("epoch", func.now() - func.min(OutboxEvent.time))
            number, age = (await session.execute(select(func.count(), oldest).where(waiting))).one()
            self._pending.set(number)
            self._age.set(age or 0)
            await session.execute(delete(OutboxEvent).where(~waiting, OutboxEvent.time < func.now() - self._keep))

    def _on_commit(self, session: Session) -> None:
        if session.info.get(PUBLISHED):
            self.nudge()
