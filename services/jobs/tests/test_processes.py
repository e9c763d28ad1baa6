# SPDX-License-Identifier: GPL-3.0-or-later
"""Processes that compute come when they are needed, and go when they are not."""

from __future__ import annotations

import asyncio
import multiprocessing

from jobs.tests.support import until
from jobs.worker.processes import Processes


def test_a_process_that_nobody_needs_ends_and_the_next_job_gets_another() -> None:
    async def compute_twice() -> None:
        processes = Processes(1, seconds=5, idle_seconds=0)
        for number in (-1, -2):
            assert await processes.run(abs, number) == -number
            await asyncio.to_thread(until, lambda: not multiprocessing.active_children())

    asyncio.run(compute_twice())
    assert multiprocessing.active_children() == []


def test_a_process_stays_while_another_job_needs_it() -> None:
    async def compute_side_by_side() -> list[int]:
        processes = Processes(2, seconds=20, idle_seconds=0)
        try:
            long = asyncio.create_task(processes.run(sum, range(30_000_000)))
            short = await processes.run(abs, -1)
            return [short, await long]
        finally:
            processes.kill()

    assert asyncio.run(compute_side_by_side()) == [1, sum(range(30_000_000))]
