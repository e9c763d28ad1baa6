# SPDX-License-Identifier: GPL-3.0-or-later
"""What metrics tell of the connections to a real PostgreSQL."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry
from pydantic import SecretStr
from sqlalchemy import text

from kit.database import Database, DatabaseSettings

if TYPE_CHECKING:
    from conftest import PostgreSQL


async def _look(url: str) -> list[float | None]:
    database = Database(DatabaseSettings(service="tiny", database_url=SecretStr(url), database_pool=3))
    registry = CollectorRegistry()
    database.show(registry)

    def told(state: str) -> float | None:
        return registry.get_sample_value("database_pool_connections", {"state": state})

    async with database.session() as one, database.session() as two:
        await one.execute(text("SELECT 1"))
        await two.execute(text("SELECT 1"))
        busy = told("in_use")
    seen = [told("limit"), busy, told("in_use")]
    await database.close()
    return seen


def test_a_pool_tells_how_full_it_is(postgresql: PostgreSQL) -> None:
    assert asyncio.run(_look(postgresql.create())) == [6, 2, 0]
