# SPDX-License-Identifier: GPL-3.0-or-later
"""Whatever is sent, the answers are those of the OpenAPI document."""

from __future__ import annotations

from collections.abc import Callable

from orders.tests.conftest import Shop


def test_the_document_is_kept(shop: Shop, contract: Callable[..., set[str]]) -> None:
    shop.stand_ins.status = "captured"
    shop.buy()  # so that lists have something to show
    assert contract(shop.client, headers=shop.headers) == {
        "GET /health",
        "GET /info",
        "GET /cart",
        "PUT /cart/items/{product_id}",
        "DELETE /cart/items/{product_id}",
        "POST /checkout",
        "GET /orders",
        "GET /orders/{order_id}",
        "POST /orders/{order_id}/cancel",
    }
