# SPDX-License-Identifier: GPL-3.0-or-later
"""One statement that is its own transaction: one round trip, where BEGIN and COMMIT would make it three."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Executable, Row

from kit.database import Database


async def run(database: Database, statement: Executable, parameters: Mapping[str, Any]) -> Row[Any] | None:
    """Run `statement`, commit, and return its row, if it has one."""
    async with database.session() as session:
        connection = await session.connection(execution_options={"isolation_level": "AUTOCOMMIT"})
        result = await connection.execute(statement, dict(parameters))
        return result.one_or_none() if result.returns_rows else None
