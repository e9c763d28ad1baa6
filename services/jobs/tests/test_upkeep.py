# SPDX-License-Identifier: GPL-3.0-or-later
"""Upkeep: whatever Redis does not know comes back, once; retries come due; what is old goes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from jobs.queue.queues import Queues
from jobs.settings import Settings
from jobs.tests.support import Books
from jobs.worker import upkeep as module
from jobs.worker.upkeep import Upkeep
from kit.database import Database

Play = Callable[[Callable[[Upkeep, Queues], Awaitable[None]]], None]


@pytest.fixture
def play(settings: Settings) -> Play:
    """Return a way to run a scene with the upkeep of a worker that does nothing else."""

    def run(scene: Callable[[Upkeep, Queues], Awaitable[None]]) -> None:
        async def on_stage() -> None:
            database, queues = Database(settings), Queues(settings)
            await scene(Upkeep(database, queues, settings), queues)
            await queues.close()
            await database.close()

        asyncio.run(on_stage())

    return run


async def length(queues: Queues) -> int:
    size: int = await queues.lanes["io"]._redis.xlen("jobs:io")
    return size


def test_what_redis_does_not_know_comes_back_once(
    play: Play, books: Books, redis: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_PAGE", 2)  # several pages
    books.load(["a"] * 5)

    async def scene(upkeep: Upkeep, queues: Queues) -> None:
        assert await upkeep.sweep() == 5
        assert await upkeep.sweep() == 0
        redis.flush()
        assert await upkeep.sweep() == 5
        assert await length(queues) == 5

    play(scene)


def test_a_row_just_written_is_left_to_its_writer(play: Play, books: Books) -> None:
    books.load(["a"])
    books.rows("UPDATE jobs SET due_at = now()")

    async def scene(upkeep: Upkeep, _queues: Queues) -> None:
        assert await upkeep.sweep() == 0

    play(scene)


def test_a_job_whose_worker_vanished_comes_back_when_redis_forgot_it(play: Play, books: Books) -> None:
    books.load(["a"] * 2)
    books.rows("UPDATE jobs SET state = 'running'")
    books.rows("UPDATE jobs SET due_at = now() + interval '1 minute' WHERE id = (SELECT id FROM jobs LIMIT 1)")

    async def scene(upkeep: Upkeep, queues: Queues) -> None:
        assert await upkeep.sweep() == 1  # the other one's worker is alive
        assert await length(queues) == 1

    play(scene)


@pytest.mark.parametrize("state", ["done", "dead", "retrying"])
def test_what_is_not_ready_stays_where_it_is(play: Play, books: Books, state: str) -> None:
    books.load(["a"])
    books.rows("UPDATE jobs SET state = %s", state)

    async def scene(upkeep: Upkeep, _queues: Queues) -> None:
        assert await upkeep.sweep() == 0

    play(scene)


def test_retries_are_queued_when_they_are_due(play: Play, books: Books) -> None:
    books.load(["a"] * 3)
    books.rows("UPDATE jobs SET state = 'retrying'")
    books.rows("UPDATE jobs SET due_at = now() + interval '1 minute' WHERE id = (SELECT id FROM jobs LIMIT 1)")

    async def scene(upkeep: Upkeep, queues: Queues) -> None:
        assert sum(await asyncio.gather(upkeep.queue_due(), upkeep.queue_due())) == 2
        assert await length(queues) == 2
        assert await upkeep.queue_due() == 0
        assert books.states() == {"queued": 2, "retrying": 1}

    play(scene)


def test_old_jobs_are_forgotten_and_dead_ones_kept(play: Play, books: Books) -> None:
    books.load(["a"] * 4)
    books.rows("UPDATE jobs SET state = 'done', finished_at = now() - interval '8 days'")
    books.rows("UPDATE jobs SET finished_at = now() WHERE id = (SELECT min(id::text)::uuid FROM jobs)")
    books.rows("UPDATE jobs SET state = 'dead' WHERE id = (SELECT max(id::text)::uuid FROM jobs)")

    async def scene(upkeep: Upkeep, _queues: Queues) -> None:
        await upkeep.clean_up()
        assert books.states() == {"done": 1, "dead": 1}

    play(scene)
