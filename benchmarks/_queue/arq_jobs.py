# SPDX-License-Identifier: GPL-3.0-or-later
"""arq: `defaults` as its documentation shows it, `tuned` polling fifty times as often, with more jobs, on uvloop."""

from __future__ import annotations

import asyncio
import os
import sys
from typing import Any

import uvloop
from arq import Worker, create_pool
from arq.connections import RedisSettings

REDIS = RedisSettings.from_dsn(os.environ["QUEUE_REDIS"])
WAYS: dict[str, dict[str, Any]] = {
    "defaults": {},
    "tuned": {"max_jobs": 100, "poll_delay": 0.01, "keep_result": 0},
    # A job whose worker died is free again after its time-out and ten seconds.
    "killed": {"max_jobs": 10, "poll_delay": 0.01, "job_timeout": 5, "max_tries": 1000},
}


async def add(_context: dict[str, Any], number: int) -> int:
    """Add one."""
    return number + 1


async def count(context: dict[str, Any], job: int) -> None:
    """Raise the job's counter."""
    await asyncio.sleep(0.01)
    await context["redis"].hincrby("effects", str(job), 1)
    await asyncio.sleep(0.01)


async def fill(name: str, numbers: range) -> None:
    """Add jobs, many at a time."""
    pool = await create_pool(REDIS)
    for first in range(numbers.start, numbers.stop, 500):
        some = range(first, min(first + 500, numbers.stop))
        await asyncio.gather(*(pool.enqueue_job(name, number) for number in some))
    await pool.aclose()


def work(way: str) -> None:
    """Work until killed."""
    if way != "defaults":
        asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
    Worker(functions=[add, count], redis_settings=REDIS, handle_signals=False, **WAYS[way]).run()


if __name__ == "__main__":
    if sys.argv[1] == "fill":
        asyncio.run(fill(sys.argv[2], range(int(sys.argv[3]), int(sys.argv[4]))))
    else:
        work(sys.argv[2])
