# SPDX-License-Identifier: GPL-3.0-or-later
"""What the tests of analytics have in common beside their fixtures."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import psycopg

NOW = datetime(2026, 3, 15, 12, 30, 30, tzinfo=UTC)


class Clock:
    """Says what time it is."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now


def rows(url: str, query: str) -> list[tuple[Any, ...]]:
    """Return what the database answers."""
    with psycopg.connect(url) as connection:
        return connection.execute(query).fetchall()


def event(*, ago: timedelta = timedelta(), **given: Any) -> dict[str, Any]:
    """Return an event of so long ago."""
    return {"id": str(uuid4()), "type": "page.viewed", "time": (NOW - ago).isoformat()} | given


def paid(cents: int, currency: str = "EUR", **given: Any) -> dict[str, Any]:
    """Return an order that was paid."""
    return event(type="order.paid", data={"total_cents": cents, "currency": currency}, **given)
