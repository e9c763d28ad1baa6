# SPDX-License-Identifier: GPL-3.0-or-later
"""Refresh tokens: rotated, never two winners, over for thief and owner when one is used again."""

from __future__ import annotations

import base64
import hashlib
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from starlette.testclient import TestClient

from auth.families.token import RefreshToken
from auth.tests.conftest import Replicas
from auth.tests.support import PASSWORD, Clock, bearer, log_in, metric, rows, sign_up

Tokens = dict[str, Any]


def refresh(client: TestClient, tokens: Tokens) -> Any:
    return client.post("/refresh", json={"refresh_token": tokens["refresh_token"]})


def log_out(client: TestClient, tokens: Tokens) -> Any:
    return client.post("/logout", json={"refresh_token": tokens["refresh_token"]})


def test_a_refresh_gives_another_pair_and_the_old_token_is_no_longer_good(replica: Replicas, clock: Clock) -> None:
    with replica() as client:
        user = sign_up(client, "ada@example.org")
        first = log_in(client, user)
        second = refresh(client, first).json()
        assert second["refresh_token"] != first["refresh_token"]
        assert client.get("/me", headers=bearer(second)).json()["email"] == "ada@example.org"
        third = refresh(client, second).json()
        assert refresh(client, third).status_code == 200
        assert metric(client, "auth_refreshes_total", outcome="ok") == 3
        assert first["refresh_expires_in"] == timedelta(days=14).total_seconds()


def test_a_token_used_again_ends_the_family_and_no_other(replica: Replicas, clock: Clock) -> None:
    with replica() as client:
        user = sign_up(client, "ada@example.org")
        stolen, elsewhere = log_in(client, user), log_in(client, user)
        owners = refresh(client, stolen).json()
        clock.go_on(seconds=11)
        answer = refresh(client, stolen)
        assert (answer.status_code, answer.headers["content-type"]) == (401, "application/problem+json")
        assert refresh(client, owners).status_code == 401
        assert refresh(client, elsewhere).status_code == 200
        assert metric(client, "auth_refreshes_total", outcome="reused") == 1


def test_an_older_token_than_the_last_is_reuse_at_once(replica: Replicas) -> None:
    with replica() as client:
        first = log_in(client, sign_up(client, "ada@example.org"))
        third = refresh(client, refresh(client, first).json()).json()
        assert refresh(client, first).status_code == 401  # its successor was used: no answer got lost
        assert refresh(client, third).status_code == 401


def test_a_lost_answer_is_the_same_successor_again_for_some_seconds(replica: Replicas, clock: Clock) -> None:
    with replica() as client:
        first = log_in(client, sign_up(client, "ada@example.org"))
        lost = refresh(client, first).json()
        clock.go_on(seconds=10)
        again = refresh(client, first).json()
        assert again["refresh_token"] == lost["refresh_token"]
        assert client.get("/me", headers=bearer(again)).status_code == 200
        assert refresh(client, again).status_code == 200
        assert metric(client, "auth_refreshes_total", outcome="again") == 1


def test_without_grace_a_lost_answer_costs_a_log_in(replica: Replicas, clock: Clock) -> None:
    with replica(refresh_grace_seconds=0) as client:
        first = log_in(client, sign_up(client, "ada@example.org"))
        second = refresh(client, first).json()
        clock.go_on(seconds=1)
        assert refresh(client, first).status_code == 401
        assert refresh(client, second).status_code == 401


def test_refreshes_at_the_same_moment_on_two_replicas_all_get_one_successor(replica: Replicas) -> None:
    with replica() as one, replica() as other:
        tokens = log_in(one, sign_up(one, "ada@example.org"))
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda number: refresh((one, other)[number % 2], tokens), range(8)))
        assert {answer.status_code for answer in answers} == {200}
        assert len({answer.json()["refresh_token"] for answer in answers}) == 1
        won = sum(metric(client, "auth_refreshes_total", outcome="ok") or 0 for client in (one, other))
        assert won == 1  # the others were given what the winner was
        assert rows(replica.url, "SELECT count(*) FROM families WHERE ended_at IS NULL") == [(1,)]


def test_refreshes_at_the_same_moment_without_grace_have_one_winner(replica: Replicas) -> None:
    with replica(refresh_grace_seconds=0) as one, replica(refresh_grace_seconds=0) as other:
        tokens = log_in(one, sign_up(one, "ada@example.org"))

        def take(number: int) -> int:
            return int(refresh((one, other)[number % 2], tokens).status_code)

        with ThreadPoolExecutor(8) as pool:
            statuses = sorted(pool.map(take, range(8)))
        assert statuses == [200] + [401] * 7
        assert rows(replica.url, "SELECT reused FROM families") == [(True,)]


def test_only_digests_are_stored(replica: Replicas) -> None:
    with replica() as client:
        first = log_in(client, sign_up(client, "ada@example.org"))
        second = refresh(client, first).json()
        [row] = rows(replica.url, "SELECT * FROM families")
        stored = b"".join(value for value in row if isinstance(value, bytes))
        for tokens in (first, second):
            raw = base64.urlsafe_b64decode(tokens["refresh_token"])
            assert raw[16:] not in stored
            assert hashlib.sha256(raw).digest() in stored


def test_log_out_ends_the_session_and_can_be_said_twice(replica: Replicas, clock: Clock) -> None:
    with replica() as client:
        user = sign_up(client, "ada@example.org")
        tokens, elsewhere = log_in(client, user), log_in(client, user)
        assert log_out(client, tokens).status_code == 204
        assert refresh(client, tokens).status_code == 401
        assert log_out(client, tokens).status_code == 204
        assert log_out(client, {"refresh_token": str(RefreshToken.first(uuid4()))}).status_code == 204
        assert log_out(client, {"refresh_token": "nonsense"}).status_code == 204
        assert refresh(client, elsewhere).status_code == 200
        assert metric(client, "auth_logouts_total") == 1
        assert metric(client, "auth_refreshes_total", outcome="reused") == 0


