# SPDX-License-Identifier: GPL-3.0-or-later
"""Events on a real PostgreSQL and a real Redis: nothing lost, whatever is killed, stopped or emptied."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import pytest
from pydantic import SecretStr

from kit.clients import DependencyFailed
from kit.database import Database, DatabaseSettings
from kit.events import STREAM, Consumer, Event, Relay, publish
from kit.metrics import Metrics
from kit.migrations import migrate
from kit.redis import Redis, RedisSettings
from kit.tasks import running
from kit.testing import schema_differences
from kit.trace import Trace, current_trace

SERVICES = Path(__file__).parents[2]


class TinySettings(DatabaseSettings, RedisSettings):
    """Both."""

    service: str = "tiny"


class Shop:
    """One service's database and Redis, with what publishes and what consumes."""

    def __init__(self, settings: TinySettings) -> None:
        self.settings = settings
        self.database = Database(settings)
        self.redis = Redis(settings)
        self.metrics = Metrics(settings)
        self.relay = self.make_relay()
        self.handled: list[Event] = []

    def make_relay(self, **options: Any) -> Relay:
        metrics = Metrics(self.settings)  # a replica of its own
        return Relay(self.database, self.redis, metrics, source="tiny", **{"poll_seconds": 0.05, **options})

    def consumer(self, handle: Callable[[Event], Awaitable[None]] | None = None, **options: Any) -> Consumer:
        async def note(event: Event) -> None:
            if handle:
                await handle(event)
            self.handled.append(event)

        defaults = {"group": "readers", "pause_seconds": 0.01, "poll_seconds": 0.05}
        return Consumer(self.redis, self.metrics, handle=note, **{**defaults, **options})

    async def publish(self, number: int = 1, *, subject: str = "") -> list[UUID]:
        async with self.database.session.begin() as session:
            return [
                publish(session, type="order.paid", subject=subject or f"order-{index}", data={"n": index})
                for index in range(number)
            ]

    async def until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            await asyncio.sleep(0.01)

    async def until_handled(self, ids: list[UUID]) -> None:
        await self.until(lambda: {event.id for event in self.handled} >= set(ids))

    async def relayed(self) -> list[UUID]:
        client: Any = self.redis.client
        return [Event.model_validate_json(fields[b"event"]).id for _, fields in await client.xrange(STREAM)]

    def value(self, name: str, **labels: str) -> float | None:
        return self.metrics.registry.get_sample_value(name, labels)

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        try:
            yield
        finally:
            await self.redis.close()
            await self.database.close()


@pytest.fixture(scope="session")
def database_url(postgresql: Any) -> str:
    url: str = postgresql.create()
    migrate(url, "kit.tests.tiny")
    return url


@pytest.fixture
def settings(database_url: str, redis: Any) -> TinySettings:
    with psycopg.connect(database_url) as connection:
        connection.execute("TRUNCATE outbox")
    redis.flush()
    return TinySettings(database_url=SecretStr(database_url), redis_url=SecretStr(redis.url()))


def run(settings: TinySettings, test: Callable[[Shop], Coroutine[Any, Any, None]]) -> None:
    async def go() -> None:
        shop = Shop(settings)
        async with asyncio.timeout(60), shop.open():
            await test(shop)

    asyncio.run(go())


def test_the_outbox_is_what_its_model_says(database_url: str, postgresql: Any) -> None:
    assert schema_differences(database_url, "kit") == []
    url = postgresql.create()
    migrate(url, "kit.tests.tiny")
    migrate(url, "kit.tests.tiny", to="base", down=True)
    migrate(url, "kit.tests.tiny")


