# SPDX-License-Identifier: GPL-3.0-or-later
"""taskiq with taskiq-redis as they come: the library that ours is built on, on uvloop."""

from __future__ import annotations

import asyncio
import os
import sys

import uvloop
from taskiq.receiver import Receiver
from taskiq_redis import RedisStreamBroker

broker = RedisStreamBroker(os.environ["QUEUE_REDIS"], consumer_id="0")


@broker.task("add")
async def add(number: int) -> int:
    """Add one."""
    return number + 1


async def fill(numbers: range) -> None:
    """Add jobs, many at a time."""
    await broker.startup()
    for first in range(numbers.start, numbers.stop, 100):
        await asyncio.gather(*(add.kiq(number) for number in range(first, min(first + 100, numbers.stop))))
    await broker.shutdown()


async def work() -> None:
    """Work until killed."""
    broker.is_worker_process = True
    await Receiver(broker, max_async_tasks=100, max_prefetch=100).listen(asyncio.Event())


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        if sys.argv[1] == "fill":
            runner.run(fill(range(int(sys.argv[3]), int(sys.argv[4]))))
        else:
            runner.run(work())
