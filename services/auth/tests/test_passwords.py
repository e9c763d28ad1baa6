# SPDX-License-Identifier: GPL-3.0-or-later
"""Hashing: the cost, the bounded pool, and no word about who exists."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest
from pwdlib import PasswordHash
from pwdlib.hashers.argon2 import Argon2Hasher
from starlette.testclient import TestClient

from auth.app import create
from auth.settings import Settings
from auth.tests.support import NO_REDIS, SECRET

Value = Callable[..., float | None]


@pytest.fixture
def hashing(client: TestClient) -> PasswordHash:
    """Return the hasher inside the running app."""
    hasher: PasswordHash = client.app.state.auth.passwords._hasher  # type: ignore[attr-defined]
    return hasher


def test_hashes_are_argon2id_at_owasps_parameters(hashing: PasswordHash) -> None:
    assert hashing.hash("x").startswith("$argon2id$v=19$m=19456,t=2,p=1$")


def test_unknown_user_and_wrong_password_look_and_cost_the_same(
    client: TestClient, user: dict[str, str], hashing: PasswordHash, monkeypatch: pytest.MonkeyPatch
) -> None:
    verified: list[str] = []
    original = hashing.verify_and_update

    def counting(password: str | bytes, stored: str | bytes) -> tuple[bool, str | None]:
        verified.append(str(stored))
        return original(password, stored)

    monkeypatch.setattr(hashing, "verify_and_update", counting)
    wrong = client.post("/login", json=user | {"password": "wrong"})
    unknown = client.post("/login", json={"email": "nobody@example.org", "password": "wrong"})
    assert wrong.status_code == unknown.status_code == 401
    differing = {"request_id"}
    assert {k: v for k, v in wrong.json().items() if k not in differing} == {
        k: v for k, v in unknown.json().items() if k not in differing
    }
    # The work is what takes the time: one hash each, with the same parameters.
    assert [stored.split("$")[1:4] for stored in verified] == [["argon2id", "v=19", "m=19456,t=2,p=1"]] * 2


def test_a_hash_with_old_parameters_is_renewed_at_log_in(
    client: TestClient, user: dict[str, str], database_url: str
) -> None:
    old = PasswordHash((Argon2Hasher(memory_cost=8, time_cost=1, parallelism=1),)).hash(user["password"])
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("UPDATE users SET password_hash = %s WHERE email = %s", [old, user["email"]])
        assert client.post("/login", json=user).status_code == 200
        (row,) = connection.execute("SELECT password_hash FROM users WHERE email = %s", [user["email"]]).fetchall()
    assert "m=19456,t=2,p=1" in row[0]
    assert client.post("/login", json=user).status_code == 200


@pytest.fixture
def small(settings: Settings) -> Iterator[TestClient]:
    """Run the app with room for two hashes: one at work, one waiting."""
    with TestClient(create(settings.model_copy(update={"hash_workers": 1, "hash_queue": 1}))) as client:
        yield client


def test_beyond_the_pool_the_answer_is_429_and_everything_else_goes_on(
    small: TestClient, email: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    hasher = small.app.state.auth.passwords._hasher  # type: ignore[attr-defined]
    original, go = hasher.hash, threading.Event()
    entered: list[threading.Event] = [threading.Event()]

    def held(password: str) -> Any:
        entered[0].set()
        assert go.wait(20)
        return original(password)

    monkeypatch.setattr(hasher, "hash", held)
    places = small.app.state.auth.passwords  # type: ignore[attr-defined]

    def sign_up(number: int) -> int:
        return small.post(
            "/signup", json={"email": f"{number}{email}", "password": "correct horse battery"}
        ).status_code

    with ThreadPoolExecutor(2) as pool:
        waiting = [pool.submit(sign_up, number) for number in range(2)]
        assert entered[0].wait(20)
        while places._places:  # until the second one waits as well
            pass
        refused = small.post("/signup", json={"email": f"3{email}", "password": "correct horse battery"})
        assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
        assert small.get("/health").status_code == 200
        go.set()
        assert [future.result() for future in waiting] == [201, 201]
    assert sign_up(4) == 201  # the places came back
    registry = small.app.state.kit.metrics.registry  # type: ignore[attr-defined]
    assert registry.get_sample_value("auth_password_refused_total") == 1


def test_weak_or_placeholder_secrets_are_refused(database_url: str) -> None:
    good = {"database_url": database_url, "redis_url": NO_REDIS, "signing_secret": SECRET}
    assert Settings.model_validate(good)
    for name, bad in [
        ("signing_secret", "changeme"),
        ("signing_secret", "short but random 8f14e45fc"),
        ("signing_secret", "a" * 64),
        ("database_url", "postgresql://auth:changeme@db/auth"),
        ("database_url", "postgresql://auth@db/auth"),
        ("database_url", "mysql://auth:8f14e45f@db/auth"),
        ("database_url", "nonsense"),
        ("previous_signing_secret", "a" * 64),
        ("admin_password", "too short"),
        ("admin_email", "nobody at all"),
        ("trusted_proxies", "10.0.0.0/8, everybody"),
    ]:
        with pytest.raises(ValueError, match=name) as refusal:
            Settings.model_validate(good | {name: bad})
        assert bad not in str(refusal.value)
