# SPDX-License-Identifier: GPL-3.0-or-later
"""The stream: delivered until acknowledged, taken over when left alone, and never cut. No clock runs: idle is set."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from taskiq import TaskiqMessage
from taskiq.receiver import Receiver

from jobs.queue.broker import GROUP, StreamBroker

Scene = Callable[[StreamBroker, StreamBroker], Awaitable[None]]
Play = Callable[[Scene], None]


@pytest.fixture
def play(redis: Any) -> Play:
    """Return a way to run a scene with the brokers of two workers on one new queue."""
    url = redis.url()

    def run(scene: Scene) -> None:
        async def on_stage() -> None:
            brokers = [
                StreamBroker(url, queue="jobs:test", consumer=name, visibility_seconds=60) for name in ("ada", "bob")
            ]
            assert await brokers[0].fetch(1) == []  # no group yet: this makes it
            await scene(*brokers)
            for broker in brokers:
                await broker.shutdown()

        asyncio.run(on_stage())

    return run


async def add(broker: StreamBroker, *ids: str) -> None:
    messages = [TaskiqMessage(task_id=job, task_name="work", labels={}, args=[], kwargs={}) for job in ids]
    await broker.kick_all([broker.formatter.dumps(message) for message in messages])


async def raw(broker: StreamBroker, *command: Any) -> Any:
    return await broker._redis.execute_command(*command)


def test_each_job_goes_to_one_worker(play: Play) -> None:
    async def scene(ada: StreamBroker, bob: StreamBroker) -> None:
        await add(ada, "1", "2", "3")
        first, second = await ada.fetch(2), await bob.fetch(2)
        assert [each.message.task_id for each in first + second] == ["1", "2", "3"]
        await ada.ack(first)
        assert await ada.missing(["1", "2", "3", "4"]) == ["1", "2", "4"]
        await bob.ack(second)
        assert await raw(ada, "XLEN", "jobs:test") == 0

    play(scene)


def test_a_job_left_alone_is_taken_over(play: Play) -> None:
    async def scene(ada: StreamBroker, bob: StreamBroker) -> None:
        await add(ada, "1", "2", "3")
        left = await ada.fetch(3)
        assert await bob.take_over(10) == []
        for delivery in left:
            await ada.postpone(delivery, 0)
        # A page at a time, and each call goes on where the last one ended.
        taken = await bob.take_over(2) + await bob.take_over(2)
        assert [each.message.task_id for each in taken] == ["1", "2", "3"]
        assert await ada.take_over(10) == []

    play(scene)


def test_a_heartbeat_keeps_a_job(play: Play) -> None:
    async def scene(ada: StreamBroker, bob: StreamBroker) -> None:
        await add(ada, "1")
        (mine,) = await ada.fetch(1)
        await ada.postpone(mine, 0)
        await ada.keep([mine])
        assert await bob.take_over(10) == []

    play(scene)


def test_postponed_means_so_long(play: Play) -> None:
    async def scene(ada: StreamBroker, _bob: StreamBroker) -> None:
        await add(ada, "1")
        (mine,) = await ada.fetch(1)
        await ada.postpone(mine, 45)
        (pending,) = await ada._redis.xpending_range("jobs:test", GROUP, "-", "+", 10)
        assert 15_000 <= int(pending["time_since_delivered"]) < 45_000  # 60 s less 45 s, and what this test took

    play(scene)


def test_a_job_handed_back_is_there_at_once(play: Play) -> None:
    async def scene(ada: StreamBroker, bob: StreamBroker) -> None:
        await add(ada, "1")
        await ada.hand_back(await ada.fetch(1))
        assert [each.message.task_id for each in await bob.fetch(1)] == ["1"]
        assert await bob.missing(["1"]) == []
        assert await raw(ada, "XLEN", "jobs:test") == 1

    play(scene)


def test_a_redis_that_forgot_everything_is_a_new_queue(play: Play, redis: Any) -> None:
    async def scene(ada: StreamBroker, bob: StreamBroker) -> None:
        lost: list[str] = []
        ada.on_lost = lambda: lost.append("ada")
        await add(ada, "1")
        redis.flush()
        await add(bob, "2")
        assert await ada.fetch(1) == []
        assert lost == ["ada"]
        assert [each.message.task_id for each in await ada.fetch(5)] == ["2"]
        assert await ada.missing(["1", "2"]) == ["1"]

    play(scene)


def test_the_set_does_not_outlive_its_stream(play: Play) -> None:
    async def scene(ada: StreamBroker, _bob: StreamBroker) -> None:
        await add(ada, "1")
        await raw(ada, "DEL", "jobs:test")  # as an eviction does
        assert await ada.fetch(1) == []
        assert await ada.missing(["1"]) == ["1"]

    play(scene)


def test_what_is_no_job_is_dropped(play: Play) -> None:
    async def scene(ada: StreamBroker, _bob: StreamBroker) -> None:
        for data in (b"\xff", b"{", b"[]", b"{}", b'{"task_id": 1}'):
            await raw(ada, "XADD", "jobs:test", "*", "data", data)
        await raw(ada, "XADD", "jobs:test", "*", "other", "field")
        await add(ada, "1")
        assert [each.message.task_id for each in await ada.fetch(10)] == ["1"]
        assert await raw(ada, "XLEN", "jobs:test") == 1

    play(scene)


def test_only_workers_that_left_nothing_are_forgotten(play: Play) -> None:
    async def scene(ada: StreamBroker, bob: StreamBroker) -> None:
        await add(ada, "1")
        await ada.fetch(1)
        await bob.fetch(1)
        await ada.forget_consumers(-1)
        names = [each["name"] for each in await ada._redis.xinfo_consumers("jobs:test", GROUP)]
        assert names == [b"ada"]

    play(scene)


def test_the_librarys_own_receiver_can_read_it_too(play: Play) -> None:
    async def scene(ada: StreamBroker, _bob: StreamBroker) -> None:
        done = asyncio.Event()

        async def work() -> None:
            done.set()

        ada.register_task(work, "work")
        await add(ada, "1")
        finish = asyncio.Event()
        receiver = asyncio.create_task(Receiver(ada, max_async_tasks=1, run_startup=False).listen(finish))
        await done.wait()
        finish.set()
        await receiver
        assert await raw(ada, "XLEN", "jobs:test") == 0

    play(scene)
