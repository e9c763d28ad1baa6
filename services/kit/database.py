# SPDX-License-Identifier: GPL-3.0-or-later
"""PostgreSQL for a service: one pool, short patience, no values in errors."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from functools import cache
from typing import Annotated, Any, Literal, cast

from fastapi import Depends, Request
from prometheus_client import CollectorRegistry, Gauge
from pydantic import Field, SecretStr, field_validator
from sqlalchemy import MetaData, make_url, text
from sqlalchemy.exc import ArgumentError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Session
from sqlalchemy.pool import QueuePool

from kit.settings import Settings, is_placeholder

UNAVAILABLE = (OperationalError, InterfaceError, PoolTimeoutError)
"""What SQLAlchemy raises when the database is away, too slow, or its pool is used up."""


class DatabaseSettings(Settings):
    """A service with a database."""

    database_url: SecretStr
    database_pool: int = Field(default=5, ge=1, le=50, description="Connections kept; twice as many when busy.")
    migrations: Literal["run", "wait"] = Field(
        default="run", description="Whether the command `migrate` writes the schema, or waits until somebody has."
    )

    @field_validator("database_url")
    @classmethod
    def _has_password(cls, url: SecretStr) -> SecretStr:
        try:
            parsed = make_url(url.get_secret_value())
        except ArgumentError:
            raise ValueError("expected postgresql://user:password@host:5432/database") from None
        if not parsed.drivername.startswith("postgres"):
            raise ValueError("expected a postgresql:// URL")
        if is_placeholder(str(parsed.password or "")):
            raise ValueError("the password is a placeholder: set a real secret")
        return url


@cache
def _metadata(package: str) -> MetaData:
    return MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


class Base(DeclarativeBase):
    """Base of all tables; constraints get names, so that migrations can drop them."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        # One set of tables for each service: tests of several of them share a process.
        cls.metadata = _metadata(cls.__module__.partition(".")[0])
        super().__init_subclass__(**kwargs)


def driver_url(url: str) -> str:
    """Name our driver in a plain `postgres://` or `postgresql://` URL."""
    return re.sub(r"^postgres(ql)?(\+\w+)?://", "postgresql+psycopg://", url)


class Database:
    """The engine and its sessions. Connects at first use, so a service starts without its database."""

    def __init__(self, settings: DatabaseSettings, *, statement_seconds: float = 5) -> None:
        self._engine = create_async_engine(
            driver_url(settings.database_url.get_secret_value()),
            pool_size=settings.database_pool,
            max_overflow=settings.database_pool,
            pool_timeout=2,
            pool_pre_ping=True,  # a restarted database costs nobody an error
            hide_parameters=True,
            connect_args={
                "application_name": settings.service,
                "connect_timeout": 2,
                # A process that is frozen in mid-transaction must not keep its locks from the others.
                "options": f"-c statement_timeout={int(statement_seconds * 1000)}"
                " -c idle_in_transaction_session_timeout=15000",
            },
        )
        self._limit = 2 * settings.database_pool
        # A class of its own, so that listeners hear of this database's sessions only.
        self.session_class = type("DatabaseSession", (Session,), {})
        self.session = async_sessionmaker(self._engine, sync_session_class=self.session_class, expire_on_commit=False)

    def show(self, registry: CollectorRegistry) -> None:
        """Let metrics tell how full the pool is: beyond its limit requests wait, and after two seconds fail."""
        connections = Gauge(
            "database_pool_connections", "Connections in use, and how many may be.", ["state"], registry=registry
        )
        connections.labels("in_use").set_function(lambda: cast(QueuePool, self._engine.pool).checkedout())
        connections.labels("limit").set(self._limit)

    async def check(self) -> None:
        """Return when the database answers."""
        async with self._engine.connect() as connection:
            await connection.execute(text("SELECT 1"))

    async def close(self) -> None:
        """Close every pooled connection."""
        await self._engine.dispose()


async def get_session(request: Request) -> AsyncIterator[AsyncSession]:
    """Open one transaction; it commits when the route returned and rolls back when it raised."""
    database: Database = request.app.state.database
    async with database.session.begin() as session:
        yield session


# Committed before the answer goes out: who reads 201 can rely on it.
SessionDep = Annotated[AsyncSession, Depends(get_session, scope="function")]
