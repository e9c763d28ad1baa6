# SPDX-License-Identifier: GPL-3.0-or-later
"""Asking for money: once for each order, whoever asks, however often."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import pytest
from starlette.testclient import TestClient

from kit.testing import Issuer

Rows = Callable[..., list[tuple[Any, ...]]]
LEDGER = (
    "SELECT outcome FROM local_charges WHERE idempotency_key = ANY(SELECT id::text FROM payments WHERE order_id = %s)"
)
OUTBOX = "SELECT type, data FROM outbox WHERE data->>'order_id' = %s"


def test_a_payment_is_captured_and_told_of(initiate: Any, wanted: Any, rows: Rows, value: Any) -> None:
    answer = initiate()
    assert answer.status_code == 201
    shown = answer.json()
    assert {**shown, "payment_id": "", "created_at": ""} == {
        "payment_id": "",
        "order_id": wanted["order_id"],
        "status": "captured",
        "amount_cents": 4990,
        "currency": "EUR",
        "reason": "",
        "created_at": "",
    }
    assert rows(LEDGER, wanted["order_id"]) == [("captured",)]
    ((kind, data),) = rows(OUTBOX, wanted["order_id"])
    assert kind == "payment.captured"
    assert data == {name: wanted[name] for name in ("order_id", "user_id", "amount_cents", "currency")} | {
        "payment_id": shown["payment_id"],
        "reason": "",
    }
    assert value("payments_total", outcome="captured") == 1
    assert value("payments_captured_cents_total", currency="EUR") == 4990
    assert value("payments_provider_seconds_count", operation="charge", outcome="answered") == 1


@pytest.mark.parametrize("method, reason", [("tok_declined", "declined"), ("card_4242", "unknown payment method")])
def test_a_refused_payment_fails_with_the_reason(
    initiate: Any, wanted: Any, rows: Rows, method: str, reason: str
) -> None:
    answer = initiate(method=method)
    assert (answer.status_code, answer.json()["status"], answer.json()["reason"]) == (201, "failed", reason)
    ((kind, data),) = rows(OUTBOX, wanted["order_id"])
    assert (kind, data["reason"]) == ("payment.failed", reason)


def test_the_same_key_is_answered_the_same(initiate: Any, wanted: Any, rows: Rows) -> None:
    first, second = initiate("key-of-" + wanted["order_id"]), initiate("key-of-" + wanted["order_id"])
    assert (first.status_code, second.status_code) == (201, 200)
    assert first.json() == second.json()
    assert rows(LEDGER, wanted["order_id"]) == [("captured",)]
    assert len(rows(OUTBOX, wanted["order_id"])) == 1


@pytest.mark.parametrize("changed", [{"amount_cents": 4991}, {"order_id": str(uuid4())}, {"method": "tok_twice"}])
def test_the_same_key_for_something_else_is_refused(initiate: Any, wanted: Any, rows: Rows, changed: Any) -> None:
    key = "key-of-" + wanted["order_id"]
    initiate(key)
    assert initiate(key, **changed).status_code == 409
    assert rows(LEDGER, wanted["order_id"]) == [("captured",)]


def test_another_key_for_a_paid_order_gets_the_payment_there_is(initiate: Any, wanted: Any, rows: Rows) -> None:
    first, second = initiate(), initiate()
    assert (second.status_code, second.json()) == (200, first.json())
    assert initiate(amount_cents=1).status_code == 409
    assert rows(LEDGER, wanted["order_id"]) == [("captured",)]


def test_a_failed_payment_can_be_tried_again_with_a_new_key_only(
    client: TestClient, orders: Any, initiate: Any, wanted: Any, rows: Rows
) -> None:
    key = "key-of-" + wanted["order_id"]
    failed = initiate(key, method="tok_declined")
    assert initiate(key, method="tok_declined").json() == failed.json()
    again = initiate(key + "-2")
    assert (again.status_code, again.json()["status"]) == (201, "captured")
    assert again.json()["payment_id"] != failed.json()["payment_id"]
    third = initiate(key + "-3")
    assert (third.status_code, third.json()) == (200, again.json())
    assert sorted(rows(LEDGER, wanted["order_id"])) == [("captured",), ("failed",)]
    shown = client.get("/status", params={"order_id": wanted["order_id"]}, headers=orders)
    assert shown.json() == again.json()


@pytest.mark.parametrize("same_key", [True, False])
def test_many_at_once_charge_once(initiate: Any, wanted: Any, rows: Rows, same_key: bool) -> None:
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda n: initiate(f"{wanted['order_id']}-{0 if same_key else n}"), range(8)))
    assert sorted(answer.status_code for answer in answers) == [200] * 7 + [201]
    assert len({answer.json()["payment_id"] for answer in answers}) == 1
    assert rows(LEDGER, wanted["order_id"]) == [("captured",)]


def test_two_callers_may_have_the_same_key(
    client: TestClient, issuer: Issuer, wanted: dict[str, Any], initiate: Any
) -> None:
    assert initiate("one").status_code == 201
    other = issuer.service_headers(iss="jobs", aud="payments") | {"Idempotency-Key": "one"}
    assert client.post("/initiate", json=wanted | {"order_id": str(uuid4())}, headers=other).status_code == 201


def test_status_is_for_the_owner_an_admin_and_services(
    client: TestClient, issuer: Issuer, orders: Any, initiate: Any, wanted: Any
) -> None:
    payment = initiate().json()
    by_id, by_order = f"/status/{payment['payment_id']}", f"/status?order_id={wanted['order_id']}"
    for path in (by_id, by_order):
        for headers in (orders, issuer.headers(sub=wanted["user_id"]), issuer.headers(roles=["admin"])):
            answer = client.get(path, headers=headers)
            assert (answer.status_code, answer.json()) == (200, payment)
        assert client.get(path, headers=issuer.headers()).status_code == 404
        assert client.get(path).status_code == 401
    for path in (f"/status/{uuid4()}", f"/status?order_id={uuid4()}"):
        assert client.get(path, headers=orders).status_code == 404
    for path in ("/status", "/status/1", "/status?order_id=1", "/status/%00", "/status?order_id=';--"):
        assert client.get(path, headers=orders).status_code == 422


def test_only_services_may_ask_for_money(client: TestClient, issuer: Issuer, wanted: Any) -> None:
    def ask(headers: dict[str, str]) -> int:
        return client.post("/initiate", json=wanted, headers=headers | {"Idempotency-Key": "k"}).status_code

    assert ask({}) == 401
    assert ask(issuer.headers(roles=["admin"])) == 403
    assert ask(issuer.service_headers(iss="orders", aud="catalog")) == 401
    forged = issuer.service_token("0f9d1c7a" * 8, iss="orders", aud="payments")
    assert ask({"Authorization": f"Bearer {forged}"}) == 401


@pytest.mark.parametrize(
    "changed",
    [
        {"amount_cents": 0},
        {"amount_cents": -1},
        {"amount_cents": 10**9},
        {"amount_cents": 10**30},
        {"amount_cents": 49.9},
        {"amount_cents": "4990"},
        {"amount_cents": True},
        {"currency": "eur"},
        {"currency": "EURO"},
        {"currency": "EUR\n"},
        {"currency": None},
        {"method": ""},
        {"method": "x" * 101},
        {"method": "tok ok"},
        {"method": "tok_ok\u0000"},
        {"method": {"$ne": 1}},
        {"order_id": "1"},
        {"order_id": 1},
        {"order_id": "'; DROP TABLE payments; --"},
        {"user_id": None},
        {"status": "captured"},
    ],
)
def test_bad_requests_are_refused(initiate: Any, changed: dict[str, Any]) -> None:
    answer = initiate(**changed)
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("key", ["", "x" * 200, "a b", "clé".encode(), None])
def test_bad_keys_are_refused(client: TestClient, orders: Any, wanted: Any, key: Any) -> None:
    headers = orders | ({} if key is None else {"Idempotency-Key": key})
    assert client.post("/initiate", json=wanted, headers=headers).status_code == 422


def test_a_body_that_is_too_large_or_no_json_is_refused(client: TestClient, orders: Any) -> None:
    headers = orders | {"Idempotency-Key": "k", "content-type": "application/json"}
    assert client.post("/initiate", content=b"x" * 70_000, headers=headers).status_code == 413
    for content in (b"", b"{", b"\xff", b"[]", b"null", b"[" * 5000):
        assert 400 <= client.post("/initiate", content=content, headers=headers).status_code < 500
