# SPDX-License-Identifier: GPL-3.0-or-later
"""Roles, the administrator that the settings name, and the event of a sign-up."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import jwt
import pytest
from starlette.testclient import TestClient

from auth.tests.conftest import Replicas
from auth.tests.support import PASSWORD, bearer, log_in, rows, sign_up

ADMIN = {"email": "admin@opsforge.local", "password": "a long admin password"}
WITH_ADMIN: dict[str, Any] = {"admin_password": ADMIN["password"]}


def claims(tokens: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = jwt.decode(tokens["access_token"], options={"verify_signature": False})
    return found


def me(client: TestClient, tokens: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = client.get("/me", headers=bearer(tokens)).json()
    return found


def put_roles(client: TestClient, admin: dict[str, Any], user_id: object, *roles: str) -> Any:
    return client.put(f"/users/{user_id}/roles", json={"roles": list(roles)}, headers=bearer(admin))


def test_everybody_is_a_customer_and_an_administrator_gives_more(replica: Replicas) -> None:
    with replica(**WITH_ADMIN) as client:
        admin = log_in(client, ADMIN)
        assert claims(admin)["roles"] == ["admin", "customer"]
        tokens = log_in(client, sign_up(client, "ada@example.org"))
        assert claims(tokens)["roles"] == ["customer"]
        changed = put_roles(client, admin, claims(tokens)["sub"], "analyst", "analyst")
        assert (changed.status_code, changed.json()["roles"]) == (200, ["analyst", "customer"])
        refreshed = client.post("/refresh", json={"refresh_token": tokens["refresh_token"]}).json()
        assert claims(refreshed)["roles"] == ["analyst", "customer"]
        assert put_roles(client, admin, claims(tokens)["sub"]).json()["roles"] == ["customer"]


def test_roles_are_for_administrators_to_give(replica: Replicas) -> None:
    with replica(**WITH_ADMIN) as client:
        user = log_in(client, sign_up(client, "ada@example.org"))
        assert put_roles(client, user, claims(user)["sub"], "admin").status_code == 403
        assert client.put(f"/users/{uuid4()}/roles", json={"roles": []}).status_code == 401
        admin = log_in(client, ADMIN)
        assert put_roles(client, admin, uuid4(), "admin").status_code == 404
        assert put_roles(client, admin, claims(admin)["sub"], "analyst").status_code == 409  # or nobody is left
        for path, body in [
            ("/users/1/roles", {"roles": []}),
            (f"/users/{uuid4()}/roles", {}),
            (f"/users/{uuid4()}/roles", {"roles": "admin"}),
            (f"/users/{uuid4()}/roles", {"roles": ["root"]}),
            (f"/users/{uuid4()}/roles", {"roles": [None]}),
            (f"/users/{uuid4()}/roles", {"roles": ["admin"] * 4}),
            (f"/users/{uuid4()}/roles", {"roles": [], "email": "x"}),
        ]:
            assert client.put(path, json=body, headers=bearer(admin)).status_code == 422


def test_a_role_that_was_taken_away_is_gone_here_at_once(replica: Replicas) -> None:
    with replica(**WITH_ADMIN) as client:
        admin = log_in(client, ADMIN)
        user = sign_up(client, "ada@example.org")
        user_id = claims(log_in(client, user))["sub"]
        put_roles(client, admin, user_id, "admin")
        second = log_in(client, user)
        assert client.get("/keys", headers=bearer(second)).status_code == 200
        put_roles(client, admin, user_id)
        assert client.get("/keys", headers=bearer(second)).status_code == 403


def test_the_administrator_is_made_once_by_replicas_that_start_together(replica: Replicas) -> None:
    def start(_: int) -> int:
        with replica(**WITH_ADMIN) as client:
            return client.post("/login", json=ADMIN).status_code

    with ThreadPoolExecutor(3) as pool:
        assert list(pool.map(start, range(3))) == [200] * 3
    assert rows(replica.url, "SELECT email, password_version FROM users") == [(ADMIN["email"], 1)]


def test_the_administrators_own_password_stays(replica: Replicas) -> None:
    with replica(**WITH_ADMIN) as client:
        change = {"password": ADMIN["password"], "new_password": "chosen by the admin"}
        assert client.post("/me/password", json=change, headers=bearer(log_in(client, ADMIN))).status_code == 200
    with replica(**WITH_ADMIN) as client:
        assert client.post("/login", json=ADMIN).status_code == 401
        log_in(client, ADMIN | {"password": "chosen by the admin"})


def test_nobody_signs_up_as_the_administrator(replica: Replicas) -> None:
    with replica() as client:
        assert client.post("/signup", json=ADMIN).status_code == 409
        assert rows(replica.url, "SELECT count(*) FROM users") == [(0,)]


def test_who_had_the_address_before_does_not_become_the_administrator(replica: Replicas) -> None:
    with replica(admin_email="someone@example.org") as client:
        squatter = sign_up(client, ADMIN["email"])
        session = log_in(client, squatter)
    with replica(**WITH_ADMIN) as client:
        assert client.post("/login", json=squatter).status_code == 401
        assert client.post("/refresh", json={"refresh_token": session["refresh_token"]}).status_code == 401
        assert client.get("/keys", headers=bearer(session)).status_code == 403
        log_in(client, ADMIN)


def test_without_a_password_there_is_no_administrator(replica: Replicas) -> None:
    with replica():
        assert rows(replica.url, "SELECT count(*) FROM users") == [(0,)]


def test_a_sign_up_is_told_once_and_only_when_it_happened(replica: Replicas, redis: Any) -> None:
    import redis as library

    from kit.events import STREAM, Event

    with replica() as client, library.Redis.from_url(replica.redis_url) as stream:
        user = sign_up(client, "ada@example.org")
        assert client.post("/signup", json=user).status_code == 409
        last = me(client, log_in(client, sign_up(client, "bob@example.org")))["id"]
        found: list[Event] = []
        while last not in [event.subject for event in found]:
            entries = stream.xrange(STREAM)
            found = [Event.model_validate_json(fields[b"event"]) for _, fields in entries]
    assert [(event.type, event.source, event.data) for event in found] == [("user.signed_up", "auth", {})] * 2


def test_sign_up_and_log_in_need_no_redis(postgresql: Any) -> None:
    from auth.app import create
    from auth.tests.support import new_database, settings_of

    url = new_database(postgresql)
    with TestClient(create(settings_of(url))) as client:
        log_in(client, sign_up(client, "ada@example.org"))
        assert client.get("/health").json()["dependencies"] == {"database": "ok", "keys": "ok"}
    assert rows(url, "SELECT type FROM outbox WHERE batch IS NULL") == [("user.signed_up",)]


@pytest.mark.parametrize("password", [PASSWORD, "short", None, 1, ["x"], "x" * 129])
def test_wrong_types_to_a_password_change(client: TestClient, token: str, password: object) -> None:
    body = {"password": PASSWORD, "new_password": password} if password != PASSWORD else {"password": PASSWORD}
    answer = client.post("/me/password", json=body, headers={"Authorization": f"Bearer {token}"})
    assert answer.status_code == 422
