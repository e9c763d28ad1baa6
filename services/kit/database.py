# SPDX-License-Identifier: GPL-3.0-or-later
"""PostgreSQL for a service: one pool, short patience, no values in errors."""

from __future__ import annotations

import re

from sqlalchemy import MetaData, text
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase

UNAVAILABLE = (OperationalError, InterfaceError, PoolTimeoutError)
"""What SQLAlchemy raises when the database is away, too slow, or its pool is used up."""


class Base(DeclarativeBase):
    """Base of all tables; constraints get names, so that migrations can drop them."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


def driver_url(url: str) -> str:
    """Name our driver in a plain `postgres://` or `postgresql://` URL."""
    return re.sub(r"^postgres(ql)?(\+\w+)?://", "postgresql+psycopg://", url)


class Database:
    """The engine and its sessions. Connects at first use, so a service starts without its database."""

    def __init__(self, url: str, *, name: str, pool_size: int = 5, statement_seconds: float = 5) -> None:
        self._engine = create_async_engine(
            driver_url(url),
            pool_size=pool_size,
            max_overflow=pool_size,
            pool_timeout=2,
            pool_pre_ping=True,  # a restarted database costs nobody an error
            hide_parameters=True,
            connect_args={
                "application_name": name,
                "connect_timeout": 2,
                "options": f"-c statement_timeout={int(statement_seconds * 1000)}",
            },
        )
        self.session = async_sessionmaker(self._engine, expire_on_commit=False)

    async def check(self) -> None:
        """Return when the database answers."""
        async with self._engine.connect() as connection:
            await connection.execute(text("SELECT 1"))

    async def close(self) -> None:
        """Close every pooled connection."""
        await self._engine.dispose()
