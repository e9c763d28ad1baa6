# SPDX-License-Identifier: GPL-3.0-or-later
"""Handle the stream's events, each at least once: again after a pause when it fails, put aside when it always does."""

from __future__ import annotations

import asyncio
import random
import re
import socket
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from pydantic import ValidationError
from redis.exceptions import ResponseError

from kit import database, redis, telemetry
from kit.clients import DependencyFailed
from kit.events.event import DEAD, FIELD, STREAM, Event
from kit.metrics import Metrics
from kit.redis import Redis
from kit.tasks import end, forever
from kit.trace import Trace, resume, tracing

log = structlog.get_logger("kit.events")

_UNAVAILABLE: tuple[type[Exception], ...] = (*database.UNAVAILABLE, *redis.UNAVAILABLE, DependencyFailed)
_DEAD_LENGTH = 10_000
_ONLY = b"group"  # field of an entry that was put back for one group
_MEASURE_SECONDS = 5.0
_FORGET_CONSUMER_MS = 3_600_000
_GRACE_SECONDS = 5.0
# Each half is 64 bits wide: 19 digits always fit, and no clock gets beyond them.
_ENTRY_ID = re.compile(r"[0-9]{1,19}-[0-9]{1,19}")


@dataclass(frozen=True, slots=True)
class _Delivery:
    """An entry handed to us for the `number`th time."""

    entry_id: bytes
    fields: dict[bytes, bytes]
    number: int


@dataclass(frozen=True, slots=True)
class DeadEvent:
    """An event put aside: where it lies, what it was (None: unreadable), the last error's name, attempts made."""

    entry_id: str
    event: Event | None
    error: str
    attempts: int


