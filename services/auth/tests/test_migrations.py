# SPDX-License-Identifier: GPL-3.0-or-later
"""Migrations on a real database: up, down, up; at the same time; and after a rollback."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy.exc import OperationalError

import auth
from kit.migrations import migrate

SCRIPTS = str(Path(auth.__file__).parent / "migrations")
ADD_USER = "INSERT INTO users (id, email, password_hash) VALUES (gen_random_uuid(), 'a@example.org', 'x')"


def tables(url: str) -> set[str]:
    with psycopg.connect(url) as connection:
        rows = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        return {name for (name,) in rows}


def test_up_down_up(postgresql: Any) -> None:
    url = postgresql.create()
    migrate(url, SCRIPTS)
    assert tables(url) == {"users", "alembic_version"}
    with psycopg.connect(url) as connection:
        connection.execute(ADD_USER)
    migrate(url, SCRIPTS)  # again: nothing to do, nothing lost
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT count(*) FROM users").fetchone() == (1,)
    migrate(url, SCRIPTS, to="base", down=True)
    assert tables(url) == {"alembic_version"}
    migrate(url, SCRIPTS)
    assert "users" in tables(url)


def test_the_models_are_what_the_migrations_make(postgresql: Any) -> None:
    from alembic.autogenerate import compare_metadata
    from alembic.runtime.migration import MigrationContext
    from sqlalchemy import create_engine

    from auth.users.models import User
    from kit.database import driver_url

    url = postgresql.create()
    migrate(url, SCRIPTS)
    with create_engine(driver_url(url)).connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), User.metadata) == []


def test_replicas_that_start_together_migrate_once(postgresql: Any) -> None:
    url = postgresql.create()
    command = [sys.executable, "-m", "auth", "migrate"]
    env = {
        "OPSFORGE_DATABASE_URL": url,
        "OPSFORGE_SIGNING_SECRET": "5e884898da28047151d0e56f8dc62927",
        "PYTHONPATH": str(Path(auth.__file__).parents[1]),
    }

    def run(_: int) -> subprocess.CompletedProcess[str]:
        return subprocess.run(command, env=env, capture_output=True, text=True, timeout=60)

    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(run, range(4)))
    assert [result.returncode for result in results] == [0] * 4, results
    assert sum('"before": []' in result.stdout for result in results) == 1
    assert all(postgresql.password not in result.stdout + result.stderr for result in results)


def test_a_replica_waits_for_the_one_that_migrates_and_then_gives_up(postgresql: Any) -> None:
    url = postgresql.create()
    with psycopg.connect(url) as other:
        other.execute("SELECT pg_advisory_lock(%s)", [0x0F5F0463])
        with pytest.raises(OperationalError, match="lock timeout"):
            migrate(url, SCRIPTS, wait_seconds=0.1)
    migrate(url, SCRIPTS, wait_seconds=5)


def test_a_database_that_a_newer_version_moved_on_is_left_alone(postgresql: Any) -> None:
    url = postgresql.create()
    migrate(url, SCRIPTS)
    with psycopg.connect(url) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    migrate(url, SCRIPTS)
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT version_num FROM alembic_version").fetchone() == ("9999",)


def test_no_database_is_one_sentence_and_status_1() -> None:
    result = subprocess.run(
        [sys.executable, "-m", "auth", "migrate", "--wait", "0"],
        env={
            "OPSFORGE_DATABASE_URL": "postgresql://auth:8f14e45fceea@127.0.0.1:1/auth",
            "OPSFORGE_SIGNING_SECRET": "5e884898da28047151d0e56f8dc62927",
            "PYTHONPATH": str(Path(auth.__file__).parents[1]),
        },
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert result.returncode == 1
    assert result.stderr.startswith("migration failed: ")
    assert "8f14e45fceea" not in result.stderr + result.stdout
