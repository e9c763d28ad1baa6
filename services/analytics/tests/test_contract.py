# SPDX-License-Identifier: GPL-3.0-or-later
"""Whatever is sent, the answers are those of the OpenAPI document."""

from __future__ import annotations

from collections.abc import Callable

from starlette.testclient import TestClient

from kit.testing import Issuer


def test_the_document_is_kept(client: TestClient, contract: Callable[..., set[str]], issuer: Issuer) -> None:
    for headers in (issuer.headers(roles=["admin"]), issuer.service_headers(iss="orders", aud="analytics")):
        tried = contract(client, headers=headers)
    assert tried == {"GET /health", "GET /info", "POST /events", "GET /query", "GET /summary"}
