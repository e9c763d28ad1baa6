# SPDX-License-Identifier: GPL-3.0-or-later
"""Migrations with data in the tables: up, down, up; and the models are what they make."""

from __future__ import annotations

from typing import Any

import psycopg

from kit.migrations import migrate
from kit.testing import schema_differences, tables

PAYMENT = """INSERT INTO payments (id, order_id, user_id, amount_cents, currency, method, caller, idempotency_key,
    fingerprint, state, reason, charge_id, asks, due_at)
    VALUES (gen_random_uuid(), %s, gen_random_uuid(), 100, 'EUR', 'tok_ok', 'orders', gen_random_uuid()::text, '', %s,
    '', '', 0, now())"""
CHARGE = """INSERT INTO local_charges (id, idempotency_key, amount_cents, currency, method, outcome, reason, asks,
    callbacks, call_at, calls, settles_at)
    VALUES ('ch_1', 'k', 100, 'EUR', 'tok_ok', 'captured', '', 0, 1, now(), 0, now())"""
ORDER = "11111111-1111-4111-8111-111111111111"


def test_up_down_up(postgresql: Any) -> None:
    url = postgresql.create()
    ours, ledger = {"payments", "webhook_events", "outbox"}, {"local_charges"}
    migrate(url, "payments", to="0001")
    assert tables(url) == ours | {"alembic_version"}
    with psycopg.connect(url) as connection:
        connection.execute(PAYMENT, [ORDER, "captured"])
    migrate(url, "payments")
    assert tables(url) == ours | ledger | {"alembic_version"}
    with psycopg.connect(url) as connection:
        connection.execute(CHARGE)
    migrate(url, "payments", to="0001", down=True)  # the stand-in's books go, ours stay
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT state FROM payments").fetchall() == [("captured",)]
    migrate(url, "payments", to="base", down=True)
    assert tables(url) == {"alembic_version"}
    migrate(url, "payments")
    assert tables(url) == ours | ledger | {"alembic_version"}


def test_the_models_are_what_the_migrations_make(postgresql: Any) -> None:
    import payments.app  # noqa: F401  # the models are its imports

    url = postgresql.create()
    migrate(url, "payments")
    assert schema_differences(url, "payments") == []


def test_the_database_itself_keeps_an_order_from_being_paid_twice(postgresql: Any) -> None:
    url = postgresql.create()
    migrate(url, "payments")
    with psycopg.connect(url, autocommit=True) as connection:
        for state in ("failed", "failed", "created"):
            connection.execute(PAYMENT, [ORDER, state])
        for state in ("created", "pending", "captured"):
            try:
                connection.execute(PAYMENT, [ORDER, state])
            except psycopg.errors.UniqueViolation:
                continue
            raise AssertionError(f"a second live payment could be stored: {state}")
