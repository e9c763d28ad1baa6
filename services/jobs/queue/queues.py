# SPDX-License-Identifier: GPL-3.0-or-later
"""All lanes of the queue: `io` for jobs that wait, `cpu` for jobs that compute, so that neither holds up the other."""

from __future__ import annotations

import asyncio
import secrets
import socket
from collections.abc import Iterable
from uuid import UUID

from taskiq import TaskiqMessage

from jobs.kinds import KINDS, LANES
from jobs.queue.broker import StreamBroker
from jobs.settings import Settings

Ready = tuple[UUID, str]
"""A job that is ready to run: id and kind."""


class Queues:
    """A broker for each lane. Connects at first use."""

    def __init__(self, settings: Settings) -> None:
        self.consumer = f"{socket.gethostname()[:60]}-{secrets.token_hex(4)}"
        self.lanes: dict[str, StreamBroker] = {}
        for lane in LANES:
            self.lanes[lane] = StreamBroker(
                settings.redis_url.get_secret_value(),
                queue=f"jobs:{lane}",
                consumer=self.consumer,
                visibility_seconds=settings.visibility_seconds,
            )

    async def enqueue(self, ready: Iterable[Ready]) -> None:
        """Put jobs into their lanes. One that is there already is harmless: a claim is given once."""
        for lane, jobs in self._by_lane(ready).items():
            broker = self.lanes[lane]
            messages = [
                TaskiqMessage(task_id=str(job), task_name=kind, labels={}, args=[], kwargs={}) for job, kind in jobs
            ]
            await broker.kick_all([broker.formatter.dumps(message) for message in messages])

    async def missing(self, ready: Iterable[Ready]) -> list[Ready]:
        """Return those that no lane holds."""
        found: list[Ready] = []
        for lane, jobs in self._by_lane(ready).items():
            lost = set(await self.lanes[lane].missing([str(job) for job, _ in jobs]))
            found += [(job, kind) for job, kind in jobs if str(job) in lost]
        return found

    async def check(self) -> None:
        """Return when Redis answers."""
        await next(iter(self.lanes.values())).check()

    async def close(self) -> None:
        """Close every connection."""
        await asyncio.gather(*(broker.shutdown() for broker in self.lanes.values()))

    @staticmethod
    def _by_lane(ready: Iterable[Ready]) -> dict[str, list[Ready]]:
        lanes: dict[str, list[Ready]] = {}
        for job, name in ready:
            if kind := KINDS.get(name):  # one that this version does not know waits for a worker that does
                lanes.setdefault(kind.lane, []).append((job, name))
        return lanes