class Consumer:
    """Reads as one of `group`; each group gets every event, each event goes to one of the group.

    `handle` must bear to see an event again (`event.id` tells) and has `visibility` seconds, less a fifth; an event
    whose consumer is gone is taken over after `visibility`. One that fails is tried again after a pause that grows from
    `pause_seconds`, `attempts` times in all, then put aside as dead. A dependency that is away is nobody's fault: then
    it is tried for as long as it takes. Events of one subject are handled in order, those of others beside them.
    """

    def __init__(
        self,
        redis: Redis,
        metrics: Metrics,
        *,
        group: str,
        handle: Callable[[Event], Awaitable[None]],
        types: frozenset[str] | None = None,
        attempts: int = 8,
        visibility: float = 30.0,
        batch: int = 10,
        pause_seconds: float = 0.5,
        poll_seconds: float = 1.0,
    ) -> None:
        self._client: Any = redis.client  # its types mix what both protocols answer
        self._group = group
        self._name = f"{socket.gethostname()}-{uuid4().hex[:8]}"
        self._dead_stream = DEAD.format(group=group)
        self._handle = handle
        self._types = types
        self._attempts = attempts
        self._visibility = visibility
        self._batch = batch
        self._pause = pause_seconds
        self._poll_ms = int(poll_seconds * 1000)  # less than the client's time-out
        self._cursor: bytes | str = "0-0"
        self._measure_due = float("-inf")
        self._meters = metrics.once("events.consumer", _Meters)

    async def run(self) -> None:
        """Consume until cancelled, whatever goes away and comes back."""
        await forever(self._run)

    async def _run(self) -> None:
        await self._join()
        while True:
            try:
                await self._measure()
                entries = await self._read()
            except ResponseError as error:
                if not str(error).startswith("NOGROUP"):
                    raise
                log.warning("Redis has lost its data, joining anew", group=self._group)
                await self._join()
                continue
            if entries:
                await _finish(asyncio.create_task(self._handle_batch(entries)))

    async def _join(self) -> None:
        try:
            await self._client.xgroup_create(STREAM, self._group, id="0", mkstream=True)
        except ResponseError as error:
            if not str(error).startswith("BUSYGROUP"):
                raise
        # Every restart is a new consumer: forget those that are long gone and owe nothing.
        for consumer in await self._client.xinfo_consumers(STREAM, self._group):
            if consumer["pending"] == 0 and consumer["idle"] > _FORGET_CONSUMER_MS:
                await self._client.xgroup_delconsumer(STREAM, self._group, consumer["name"])

    async def _read(self) -> list[_Delivery]:
        """Return entries whose time has come again, and new ones, up to a batch together."""
        idle = int(self._visibility * 1000)
        cursor, again, _ = await self._client.xautoclaim(
            STREAM, self._group, self._name, idle, start_id=self._cursor, count=self._batch
        )
        self._cursor = cursor
        deliveries = []
        if again:
            mine = await self._client.xpending_range(
                STREAM, self._group, min=again[0][0], max=again[-1][0], count=10_000, consumername=self._name
            )
            counts = {found["message_id"]: int(found["times_delivered"]) for found in mine}
            deliveries = [_Delivery(entry_id, fields, counts.get(entry_id, 1)) for entry_id, fields in again]
        if wanted := self._batch - len(deliveries):
            block = None if deliveries else self._poll_ms
            answer = await self._client.xreadgroup(self._group, self._name, {STREAM: ">"}, count=wanted, block=block)
            deliveries += [_Delivery(entry_id, fields, 1) for _, new in answer for entry_id, fields in new]
        return deliveries

    async def _handle_batch(self, deliveries: Sequence[_Delivery]) -> None:
        deadline = asyncio.get_running_loop().time() + self._visibility * 0.8
        chains: defaultdict[str, list[tuple[_Delivery, Event]]] = defaultdict(list)
        for delivery in deliveries:
            if delivery.fields.get(_ONLY, self._group.encode()) != self._group.encode():
                await self._done(delivery, "ignored")
                continue
            try:
                event = Event.model_validate_json(delivery.fields.get(FIELD.encode(), b""))
            except ValidationError:
                await self._put_aside(delivery, "unreadable")
                continue
            if self._types is not None and event.type not in self._types:
                await self._done(delivery, "ignored")
            elif delivery.number > self._attempts:
                with tracing(resume(event.trace)):  # whoever tried it before did not live to say so
                    await self._put_aside(delivery, "never finished")
            else:
                chains[event.subject].append((delivery, event))
        found = await asyncio.gather(*(self._handle_chain(chain, deadline) for chain in chains.values()))
        for error in filter(None, found):
            raise error  # a dependency is away: rest before the next batch

    async def _handle_chain(self, chain: Sequence[tuple[_Delivery, Event]], deadline: float) -> Exception | None:
        for delivery, event in chain:
            if asyncio.get_running_loop().time() >= deadline:
                break
            with tracing(resume(event.trace)) as trace:
                error = await self._handle_one(delivery, event, deadline, trace)
            if error:
                return error
        return None

    async def _handle_one(self, delivery: _Delivery, event: Event, deadline: float, trace: Trace) -> Exception | None:
        begun = time.perf_counter()
        failed = True
        try:
            async with asyncio.timeout_at(deadline):
                await self._handle(event)
        except _UNAVAILABLE as error:
            self._meters.consumed.labels(self._group, "unavailable").inc()
            await self._again(delivery, pause=0, attempts=delivery.number - 1)
            return error
        except Exception as error:  # whatever it was, the next event must not wait for it
            log.exception("event failed", group=self._group, type=event.type, id=str(event.id), attempt=delivery.number)
            if delivery.number >= self._attempts:
                await self._put_aside(delivery, type(error).__name__)
            else:
                self._meters.consumed.labels(self._group, "failed").inc()
                pause = min(self._pause * 2 ** (delivery.number - 1), self._visibility)
                await self._again(delivery, pause=pause * random.uniform(0.5, 1), attempts=delivery.number)
        else:
            failed = False
            await self._done(delivery, "ok")
            log.info("event handled", group=self._group, type=event.type, id=str(event.id), attempt=delivery.number)
        finally:
            self._meters.seconds.labels(self._group).observe(time.perf_counter() - begun)
            attributes = {"messaging.destination.name": STREAM, "messaging.consumer.group.name": self._group}
            telemetry.record("CONSUMER", event.type, trace, begun=begun, failed=failed, attributes=attributes)
        return None

    async def _done(self, delivery: _Delivery, outcome: str) -> None:
        await self._client.xack(STREAM, self._group, delivery.entry_id)
        self._meters.consumed.labels(self._group, outcome).inc()

    async def _again(self, delivery: _Delivery, *, pause: float, attempts: int) -> None:
        # An entry can be claimed once it has been idle for the visibility time-out: say that it has been for a while.
        idle = int((self._visibility - pause) * 1000)
        await self._client.xclaim(
            STREAM, self._group, self._name, 0, [delivery.entry_id], idle=idle, retrycount=attempts, justid=True
        )

    async def _put_aside(self, delivery: _Delivery, error: str) -> None:
        log.error("event put aside", group=self._group, entry=delivery.entry_id.decode(), error=error)
        fields = {FIELD: delivery.fields.get(FIELD.encode(), b""), "error": error, "attempts": delivery.number}
        async with self._client.pipeline(transaction=True) as pipeline:
            pipeline.xadd(self._dead_stream, fields, maxlen=_DEAD_LENGTH, approximate=True)
            pipeline.xack(STREAM, self._group, delivery.entry_id)
            await pipeline.execute()
        self._meters.consumed.labels(self._group, "dead").inc()

    async def dead(self, limit: int = 100) -> list[DeadEvent]:
        """Return events that were put aside, the newest first."""
        return [_dead(*entry) for entry in await self._client.xrevrange(self._dead_stream, count=limit)]

    async def requeue(self, entry_id: str) -> bool:
        """Give an event that was put aside to this group again; False when there is none of that id."""
        if not _ENTRY_ID.fullmatch(entry_id):
            return False
        found = await self._client.xrange(self._dead_stream, entry_id, entry_id)
        if not found:
            return False
        async with self._client.pipeline(transaction=True) as pipeline:
            pipeline.xadd(STREAM, {FIELD: found[0][1][FIELD.encode()], _ONLY: self._group})
            pipeline.xdel(self._dead_stream, entry_id)
            await pipeline.execute()
        return True

    async def _measure(self) -> None:
        now = asyncio.get_running_loop().time()
        if now < self._measure_due:
            return
        self._measure_due = now + _MEASURE_SECONDS
        for group in await self._client.xinfo_groups(STREAM):
            if group["name"] == self._group.encode():
                self._meters.lag.labels(self._group).set((group["lag"] or 0) + group["pending"])
        self._meters.dead.labels(self._group).set(await self._client.xlen(self._dead_stream))


class _Meters:
    def __init__(self, registry: CollectorRegistry) -> None:
        self.consumed = Counter("events_consumed", "Events by outcome.", ["group", "outcome"], registry=registry)
        self.seconds = Histogram("events_handle_seconds", "Time to handle an event.", ["group"], registry=registry)
        self.lag = Gauge("events_lag", "Events not handled yet.", ["group"], registry=registry)
        self.dead = Gauge("events_dead", "Events put aside.", ["group"], registry=registry)


async def _finish(task: asyncio.Task[None]) -> None:
    """Wait for the task; when told to stop, let it come to its end within the grace time."""
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task], timeout=_GRACE_SECONDS)
        await end(task)
        raise


def _dead(entry_id: bytes, fields: dict[bytes, bytes]) -> DeadEvent:
    try:
        event = Event.model_validate_json(fields[FIELD.encode()])
    except ValidationError:
        event = None
    return DeadEvent(entry_id.decode(), event, fields[b"error"].decode(), int(fields[b"attempts"]))
