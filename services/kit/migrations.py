# SPDX-License-Identifier: GPL-3.0-or-later
"""Bring a database to a schema revision: safe from several pods at once, harmless when nothing is to do."""

from __future__ import annotations

import time
from importlib.util import find_spec
from pathlib import Path

import structlog
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, NullPool, create_engine, text
from sqlalchemy.exc import OperationalError

from kit.database import driver_url

log = structlog.get_logger("kit.migrations")

# Advisory locks are per database, and each service has its own: one number serves them all.
_LOCK = 0x0F5F0463


def migrate(url: str, package: str, *, to: str = "head", down: bool = False, wait_seconds: float = 60) -> None:
    """Run the migrations of `package` up (or `down`) to revision `to`; they are the files in its migrations/versions.

    Waits up to `wait_seconds` for the database to answer and as long for another pod that is migrating. A database
    that a newer version has already moved on stays as it is: after a rollback the old version must still start.
    Raises `sqlalchemy.exc.OperationalError` when the wait is over.
    """
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "alembic"))
    config.set_main_option("version_locations", str(_versions(package)))
    config.set_main_option("path_separator", "newline")  # a path may hold a space or a colon
    with _connect(url, wait_seconds) as connection:
        connection.execute(text(f"SET lock_timeout = {int(wait_seconds * 1000)}"))
        connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": _LOCK})
        # A migration that can't get its table lock soon must fail rather than queue all readers behind it.
        connection.execute(text("SET lock_timeout = 5000"))
        connection.commit()
        config.attributes["connection"] = connection
        try:
            before = _heads(connection)
            known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
            if not down and not before <= known:
                log.info("database is ahead of this version", revision=sorted(before))
                return
            (command.downgrade if down else command.upgrade)(config, to)
            connection.commit()
            log.info("migrated", before=sorted(before), after=sorted(_heads(connection)))
        finally:
            connection.rollback()
            connection.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": _LOCK})
            connection.commit()


def _versions(package: str) -> Path:
    spec = find_spec(package)
    assert spec and spec.submodule_search_locations, f"{package} is not a package"
    return Path(spec.submodule_search_locations[0]) / "migrations" / "versions"


def _heads(connection: Connection) -> set[str]:
    heads = set(MigrationContext.configure(connection).get_current_heads())
    connection.rollback()
    return heads


def _connect(url: str, wait_seconds: float) -> Connection:
    engine = create_engine(driver_url(url), poolclass=NullPool, connect_args={"connect_timeout": 2})
    deadline = time.monotonic() + wait_seconds
    while True:
        try:
            return engine.connect()
        except OperationalError as error:
            if time.monotonic() >= deadline:
                raise
            log.info("waiting for the database", error=type(error.orig).__name__)
            time.sleep(1)
