# SPDX-License-Identifier: GPL-3.0-or-later
"""Bring a database to a schema revision: safe from several at once, harmless when nothing is to do.

A revision adds to the schema, and the version before goes on working with it. One that takes something away, renames or
narrows it says `phase = "contract"`: it waits until nobody can go back to a version that uses what it takes, and the
version that brings it works with and without. Each one that was run is recorded in the database, where a version that
doesn't know it finds that it can't work there any more.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import structlog
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import Script, ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection, NullPool, create_engine, text
from sqlalchemy.exc import OperationalError

from kit.database import driver_url

log = structlog.get_logger("kit.migrations")

EXPAND, CONTRACT = "expand", "contract"

# Advisory locks are per database, and each service has its own: one number serves them all. The second is held by who
# takes something away, and shared by who looks whether it can start: a start in mid-contract would look too early.
_LOCK, _CONTRACT_LOCK = 0x0F5F0463, 0x0F5F0464


class Refused(Exception):
    """The schema and this version don't go together, and trying again does not help."""


@dataclass(frozen=True)
class Revision:
    """One revision of a version, in the order in which they are run, and whether this database has it."""

    revision: str
    phase: str
    what: str
    done: bool


@dataclass(frozen=True)
class Schema:
    """A database as one version sees it."""

    # Its newest revision; empty for an empty database.
    at: str
    revisions: tuple[Revision, ...]
    # Contracts that it has had and that this version does not know of.
    lost: tuple[str, ...] = ()

    @property
    def missing(self) -> tuple[Revision, ...]:
        """What this version has and the database does not."""
        return tuple(revision for revision in self.revisions if not revision.done)

    @property
    def wanting(self) -> tuple[Revision, ...]:
        """What this version can't work without."""
        return tuple(revision for revision in self.missing if revision.phase == EXPAND)

    def due(self, *, contract: bool = False) -> tuple[Revision, ...]:
        """What may be run now; in an empty database, which no version before uses, all of it. Raises Refused."""
        self.check()
        if contract or not self.at:
            return self.missing
        held = next((place for place, found in enumerate(self.missing) if found.phase == CONTRACT), len(self.missing))
        behind = next((found for found in self.missing[held:] if found.phase == EXPAND), None)
        if behind:
            raise Refused(
                f"revision {behind.revision} comes after the contract {self.missing[held].revision}, which has not been"
                " run yet: contract on the version in use first"
            )
        return self.missing[:held]

    def check(self) -> None:
        """Raise Refused if the database has lost what this version needs."""
        if self.lost:
            raise Refused(
                f"the database no longer has what this version needs: the contract {', '.join(self.lost)} of a newer"
                " version has been run"
            )


def migrate(
    url: str,
    package: str,
    *,
    to: str = "head",
    down: bool = False,
    wait_seconds: float = 60,
    contract: bool = False,
    by: str = "",
) -> None:
    """Run the migrations of `package` up (or `down`) to revision `to`; they are the files in its migrations/versions.

    Goes up to the first contract that the database has not had, or with `contract` on, for which `by` answers. Waits
    up to `wait_seconds` for the database to answer and as long for another pod that is migrating. A database that a
    newer version has already moved on stays as it is: after a rollback the old version must still start. Raises
    `sqlalchemy.exc.OperationalError` when the wait is over, Refused when version and database don't go together.
    """
    config = _config(package)
    scripts = ScriptDirectory.from_config(config)
    with _connect(url, wait_seconds) as connection, _locks(connection, wait_seconds, contract or down):
        config.attributes.update(connection=connection, on_version_apply=_recorder(by))
        before = _look(connection, scripts)
        if down:
            command.downgrade(config, to)
        elif run := _until(before.due(contract=contract), to, scripts):
            command.upgrade(config, run[-1].revision)
        connection.commit()
        after = _look(connection, scripts)
        was = {revision.revision for revision in before.revisions if revision.done}
        log.info(
            "migrated" if before.at in ("", *was) else "database is ahead of this version",
            before=before.at,
            after=after.at,
            run=[revision.revision for revision in after.revisions if revision.done and revision.revision not in was],
            left=[revision.revision for revision in after.missing],
        )


def await_schema(
    url: str, package: str, *, wait_seconds: float = 60, sleep: Callable[[float], None] = time.sleep
) -> None:
    """Return when the database has all that this version of `package` can't work without; writes nothing.

    Raises Refused when it lacks that after `wait_seconds`, or has lost it; `sqlalchemy.exc.OperationalError` when it
    does not answer.
    """
    scripts = ScriptDirectory.from_config(_config(package))
    deadline = time.monotonic() + wait_seconds
    with _connect(url, wait_seconds) as connection:
        while True:
            with _lock(connection, _CONTRACT_LOCK, wait_seconds, shared=True):
                found = _look(connection, scripts)
            found.check()
            if not found.wanting:
                log.info("schema is there", at=found.at, left=[revision.revision for revision in found.missing])
                return
            if time.monotonic() >= deadline:
                needed = found.wanting[-1].revision
                raise Refused(
                    f"the database is at {found.at or 'nothing'}, and this version needs {needed}: migrate it"
                )
            log.info("waiting for the schema", at=found.at, needed=found.wanting[-1].revision)
            sleep(1)


