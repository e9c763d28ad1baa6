# SPDX-License-Identifier: GPL-3.0-or-later
"""The schema on a real database: up, down and up again with data in it, and what the models say."""

from __future__ import annotations

from typing import Any

import psycopg

from kit.migrations import migrate
from kit.testing import schema_differences, tables

FILL = """
INSERT INTO events (id, type, source, subject, time, data)
VALUES (gen_random_uuid(), 'order.paid', 'orders', '1', now(), '{"total_cents": 5}');
INSERT INTO minutes (type, minute, currency, count, amount_cents)
VALUES ('order.paid', date_trunc('minute', now()), 'EUR', 1, 5);
"""


def test_up_down_up_with_data(postgresql: Any) -> None:
    url = postgresql.create()
    migrate(url, "analytics")
    with psycopg.connect(url) as connection:
        connection.execute(FILL)
    migrate(url, "analytics")  # again: nothing to do, nothing lost
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT count, amount_cents FROM minutes").fetchall() == [(1, 5)]
    migrate(url, "analytics", to="base", down=True)
    assert tables(url) == {"alembic_version"}
    migrate(url, "analytics")
    assert tables(url) == {"alembic_version", "events", "minutes"}


def test_the_models_are_what_the_migrations_make(database_url: str) -> None:
    assert schema_differences(database_url, "analytics") == []
