# SPDX-License-Identifier: GPL-3.0-or-later
"""A taskiq broker on one Redis stream that forgets no job."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from functools import partial
from typing import Any

import structlog
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ResponseError, WatchError
from taskiq import AckableMessage, AsyncBroker, BrokerMessage
from taskiq.exceptions import TaskiqError
from taskiq_redis import RedisStreamBroker

from jobs.queue.delivery import Delivery

log = structlog.get_logger("jobs.queue")

GROUP = "workers"
BLOCK_SECONDS = 1.0


class StreamBroker(RedisStreamBroker):
    """taskiq-redis' broker with its own way of reading and acknowledging. The library's falls short here:

    - it looks for a dead worker's jobs only after it has read a new one, so on a quiet queue nobody takes them over,
      and under a lock without an end, so a worker that dies there stops all the others;
    - it has no heartbeat: a job longer than the idle time-out runs twice;
    - it never deletes an entry, and the one remedy it offers (`maxlen`) cuts off jobs that nobody has done yet;
    - a Redis that lost its data (NOGROUP) ends the listener;
    - every acknowledgement is a round trip.

    Beside the stream stands a set of the ids in it, so that `missing` can tell what Redis does not know.
    """

    def __init__(self, url: str, *, queue: str, consumer: str, visibility_seconds: float) -> None:
        super().__init__(
            url,
            queue_name=queue,
            consumer_group_name=GROUP,
            consumer_name=consumer,
            socket_timeout=BLOCK_SECONDS + 2,
            socket_connect_timeout=2.0,
            health_check_interval=30,
            retry=Retry(NoBackoff(), 1),
            client_name=consumer,
        )
        self.visibility_ms = int(visibility_seconds * 1000)
        self.on_lost: Callable[[], None] = lambda: None
        """Called when Redis turns out to have lost the queue."""
        self._known = f"{queue}:known"
        self._redis = Redis(connection_pool=self.connection_pool)
        self._cursor: bytes | str = "0-0"

    async def startup(self) -> None:
        """Start without Redis, if need be: the group is made when a read finds none."""
        await AsyncBroker.startup(self)

    async def kick(self, message: BrokerMessage) -> None:
        """Add one job to the queue."""
        await self.kick_all([message])

    async def kick_all(self, messages: Sequence[BrokerMessage]) -> None:
        """Add jobs to the queue, all or none."""
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.sadd(self._known, *(message.task_id for message in messages))
            for message in messages:
                pipe.xadd(self.queue_name, {b"data": message.message})
            await pipe.execute()

    async def fetch(self, count: int) -> list[Delivery]:
        """Wait up to a second for jobs that nobody has yet."""
        try:
            read: Any = await self._redis.xreadgroup(
                GROUP, self.consumer_name, {self.queue_name: ">"}, count=count, block=int(BLOCK_SECONDS * 1000)
            )
        except ResponseError as error:
            await self._restore(error)
            return []
        return await self._deliveries(read[0][1] if read else [])

    async def take_over(self, count: int) -> list[Delivery]:
        """Take jobs whose worker has been silent for the visibility time-out; go on where the last call ended."""
        try:
            self._cursor, entries, *_ = await self._redis.xautoclaim(
                self.queue_name, GROUP, self.consumer_name, self.visibility_ms, start_id=self._cursor, count=count
            )
        except ResponseError as error:
            await self._restore(error)
            return []
        return await self._deliveries(entries)

    async def ack(self, deliveries: Iterable[Delivery]) -> None:
        """Forget jobs that have come to an end."""
        entries = [delivery.entry for delivery in deliveries]
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.xack(self.queue_name, GROUP, *entries)
            pipe.xdel(self.queue_name, *entries)
            pipe.srem(self._known, *(delivery.message.task_id for delivery in deliveries))
            await pipe.execute()

    async def keep(self, deliveries: Sequence[Delivery]) -> None:
        """Show that their worker is alive: the visibility time-out begins anew."""
        entries: list[Any] = [delivery.entry for delivery in deliveries]
        await self._redis.xclaim(self.queue_name, GROUP, self.consumer_name, 0, entries, justid=True)

    async def postpone(self, delivery: Delivery, seconds: float) -> None:
        """Leave a job alone for so long; then anybody may take it over."""
        idle = max(self.visibility_ms - int(seconds * 1000), 0)
        entries: list[Any] = [delivery.entry]
        await self._redis.xclaim(self.queue_name, GROUP, self.consumer_name, 0, entries, idle=idle, justid=True)

    async def hand_back(self, deliveries: Sequence[Delivery]) -> None:
        """Let other workers have these jobs at once."""
        entries = [delivery.entry for delivery in deliveries]
        async with self._redis.pipeline(transaction=True) as pipe:
            for delivery in deliveries:
                pipe.xadd(self.queue_name, {b"data": delivery.data})
            pipe.xack(self.queue_name, GROUP, *entries)
            pipe.xdel(self.queue_name, *entries)
            pipe.sadd(self._known, *(delivery.message.task_id for delivery in deliveries))
            await pipe.execute()

    async def missing(self, ids: Sequence[str]) -> list[str]:
        """Return those of the jobs that the queue does not hold."""
        known = await self._redis.smismember(self._known, list(ids))
        return [job_id for job_id, is_known in zip(ids, known, strict=True) if not is_known]

    async def forget_consumers(self, idle_seconds: float) -> None:
        """Drop workers that left nothing behind and have not been heard of for so long."""
        try:
            async with self._redis.pipeline() as pipe:
                # One that comes back just now changes the stream, and then nothing is dropped.
                await pipe.watch(self.queue_name)
                found = await pipe.xinfo_consumers(self.queue_name, GROUP)
                gone = [each["name"] for each in found if not each["pending"] and each["idle"] > idle_seconds * 1000]
                pipe.multi()
                for name in gone:
                    pipe.xgroup_delconsumer(self.queue_name, GROUP, name)
                await pipe.execute()
        except (ResponseError, WatchError):
            return  # no stream yet, or a busy one: next time

    async def check(self) -> None:
        """Return when Redis answers."""
        await self._redis.ping()

    async def listen(self) -> AsyncGenerator[AckableMessage, None]:
        """Hand out jobs one by one, which is how taskiq's own receiver wants them."""
        while True:
            for delivery in await self.take_over(1) or await self.fetch(1):
                yield AckableMessage(data=delivery.data, ack=partial(self.ack, [delivery]))

    async def _deliveries(self, entries: Sequence[tuple[bytes, dict[bytes, bytes]]]) -> list[Delivery]:
        found = []
        for entry, fields in entries:
            data = fields.get(b"data", b"")
            try:
                found.append(Delivery(entry, data, self.formatter.loads(data)))
            except (ValueError, TaskiqError) as error:
                log.error("not a job", entry=entry.decode(), error=type(error).__name__)
                await self._redis.xack(self.queue_name, GROUP, entry)
                await self._redis.xdel(self.queue_name, entry)
        return found

    async def _restore(self, error: ResponseError) -> None:
        if not str(error).startswith("NOGROUP"):
            raise error
        log.warning("the queue is new", queue=self.queue_name)
        try:
            await self._redis.xgroup_create(self.queue_name, GROUP, id="0", mkstream=True)
            # A set that outlived its stream would keep the jobs in it from coming back.
            if await self._redis.scard(self._known) > await self._redis.xlen(self.queue_name):
                await self._redis.delete(self._known)
        except ResponseError as busy:
            if not str(busy).startswith("BUSYGROUP"):  # somebody else was quicker
                raise
        self.on_lost()
