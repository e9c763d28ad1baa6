# SPDX-License-Identifier: GPL-3.0-or-later
"""Reservations as the orders service uses them: all or nothing, once, and never more than there is."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import pytest
from starlette.testclient import TestClient

from kit.testing import Issuer

Make = Callable[..., dict[str, Any]]


class Shelf:
    """Asks as the orders service does."""

    def __init__(self, client: TestClient, headers: dict[str, str]) -> None:
        self.client = client
        self.headers = headers

    def reserve(self, order_id: object, *lines: tuple[dict[str, Any], int]) -> Any:
        body = {"lines": [{"product_id": product["id"], "quantity": quantity} for product, quantity in lines]}
        return self.client.put(f"/reservations/{order_id}", json=body, headers=self.headers)

    def commit(self, order_id: object) -> Any:
        return self.client.post(f"/reservations/{order_id}/commit", headers=self.headers)

    def release(self, order_id: object) -> Any:
        return self.client.delete(f"/reservations/{order_id}", headers=self.headers)

    def stock(self, product: dict[str, Any]) -> tuple[int, int]:
        """Return how many are on hand, and how many of them are reserved."""
        seen = self.client.get(f"/products/{product['id']}/stock").json()
        return seen["on_hand"], seen["reserved"]


@pytest.fixture
def shelf(client: TestClient, orders: dict[str, str]) -> Shelf:
    return Shelf(client, orders)


def test_an_order_is_reserved_and_sold(shelf: Shelf, make: Make, value: Callable[..., float]) -> None:
    mug, pan = make(name="Mug", price_cents=250), make(name="Pan", price_cents=1999)
    order = uuid4()
    answer = shelf.reserve(order, (mug, 3), (pan, 1))
    expected = {
        "order_id": str(order),
        "state": "reserved",
        "lines": sorted(
            [
                {"product_id": mug["id"], "name": "Mug", "quantity": 3, "unit_cents": 250},
                {"product_id": pan["id"], "name": "Pan", "quantity": 1, "unit_cents": 1999},
            ],
            key=lambda line: str(line["product_id"]),
        ),
        "total_cents": 2749,
        "currency": "EUR",
    }
    assert (answer.status_code, answer.json()) == (200, expected)
    assert (shelf.stock(mug), shelf.stock(pan)) == ((10, 3), (10, 1))
    for _ in range(2):
        sold = shelf.commit(order)
        assert (sold.status_code, sold.json()) == (200, expected | {"state": "committed"})
        assert (shelf.stock(mug), shelf.stock(pan)) == ((7, 0), (9, 0))
    assert shelf.release(order).status_code == 409
    assert shelf.reserve(order, (pan, 1), (mug, 3)).json() == expected | {"state": "committed"}
    assert (shelf.stock(mug), shelf.stock(pan)) == ((7, 0), (9, 0))
    outcomes = {
        outcome: value("catalog_reservations_total", outcome=outcome)
        for outcome in ("reserved", "committed", "repeated", "conflict")
    }
    assert outcomes == {"reserved": 1, "committed": 1, "repeated": 2, "conflict": 1}


def test_an_order_is_reserved_and_released(shelf: Shelf, make: Make) -> None:
    mug = make()
    order = uuid4()
    assert shelf.reserve(order, (mug, 3)).status_code == 200
    for _ in range(2):
        assert shelf.release(order).status_code == 204
        assert shelf.stock(mug) == (10, 0)
    assert shelf.commit(order).status_code == 409
    assert shelf.reserve(order, (mug, 3)).status_code == 409
    assert shelf.stock(mug) == (10, 0)


def test_an_ask_that_comes_after_its_release_is_refused(shelf: Shelf, make: Make) -> None:
    mug, order = make(), uuid4()
    assert shelf.release(order).status_code == 204
    assert shelf.release(order).status_code == 204
    assert shelf.reserve(order, (mug, 3)).status_code == 409
    assert shelf.commit(order).status_code == 409
    assert shelf.stock(mug) == (10, 0)


def test_what_was_never_reserved_is_not_sold(shelf: Shelf) -> None:
    assert shelf.commit(uuid4()).status_code == 409


def test_all_or_nothing(shelf: Shelf, make: Make, value: Callable[..., float]) -> None:
    much, little, order = make(), make(on_hand=2), uuid4()
    answer = shelf.reserve(order, (much, 3), (little, 3))
    assert (answer.status_code, answer.json()["detail"]) == (409, f"Not enough in stock: {little['sku']} (2 left).")
    assert (shelf.stock(much), shelf.stock(little)) == ((10, 0), (2, 0))
    assert value("catalog_stock_refused_total") == 1
    assert value("catalog_reservations_total", outcome="out_of_stock") == 1
    assert shelf.reserve(order, (much, 3), (little, 2)).status_code == 200  # nothing was remembered of the first ask


def test_the_same_order_may_not_ask_for_something_else(shelf: Shelf, make: Make) -> None:
    mug, pan, order = make(), make(), uuid4()
    assert shelf.reserve(order, (mug, 3)).status_code == 200
    for other in (((mug, 4),), ((pan, 3),), ((mug, 3), (pan, 1))):
        assert shelf.reserve(order, *other).status_code == 409
    assert (shelf.stock(mug), shelf.stock(pan)) == ((10, 3), (10, 0))


def test_the_price_of_the_moment_stays(shelf: Shelf, make: Make, admin: dict[str, str]) -> None:
    mug, order = make(price_cents=250), uuid4()
    first = shelf.reserve(order, (mug, 2)).json()
    dearer = {"name": "Mug", "price_cents": 999}
    path = f"/products/{mug['id']}"
    assert shelf.client.put(path, json=dearer, headers=admin | {"If-Match": "*"}).status_code == 200
    assert shelf.reserve(order, (mug, 2)).json() == first
    assert shelf.reserve(uuid4(), (mug, 2)).json()["total_cents"] == 1998


def test_what_is_not_for_sale_is_refused(shelf: Shelf, make: Make) -> None:
    mug, gone, dollars = make(), make(active=False), make(currency="USD")
    for lines, status in (
        (((mug, 1), (gone, 1)), 409),
        (((mug, 1), (dollars, 1)), 422),
        (((mug, 1), ({"id": str(uuid4())}, 1)), 422),
    ):
        assert shelf.reserve(uuid4(), *lines).status_code == status
    assert shelf.stock(mug) == (10, 0)


def test_many_orders_at_once_never_sell_more_than_there_is(shelf: Shelf, make: Make) -> None:
    """Fifty orders for the same few things, named in every order of lines: no oversale, no deadlock, no 5xx."""
    products = [make(on_hand=20) for _ in range(4)]

    def order(number: int) -> int:
        lines = [(product, 1 + number % 3) for product in random.Random(number).sample(products, 3)]
        answer = shelf.reserve(uuid4(), *lines)
        assert answer.status_code in (200, 409), answer.text
        return sum(quantity for _, quantity in lines) if answer.status_code == 200 else 0

    with ThreadPoolExecutor(10) as pool:
        reserved = sum(pool.map(order, range(50)))
    stocks = [shelf.stock(product) for product in products]
    assert sum(held for _, held in stocks) == reserved
    assert all(held <= on_hand == 20 for on_hand, held in stocks)
    assert max(held for _, held in stocks) > 17  # they ran out: it was tight


def test_the_last_one_goes_to_one_of_many(shelf: Shelf, make: Make) -> None:
    mug = make(on_hand=1)
    with ThreadPoolExecutor(10) as pool:
        statuses = Counter(
            answer.status_code for answer in pool.map(lambda _: shelf.reserve(uuid4(), (mug, 1)), range(20))
        )
    assert statuses == {200: 1, 409: 19}
    assert shelf.stock(mug) == (1, 1)


def test_one_order_asked_for_many_times_at_once_is_reserved_once(shelf: Shelf, make: Make) -> None:
    mug, order = make(on_hand=5), uuid4()
    with ThreadPoolExecutor(10) as pool:
        answers = list(pool.map(lambda _: shelf.reserve(order, (mug, 5)), range(20)))
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.text for answer in answers}) == 1
    assert shelf.stock(mug) == (5, 5)


def test_commit_and_release_at_once_have_one_winner(shelf: Shelf, make: Make) -> None:
    mug = make(on_hand=100)
    for _ in range(10):
        order = uuid4()
        on_hand, _held = shelf.stock(mug)
        assert shelf.reserve(order, (mug, 2)).status_code == 200
        with ThreadPoolExecutor(6) as pool:
            ends = [pool.submit(shelf.commit if number % 2 else shelf.release, order) for number in range(6)]
        commits, releases = ({ends[place].result().status_code for place in range(begin, 6, 2)} for begin in (1, 0))
        assert (commits, releases) in (({200}, {409}), ({409}, {204}))
        assert shelf.stock(mug) == (on_hand - 2 if commits == {200} else on_hand, 0)


def test_only_services_reserve(shelf: Shelf, make: Make, issuer: Issuer) -> None:
    mug, order = make(), uuid4()
    for headers, status in (
        ({}, 401),
        (issuer.headers(), 403),
        (issuer.headers(roles=["admin"]), 403),
        (issuer.service_headers(iss="orders", aud="payments"), 401),
        ({"Authorization": f"Bearer {issuer.service_token('0' * 40 + 'other', iss='orders', aud='catalog')}"}, 401),
    ):
        stranger = Shelf(shelf.client, headers)
        for answer in (stranger.reserve(order, (mug, 1)), stranger.commit(order), stranger.release(order)):
            assert answer.status_code == status
    assert shelf.stock(mug) == (10, 0)


LINE = {"product_id": str(uuid4()), "quantity": 1}


@pytest.mark.parametrize(
    "body",
    [
        None,
        [],
        {},
        {"lines": []},
        {"lines": [LINE] * 2},
        {"lines": [LINE | {"product_id": str(uuid4())} for _ in range(101)]},
        {"lines": [LINE | {"quantity": 0}]},
        {"lines": [LINE | {"quantity": -1}]},
        {"lines": [LINE | {"quantity": 1001}]},
        {"lines": [LINE | {"quantity": "1"}]},
        {"lines": [LINE | {"quantity": True}]},
        {"lines": [LINE | {"product_id": "1' OR '1'='1"}]},
        {"lines": [LINE | {"product_id": 1}]},
        {"lines": [LINE | {"unit_cents": 1}]},
        {"lines": [LINE], "state": "committed"},
    ],
)
def test_bad_asks_are_refused(shelf: Shelf, body: Any) -> None:
    headers = shelf.headers | {"content-type": "application/json"}
    answer = shelf.client.put(f"/reservations/{uuid4()}", content=json.dumps(body), headers=headers)
    assert answer.status_code == 422, answer.text


def test_bad_order_ids_are_refused(shelf: Shelf, make: Make) -> None:
    mug = make()
    for order in ("x", "1;DROP TABLE stock", "%00"):
        for answer in (shelf.reserve(order, (mug, 1)), shelf.commit(order), shelf.release(order)):
            assert answer.status_code == 422
