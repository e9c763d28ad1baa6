# SPDX-License-Identifier: GPL-3.0-or-later
"""Counting stock, with orders coming in meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest
from starlette.testclient import TestClient

Make = Callable[..., dict[str, Any]]


def test_stock_is_read_and_set(client: TestClient, make: Make, admin: dict[str, str]) -> None:
    product = make(on_hand=4)
    path = f"/products/{product['id']}/stock"
    answer = client.get(path)
    seen = {"product_id": product["id"], "on_hand": 4, "reserved": 0, "available": 4, "version": 1}
    assert (answer.json(), answer.headers["etag"]) == (seen, '"1"')
    changed = client.put(path, json={"on_hand": 9}, headers=admin | {"If-Match": '"1"'})
    assert (changed.status_code, changed.headers["etag"]) == (200, '"2"')
    assert changed.json() == client.get(path).json() == seen | {"on_hand": 9, "available": 9, "version": 2}


def test_a_count_that_an_order_overtook_is_refused(
    client: TestClient, make: Make, admin: dict[str, str], orders: dict[str, str]
) -> None:
    product = make(on_hand=4)
    path = f"/products/{product['id']}/stock"
    ask = {"lines": [{"product_id": product["id"], "quantity": 3}]}
    assert client.put(f"/reservations/{uuid4()}", json=ask, headers=orders).status_code == 200
    assert client.put(path, json={"on_hand": 9}, headers=admin | {"If-Match": '"1"'}).status_code == 412
    fewer = client.put(path, json={"on_hand": 2}, headers=admin | {"If-Match": '"2"'})
    assert (fewer.status_code, fewer.json()["detail"]) == (409, "3 are set aside for orders: there can't be fewer.")
    assert client.put(path, json={"on_hand": 3}, headers=admin | {"If-Match": "*"}).json()["available"] == 0


@pytest.mark.parametrize(
    "body", [{}, {"on_hand": -1}, {"on_hand": "1"}, {"on_hand": 1.5}, {"on_hand": 10**9}, {"on_hand": 1, "reserved": 0}]
)
def test_bad_counts_are_refused(client: TestClient, make: Make, admin: dict[str, str], body: Any) -> None:
    path = f"/products/{make()['id']}/stock"
    assert client.put(path, json=body, headers=admin | {"If-Match": "*"}).status_code == 422
