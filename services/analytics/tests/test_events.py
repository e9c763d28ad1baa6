# SPDX-License-Identifier: GPL-3.0-or-later
"""Sending events in: each counts once, a bad batch leaves nothing behind, and nobody says what is not theirs to say."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from random import Random
from typing import Any
from uuid import uuid4

import pytest
from starlette.testclient import TestClient

from analytics.tests.support import event, paid, rows
from kit.testing import Issuer

Value = Callable[..., float]
INJECTION = "x'); DROP TABLE events; --"


def send(client: TestClient, headers: dict[str, str], *events: Any) -> Any:
    content = json.dumps({"events": events})  # as it is: halves of characters, NaN
    return client.post("/events", content=content, headers=headers | {"content-type": "application/json"})


def test_events_are_stored_and_counted_once(
    client: TestClient, service: dict[str, str], database_url: str, value: Value
) -> None:
    first, second = event(data={"path": "/"}), event()
    answer = send(client, service, first, second)
    assert (answer.status_code, answer.json()) == (200, {"stored": 2, "known": 0})
    assert send(client, service, second, first).json() == {"stored": 0, "known": 2}
    third = event()
    assert send(client, service, third, first, third).json() == {"stored": 1, "known": 2}
    assert rows(database_url, "SELECT type, count, amount_cents FROM minutes") == [("page.viewed", 3, 0)]
    assert rows(database_url, "SELECT DISTINCT source, user_id, count(*) OVER () FROM events") == [("orders", None, 3)]
    assert value("analytics_events_total", via="service", outcome="stored") == 3
    assert value("analytics_events_total", via="service", outcome="known") == 4


def test_a_user_s_events_carry_the_user_s_id(client: TestClient, issuer: Issuer, database_url: str) -> None:
    user = uuid4()
    assert send(client, issuer.headers(sub=user), event(data={"path": "/mugs"})).status_code == 200
    stored = rows(database_url, "SELECT source, user_id, data FROM events")
    assert stored == [("user", user, {"path": "/mugs"})]


@pytest.mark.parametrize("kind", ["order.paid", "payment.captured", "notification.sent", "user.signed_up", "job.done"])
def test_users_may_not_say_what_services_say(
    client: TestClient, issuer: Issuer, service: dict[str, str], database_url: str, value: Value, kind: str
) -> None:
    said = event(type=kind, data={"total_cents": 1, "currency": "EUR"})
    for roles in (["customer"], ["admin"]):
        answer = send(client, issuer.headers(roles=roles), event(), said)
        assert (answer.status_code, answer.json()["detail"]) == (403, f"Only services may send {kind}.")
    assert rows(database_url, "SELECT * FROM events") == []
    assert value("analytics_events_total", via="user", outcome="refused") == 4
    assert send(client, service, said).status_code == 200


def test_only_callers_who_are_known_send(client: TestClient, issuer: Issuer) -> None:
    forged = Issuer()
    forged.kid, forged.internal_key = issuer.kid, forged.internal_key
    for headers in (
        {},
        {"Authorization": "Basic x"},
        forged.headers(),
        forged.service_headers(iss="orders", aud="analytics"),
        issuer.service_headers(iss="orders", aud="catalog"),
        {"Authorization": f"Bearer {issuer.sign(issuer.claims(exp=1))}"},
    ):
        assert send(client, headers, event()).status_code == 401


def test_batches_at_the_same_time_count_each_event_once(
    client: TestClient, service: dict[str, str], database_url: str
) -> None:
    """Every event is in three batches, in another order each: no deadlock, no event lost or counted twice."""
    events = [event(ago=timedelta(minutes=number % 7), type=f"page.p{number % 5}") for number in range(200)]
    batches = []
    for seed in range(3):
        shuffled = Random(seed).sample(events, len(events))
        batches += [shuffled[begin : begin + 40] for begin in range(0, 200, 40)]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda batch: send(client, service, *batch), batches))
    assert {answer.status_code for answer in answers} == {200}
    assert sum(answer.json()["stored"] for answer in answers) == 200
    assert rows(database_url, "SELECT sum(count) FROM minutes") == [(200,)]


def test_the_largest_batch_fits(client: TestClient, service: dict[str, str]) -> None:
    events = [event(data={"text": "x" * 1000}) for _ in range(500)]
    assert send(client, service, *events).json() == {"stored": 500, "known": 0}


def nested(levels: int) -> Any:
    return {"a": nested(levels - 1)} if levels else 1


@pytest.mark.parametrize(
    "change",
    [
        {"id": "x"},
        {"id": 7},
        {"id": None},
        {"type": "page"},
        {"type": "Page.viewed"},
        {"type": "page.viewed\n"},
        {"type": "page." + "x" * 60},
        {"type": INJECTION},
        {"type": 1},
        {"time": "yesterday"},
        {"time": "2026-03-15T12:00:00"},
        {"time": "1773577800"},
        {"time": 1773577800},
        {"time": "0001-01-01T00:00:00+10:00"},
        {"time": "9999-12-31T23:59:59-10:00"},
        {"time": "2026-03-15T12:35:31Z"},
        {"time": "2026-02-13T12:30:29Z"},
        {"data": []},
        {"data": "text"},
        {"data": None},
        {"data": {"a": "x" * 4096}},
        {"data": nested(6)},
        {"data": nested(900)},
        {"data": {"nul": "\0"}},
        {"data": {"nul\0": 1}},
        {"data": {"half": "\ud800"}},
        {"data": {"half \udfff": 1}},
        {"data": {"a": [float("nan")]}},
        {"data": {"a": float("inf")}},
        {"data": {"a": 2**63}},
        {"data": {"x" * 101: 1}},
        {"user_id": str(uuid4())},
        {"type": "order.paid"},
        {"type": "order.paid", "data": {"total_cents": -1, "currency": "EUR"}},
        {"type": "order.paid", "data": {"total_cents": "1", "currency": "EUR"}},
        {"type": "order.paid", "data": {"total_cents": 1, "currency": "euro"}},
        {"type": "order.paid", "data": {"total_cents": 10**14, "currency": "EUR"}},
    ],
)
def test_one_bad_event_refuses_the_batch_and_is_named(
    client: TestClient, service: dict[str, str], database_url: str, change: dict[str, Any]
) -> None:
    answer = send(client, service, event(), event() | change, event())
    assert answer.status_code == 422, answer.text
    assert all(error["at"].startswith("body.events.1") for error in answer.json()["errors"])
    assert rows(database_url, "SELECT * FROM events") == rows(database_url, "SELECT * FROM minutes") == []


@pytest.mark.parametrize(
    "body", [None, [], {}, {"events": []}, {"events": {}}, {"events": [None]}, {"events": [], "x": 1}]
)
def test_bad_batches_are_refused(client: TestClient, service: dict[str, str], body: Any) -> None:
    assert client.post("/events", json=body, headers=service).status_code == 422


def test_batches_that_are_too_large_are_refused(client: TestClient, service: dict[str, str]) -> None:
    assert send(client, service, *(event() for _ in range(501))).status_code == 422
    assert send(client, service, event(data={"text": "x" * 1_100_000})).status_code == 413


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"[" * 5000, b'{"events": [{"id": ' + b"9" * 5000 + b"}]}"])
def test_bodies_that_are_not_json_are_refused(client: TestClient, service: dict[str, str], content: bytes) -> None:
    answer = client.post("/events", content=content, headers=service | {"content-type": "application/json"})
    assert 400 <= answer.status_code < 500


def test_odd_data_is_data_and_nothing_else(client: TestClient, service: dict[str, str], database_url: str) -> None:
    data = {"a": INJECTION, "b": [None, True, 1.5, -(2**63)], "日本": "☂", "": {"$ne": "\\u0000"}}
    assert send(client, service, event(data=data)).status_code == 200
    assert rows(database_url, "SELECT data FROM events") == [(data,)]


def test_money_is_added_up_by_currency(client: TestClient, service: dict[str, str], database_url: str) -> None:
    assert send(client, service, paid(1000), paid(2500), paid(300, "USD")).status_code == 200
    counted = rows(database_url, "SELECT currency, count, amount_cents FROM minutes ORDER BY currency")
    assert counted == [("EUR", 2, 3500), ("USD", 1, 300)]


def test_redis_is_not_needed_to_send_and_ask(
    client: TestClient, service: dict[str, str], analyst: dict[str, str], redis: Any
) -> None:
    redis.stop()
    assert send(client, service, event()).status_code == 200
    assert client.get("/query", params={"type": "page.viewed"}, headers=analyst).json()["total"] == 1
    assert client.get("/health").json()["status"] == "ok"
