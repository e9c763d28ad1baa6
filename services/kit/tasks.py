# SPDX-License-Identifier: GPL-3.0-or-later
"""Background work that lives as long as the app: started with it, restarted when it fails, ended with it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import structlog

log = structlog.get_logger("kit.tasks")

Job = Callable[[], Awaitable[None]]

_FIRST_SECONDS, _LONGEST_SECONDS = 0.1, 10.0
_CANCEL_SECONDS = 1.0


async def forever(job: Job) -> None:
    """Run `job` again and again: at once after a return, after a growing and jittered pause when it raised.

    A job that ran longer than the longest pause before it failed starts over with the shortest.
    """
    name = getattr(job, "__qualname__", repr(job))
    clock = asyncio.get_running_loop().time
    pause = _FIRST_SECONDS
    while True:
        begun = clock()
        try:
            await job()
        except Exception as error:  # whatever it was, the work must go on
            if clock() - begun > _LONGEST_SECONDS:
                pause = _FIRST_SECONDS
            log.warning("background job failed", job=name, error=type(error).__name__, pause=round(pause, 1))
            log.debug("background job failed", job=name, exc_info=True)
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))
            pause = min(pause * 2, _LONGEST_SECONDS)
        else:
            pause = _FIRST_SECONDS
            await asyncio.sleep(0)


async def end(*tasks: asyncio.Task[None]) -> None:
    """Cancel the tasks and wait until they are gone.

    More than once if need be: until Python 3.12 `asyncio.wait_for`, which the Redis client sends with, swallows a
    cancellation that comes in the moment of its result.
    """
    left = set(tasks)
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=_CANCEL_SECONDS)


@asynccontextmanager
async def running(*jobs: Job) -> AsyncIterator[None]:
    """Run every job `forever` beside the body; at its end cancel them and wait until they are gone."""
    tasks = [asyncio.create_task(forever(job)) for job in jobs]
    try:
        yield
    finally:
        await end(*tasks)
