# SPDX-License-Identifier: GPL-3.0-or-later
"""Whatever is sent, the answers are those of the OpenAPI document."""

from __future__ import annotations

from collections.abc import Callable

from auth.tests.conftest import Replicas
from auth.tests.support import bearer, log_in


def test_the_document_is_kept(replica: Replicas, contract: Callable[..., set[str]]) -> None:
    with replica(admin_password="a long admin password") as client:
        admin = log_in(client, {"email": "admin@opsforge.local", "password": "a long admin password"})
        tried = contract(client, headers=bearer(admin), examples=20)
    assert tried == {
        "GET /health",
        "GET /info",
        "POST /signup",
        "GET /me",
        "POST /me/password",
        "PUT /users/{user_id}/roles",
        "POST /login",
        "POST /refresh",
        "POST /logout",
        "POST /validate",
        "GET /.well-known/jwks.json",
        "GET /keys",
        "POST /keys/rotate",
    }
