# SPDX-License-Identifier: GPL-3.0-or-later
"""What may be run when: versions of a service come and go on one database."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest
from alembic.util import CommandError
from sqlalchemy.exc import OperationalError, ProgrammingError

from kit.migrations import Refused, await_schema, foresee, migrate
from kit.testing import hasty_revisions, schema_differences, tables

SERVICES = sorted(path.parent.name for path in Path(__file__).parents[2].glob("*/migrations"))

REVISION = '''"""Revision {number}."""

from alembic import op

revision = "{number}"
down_revision = {before!r}
{phase}

def upgrade():
    op.execute("""{up}""")


def downgrade():
    op.execute("""{down}""")
'''
PEOPLE = ("CREATE TABLE people (id int PRIMARY KEY, name text)", "DROP TABLE people", "")
MAIL = ("ALTER TABLE people ADD COLUMN mail text", "ALTER TABLE people DROP COLUMN mail", "")
NO_NAME = ("ALTER TABLE people DROP COLUMN name", "ALTER TABLE people ADD COLUMN name text", 'phase = "contract"\n')
AGE = ("ALTER TABLE people ADD COLUMN age int", "ALTER TABLE people DROP COLUMN age", "")

Version = Callable[..., str]


@pytest.fixture
def version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Version:
    """Make a version of a service, of its revisions; returns its package."""

    def make(*revisions: tuple[str, str, str]) -> str:
        name = f"version_{len(list(tmp_path.iterdir()))}"
        folder = tmp_path / name / "migrations" / "versions"
        folder.mkdir(parents=True)
        (tmp_path / name / "__init__.py").touch()
        for place, (up, down, phase) in enumerate(revisions, 1):
            before = f"{place - 1:04}" if place > 1 else None
            content = REVISION.format(number=f"{place:04}", before=before, up=up, down=down, phase=phase)
            (folder / f"{place:04}_it.py").write_text(content)
        monkeypatch.syspath_prepend(str(tmp_path))
        return name

    return make


@pytest.fixture
def url(postgresql: Any) -> str:
    made: str = postgresql.create()
    return made


def columns(url: str) -> set[str]:
    with psycopg.connect(url) as connection:
        rows = connection.execute("SELECT column_name FROM information_schema.columns WHERE table_name = 'people'")
        return {name for (name,) in rows}


def at(url: str) -> str:
    with psycopg.connect(url) as connection:
        return str(connection.execute("SELECT version_num FROM alembic_version").fetchone()[0])  # type: ignore[index]


def contracts(url: str) -> list[tuple[str, str]]:
    with psycopg.connect(url) as connection:
        return connection.execute("SELECT revision, run_by FROM alembic_contracts").fetchall()


def test_a_version_adds_first_and_takes_away_when_it_is_told_to(version: Version, url: str) -> None:
    old, new = version(PEOPLE), version(PEOPLE, MAIL, NO_NAME)
    migrate(url, old)
    migrate(url, new)
    assert columns(url) == {"id", "name", "mail"}, "the version before still needs the name"
    await_schema(url, new, wait_seconds=0)
    await_schema(url, old, wait_seconds=0)
    migrate(url, new, contract=True, by="ada")
    assert columns(url) == {"id", "mail"}
    assert contracts(url) == [("0003", "ada")]
    migrate(url, new, contract=True, by="bob")
    assert contracts(url) == [("0003", "ada")], "the second time runs nothing"
    await_schema(url, new, wait_seconds=0)


def test_a_version_that_does_not_know_a_contract_that_was_run_can_not_start(version: Version, url: str) -> None:
    old, new = version(PEOPLE), version(PEOPLE, NO_NAME)
    migrate(url, old)
    migrate(url, new, contract=True)
    for start in (migrate, lambda url, package: await_schema(url, package, wait_seconds=0)):
        with pytest.raises(Refused, match="the contract 0002 of a newer version has been run"):
            start(url, old)
    assert foresee(url, old)["refused"]


def test_a_version_that_knows_the_contract_can_go_on_without_its_newer_neighbours_additions(
    version: Version, url: str
) -> None:
    middle, new = version(PEOPLE, NO_NAME), version(PEOPLE, NO_NAME, AGE)
    migrate(url, version(PEOPLE))
    migrate(url, middle, contract=True)
    migrate(url, new)
    migrate(url, middle)
    await_schema(url, middle, wait_seconds=0)
    assert at(url) == "0003"


def test_what_comes_after_a_contract_waits_for_it(version: Version, url: str) -> None:
    first, middle, new = version(PEOPLE), version(PEOPLE, NO_NAME), version(PEOPLE, NO_NAME, AGE)
    migrate(url, first)
    migrate(url, middle)
    with pytest.raises(Refused, match="revision 0003 comes after the contract 0002"):
        migrate(url, new)
    assert at(url) == "0001"
    migrate(url, middle, contract=True)
    migrate(url, new)
    assert columns(url) == {"id", "age"}


def test_an_empty_database_has_no_version_before(version: Version, url: str) -> None:
    migrate(url, version(PEOPLE, NO_NAME, AGE))
    assert columns(url) == {"id", "age"}
    with pytest.raises(Refused):
        migrate(url, version(PEOPLE))


def test_a_contract_that_was_undone_is_forgotten(version: Version, url: str) -> None:
    old, new = version(PEOPLE), version(PEOPLE, NO_NAME)
    migrate(url, new)
    migrate(url, new, to="0001", down=True)
    assert contracts(url) == []
    migrate(url, old)


def test_a_revision_that_fails_leaves_everything_as_it_was(version: Version, url: str) -> None:
    migrate(url, version(PEOPLE))
    broken = version(PEOPLE, MAIL, NO_NAME, ("ALTER TABLE nobody ADD COLUMN x int", "", ""))
    with pytest.raises(ProgrammingError):
        migrate(url, broken, contract=True)
    assert columns(url) == {"id", "name"}
    assert at(url) == "0001"
    assert "alembic_contracts" not in tables(url)


def test_a_start_waits_for_the_schema(version: Version, url: str) -> None:
    new = version(PEOPLE, MAIL, NO_NAME)
    pauses = iter([lambda: migrate(url, version(PEOPLE)), lambda: migrate(url, new)])
    await_schema(url, new, sleep=lambda _: next(pauses)())
    assert next(pauses, None) is None


def test_a_start_gives_up_when_nobody_migrates(version: Version, url: str) -> None:
    migrate(url, version(PEOPLE))
    with pytest.raises(Refused, match="the database is at 0001, and this version needs 0002"):
        await_schema(url, version(PEOPLE, MAIL), wait_seconds=0)
    assert at(url) == "0001", "it only looks"


def test_a_start_does_not_look_while_something_is_taken_away(version: Version, url: str) -> None:
    old, new = version(PEOPLE), version(PEOPLE, NO_NAME)
    migrate(url, old)
    with psycopg.connect(url) as other:
        other.execute("SELECT pg_advisory_lock_shared(%s)", [0x0F5F0464])
        await_schema(url, old, wait_seconds=0)
        with pytest.raises(OperationalError, match="lock timeout"):
            migrate(url, new, contract=True, wait_seconds=0)
        migrate(url, version(PEOPLE, MAIL), wait_seconds=1)
        other.execute("SELECT pg_advisory_unlock_shared(%s)", [0x0F5F0464])
        other.execute("SELECT pg_advisory_lock(%s)", [0x0F5F0464])
        with pytest.raises(OperationalError, match="lock timeout"):
            await_schema(url, old, wait_seconds=0.1)


def test_the_plan_says_what_is_due_and_what_is_left(version: Version, url: str) -> None:
    migrate(url, version(PEOPLE))
    found = foresee(url, version(PEOPLE, MAIL, NO_NAME))
    assert (found["at"], found["refused"]) == ("0001", None)
    assert [(one["revision"], one["phase"], one["due"]) for one in found["missing"]] == [
        ("0002", "expand", True),
        ("0003", "contract", False),
    ]
    assert at(url) == "0001"


def test_a_phase_is_one_of_two_words(version: Version, url: str) -> None:
    with pytest.raises(CommandError, match="its phase is 'contrat', and can be expand or contract"):
        migrate(url, version((PEOPLE[0], PEOPLE[1], 'phase = "contrat"\n')))


@pytest.mark.parametrize(
    "hasty",
    [
        "ALTER TABLE people DROP COLUMN name",
        "ALTER TABLE people RENAME COLUMN name TO names",
        "ALTER TABLE people RENAME TO persons",
        "ALTER TABLE people ALTER COLUMN name SET NOT NULL",
        "ALTER TABLE people ALTER COLUMN id TYPE bigint",
        "ALTER TABLE people ADD COLUMN mail text NOT NULL",
        "ALTER TABLE people ADD CONSTRAINT short CHECK (length(name) < 9)",
        "CREATE UNIQUE INDEX names ON people (name)",
        "DROP TABLE people",
    ],
)
def test_what_narrows_without_saying_so_is_found(version: Version, url: str, hasty: str) -> None:
    assert hasty_revisions(url, version(PEOPLE, (hasty, "", ""))) == [f"0002: {hasty}"]


@pytest.mark.parametrize(
    "fine",
    [
        ("ALTER TABLE people ADD COLUMN mail text NOT NULL DEFAULT ''", "", ""),
        ("CREATE INDEX names ON people (name)", "", ""),
        ("CREATE TABLE pets (name text); ALTER TABLE pets ALTER COLUMN name SET NOT NULL", "", ""),
        NO_NAME,
        ("ALTER TABLE people ADD CONSTRAINT good CHECK (id > 0)", "", 'phase = "expand"\n'),
    ],
)
def test_what_adds_or_says_what_it_is_is_left_alone(version: Version, url: str, fine: tuple[str, str, str]) -> None:
    assert hasty_revisions(url, version(PEOPLE, fine)) == []


@pytest.mark.parametrize("service", SERVICES)
def test_no_revision_of_a_service_narrows_without_saying_so(url: str, service: str) -> None:
    assert hasty_revisions(url, service) == []


def test_the_record_of_contracts_is_no_table_of_a_service(version: Version, url: str) -> None:
    migrate(url, version(PEOPLE, NO_NAME, ("DROP TABLE people", "", 'phase = "contract"\n')))
    assert schema_differences(url, "version_0") == []
