# SPDX-License-Identifier: GPL-3.0-or-later
"""Migrations on a real database: up, down, up; at the same time; and after a rollback."""

from __future__ import annotations

import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import uuid4

import jwt
import psycopg
import pytest
from pwdlib import PasswordHash
from sqlalchemy.exc import OperationalError
from starlette.testclient import TestClient

import auth
from auth.app import create
from auth.keys.seal import first_key, kid_of
from auth.tests.support import NO_REDIS, PASSWORD, SECRET, Clock, log_in, rows, settings_of
from kit.migrations import migrate
from kit.testing import schema_differences, tables

TABLES = {"alembic_version", "families", "lockouts", "outbox", "rates", "signing_keys", "users"}
ADD_USER = "INSERT INTO users (id, email, password_hash) VALUES (gen_random_uuid(), 'a@example.org', 'x')"


def test_up_down_up(postgresql: Any) -> None:
    url = postgresql.create()
    migrate(url, "auth")
    assert tables(url) == TABLES
    with psycopg.connect(url) as connection:
        connection.execute(ADD_USER)
    migrate(url, "auth")  # again: nothing to do, nothing lost
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT count(*) FROM users").fetchone() == (1,)
    migrate(url, "auth", to="base", down=True)
    assert tables(url) == {"alembic_version"}
    migrate(url, "auth")
    assert "users" in tables(url)


def test_the_models_are_what_the_migrations_make(postgresql: Any) -> None:
    # SQL is written out there, so nothing else imports these.
    import auth.families.models
    import auth.limits.models  # noqa: F401

    url = postgresql.create()
    migrate(url, "auth")
    assert schema_differences(url, "auth") == []


def test_users_and_their_live_tokens_survive_the_way_up_and_users_the_way_down(postgresql: Any) -> None:
    url = postgresql.create()
    migrate(url, "auth", to="0001")
    user, stored = uuid4(), PasswordHash.recommended().hash(PASSWORD)
    rows(url, "INSERT INTO users (id, email, password_hash) VALUES (%s, %s, %s)", user, "ada@example.org", stored)
    # What the version before issued: a key derived from the secret, and no roles.
    key, now = first_key(SECRET), int(time.time())
    claims = {"iss": "opsforge-auth", "aud": "opsforge", "sub": str(user), "iat": now, "exp": now + 900, "jti": "1"}
    live = jwt.encode(claims, key, algorithm="EdDSA", headers={"kid": kid_of(key.public_key())})

    migrate(url, "auth")
    # Before it is drained the version before still signs people up.
    rows(url, "INSERT INTO users (id, email, password_hash) VALUES (%s, %s, %s)", uuid4(), "bob@example.org", stored)
    clock = Clock()
    with TestClient(create(settings_of(url, key_settle_seconds=0), now=clock)) as client:
        assert client.get("/me", headers={"Authorization": f"Bearer {live}"}).json()["roles"] == ["customer"]
        tokens = log_in(client, {"email": "ada@example.org", "password": PASSWORD})
        assert jwt.get_unverified_header(tokens["access_token"])["kid"] == kid_of(key.public_key())
        assert client.post("/refresh", json={"refresh_token": tokens["refresh_token"]}).status_code == 200
        log_in(client, {"email": "bob@example.org", "password": PASSWORD})

    migrate(url, "auth", to="0001", down=True)
    assert tables(url) == {"alembic_version", "users"}
    found = rows(url, "SELECT id, email FROM users ORDER BY email")
    assert [email for _, email in found] == ["ada@example.org", "bob@example.org"]
    assert found[0][0] == user
    migrate(url, "auth")
    with TestClient(create(settings_of(url))) as client:
        assert client.get("/me", headers={"Authorization": f"Bearer {live}"}).json()["email"] == "ada@example.org"
        log_in(client, {"email": "ada@example.org", "password": PASSWORD})


def test_replicas_that_start_together_migrate_once(postgresql: Any) -> None:
    url = postgresql.create()
    command = [sys.executable, "-m", "auth", "migrate"]
    env = {
        "OPSFORGE_DATABASE_URL": url,
        "OPSFORGE_REDIS_URL": NO_REDIS,
        "OPSFORGE_SIGNING_SECRET": SECRET,
        "PYTHONPATH": str(Path(auth.__file__).parents[1]),
    }

    def run(_: int) -> subprocess.CompletedProcess[str]:
        return subprocess.run(command, env=env, capture_output=True, text=True, timeout=60)

    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(run, range(4)))
    assert [result.returncode for result in results] == [0] * 4, results
    assert sum('"before": ""' in result.stdout for result in results) == 1
    assert all(postgresql.password not in result.stdout + result.stderr for result in results)


def test_a_replica_waits_for_the_one_that_migrates_and_then_gives_up(postgresql: Any) -> None:
    url = postgresql.create()
    with psycopg.connect(url) as other:
        other.execute("SELECT pg_advisory_lock(%s)", [0x0F5F0463])
        with pytest.raises(OperationalError, match="lock timeout"):
            migrate(url, "auth", wait_seconds=0.1)
    migrate(url, "auth", wait_seconds=5)


def test_a_database_that_a_newer_version_moved_on_is_left_alone(postgresql: Any) -> None:
    url = postgresql.create()
    migrate(url, "auth")
    with psycopg.connect(url) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    migrate(url, "auth")
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT version_num FROM alembic_version").fetchone() == ("9999",)


def test_no_database_is_one_sentence_and_status_1() -> None:
    result = subprocess.run(
        [sys.executable, "-m", "auth", "migrate", "--wait", "0"],
        env={
            "OPSFORGE_DATABASE_URL": "postgresql://auth:8f14e45fceea@127.0.0.1:1/auth",
            "OPSFORGE_REDIS_URL": NO_REDIS,
            "OPSFORGE_SIGNING_SECRET": SECRET,
            "PYTHONPATH": str(Path(auth.__file__).parents[1]),
        },
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert result.returncode == 1
    assert result.stderr.startswith("migration failed: ")
    assert "8f14e45fceea" not in result.stderr + result.stdout
