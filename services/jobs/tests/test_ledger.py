# SPDX-License-Identifier: GPL-3.0-or-later
"""Claims, leases and outcomes: who may run a job, and whose word counts. No clock runs: leases are moved by hand."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from taskiq import TaskiqMessage, TaskiqResult

from jobs.queue.delivery import Delivery, Outcome
from jobs.settings import Settings
from jobs.tests.support import Books
from jobs.worker.ledger import PostgresLedger
from jobs.worker.metrics import WorkerMetrics
from kit.database import Database

Play = Callable[[Callable[[PostgresLedger, PostgresLedger], Awaitable[None]]], None]

LAPSE = "UPDATE jobs SET due_at = now() - interval '1 second' WHERE state = 'running'"


@pytest.fixture
def play(settings: Settings) -> Play:
    """Return a way to run a scene with the ledgers of two workers."""

    def run(scene: Callable[[PostgresLedger, PostgresLedger], Awaitable[None]]) -> None:
        async def on_stage() -> None:
            database = Database(settings)
            metrics = WorkerMetrics(CollectorRegistry())
            await scene(*(PostgresLedger(database, settings, metrics, worker=name) for name in ("ada", "bob")))
            await database.close()

        asyncio.run(on_stage())

    return run


def deliveries(books: Books) -> list[Delivery]:
    """Return a delivery of every job, as a stream would."""
    rows = books.rows("SELECT id::text, kind FROM jobs ORDER BY id")
    messages = [TaskiqMessage(task_id=row["id"], task_name=row["kind"], labels={}, args=[], kwargs={}) for row in rows]
    return [Delivery(b"0-1", b"", message) for message in messages]


def ended(delivery: Delivery, error: Exception | None = None) -> Outcome:
    """Return how a run of a tally job ended."""
    result: TaskiqResult[Any] = TaskiqResult(
        is_err=bool(error), return_value={"name": "a"}, execution_time=0, error=error
    )
    return Outcome(delivery, result, 0.0)


def test_a_claim_is_given_once(play: Play, books: Books) -> None:
    books.load(["a"] * 3)

    async def scene(ada: PostgresLedger, bob: PostgresLedger) -> None:
        first, second = await asyncio.gather(ada.claim(deliveries(books)), bob.claim(deliveries(books)))
        ran = [delivery.id for claims in (first, second) for delivery in claims.run]
        assert len(ran) == len(set(ran)) == 3
        later = await bob.claim(deliveries(books))
        assert not later.run
        assert all(0 < seconds <= 1 for _, seconds in later.postpone)

    play(scene)


def test_a_job_delivered_twice_at_once_runs_once(play: Play, books: Books) -> None:
    books.load(["a"])

    async def scene(ada: PostgresLedger, _bob: PostgresLedger) -> None:
        claims = await ada.claim(deliveries(books) + deliveries(books))
        assert (len(claims.run), len(claims.forget)) == (1, 1)

    play(scene)


def test_a_lapsed_job_goes_to_another_and_the_first_comes_too_late(play: Play, books: Books) -> None:
    books.load(["a"])

    async def scene(ada: PostgresLedger, bob: PostgresLedger) -> None:
        (slow,) = (await ada.claim(deliveries(books))).run
        books.rows(LAPSE)
        (quick,) = (await bob.claim(deliveries(books))).run
        assert (slow.attempt, quick.attempt) == (1, 2)
        assert await ada.renew([slow]) == {slow}
        await ada.settle([ended(slow)])  # not any more
        assert (books.states(), books.tallies()) == ({"running": 1}, {})
        await bob.settle([ended(quick)])
        await bob.settle([ended(quick)])  # as after a commit whose answer was lost
        await ada.settle([ended(slow)])
        assert (books.states(), books.tallies()) == ({"done": 1}, {"a": 1})

    play(scene)


def test_a_failure_of_a_run_that_is_over_changes_nothing(play: Play, books: Books) -> None:
    books.load(["a"])

    async def scene(ada: PostgresLedger, bob: PostgresLedger) -> None:
        (slow,) = (await ada.claim(deliveries(books))).run
        books.rows(LAPSE)
        (quick,) = (await bob.claim(deliveries(books))).run
        await bob.settle([ended(quick)])
        await ada.settle([ended(slow, ValueError("late"))])
        await ada.hand_back([slow])
        assert (books.states(), books.tallies()) == ({"done": 1}, {"a": 1})

    play(scene)


def test_a_renewed_lease_holds(play: Play, books: Books) -> None:
    books.load(["a"])

    async def scene(ada: PostgresLedger, bob: PostgresLedger) -> None:
        (mine,) = (await ada.claim(deliveries(books))).run
        books.rows(LAPSE)
        assert await ada.renew([mine]) == set()
        assert not (await bob.claim(deliveries(books))).run

    play(scene)


def test_a_job_that_kills_its_workers_is_dead_in_the_end(play: Play, books: Books, settings: Settings) -> None:
    books.load(["a"])

    async def scene(ada: PostgresLedger, _bob: PostgresLedger) -> None:
        for attempt in range(1, settings.losses + 1):
            assert [delivery.attempt for delivery in (await ada.claim(deliveries(books))).run] == [attempt]
            books.rows(LAPSE)
        claims = await ada.claim(deliveries(books))
        assert (len(claims.run), len(claims.forget)) == (0, 1)
        assert books.rows("SELECT state, losses, error FROM jobs") == [
            {"state": "dead", "losses": settings.losses, "error": "The worker vanished, too often."}
        ]

    play(scene)


def test_a_job_handed_back_loses_no_attempt_and_no_place(play: Play, books: Books) -> None:
    books.load(["a"])
    before = books.rows("SELECT state, attempts, losses, queued_at, due_at FROM jobs")

    async def scene(ada: PostgresLedger, bob: PostgresLedger) -> None:
        await ada.hand_back((await ada.claim(deliveries(books))).run)
        assert books.rows("SELECT state, attempts, losses, queued_at, due_at FROM jobs") == before
        (taken,) = (await bob.claim(deliveries(books))).run
        assert taken.waited >= 60

    play(scene)


def test_what_is_over_is_forgotten(play: Play, books: Books) -> None:
    books.load(["a", "b", "c"])
    for state, row in zip(("done", "dead", "retrying"), books.rows("SELECT id FROM jobs"), strict=True):
        books.rows("UPDATE jobs SET state = %s WHERE id = %s", state, row["id"])

    async def scene(ada: PostgresLedger, _bob: PostgresLedger) -> None:
        claims = await ada.claim(deliveries(books))
        assert (len(claims.run), len(claims.forget), len(claims.postpone)) == (0, 3, 0)

    play(scene)


def test_failures_wait_longer_each_time_then_the_job_is_dead(play: Play, books: Books, settings: Settings) -> None:
    books.load(["a"])
    pauses: list[float] = []

    async def scene(ada: PostgresLedger, _bob: PostgresLedger) -> None:
        for _ in range(settings.attempts):
            (mine,) = (await ada.claim(deliveries(books))).run
            await ada.settle([ended(mine, ValueError("no\0pe"))])
            (row,) = books.rows("SELECT state, extract(epoch FROM due_at - started_at)::float8 AS pause FROM jobs")
            pauses.append(row["pause"])
            books.rows("UPDATE jobs SET state = 'queued' WHERE state = 'retrying'")
        assert books.rows("SELECT state, failures, error FROM jobs") == [
            {"state": "dead", "failures": 5, "error": "ValueError: nope"}
        ]

    play(scene)
    for number, pause in enumerate(pauses[:-1]):
        assert pause >= min(settings.backoff_cap_seconds, settings.backoff_seconds * 2**number) / 2
