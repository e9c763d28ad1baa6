# SPDX-License-Identifier: GPL-3.0-or-later
"""The schema on a real database: up, down and up again with data in it, and what the models say."""

from __future__ import annotations

from typing import Any

import psycopg

from kit.migrations import migrate
from kit.testing import schema_differences, tables

FILL = """
INSERT INTO products (id, sku, name, description, price_cents, currency, active, version)
VALUES (gen_random_uuid(), 'MUG', 'Blue mug', 'Stoneware', 1290, 'EUR', true, 1);
INSERT INTO stock (product_id, on_hand, reserved, version) SELECT id, 5, 2, 1 FROM products;
INSERT INTO reservations (order_id, state, total_cents, currency) VALUES (gen_random_uuid(), 'reserved', 2580, 'EUR');
INSERT INTO reservation_lines (order_id, product_id, name, quantity, unit_cents)
SELECT order_id, id, name, 2, price_cents FROM reservations, products;
"""


def test_up_down_up_with_data(postgresql: Any) -> None:
    url = postgresql.create()
    migrate(url, "catalog")
    with psycopg.connect(url) as connection:
        connection.execute(FILL)
    migrate(url, "catalog")  # again: nothing to do, nothing lost
    with psycopg.connect(url) as connection:
        found = "SELECT sku FROM products JOIN reservation_lines ON id = product_id WHERE search @@ 'mug'::tsquery"
        assert connection.execute(found).fetchall() == [("MUG",)]
    migrate(url, "catalog", to="base", down=True)
    assert tables(url) == {"alembic_version"}
    migrate(url, "catalog")
    assert tables(url) == {"alembic_version", "products", "stock", "reservations", "reservation_lines"}


def test_the_models_are_what_the_migrations_make(database_url: str) -> None:
    assert schema_differences(database_url, "catalog") == []


def test_the_database_itself_refuses_to_oversell(postgresql: Any) -> None:
    url = postgresql.create()
    migrate(url, "catalog")
    with psycopg.connect(url) as connection:
        connection.execute(FILL)
        for change in ("reserved = on_hand + 1", "reserved = -1", "on_hand = 1"):
            with connection.transaction(force_rollback=True):
                try:
                    connection.execute(f"UPDATE stock SET {change}")
                except psycopg.errors.CheckViolation:
                    continue
                raise AssertionError(change)


def test_search_uses_its_index(database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        connection.execute("SET enable_seqscan = off")
        plan = connection.execute("EXPLAIN SELECT id FROM products WHERE search @@ '''mu'':*A'::tsquery").fetchall()
    assert "ix_products_search" in str(plan)
