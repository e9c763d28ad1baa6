# SPDX-License-Identifier: GPL-3.0-or-later
"""Whatever is sent, the answers are those of the OpenAPI document."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from starlette.testclient import TestClient

from kit.testing import Issuer


def test_the_document_is_kept(
    client: TestClient, contract: Callable[..., set[str]], issuer: Issuer, make: Callable[..., Any]
) -> None:
    make()
    for headers in (issuer.headers(roles=["admin"]), issuer.service_headers(iss="orders", aud="catalog")):
        tried = contract(client, headers=headers)
    assert tried == {
        "GET /health",
        "GET /info",
        "GET /products",
        "POST /products",
        "GET /products/{product_id}",
        "PUT /products/{product_id}",
        "GET /products/{product_id}/stock",
        "PUT /products/{product_id}/stock",
        "PUT /reservations/{order_id}",
        "POST /reservations/{order_id}/commit",
        "DELETE /reservations/{order_id}",
    }
