# SPDX-License-Identifier: GPL-3.0-or-later
"""From cart to order: what the answer says, and that a key makes one order however it is used."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import pytest

from orders.tests.conftest import Make, Shop


def test_the_happy_path_answers_when_payment_is_asked_for_and_ends_fulfilled(shop: Shop) -> None:
    product_id = shop.stand_ins.product(cents=1250)
    shop.fill_cart(product_id, 3)
    answer = shop.check_out()
    assert answer.status_code == 201
    order = answer.json()
    assert answer.headers["location"] == f"/orders/{order['id']}"
    assert "idempotent-replay" not in answer.headers
    assert (order["state"], order["total_cents"], order["currency"], order["reason"]) == ("paying", 3750, "EUR", None)
    name = shop.stand_ins.products[product_id]["name"]
    assert order["lines"] == [{"product_id": product_id, "quantity": 3, "name": name, "unit_cents": 1250}]
    assert order["payment_id"] == shop.stand_ins.payments[order["id"]]["payment_id"]
    assert shop.request("GET", "/cart").json() == {"items": []}
    shop.tell("payment.captured", shop.stand_ins.settle(order["id"], "captured"))
    assert shop.state(order["id"]) == "paid"
    shop.drive()
    assert shop.state(order["id"]) == "fulfilled"
    assert shop.published(order["id"]) == ["order.placed", "order.paid"]
    assert shop.history(order["id"]) == ["placed", "reserved", "paying", "paid", "fulfilled"]
    assert shop.stand_ins.reservations[order["id"]]["state"] == "committed"
    assert shop.metric("orders_placed_total") == 1
    assert shop.metric("orders_finished_total", state="fulfilled") == 1
    assert shop.metric("orders_revenue_cents_total", currency="EUR") == 3750


def test_a_payment_that_is_captured_at_once_is_answered_fulfilled(shop: Shop) -> None:
    shop.stand_ins.status = "captured"
    assert shop.state(shop.buy()) == "fulfilled"


def test_events_say_everything_about_the_order(shop: Shop) -> None:
    shop.headers = shop.issuer.headers(email="grace@example.org")
    shop.stand_ins.status = "captured"
    order = shop.order(shop.buy())
    placed, paid = (
        data for (data,) in shop.sql("SELECT data FROM outbox WHERE subject = %s ORDER BY sequence", order["id"])
    )
    assert placed["email"] == "grace@example.org"
    assert (placed["order_id"], placed["total_cents"], placed["reason"]) == (order["id"], None, None)
    assert (paid["total_cents"], paid["currency"], paid["lines"]) == (2000, "EUR", order["lines"])
    assert placed.keys() == paid.keys()


def test_the_same_key_returns_the_same_order_whatever_the_cart_holds_now(shop: Shop) -> None:
    shop.fill_cart()
    first = shop.check_out(key="k-1")
    shop.fill_cart()
    again = shop.check_out(key="k-1")
    assert (again.status_code, again.headers["idempotent-replay"]) == (201, "true")
    assert again.json() == first.json()
    assert again.headers["location"] == first.headers["location"]
    assert len(shop.request("GET", "/cart").json()["items"]) == 1
    assert shop.metric("orders_placed_total") == 1


def test_the_same_key_with_another_body_is_refused(shop: Shop) -> None:
    shop.buy(key="k-1")
    shop.fill_cart()
    answer = shop.check_out(key="k-1", method="tok_declined")
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert len(shop.request("GET", "/cart").json()["items"]) == 1  # nothing was done


def test_a_key_belongs_to_its_user(shop: Shop) -> None:
    mine = shop.buy(key="k-1")
    shop.headers = shop.issuer.headers()
    assert shop.buy(key="k-1") != mine


def test_an_empty_cart_is_refused_and_does_not_use_up_the_key(shop: Shop) -> None:
    assert shop.check_out(key="k-1").status_code == 409
    shop.buy(key="k-1")


@pytest.mark.parametrize("same_key", [True, False])
def test_checkouts_at_the_same_moment_make_one_order(make: Make, same_key: bool) -> None:
    shop, other = make(), make()
    shop.fill_cart()
    other.headers = shop.headers

    def check_out(number: int) -> Any:
        return (shop, other)[number % 2].check_out(key="k-1" if same_key else f"k-{number}")

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(check_out, range(8)))
    made = [answer for answer in answers if answer.status_code == 201]
    assert len({answer.json()["id"] for answer in made}) == 1
    if same_key:
        assert len(made) == 8
        assert sum("idempotent-replay" in answer.headers for answer in made) == 7
    else:
        assert sorted(answer.status_code for answer in answers) == [201] + [409] * 7
    assert shop.sql("SELECT count(*) FROM orders") == [(1,)]
    assert shop.stand_ins.effects.total() == 2  # one reservation, one payment


def test_what_the_catalog_refuses_ends_cancelled_with_the_reason(shop: Shop) -> None:
    shop.fill_cart(shop.stand_ins.product(stock=1), 2)
    order = shop.check_out().json()
    assert (order["state"], order["reason"], order["total_cents"]) == ("cancelled", "out_of_stock", None)
    assert shop.published(order["id"]) == ["order.placed", "order.cancelled"]
    shop.fill_cart(str(uuid4()))
    order = shop.check_out().json()
    assert (order["state"], order["reason"]) == ("cancelled", "not_orderable")
    assert shop.stand_ins.payments == {}
    assert shop.metric("orders_finished_total", state="cancelled") == 2


def test_a_payment_method_that_payments_refuses_cancels_and_gives_the_stock_back(shop: Shop) -> None:
    product_id = shop.fill_cart()
    order = shop.check_out(method="tok_unknown").json()
    assert (order["state"], order["reason"]) == ("cancelled", "payment_failed")
    assert shop.stand_ins.products[product_id]["stock"] == 100


def test_the_calls_are_for_the_request_and_the_trace_of_the_checkout(quiet_shop: Shop) -> None:
    quiet_shop.fill_cart()
    trace_id = "4bf92f3577b34da6a3ce929d0e0e4736"
    answer = quiet_shop.request(
        "POST",
        "/checkout",
        json={"payment_method": "tok_ok"},
        headers={
            "Idempotency-Key": "k",
            "x-request-id": "request-7",
            "traceparent": f"00-{trace_id}-00f067aa0ba902b7-01",
        },
    )
    quiet_shop.drive()
    assert quiet_shop.stand_ins.traces == {("request-7", trace_id)}
    rows = quiet_shop.sql("SELECT trace FROM outbox WHERE subject = %s", answer.json()["id"])
    assert [(trace[3:35], trace.split()[1:]) for (trace,) in rows] == [(trace_id, ["request-7"])]


def test_an_order_of_a_version_that_stored_the_trace_alone_is_driven_on(quiet_shop: Shop) -> None:
    order_id, trace_id = quiet_shop.buy(), "4bf92f3577b34da6a3ce929d0e0e4736"
    quiet_shop.sql("UPDATE orders SET traceparent = %s WHERE id = %s", f"00-{trace_id}-00f067aa0ba902b7-01", order_id)
    quiet_shop.drive()
    assert quiet_shop.stand_ins.traces == {(trace_id, trace_id)}


@pytest.mark.parametrize(
    "body",
    [
        {},
        [],
        None,
        "tok_ok",
        {"payment_method": ""},
        {"payment_method": 1},
        {"payment_method": None},
        {"payment_method": ["tok_ok"]},
        {"payment_method": "4111 1111 1111 1111"},
        {"payment_method": "tok_" + "x" * 61},
        {"payment_method": "tok_ok\n"},
        {"payment_method": "tok_\u0000"},
        {"payment_method": "tok_'; DROP TABLE orders; --"},
        {"payment_method": "tok_ok", "total_cents": 1},
    ],
)
def test_bad_checkouts_are_refused(shop: Shop, body: Any) -> None:
    shop.fill_cart()
    answer = shop.request("POST", "/checkout", json=body, headers={"Idempotency-Key": "k"})
    assert answer.status_code == 422
    assert "4111" not in answer.text
    assert shop.sql("SELECT count(*) FROM orders") == [(0,)]


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b'{"payment_method": NaN}', b"[" * 5000, b'"\\ud800"'])
def test_bodies_that_are_not_json_are_refused(shop: Shop, content: bytes) -> None:
    headers = {"Idempotency-Key": "k", "content-type": "application/json"}
    answer = shop.request("POST", "/checkout", content=content, headers=headers)
    assert 400 <= answer.status_code < 500


def test_oversize_bodies_are_refused(shop: Shop) -> None:
    answer = shop.request("POST", "/checkout", json={"payment_method": "x" * 70_000}, headers={"Idempotency-Key": "k"})
    assert answer.status_code == 413


@pytest.mark.parametrize("key", ["", " ", "k" * 101, "sch\u00f6n".encode("latin-1"), "a b", "k\t"])
def test_bad_keys_are_refused(shop: Shop, key: Any) -> None:
    shop.fill_cart()
    headers = {"Idempotency-Key": key}
    answer = shop.request("POST", "/checkout", json={"payment_method": "tok_ok"}, headers=headers)
    assert answer.status_code == 422


def test_a_checkout_without_a_key_is_refused(shop: Shop) -> None:
    shop.fill_cart()
    assert shop.request("POST", "/checkout", json={"payment_method": "tok_ok"}).status_code == 422


def test_an_injected_key_is_data(shop: Shop) -> None:
    key = "';DROP/**/TABLE/**/orders;--"
    order_id = shop.buy(key=key)
    assert shop.check_out(key=key).json()["id"] == order_id
