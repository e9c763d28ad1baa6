# SPDX-License-Identifier: GPL-3.0-or-later
"""Migrations on a real database: up, again, down and up, with data."""

from __future__ import annotations

from typing import Any

import psycopg

from kit.migrations import migrate
from kit.testing import schema_differences, tables

TABLES = {"cart_items", "orders", "order_lines", "order_events", "outbox"}
ADD_ORDER = """
WITH one AS (
  INSERT INTO orders (id, user_id, email, idempotency_key, fingerprint, payment_method, state, version, attempts,
                      due_at, traceparent)
  VALUES (gen_random_uuid(), gen_random_uuid(), 'a@example.org', 'k', 'f', 'tok_ok', %s, 1, 0, %s, '') RETURNING id
), two AS (INSERT INTO order_lines SELECT id, gen_random_uuid(), 1 FROM one)
INSERT INTO order_events (order_id, to_state, why) SELECT id, 'placed', 'test' FROM one
"""


def count(url: str) -> list[int]:
    with psycopg.connect(url) as connection:
        queries = [f"SELECT count(*) FROM {table}" for table in ("orders", "order_lines", "order_events")]
        return [connection.execute(query).fetchone()[0] for query in queries]  # type: ignore[index]


def test_up_down_up_with_data(postgresql: Any) -> None:
    url = postgresql.create()
    migrate(url, "orders")
    assert tables(url) == TABLES | {"alembic_version"}
    with psycopg.connect(url) as connection:
        connection.execute(ADD_ORDER, ["placed", "2026-01-01"])
    migrate(url, "orders")  # again: nothing to do, nothing lost
    assert count(url) == [1, 1, 1]
    migrate(url, "orders", to="base", down=True)
    assert tables(url) == {"alembic_version"}
    migrate(url, "orders")
    assert count(url) == [0, 0, 0]


def test_the_models_are_what_the_migrations_make(postgresql: Any) -> None:
    url = postgresql.create()
    migrate(url, "orders")
    import orders.app  # noqa: F401  # every model is known

    assert schema_differences(url, "orders") == []


def test_the_database_itself_refuses_what_must_not_be(database_url: str) -> None:
    """An unfinished order that nobody would ever look at, or a finished one that is looked at for ever."""
    for state, due_at in (("placed", None), ("cancelled", "2026-01-01"), ("lost", "2026-01-01")):
        with psycopg.connect(database_url) as connection:
            try:
                connection.execute(ADD_ORDER, [state, due_at])
            except psycopg.errors.CheckViolation:
                continue
            raise AssertionError(f"{state} with {due_at} was taken")
