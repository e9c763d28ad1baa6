# SPDX-License-Identifier: GPL-3.0-or-later
"""The API: what it accepts, what it refuses, who sees what."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

import pytest
from starlette.testclient import TestClient

import jobs.app
import jobs.worker.app
from jobs.settings import Settings
from jobs.tests.support import Books, Show, Submit, until
from kit.testing import Issuer

CHECKSUM = {"kind": "checksum", "payload": {"text": "tea"}}
SALE = {"day": "2026-01-05", "product": "tea", "quantity": 2, "amount_cents": 900}


def test_a_job_is_accepted_and_shown(client: TestClient, issuer: Issuer) -> None:
    ada = issuer.headers()
    answer = client.post("/api/job", json=CHECKSUM, headers=ada)
    assert answer.status_code == 202
    job = answer.json()
    assert (job["kind"], job["state"], job["attempts"], job["result"]) == ("checksum", "queued", 0, None)
    assert client.get(f"/api/job/{job['id']}", headers=ada).json() == job


def test_a_key_asks_for_one_job(client: TestClient, issuer: Issuer, books: Books) -> None:
    ada, eve = issuer.headers(), issuer.headers()
    key = {"Idempotency-Key": "order-1"}
    first = client.post("/api/job", json=CHECKSUM, headers=ada | key)
    again = client.post("/api/job", json=CHECKSUM, headers=ada | key)
    assert (again.status_code, again.json()) == (202, first.json())

    other = CHECKSUM | {"payload": {"text": "coffee"}}
    assert client.post("/api/job", json=other, headers=ada | key).status_code == 409
    # Somebody else's key is a different key.
    assert client.post("/api/job", json=other, headers=eve | key).json()["id"] != first.json()["id"]
    assert books.states() == {"queued": 2}


def test_others_see_nothing(client: TestClient, issuer: Issuer, admin: dict[str, str]) -> None:
    job = client.post("/api/job", json=CHECKSUM, headers=issuer.headers()).json()["id"]
    assert client.get(f"/api/job/{job}", headers=issuer.headers()).status_code == 404
    assert client.get(f"/api/job/{job}", headers=issuer.service_headers(iss="orders", aud="jobs")).status_code == 404
    assert client.get(f"/api/job/{uuid4()}", headers=issuer.headers()).status_code == 404
    assert client.get(f"/api/job/{job}", headers=admin).status_code == 200


NOBODYS = UUID(int=1)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/api/job"),
        ("GET", f"/api/job/{NOBODYS}"),
        ("GET", "/api/status"),
        ("GET", "/api/dead"),
        ("POST", f"/api/dead/{NOBODYS}/requeue"),
    ],
)
def test_strangers_get_nothing(client: TestClient, method: str, path: str) -> None:
    assert client.request(method, path, json=CHECKSUM).status_code == 401
    assert client.request(method, path, json=CHECKSUM, headers={"Authorization": "Bearer x"}).status_code == 401


def test_the_dead_are_for_admins(client: TestClient, issuer: Issuer) -> None:
    ada = issuer.headers()
    assert client.get("/api/dead", headers=ada).status_code == 403
    assert client.post(f"/api/dead/{uuid4()}/requeue", headers=ada).status_code == 403


def test_drills_are_for_admins_and_services(client: TestClient, issuer: Issuer, admin: dict[str, str]) -> None:
    drill = {"kind": "sleep", "payload": {"seconds": 0}}
    assert client.post("/api/job", json=drill, headers=issuer.headers()).status_code == 403
    assert client.post("/api/job", json=drill, headers=admin).status_code == 202
    orders = issuer.service_headers(iss="orders", aud="jobs")
    job = client.post("/api/job", json=drill, headers=orders)
    assert job.status_code == 202
    assert client.get(f"/api/job/{job.json()['id']}", headers=orders).status_code == 200


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"kind": "checksum"},
        {"kind": "nonsense", "payload": {}},
        {"kind": ["checksum"], "payload": {"text": "x"}},
        CHECKSUM | {"state": "done"},
        {"kind": "checksum", "payload": {"text": "x", "extra": 1}},
        {"kind": "checksum", "payload": {"text": 1}},
        {"kind": "checksum", "payload": {"text": "\0"}},
        {"kind": "checksum", "payload": {"text": "x", "algorithm": "md5"}},
        {"kind": "primes", "payload": {"below": 1}},
        {"kind": "primes", "payload": {"below": "100"}},
        {"kind": "primes", "payload": {"below": 10**12}},
        {"kind": "sales_report", "payload": {"rows": []}},
        {"kind": "sales_report", "payload": {"rows": [SALE | {"day": "yesterday"}]}},
        {"kind": "sales_report", "payload": {"rows": [SALE | {"product": "\0"}]}},
        {"kind": "sales_report", "payload": {"rows": [SALE | {"amount_cents": 1.5}]}},
        {"kind": "sales_report", "payload": {"rows": [SALE | {"currency": "euro"}]}},
        {"kind": "sleep", "payload": {"seconds": -1}},
        {"kind": "sleep", "payload": {"seconds": 10**9}},
        [],
        "checksum",
    ],
)
def test_what_is_no_job_is_refused(client: TestClient, admin: dict[str, str], books: Books, body: Any) -> None:
    answer = client.post("/api/job", json=body, headers=admin)
    assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json")
    assert books.states() == {}


@pytest.mark.parametrize("raw", [b"{", b'{"kind": "checksum", "payload": {"text": "\\ud800"}}', b"\xff", b"NaN"])
def test_what_is_no_text_is_refused(client: TestClient, admin: dict[str, str], raw: bytes) -> None:
    headers = admin | {"Content-Type": "application/json"}
    assert client.post("/api/job", content=raw, headers=headers).status_code in (400, 422)


@pytest.mark.parametrize("key", ["", "a b", "x" * 101, "é".encode("latin-1")])
def test_a_bad_key_is_refused(client: TestClient, admin: dict[str, str], key: Any) -> None:
    assert client.post("/api/job", json=CHECKSUM, headers=admin | {"Idempotency-Key": key}).status_code == 422


def test_too_large_a_body_is_refused(client: TestClient, admin: dict[str, str]) -> None:
    body = {"kind": "checksum", "payload": {"text": "x" * 70_000}}
    assert client.post("/api/job", json=body, headers=admin).status_code == 413


def test_sql_in_a_payload_is_just_text(client: TestClient, admin: dict[str, str], books: Books) -> None:
    body = {"kind": "checksum", "payload": {"text": "'); DROP TABLE jobs; --"}}
    assert client.post("/api/job", json=body, headers=admin).status_code == 202
    assert books.states() == {"queued": 1}


def test_a_full_queue_says_so(settings: Settings, admin: dict[str, str], books: Books) -> None:
    with TestClient(jobs.app.create(settings.model_copy(update={"queue_limit": 1}))) as client:

        def ask() -> int:
            return client.post("/api/job", json=CHECKSUM, headers=admin).status_code

        assert ask() == 202
        until(lambda: ask() == 429)  # the depth is measured every so often
        books.rows("DELETE FROM jobs")
        until(lambda: ask() == 202)


def test_a_job_is_accepted_without_redis(
    client: TestClient, settings: Settings, submit: Submit, show: Show, redis: Any
) -> None:
    redis.stop()
    job = submit("checksum", text="tea")
    assert client.get("/health").status_code == 503
    redis.start()
    with TestClient(jobs.worker.app.create(settings)):
        assert show(job, "done")["result"]["bytes"] == 3


def test_the_status_counts(client: TestClient, submit: Submit, admin: dict[str, str], books: Books) -> None:
    for _ in range(3):
        submit("poison")
    books.rows("UPDATE jobs SET due_at = now() - interval '1 hour' WHERE id = (SELECT id FROM jobs LIMIT 1)")
    books.rows("INSERT INTO workers (name, version, state, running) VALUES ('w', '1', 'working', 2)")
    books.rows(
        "INSERT INTO workers (name, version, state, running, seen_at) "
        "VALUES ('gone', '1', 'working', 0, now() - interval '1 minute')"
    )
    status = client.get("/api/status", headers=admin).json()
    assert (status["depth"], status["running"], status["retrying"], status["dead"]) == (3, 0, 0, 0)
    assert 3600 <= status["oldest_age_seconds"] < 3700
    assert [(worker["name"], worker["running"]) for worker in status["workers"]] == [("w", 2)]


def test_the_dead_come_in_pages(client: TestClient, admin: dict[str, str], submit: Submit, books: Books) -> None:
    made = [submit("poison") for _ in range(5)]
    books.rows("UPDATE jobs SET state = 'dead', due_at = '2026-01-01', error = 'as asked', failures = 5")
    seen, cursor = [], None
    while True:
        page = client.get("/api/dead", params={"limit": 2} | ({"cursor": cursor} if cursor else {}), headers=admin)
        seen += [job["id"] for job in page.json()["items"]]
        if not (cursor := page.json()["next"]):
            break
    assert sorted(seen) == sorted(made)
    assert len(set(seen)) == 5
    assert client.get("/api/dead", params={"cursor": "nonsense"}, headers=admin).status_code == 422


def test_only_the_dead_are_requeued(client: TestClient, admin: dict[str, str], submit: Submit, books: Books) -> None:
    job = submit("poison")
    assert client.post(f"/api/dead/{job}/requeue", headers=admin).status_code == 409
    assert client.post(f"/api/dead/{uuid4()}/requeue", headers=admin).status_code == 404
    books.rows("UPDATE jobs SET state = 'dead', failures = 5, losses = 3")
    answer = client.post(f"/api/dead/{job}/requeue", headers=admin)
    assert (answer.status_code, answer.json()["state"]) == (202, "queued")
    assert client.post(f"/api/dead/{job}/requeue", headers=admin).status_code == 409
    assert books.rows("SELECT failures, losses FROM jobs") == [{"failures": 0, "losses": 0}]


def test_metrics_show_the_queue(client: TestClient, submit: Submit, books: Books) -> None:
    for _ in range(2):
        submit("poison")
    registry = client.app.state.kit.metrics.registry  # type: ignore[attr-defined]
    until(lambda: registry.get_sample_value("queue_depth") == 2)
    assert registry.get_sample_value("queue_oldest_age_seconds") >= 0
    assert registry.get_sample_value("queue_jobs", {"state": "dead"}) == 0


def test_the_contract(client: TestClient, admin: dict[str, str], contract: Any) -> None:
    tried = contract(client, headers=admin)
    assert {"POST /api/job", "GET /api/job/{job_id}", "GET /api/status", "POST /api/dead/{job_id}/requeue"} <= tried