def test_a_session_ends_when_it_is_not_used_and_in_the_end_in_any_case(replica: Replicas, clock: Clock) -> None:
    with replica() as client:
        user = sign_up(client, "ada@example.org")
        idle, busy = log_in(client, user), log_in(client, user)
        for _ in range(8):
            clock.go_on(days=10)
            answer = refresh(client, busy)
            assert answer.status_code == 200
            busy = answer.json()
        assert refresh(client, idle).status_code == 401
        assert busy["refresh_expires_in"] == timedelta(days=10).total_seconds()  # the 90th day is the last
        clock.go_on(days=10)
        assert refresh(client, busy).status_code == 401


def test_sessions_past_their_end_are_dropped(replica: Replicas, clock: Clock) -> None:
    with replica() as client:
        log_in(client, sign_up(client, "ada@example.org"))
    clock.go_on(days=89)
    with replica():
        assert rows(replica.url, "SELECT count(*) FROM families") == [(1,)]
    clock.go_on(days=2)
    with replica():
        assert rows(replica.url, "SELECT count(*) FROM families") == [(0,)]


def test_a_new_password_ends_every_session_and_begins_one(replica: Replicas) -> None:
    with replica() as client:
        user = sign_up(client, "ada@example.org")
        tokens, elsewhere = log_in(client, user), log_in(client, user)
        change = {"password": PASSWORD, "new_password": "another long password"}
        answer = client.post("/me/password", json=change, headers=bearer(tokens))
        assert answer.status_code == 200
        assert [refresh(client, old).status_code for old in (tokens, elsewhere)] == [401, 401]
        assert refresh(client, answer.json()).status_code == 200
        assert client.post("/login", json=user).status_code == 401
        log_in(client, user | {"password": "another long password"})


def test_a_new_password_needs_the_old_one(replica: Replicas) -> None:
    with replica() as client:
        user = sign_up(client, "ada@example.org")
        tokens = log_in(client, user)
        change = {"password": "not the old one", "new_password": "another long password"}
        for _ in range(5):
            assert client.post("/me/password", json=change, headers=bearer(tokens)).status_code == 401
        locked = client.post("/me/password", json=change | {"password": PASSWORD}, headers=bearer(tokens))
        assert (locked.status_code, locked.headers["retry-after"]) == (429, "30")
        assert refresh(client, tokens).status_code == 200  # nothing was changed
        assert client.post("/me/password", json=change).status_code == 401


def test_a_log_in_with_the_old_password_that_is_under_way_begins_nothing(
    replica: Replicas, monkeypatch: pytest.MonkeyPatch
) -> None:
    with replica() as client:
        user = sign_up(client, "ada@example.org")
        passwords = client.app.state.auth.passwords  # type: ignore[attr-defined]
        original = type(passwords).verify

        async def slow_verify(self: Any, password: str, stored: str | None) -> Any:
            found = await original(self, password, stored)
            rows(replica.url, "UPDATE users SET password_hash = 'x', password_version = password_version + 1")
            return found

        monkeypatch.setattr(type(passwords), "verify", slow_verify)
        assert client.post("/login", json=user).status_code == 401
        assert rows(replica.url, "SELECT count(*) FROM families") == [(0,)]


def test_a_session_of_a_user_who_is_gone_is_over(replica: Replicas) -> None:
    with replica() as client:
        tokens = log_in(client, sign_up(client, "ada@example.org"))
        rows(replica.url, "DELETE FROM users")
        assert refresh(client, tokens).status_code == 401


@pytest.mark.parametrize("path", ["/refresh", "/logout"])
@pytest.mark.parametrize(
    "body",
    [
        None,
        [],
        "text",
        {},
        {"refresh_token": None},
        {"refresh_token": 1},
        {"refresh_token": ["x"]},
        {"refresh_token": ""},
        {"refresh_token": "x" * 129},
        {"refresh_token": "x", "user_id": "y"},
    ],
)
def test_wrong_types_are_refused(client: TestClient, path: str, body: object) -> None:
    assert client.post(path, json=body).status_code == 422


@pytest.mark.parametrize(
    "text", ["x", "x" * 64, "x" * 63 + "\n", "'; DROP TABLE families; --", "\u00e4" * 64, "A" * 65]
)
def test_what_was_never_a_token_is_refused(client: TestClient, text: str) -> None:
    assert client.post("/refresh", json={"refresh_token": text}).status_code == 401


def test_an_access_token_is_no_refresh_token(client: TestClient, token: str) -> None:
    assert client.post("/refresh", json={"refresh_token": token}).status_code in (401, 422)


def test_a_secret_that_does_not_fit_a_known_family_ends_it(replica: Replicas) -> None:
    # Nobody learns a family's id but from one of its tokens: this is somebody with half of a stolen one.
    with replica() as client:
        tokens = log_in(client, sign_up(client, "ada@example.org"))
        known = RefreshToken.parse(tokens["refresh_token"])
        assert known
        assert refresh(client, {"refresh_token": str(RefreshToken.first(known.family_id))}).status_code == 401
        assert refresh(client, tokens).status_code == 401


def test_tokens_read_back_what_they_write() -> None:
    token = RefreshToken.first(uuid4())
    assert RefreshToken.parse(str(token)) == token
    assert token.successor(b"1") == token.successor(b"1") != token.successor(b"2")
    assert len(str(token)) == 64
