# SPDX-License-Identifier: GPL-3.0-or-later
"""The cache: what it saves, what it must never say, and that nobody notices when Redis is gone."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import redis as redis_client
from prometheus_client import CollectorRegistry
from pydantic import SecretStr
from starlette.testclient import TestClient

from catalog.app import create
from catalog.cache import Cache
from catalog.settings import Settings
from kit.redis import Redis
from kit.testing import until

Make = Callable[..., dict[str, Any]]
Value = Callable[..., float]
Misses = Callable[[int], Awaitable[None]]


def rename_behind_our_back(database_url: str, product: dict[str, Any]) -> None:
    with psycopg.connect(database_url) as connection:
        connection.execute("UPDATE products SET name = 'Behind' WHERE id = %s", [product["id"]])


def test_answers_are_kept_until_a_write(
    client: TestClient, make: Make, admin: dict[str, str], value: Value, database_url: str
) -> None:
    product = make(name="Kept")
    path = f"/products/{product['id']}"
    page = {"q": "kept behind", "limit": "100"}
    assert client.get(path).json()["name"] == "Kept"
    assert client.get("/products", params=page).json()["items"] == []
    rename_behind_our_back(database_url, product)
    with psycopg.connect(database_url) as connection:
        connection.execute("UPDATE products SET description = 'kept' WHERE id = %s", [product["id"]])
    assert client.get(path).json()["name"] == "Kept"
    assert client.get(path).headers["etag"] == '"1"'
    assert client.get("/products", params=page).json()["items"] == []
    assert (value("cache_requests_total", outcome="miss"), value("cache_requests_total", outcome="hit")) == (2, 3)
    make(name="Another")  # any write: no page is older than the last one
    assert client.get(path).json()["name"] == "Behind"
    assert [item["id"] for item in client.get("/products", params=page).json()["items"]] == [product["id"]]


def test_replicas_share_what_is_kept_and_what_is_forgotten(
    client: TestClient, settings: Settings, make: Make, admin: dict[str, str], value: Value
) -> None:
    path = f"/products/{make()['id']}"
    with TestClient(create(settings)) as other:
        assert other.get(path).json()["version"] == 1
        assert client.get(path).json()["version"] == 1
        assert value("cache_requests_total", outcome="hit") == 1
        new = {"name": "New", "price_cents": 1}
        assert other.put(path, json=new, headers=admin | {"If-Match": "*"}).status_code == 200
        assert client.get(path).json()["version"] == 2


def test_everything_kept_ends_by_itself(client: TestClient, make: Make, settings: Settings) -> None:
    product = make()
    client.get(f"/products/{product['id']}")
    client.get("/products")
    with redis_client.Redis.from_url(settings.redis_url.get_secret_value()) as server:
        kept = [key for key in server.keys("catalog:*") if key != b"catalog:mark"]
        assert len(kept) == 2
        assert all(0 < server.ttl(key) <= settings.cache_seconds for key in kept)


def test_redis_goes_away_and_comes_back_in_mid_traffic(
    client: TestClient, make: Make, redis: Any, value: Value
) -> None:
    product = make()
    done = threading.Event()

    def browse() -> set[int]:
        seen = set()
        while not done.is_set():
            seen.add(client.get(f"/products/{product['id']}").status_code)
            seen.add(client.get("/products", params={"q": "thing"}).status_code)
        return seen

    def see(outcome: str) -> None:
        before = value("cache_requests_total", outcome=outcome)
        until(lambda: value("cache_requests_total", outcome=outcome) >= before + 5)

    with ThreadPoolExecutor(3) as pool:
        browsing = [pool.submit(browse) for _ in range(3)]
        try:
            see("hit")
            redis.stop()
            see("error")
            see("bypass")
            assert client.get("/health").json()["status"] == "ok"  # not a reason to take us out of service
            redis.start()
            see("hit")
        finally:
            done.set()
        assert [future.result() for future in browsing] == [{200}] * 3


def test_a_redis_that_hangs_is_left_alone(settings: Settings, make: Make, admin: dict[str, str]) -> None:
    product = make()
    with socket.create_server(("127.0.0.1", 0)) as mute:  # accepts, and never says a word
        url = SecretStr(f"redis://:5e884898da28@127.0.0.1:{mute.getsockname()[1]}/0")
        changed = {"redis_url": url, "cache_timeout_seconds": 0.05, "cache_retry_seconds": 60}
        with TestClient(create(settings.model_copy(update=changed))) as client:
            for _ in range(10):
                assert client.get(f"/products/{product['id']}").status_code == 200
            registry = client.app.state.kit.metrics.registry  # type: ignore[attr-defined]
            outcomes = {
                outcome: registry.get_sample_value("cache_requests_total", {"outcome": outcome})
                for outcome in ("error", "bypass")
            }
            assert outcomes == {"error": 3, "bypass": 7}
            assert registry.get_sample_value("cache_circuit_open") == 1
            answer = client.put(
                f"/products/{product['id']}", json={"name": "New", "price_cents": 1}, headers=admin | {"If-Match": "*"}
            )
            assert answer.status_code == 200


def test_a_write_while_redis_is_away_is_not_forgotten(
    client: TestClient, make: Make, admin: dict[str, str], redis: Any, value: Value
) -> None:
    path = f"/products/{make()['id']}"
    assert client.get(path).json()["version"] == 1  # kept, and still there when Redis comes back
    redis.stop()
    new = {"name": "New", "price_cents": 1}
    assert client.put(path, json=new, headers=admin | {"If-Match": "*"}).status_code == 200
    redis.start()
    before = value("cache_requests_total", outcome="hit")
    while value("cache_requests_total", outcome="hit") == before:
        assert client.get(path).json()["version"] == 2


def with_cache(settings: Settings, use: Callable[[Cache, Misses], Awaitable[None]]) -> None:
    """Run `use` with a cache, and with what waits until so many readers have found nothing kept."""

    async def run() -> None:
        redis, registry = Redis(settings), CollectorRegistry()

        async def misses(number: int) -> None:
            while registry.get_sample_value("cache_requests_total", {"outcome": "miss"}) != number:
                await asyncio.sleep(0)

        try:
            await use(Cache(redis, registry, seconds=30, timeout_seconds=2, retry_seconds=1), misses)
        finally:
            await redis.close()

    asyncio.run(asyncio.wait_for(run(), 60))


def test_many_who_ask_the_same_at_once_are_one_question(settings: Settings) -> None:
    async def use(cache: Cache, misses: Misses) -> None:
        made, go = 0, asyncio.Event()

        async def make() -> bytes:
            nonlocal made
            made += 1
            await go.wait()
            return b"made"

        waiting = [asyncio.create_task(cache.get("key", make)) for _ in range(20)]
        await misses(20)
        go.set()
        assert await asyncio.gather(*waiting) == [b"made"] * 20
        assert made == 1

    with_cache(settings, use)


def test_what_was_read_before_a_write_is_not_believed_after_it(settings: Settings) -> None:
    async def use(cache: Cache, misses: Misses) -> None:
        reading, written = asyncio.Event(), asyncio.Event()

        async def make_old() -> bytes:
            reading.set()
            await written.wait()
            return b"old"

        async def make_new() -> bytes:
            return b"new"

        slow = asyncio.create_task(cache.get("key", make_old))
        await reading.wait()
        await cache.forget()
        assert await cache.get("key", make_new) == b"new"  # and does not wait for the slow one
        written.set()
        assert await slow == b"old"  # it asked before the write
        assert await cache.get("key", make_new) == b"new"

    with_cache(settings, use)


def test_a_maker_that_fails_fails_all_who_wait_and_nobody_after(settings: Settings) -> None:
    async def use(cache: Cache, misses: Misses) -> None:
        async def fail() -> bytes:
            raise LookupError

        async def work() -> bytes:
            return b"made"

        results = await asyncio.gather(*(cache.get("key", fail) for _ in range(3)), return_exceptions=True)
        assert [type(result) for result in results] == [LookupError] * 3
        assert await cache.get("key", work) == b"made"

    with_cache(settings, use)


def test_who_hangs_up_takes_nothing_from_those_who_wait(settings: Settings) -> None:
    async def use(cache: Cache, misses: Misses) -> None:
        begun, go = asyncio.Event(), asyncio.Event()

        async def make() -> bytes:
            begun.set()
            await go.wait()
            return b"made"

        first = asyncio.create_task(cache.get("key", make))
        await begun.wait()
        second = asyncio.create_task(cache.get("key", make))
        await misses(2)
        first.cancel()
        go.set()
        assert await second == b"made"

    with_cache(settings, use)


def test_nothing_found_is_not_kept(settings: Settings) -> None:
    async def use(cache: Cache, misses: Misses) -> None:
        async def nothing() -> None:
            return None

        async def something() -> bytes:
            return b""

        assert await cache.get("key", nothing) is None
        assert await cache.get("key", something) == b""
        assert await cache.get("key", nothing) == b""

    with_cache(settings, use)
