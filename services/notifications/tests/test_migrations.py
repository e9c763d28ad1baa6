# SPDX-License-Identifier: GPL-3.0-or-later
"""Migrations with data in the table: up, down, up; and the models are what they make."""

from __future__ import annotations

from typing import Any

import psycopg

from kit.migrations import migrate
from kit.testing import schema_differences, tables

ADD = """INSERT INTO notifications (id, event_id, template, channel, user_id, address, subject, body, state, attempts,
    error) VALUES (gen_random_uuid(), gen_random_uuid(), 'order_paid', 'inbox', gen_random_uuid(), '', 's', 'b', 'sent',
    0, '')"""


def test_up_down_up(postgresql: Any) -> None:
    url = postgresql.create()
    migrate(url, "notifications")
    with psycopg.connect(url) as connection:
        connection.execute(ADD)
    migrate(url, "notifications")  # again: nothing to do, nothing lost
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT count(*) FROM notifications").fetchone() == (1,)
    migrate(url, "notifications", to="base", down=True)
    assert tables(url) == {"alembic_version"}
    migrate(url, "notifications")
    assert tables(url) == {"notifications", "alembic_version"}


def test_the_models_are_what_the_migrations_make(postgresql: Any) -> None:
    import notifications.app  # noqa: F401  # the models are its imports

    url = postgresql.create()
    migrate(url, "notifications")
    assert schema_differences(url, "notifications") == []
