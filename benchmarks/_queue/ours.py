# SPDX-License-Identifier: GPL-3.0-or-later
"""Ours: the queue without the books (`work`), which does what the rivals do; jobs for the service (`fill_full`)."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Collection, Sequence
from uuid import UUID, uuid4

import psycopg
import uvloop
from taskiq import TaskiqMessage

from jobs.queue.broker import StreamBroker
from jobs.queue.delivery import Delivery, Outcome
from jobs.queue.receiver import BatchReceiver, Claims

PAGE = 500


class NoBooks:
    """A ledger that gives everything to whoever asks and writes nothing down."""

    async def claim(self, deliveries: Sequence[Delivery]) -> Claims:
        """Give all."""
        return Claims(run=list(deliveries))

    async def settle(self, outcomes: Sequence[Outcome]) -> None:
        """Write nothing."""

    async def renew(self, _deliveries: Sequence[Delivery]) -> Collection[Delivery]:
        """Lose none."""
        return ()

    async def hand_back(self, deliveries: Sequence[Delivery]) -> None:
        """Write nothing."""


async def add(number: int) -> int:
    """Add one."""
    return number + 1


def open_broker(queue: str) -> StreamBroker:
    """Return a broker with the trivial job."""
    broker = StreamBroker(os.environ["QUEUE_REDIS"], queue=queue, consumer="ours", visibility_seconds=30)
    broker.register_task(add, "add")
    return broker


async def fill(numbers: range) -> None:
    """Add trivial jobs, many at a time."""
    broker = open_broker("jobs:bench")
    for first in range(numbers.start, numbers.stop, PAGE):
        messages = [
            TaskiqMessage(task_id=uuid4().hex, task_name="add", labels={}, args=[number], kwargs={})
            for number in range(first, min(first + PAGE, numbers.stop))
        ]
        await broker.kick_all([broker.formatter.dumps(message) for message in messages])
    await broker.shutdown()


async def fill_full(name: str, numbers: range) -> None:
    """Add jobs as the API does: the row, then the queue. `count` jobs take a moment and count in their own name."""
    broker = open_broker("jobs:io")
    seconds = 0.02 if name == "count" else 0.0
    with psycopg.connect(os.environ["QUEUE_POSTGRESQL"], autocommit=True) as connection:
        for first in range(numbers.start, numbers.stop, PAGE):
            some = range(first, min(first + PAGE, numbers.stop))
            payloads = [
                json.dumps({"name": str(number) if name == "count" else "all", "seconds": seconds}) for number in some
            ]
            rows = connection.execute(
                "INSERT INTO jobs (id, kind, payload, owner) SELECT gen_random_uuid(), 'tally', given::jsonb, 'bench' "
                "FROM unnest(%s::text[]) AS given RETURNING id",
                [payloads],
            ).fetchall()
            await broker.kick_all([broker.formatter.dumps(_tally(job)) for (job,) in rows])
    await broker.shutdown()


def _tally(job: UUID) -> TaskiqMessage:
    return TaskiqMessage(task_id=str(job), task_name="tally", labels={}, args=[], kwargs={})


async def work() -> None:
    """Work until SIGTERM."""
    told = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, told.set)
    broker = open_broker("jobs:bench")
    await BatchReceiver(broker, NoBooks(), slots=200, batch=200, drain_seconds=1).listen(told)
    await broker.shutdown()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        if sys.argv[1] == "work":
            runner.run(work())
        else:
            numbers = range(int(sys.argv[3]), int(sys.argv[4]))
            runner.run(fill(numbers) if sys.argv[1] == "fill" else fill_full(sys.argv[2], numbers))
