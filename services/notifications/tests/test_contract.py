# SPDX-License-Identifier: GPL-3.0-or-later
"""What the OpenAPI document says is what the service does, whatever is sent: no 5xx, no undocumented answer."""

from __future__ import annotations

from collections.abc import Callable

from starlette.testclient import TestClient

from kit.testing import Issuer


def test_the_document_is_kept(client: TestClient, issuer: Issuer, contract: Callable[..., set[str]]) -> None:
    headers = issuer.headers(roles=["customer", "admin"])
    assert contract(client, headers=headers) >= {"GET /notifications", "GET /dead", "POST /dead/{dead_id}/requeue"}
