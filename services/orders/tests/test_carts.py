# SPDX-License-Identifier: GPL-3.0-or-later
"""Carts: set, bound, take out; each user's own."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from orders.carts.schemas import MAX_LINES
from orders.tests.conftest import Shop


def quantities(shop: Shop) -> list[int]:
    return [item["quantity"] for item in shop.request("GET", "/cart").json()["items"]]


def test_put_again_and_delete(shop: Shop) -> None:
    assert quantities(shop) == []
    product_id = shop.fill_cart(quantity=2)
    assert shop.request("GET", "/cart").json() == {"items": [{"product_id": product_id, "quantity": 2}]}
    shop.fill_cart(product_id, 5)
    shop.fill_cart(quantity=1)
    assert quantities(shop) == [5, 1]
    for _ in range(2):  # deleting twice is no mistake
        answer = shop.request("DELETE", f"/cart/items/{product_id}")
        assert (answer.status_code, answer.content) == (204, b"")
    assert quantities(shop) == [1]


def test_everybody_has_their_own(shop: Shop) -> None:
    product_id = shop.fill_cart()
    mine, shop.headers = shop.headers, shop.issuer.headers()
    assert quantities(shop) == []
    shop.request("DELETE", f"/cart/items/{product_id}")
    shop.headers = mine
    assert quantities(shop) == [2]


def test_a_full_cart_takes_no_other_product_even_at_the_same_moment(shop: Shop) -> None:
    product_ids = [shop.fill_cart(str(uuid4())) for _ in range(MAX_LINES - 1)]

    def put(_: int) -> int:
        return int(shop.request("PUT", f"/cart/items/{uuid4()}", json={"quantity": 1}).status_code)

    with ThreadPoolExecutor(8) as pool:
        with psycopg.connect(shop.database_url) as blocker:  # all may look, none may write, until all have come
            blocker.execute("LOCK TABLE cart_items IN EXCLUSIVE MODE")
            answers = pool.map(put, range(8))
            while shop.sql("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'") != [(8,)]:
                pass
        assert sorted(answers) == [200] + [409] * 7
    assert len(quantities(shop)) == MAX_LINES
    shop.fill_cart(product_ids[0], 9)  # one that is in it may change


ODD: list[Any] = [0, -1, 100, 2**63, 10**400, 1.5, 1.0, "1", True, None, [1], {}]


@pytest.mark.parametrize(
    "body",
    [{}, [], None, 1, {"quantity": 1, "unit_cents": 1}, *({"quantity": quantity} for quantity in ODD)],
)
def test_bad_quantities_are_refused(shop: Shop, body: Any) -> None:
    assert shop.request("PUT", f"/cart/items/{uuid4()}", json=body).status_code == 422
    assert quantities(shop) == []


@pytest.mark.parametrize("product_id", ["1", "x' OR '1'='1", "%00", "0" * 33, "..%2f..", "%ff"])
@pytest.mark.parametrize("method", ["PUT", "DELETE"])
def test_what_is_no_product_id_is_refused(shop: Shop, method: str, product_id: str) -> None:
    body = {"json": {"quantity": 1}} if method == "PUT" else {}
    assert shop.request(method, f"/cart/items/{product_id}", **body).status_code in (404, 422)
