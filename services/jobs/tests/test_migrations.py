# SPDX-License-Identifier: GPL-3.0-or-later
"""Migrations with data in the tables: up, down, up; and the models are what they make."""

from __future__ import annotations

from typing import Any

from jobs.tests.support import Books
from kit.migrations import migrate
from kit.testing import schema_differences, tables


def test_up_down_up(postgresql: Any) -> None:
    url = postgresql.create()
    migrate(url, "jobs")
    assert tables(url) == {"jobs", "tallies", "workers", "alembic_version"}
    Books(url).load(["a", "b"])
    migrate(url, "jobs")  # again: nothing to do, nothing lost
    assert Books(url).states() == {"queued": 2}
    migrate(url, "jobs", to="base", down=True)
    assert tables(url) == {"alembic_version"}
    migrate(url, "jobs")
    assert Books(url).states() == {}


def test_the_models_are_what_the_migrations_make(postgresql: Any) -> None:
    import jobs.app  # noqa: F401  # the models are its imports

    url = postgresql.create()
    migrate(url, "jobs")
    assert schema_differences(url, "jobs") == []