def test_an_event_tells_what_happened_and_only_if_it_happened(settings: TinySettings) -> None:
    async def test(shop: Shop) -> None:
        trace = Trace.of(b"request-7", b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
        seen: list[tuple[str, str]] = []

        async def handle(_event: Event) -> None:
            within = current_trace.get()
            assert within
            seen.append((within.request_id, within.trace_id))

        async with running(shop.relay.run, shop.consumer(handle).run):
            with pytest.raises(RuntimeError):
                async with shop.database.session.begin() as session:
                    publish(session, type="order.paid", subject="never", data={})
                    raise RuntimeError
            current_trace.set(trace)
            (event_id,) = await shop.publish()
            await shop.until_handled([event_id])
        (event,) = shop.handled
        assert (event.id, event.type, event.source, event.subject) == (event_id, "order.paid", "tiny", "order-0")
        assert (event.data, event.trace, event.time.utcoffset()) == ({"n": 0}, trace.stored, timedelta(0))
        assert seen == [("request-7", trace.trace_id)]

    run(settings, test)


def test_a_commit_does_not_wait_for_the_next_poll(settings: TinySettings) -> None:
    async def test(shop: Shop) -> None:
        async with running(shop.make_relay(poll_seconds=3600).run, shop.consumer().run):
            for _ in range(3):
                await shop.until_handled(await shop.publish())

    run(settings, test)


def test_a_crash_after_sending_sends_again(settings: TinySettings, monkeypatch: pytest.MonkeyPatch) -> None:
    async def test(shop: Shop) -> None:
        ids = await shop.publish(3)
        send = shop.relay._send

        async def send_and_die(*args: Any) -> None:
            await send(*args)
            raise ConnectionResetError("power cut before the commit")

        monkeypatch.setattr(shop.relay, "_send", send_and_die)
        with pytest.raises(ConnectionResetError):
            await shop.relay.move()
        async with running(shop.make_relay().run, shop.consumer().run):
            await shop.until(lambda: len(shop.handled) == 6)
        assert [event.id for event in shop.handled].count(ids[0]) == 2

    run(settings, test)


def test_replicas_relay_in_order_and_once(settings: TinySettings) -> None:
    async def test(shop: Shop) -> None:
        published: list[UUID] = []
        async with running(*(shop.make_relay().run for _ in range(3))):
            for _ in range(20):
                published += await shop.publish(25)
            while await shop.redis.client.xlen(STREAM) < 500:
                await asyncio.sleep(0.01)
        assert await shop.relayed() == published

    run(settings, test)


def test_while_redis_is_away_events_wait(settings: TinySettings, redis: Any) -> None:
    async def test(shop: Shop) -> None:
        async with running(shop.relay.run, shop.consumer().run):
            ids = await shop.publish(3)
            await shop.until_handled(ids)
            redis.stop()
            ids += await shop.publish(150)
            redis.start()
            ids += await shop.publish(3)
            await shop.until_handled(ids)

    run(settings, test)


def test_what_redis_forgets_is_sent_again(settings: TinySettings, redis: Any) -> None:
    async def test(shop: Shop) -> None:
        ids = await shop.publish(250)
        while await shop.relay.move():
            pass
        assert await shop.redis.client.xlen(STREAM) == 250
        redis.flush()  # relayed, and nobody had read them
        async with running(shop.relay.run, shop.consumer().run):
            await shop.until_handled(ids)
            redis.flush()  # the consumer's group is gone too
            ids += await shop.publish(3)
            await shop.until_handled(ids)

    run(settings, test)


def test_an_old_backup_of_redis_is_completed(settings: TinySettings) -> None:
    async def test(shop: Shop) -> None:
        await shop.publish(3)
        await shop.relay.move()
        client: Any = shop.redis.client
        saved = {key: await client.dump(key) for key in await client.keys()}
        later = await shop.publish(2)
        await shop.relay.move()
        await client.flushdb()
        for key, value in saved.items():
            await client.restore(key, 0, value)
        while await shop.relay.move():
            pass
        assert (await shop.relayed())[3:] == later

    run(settings, test)


def test_sent_events_are_dropped_after_a_while(settings: TinySettings, database_url: str) -> None:
    async def test(shop: Shop) -> None:
        ids = await shop.publish(3)
        relay = shop.make_relay(keep=timedelta(0))
        await relay.move()
        await shop.publish(2)
        await relay._housekeep()
        with psycopg.connect(database_url) as connection:
            assert connection.execute("SELECT count(*) FROM outbox").fetchone() == (2,)
        assert relay._pending._value.get() == 2
        assert len(ids) == 3

    run(settings, test)


def test_what_a_killed_process_had_in_hand_is_taken_over(settings: TinySettings) -> None:
    async def test(shop: Shop) -> None:
        ids = await shop.publish(2)
        await shop.relay.move()
        script = str(Path(__file__).parent / "tiny" / "consume.py")
        process = subprocess.Popen(
            [sys.executable, script, "readers"],
            env={
                "PYTHONPATH": str(SERVICES),
                "OPSFORGE_SERVICE": "tiny",
                "OPSFORGE_REDIS_URL": settings.redis_url.get_secret_value(),
            },
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout
        assert {UUID(process.stdout.readline().strip()) for _ in ids} == set(ids)
        process.kill()
        process.wait()
        async with running(shop.consumer(visibility=0.3).run):
            await shop.until_handled(ids)
        assert len(shop.handled) == 2

    run(settings, test)


def test_an_event_that_kills_whoever_takes_it_is_put_aside(settings: TinySettings) -> None:
    async def test(shop: Shop) -> None:
        consumer = shop.consumer(visibility=0.01, attempts=3)
        await consumer._join()
        await shop.publish()
        await shop.relay.move()
        for _ in range(4):  # taken, and nothing heard again
            assert len(await consumer._read()) == 1
            await asyncio.sleep(0.02)
        async with running(consumer.run):
            while not await consumer.dead():
                await asyncio.sleep(0.01)
        assert (await consumer.dead())[0].error == "never finished"
        assert not shop.handled

    run(settings, test)


def test_what_keeps_failing_is_put_aside_and_can_be_had_again(settings: TinySettings) -> None:
    async def test(shop: Shop) -> None:
        broken = True
        tries = 0

        async def handle(_event: Event) -> None:
            nonlocal tries
            tries += 1
            if broken:
                raise ValueError("secret")

        consumer = shop.consumer(handle, attempts=3)
        other = shop.consumer(group="others")
        async with running(shop.relay.run, consumer.run):
            (event_id,) = await shop.publish()
            await shop.until(lambda: shop.value("events_consumed_total", group="readers", outcome="dead") == 1)
            dead = await consumer.dead()
            assert tries == 3
            assert (dead[0].event and dead[0].event.id, dead[0].error, dead[0].attempts) == (event_id, "ValueError", 3)
            assert shop.value("events_consumed_total", group="readers", outcome="failed") == 2
            broken = False
            assert await consumer.requeue(dead[0].entry_id)
            assert not await consumer.requeue(dead[0].entry_id)
            await shop.until_handled([event_id])
        assert await consumer.dead() == []
        # Put back for one group: the others get it the once that they had it anyway.
        async with running(other.run):
            await shop.until(lambda: shop.value("events_consumed_total", group="others", outcome="ignored") == 1)
        assert len(shop.handled) == 2

    run(settings, test)


@pytest.mark.parametrize("entry_id", ["", "x", "1", "1-", "-", "+", "1-1; FLUSHALL", "0-0", "9" * 20 + "-1", "1-1\n"])
def test_requeue_knows_an_id_from_anything_else(settings: TinySettings, entry_id: str) -> None:
    async def test(shop: Shop) -> None:
        assert not await shop.consumer().requeue(entry_id)

    run(settings, test)


def test_a_dependency_that_is_away_is_waited_for(settings: TinySettings) -> None:
    async def test(shop: Shop) -> None:
        away = 3

        async def handle(_event: Event) -> None:
            nonlocal away
            away -= 1
            if away >= 0:
                raise DependencyFailed("mail", "unreachable")

        consumer = shop.consumer(handle, attempts=2)
        async with running(shop.relay.run, consumer.run):
            await shop.until_handled(await shop.publish())
        assert await consumer.dead() == []
        assert shop.value("events_consumed_total", group="readers", outcome="unavailable") == 3

    run(settings, test)


def test_a_handler_that_hangs_is_tried_again(settings: TinySettings) -> None:
    async def test(shop: Shop) -> None:
        hangs = True

        async def handle(_event: Event) -> None:
            nonlocal hangs
            if hangs:
                hangs = False
                await asyncio.Event().wait()

        async with running(shop.relay.run, shop.consumer(handle, visibility=0.2).run):
            await shop.until_handled(await shop.publish())

    run(settings, test)


def test_one_subject_in_order_others_beside_it(settings: TinySettings) -> None:
    async def test(shop: Shop) -> None:
        let_go = asyncio.Event()
        order: list[str] = []

        async def handle(event: Event) -> None:
            if event.subject == "slow":
                await let_go.wait()
            order.append(f"{event.subject}-{event.data['n']}")

        async with shop.database.session.begin() as session:
            for number, subject in enumerate(["slow", "fast", "slow", "fast"]):
                publish(session, type="t", subject=subject, data={"n": number})
        await shop.relay.move()
        async with running(shop.consumer(handle).run):
            await shop.until(lambda: order == ["fast-1", "fast-3"])
            let_go.set()
            await shop.until(lambda: len(shop.handled) == 4)
        assert order[2:] == ["slow-0", "slow-2"]

    run(settings, test)


def test_what_is_not_ours_or_not_readable_does_not_stop_the_rest(settings: TinySettings) -> None:
    async def test(shop: Shop) -> None:
        client = shop.redis.client
        for content in (b"", b"{", b"[]", b"\xff", b'{"id": 1}', b"[" * 100_000):
            await client.xadd(STREAM, {"event": content})
        await client.xadd(STREAM, {"nothing": "here"})
        consumer = shop.consumer(types=frozenset({"order.paid"}))
        async with running(shop.relay.run, consumer.run):
            async with shop.database.session.begin() as session:
                publish(session, type="order.placed", subject="1", data={})
            await shop.until_handled(await shop.publish())
        assert [event.type for event in shop.handled] == ["order.paid"]
        assert {dead.error for dead in await consumer.dead()} == {"unreadable"}
        assert len(await consumer.dead()) == 7

    run(settings, test)


def test_stopping_lets_the_event_in_hand_finish(settings: TinySettings) -> None:
    async def test(shop: Shop) -> None:
        begun, let_go = asyncio.Event(), asyncio.Event()

        async def handle(_event: Event) -> None:
            begun.set()
            await let_go.wait()

        await shop.publish()
        await shop.relay.move()
        task = asyncio.create_task(shop.consumer(handle).run())
        await begun.wait()
        task.cancel()
        await asyncio.sleep(0)
        let_go.set()
        await asyncio.gather(task, return_exceptions=True)
        assert len(shop.handled) == 1
        assert (await shop.redis.client.xpending(STREAM, "readers"))["pending"] == 0

    run(settings, test)


def test_lag_and_dead_are_measured(settings: TinySettings) -> None:
    async def test(shop: Shop) -> None:
        await shop.publish(7)
        await shop.relay.move()
        consumer = shop.consumer()
        await consumer._join()
        await consumer._measure()
        assert shop.value("events_lag", group="readers") == 7
        assert shop.value("events_dead", group="readers") == 0

    run(settings, test)
