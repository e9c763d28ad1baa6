# SPDX-License-Identifier: GPL-3.0-or-later
"""Sign-up, and who am I."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest
from starlette.testclient import TestClient

PASSWORD = "correct horse battery"
INJECTION = "'; DROP TABLE users; --"


def test_sign_up_log_in_and_who_am_i(client: TestClient, email: str) -> None:
    created = client.post("/signup", json={"email": email.upper(), "password": PASSWORD})
    assert created.status_code == 201
    assert set(created.json()) == {"id", "email", "roles", "created_at"}  # nothing of the password
    assert created.json()["email"] == email
    answer = client.post("/login", json={"email": email, "password": PASSWORD}).json()
    assert (answer["token_type"], answer["expires_in"]) == ("Bearer", 900)
    me = client.get("/me", headers={"Authorization": f"Bearer {answer['access_token']}"})
    assert me.json() == created.json()


def test_an_address_can_be_taken_once_even_at_the_same_moment(client: TestClient, email: str) -> None:
    def sign_up(_: int) -> int:
        return client.post("/signup", json={"email": email, "password": PASSWORD}).status_code

    with ThreadPoolExecutor(8) as pool:
        statuses = sorted(pool.map(sign_up, range(8)))
    assert statuses == [201] + [409] * 7


@pytest.mark.parametrize(
    "body",
    [
        {},
        [],
        "text",
        None,
        {"email": "a@example.org"},
        {"email": "a@example.org", "password": "short"},
        {"email": "a@example.org", "password": "x" * 129},
        {"email": "a@example.org", "password": 123456789012},
        {"email": "a@example.org", "password": ["correct horse battery"]},
        {"email": {"$ne": None}, "password": PASSWORD},
        {"email": True, "password": PASSWORD},
        {"email": "no-at-sign", "password": PASSWORD},
        {"email": "a@localhost", "password": PASSWORD},
        {"email": "a\u0000@example.org", "password": PASSWORD},
        {"email": "a@example.org\n", "password": PASSWORD},
        {"email": "a" * 250 + "@example.org", "password": PASSWORD},
        {"email": INJECTION, "password": PASSWORD},
        {"email": "a@example.org", "password": PASSWORD, "role": "admin"},
    ],
)
def test_bad_sign_ups_are_refused_without_repeating_the_input(client: TestClient, body: Any) -> None:
    answer = client.post("/signup", json=body)
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert PASSWORD not in answer.text


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b'{"email": NaN}', b"[" * 5000, b'"\\ud800"'])
def test_bodies_that_are_not_json_are_refused(client: TestClient, content: bytes) -> None:
    answer = client.post("/signup", content=content, headers={"content-type": "application/json"})
    assert 400 <= answer.status_code < 500


def test_oversize_bodies_are_refused(client: TestClient) -> None:
    answer = client.post("/signup", json={"email": "a@example.org", "password": "x" * 70_000})
    assert answer.status_code == 413


@pytest.mark.parametrize(
    "password", [INJECTION, "' OR '1'='1' --------", "\u0000 nul inside it", "pässwörd ☂ ☂ ☂ ☂", "\ud800 lone half"]
)
def test_odd_passwords_are_data_and_nothing_else(client: TestClient, email: str, password: str) -> None:
    content = json.dumps({"email": email, "password": password}).encode()
    headers = {"content-type": "application/json"}
    signed_up = client.post("/signup", content=content, headers=headers).status_code
    assert signed_up in (201, 422)
    assert client.post("/login", content=content, headers=headers).status_code == (200 if signed_up == 201 else 422)
    assert client.post("/login", json={"email": email, "password": "' OR 1=1 --"}).status_code == 401


def test_injection_in_the_address_finds_nobody(client: TestClient, user: dict[str, str]) -> None:
    for email in (INJECTION, f"{user['email']}' --", "'or'1'='1'@example.org"):
        assert client.post("/login", json={"email": email, "password": PASSWORD}).status_code in (401, 422)
    assert client.post("/login", json=user).status_code == 200  # the table is still there


def test_a_user_who_is_gone_is_not_let_in_by_an_old_token(
    client: TestClient, token: str, database_url: str, email: str
) -> None:
    with psycopg.connect(database_url) as connection:
        connection.execute("DELETE FROM users WHERE email = %s", [email])
    answer = client.get("/me", headers={"Authorization": f"Bearer {token}"})
    assert answer.status_code == 401
