# SPDX-License-Identifier: GPL-3.0-or-later
"""A worker in this process does real jobs."""

from __future__ import annotations

import hashlib
import multiprocessing
from typing import Any
from uuid import uuid4

import pytest
from starlette.testclient import TestClient

import jobs.worker.app
from jobs.kinds import KINDS, Kind
from jobs.kinds.drills import Poison, Tally, add_tallies
from jobs.settings import Settings
from jobs.tests.support import Books, Show, Submit, until


def test_every_kind_of_work(worker: TestClient, submit: Submit, show: Show) -> None:
    sale = {"day": "2026-01-05", "product": "tea", "quantity": 2, "amount_cents": 900}
    report = submit("sales_report", rows=[sale, sale | {"day": "2026-01-06"}, sale | {"currency": "USD"}])
    digest = submit("checksum", text="grüße")
    primes = submit("primes", below=100)
    none = submit("primes", below=2)
    nap = submit("sleep", seconds=0.01)

    assert show(report, "done")["result"]["by_product"] == [
        {"product": "tea", "currency": "EUR", "quantity": 4, "amount_cents": 1800},
        {"product": "tea", "currency": "USD", "quantity": 2, "amount_cents": 900},
    ]
    assert show(digest, "done")["result"] == {"digest": hashlib.sha256("grüße".encode()).hexdigest(), "bytes": 7}
    assert show(primes, "done")["result"] == {"count": 25, "largest": 97}
    assert show(none, "done")["result"] == {"count": 0, "largest": None}
    assert show(nap, "done")["attempts"] == 1


def test_a_job_that_fails_is_tried_again(worker: TestClient, submit: Submit, show: Show) -> None:
    job = show(submit("flaky", failures=3), "done", "dead")
    assert (job["state"], job["attempts"], job["result"], job["error"]) == ("done", 4, {"failures": 3}, None)


def test_a_job_that_always_fails_is_dead_until_requeued(
    worker: TestClient, client: TestClient, submit: Submit, show: Show, admin: dict[str, str]
) -> None:
    job = submit("poison")
    assert show(job, "dead")["attempts"] == 5
    (dead,) = client.get("/api/dead", headers=admin).json()["items"]
    assert (dead["id"], dead["failures"], dead["error"]) == (job, 5, "DrillError: fails always, as asked")

    assert client.post(f"/api/dead/{job}/requeue", headers=admin).status_code == 202
    until(lambda: show(job, "dead")["attempts"] == 10)
    registry = worker.app.state.kit.metrics.registry  # type: ignore[attr-defined]
    count = {what: registry.get_sample_value("jobs_total", {"kind": "poison", "outcome": what}) for what in OUTCOMES}
    assert count == {"done": None, "retried": 8, "dead": 2}


OUTCOMES = ("done", "retried", "dead")


def test_a_computation_holds_up_nobody(worker: TestClient, submit: Submit, show: Show) -> None:
    long = submit("primes", below=20_000_000)
    show(long, "running")
    naps = [show(submit("sleep", seconds=0), "done") for _ in range(5)]
    done = show(long, "done")
    assert done["result"] == {"count": 1_270_607, "largest": 19_999_999}
    assert all(nap["finished_at"] < done["finished_at"] for nap in naps)


def test_a_computation_has_a_time_limit(settings: Settings, client: TestClient, submit: Submit, show: Show) -> None:
    with TestClient(jobs.worker.app.create(settings.model_copy(update={"job_seconds": 0.05, "attempts": 1}))):
        assert show(submit("primes", below=20_000_000), "dead")["error"].startswith("TookTooLong")
        assert show(submit("primes", below=10), "done")["result"]["count"] == 4


def test_a_computation_that_takes_its_process_down_is_tried_again(
    worker: TestClient, submit: Submit, show: Show
) -> None:
    job = submit("primes", below=20_000_000)
    children = until(multiprocessing.active_children)
    show(job, "running")
    for child in children:
        child.kill()
    assert show(job, "done")["attempts"] > 1


def test_an_effect_happens_once_for_each_job(worker: TestClient, books: Books) -> None:
    books.load(["a"] * 300 + ["b"] * 200)
    books.wait_for(done=500)
    assert books.tallies() == {"a": 300, "b": 200}


@pytest.fixture
def odd() -> Any:
    """Give the registry a kind whose result PostgreSQL does not take."""

    async def run(_wanted: Poison) -> str:
        return "\0"

    KINDS["odd"] = Kind("odd", Poison, run)
    yield
    del KINDS["odd"]


def test_a_result_that_cannot_be_stored_holds_up_nobody(odd: None, settings: Settings, books: Books) -> None:
    books.load(["a"] * 20)
    books.rows("UPDATE jobs SET kind = 'odd', payload = '{}' WHERE id = (SELECT id FROM jobs LIMIT 1)")
    with TestClient(jobs.worker.app.create(settings)):
        books.wait_for(done=19, dead=1)
    assert books.tallies() == {"a": 19}


@pytest.fixture
def clumsy() -> Any:
    """Give the registry a kind whose effect fails after it has been written."""

    async def run(wanted: Tally) -> dict[str, str]:
        return {"name": wanted.name}

    async def effect(session: Any, runs: Any) -> None:
        await add_tallies(session, runs)
        raise ConnectionError("after the effect")

    KINDS["clumsy"] = Kind("clumsy", Tally, run, effect=effect)
    yield
    del KINDS["clumsy"]


def test_an_effect_that_fails_leaves_nothing_behind(clumsy: None, settings: Settings, books: Books) -> None:
    books.load(["bad"] * 5)
    books.rows("UPDATE jobs SET kind = 'clumsy'")
    books.load(["good"] * 20)
    with TestClient(jobs.worker.app.create(settings)):
        books.wait_for(done=20, dead=5)
    assert books.tallies() == {"good": 20}


def test_a_payload_of_another_version_is_dead_at_once(settings: Settings, books: Books) -> None:
    books.load(["a"] * 10)
    books.rows("""UPDATE jobs SET payload = '{"nom": "a"}' WHERE id = (SELECT min(id::text)::uuid FROM jobs)""")
    with TestClient(jobs.worker.app.create(settings)):
        books.wait_for(done=9, dead=1)
    assert books.rows("SELECT attempts, error FROM jobs WHERE state = 'dead'") == [
        {"attempts": 1, "error": "Refused: the payload does not fit this version"}
    ]


def test_a_kind_of_another_version_waits_for_it(odd: None, settings: Settings, submit: Submit, books: Books) -> None:
    submit("sleep", seconds=0)
    books.rows("UPDATE jobs SET kind = 'odd', payload = '{}'")
    books.rows("INSERT INTO jobs (id, kind, payload, owner) VALUES (%s, 'unheard_of', '{}', 'test')", uuid4())
    with TestClient(jobs.worker.app.create(settings)) as worker:
        books.load(["a"])
        books.wait_for(done=1, dead=1, queued=1)
        assert worker.get("/health").status_code == 200


def test_drain_stops_taking_jobs_and_resume_goes_on(
    worker: TestClient, submit: Submit, show: Show, books: Books
) -> None:
    long = submit("sleep", seconds=0.5)
    show(long, "running")
    lifecycle = worker.app.state.kit.lifecycle  # type: ignore[attr-defined]
    lifecycle.drained = True
    waiting = submit("sleep", seconds=0)
    show(long, "done")  # what it had in hand it finishes
    assert books.states() == {"done": 1, "queued": 1}
    lifecycle.drained = False
    show(waiting, "done")