def foresee(url: str, package: str, *, wait_seconds: float = 60) -> dict[str, Any]:
    """Return what `migrate` would find and run, with the phase of each revision; writes nothing."""
    with _connect(url, wait_seconds) as connection:
        found = _look(connection, ScriptDirectory.from_config(_config(package)))
    try:
        run, refused = {revision.revision for revision in found.due()}, None
    except Refused as error:
        run, refused = set(), str(error)
    missing = [{**asdict(revision), "due": revision.revision in run} for revision in found.missing]
    return {"at": found.at, "missing": missing, "refused": refused}


def phase(script: Script) -> str:
    """Return what a revision says of itself. Raises CommandError for another word."""
    said = getattr(script.module, "phase", EXPAND)
    if said not in (EXPAND, CONTRACT):
        raise CommandError(f"revision {script.revision}: its phase is {said!r}, and can be {EXPAND} or {CONTRACT}")
    return str(said)


def scripts_of(package: str) -> list[Script]:
    """Return the revisions of a package in the order in which they are run."""
    return _in_order(ScriptDirectory.from_config(_config(package)))


def _in_order(scripts: ScriptDirectory) -> list[Script]:
    return list(scripts.walk_revisions())[::-1]


def _config(package: str) -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "alembic"))
    config.set_main_option("version_locations", str(_versions(package)))
    config.set_main_option("path_separator", "newline")  # a path may hold a space or a colon
    return config


def _versions(package: str) -> Path:
    spec = find_spec(package)
    assert spec and spec.submodule_search_locations, f"{package} is not a package"
    return Path(spec.submodule_search_locations[0]) / "migrations" / "versions"


def _look(connection: Connection, scripts: ScriptDirectory) -> Schema:
    """Read where the database is. One that a newer version has moved on has all that this version knows of."""
    at = ",".join(sorted(MigrationContext.configure(connection).get_current_heads()))
    known = _in_order(scripts)
    names = [script.revision for script in known]
    contracts: Sequence[str] = []
    if connection.scalar(text("SELECT to_regclass('alembic_contracts')")):
        contracts = connection.scalars(text("SELECT revision FROM alembic_contracts ORDER BY run_at, revision")).all()
    connection.rollback()
    done = names.index(at) + 1 if at in names else len(names) if at else 0
    return Schema(
        at=at,
        revisions=tuple(
            Revision(script.revision, phase(script), (script.doc or "").partition("\n")[0], place < done)
            for place, script in enumerate(known)
        ),
        lost=tuple(revision for revision in contracts if revision not in names),
    )


def _until(due: tuple[Revision, ...], to: str, scripts: ScriptDirectory) -> tuple[Revision, ...]:
    """Cut off what comes after the revision `to`. Raises CommandError if there is none such."""
    if to == "head":
        return due
    wanted: Script | None = scripts.get_revision(to)
    if wanted is None:
        raise CommandError(f"{to} is no revision to go up to")
    names = [script.revision for script in _in_order(scripts)]
    last = names.index(wanted.revision)
    return tuple(revision for revision in due if names.index(revision.revision) <= last)


def _recorder(by: str) -> Callable[..., None]:
    """Return what keeps the record of contracts, within the transaction that runs or undoes one."""

    def record(*, ctx: MigrationContext, step: Any, **_: Any) -> None:
        script = step.up_revision
        if not isinstance(script, Script) or phase(script) != CONTRACT:
            return
        assert ctx.connection is not None
        ctx.connection.execute(
            text(
                "CREATE TABLE IF NOT EXISTS alembic_contracts (revision text PRIMARY KEY,"
                " run_at timestamptz NOT NULL DEFAULT now(), run_by text NOT NULL)"
            )
        )
        run = "INSERT INTO alembic_contracts (revision, run_by) VALUES (:revision, :by)"
        undo = "DELETE FROM alembic_contracts WHERE revision = :revision"
        values = {"revision": script.revision, **({"by": by} if step.is_upgrade else {})}
        ctx.connection.execute(text(run if step.is_upgrade else undo), values)

    return record


@contextmanager
def _locks(connection: Connection, wait_seconds: float, contract: bool) -> Iterator[None]:
    """Keep others from migrating, and with `contract` from looking whether they can start."""
    with _lock(connection, _LOCK, wait_seconds):
        if not contract:
            yield
            return
        with _lock(connection, _CONTRACT_LOCK, wait_seconds):
            yield


@contextmanager
def _lock(connection: Connection, key: int, wait_seconds: float, *, shared: bool = False) -> Iterator[None]:
    suffix = "_shared" if shared else ""
    connection.execute(text(f"SET lock_timeout = {max(int(wait_seconds * 1000), 1)}"))  # 0 would wait for ever
    connection.execute(text(f"SELECT pg_advisory_lock{suffix}(:key)"), {"key": key})
    # A migration that can't get its table lock soon must fail rather than queue all readers behind it.
    connection.execute(text("SET lock_timeout = 5000"))
    connection.commit()
    try:
        yield
    finally:
        connection.rollback()
        connection.execute(text(f"SELECT pg_advisory_unlock{suffix}(:key)"), {"key": key})
        connection.commit()


def _connect(url: str, wait_seconds: float) -> Connection:
    engine = create_engine(
        driver_url(url), poolclass=NullPool, hide_parameters=True, connect_args={"connect_timeout": 2}
    )
    deadline = time.monotonic() + wait_seconds
    while True:
        try:
            return engine.connect()
        except OperationalError as error:
            if time.monotonic() >= deadline:
                raise
            log.info("waiting for the database", error=type(error.orig).__name__)
            time.sleep(1)
