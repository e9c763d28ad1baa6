# SPDX-License-Identifier: GPL-3.0-or-later
"""What tests of the jobs service share beside fixtures."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row
from pydantic import SecretStr

from jobs.settings import Settings

Submit = Callable[..., str]
Show = Callable[..., dict[str, Any]]

_PATIENCE_SECONDS = 120.0


def until(condition: Callable[[], Any], what: Callable[[], object] = lambda: "") -> Any:
    """Return what the condition returns once it is true; give up after two minutes and say `what` there is instead."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while not (found := condition()):
        if time.monotonic() > deadline:
            pytest.fail(f"it did not come: {what()}")
        time.sleep(0.01)  # for the worker in this process, which needs the interpreter too
    return found


@dataclass
class Books:
    """Looks into the database, past the API."""

    url: str

    def rows(self, query: str, *values: object) -> list[dict[str, Any]]:
        """Return what a query finds; one that writes is committed."""
        with psycopg.connect(self.url, autocommit=True, row_factory=dict_row) as connection:
            cursor = connection.execute(query, values)
            return cursor.fetchall() if cursor.description else []

    def states(self) -> dict[str, int]:
        """Count the jobs by state."""
        return {row["state"]: row["count"] for row in self.rows("SELECT state, count(*) FROM jobs GROUP BY state")}

    def tallies(self) -> dict[str, int]:
        """Return the counters that drill jobs raised."""
        return {row["name"]: row["count"] for row in self.rows("SELECT name, count FROM tallies")}

    def wait_for(self, **states: int) -> None:
        """Return when there are so many jobs in each of these states, and none in others."""
        until(lambda: self.states() == states, self.states)

    def load(self, names: Sequence[str], seconds: float = 0) -> None:
        """Write tally jobs straight into the table, a minute ago, and leave it to a sweep to queue them."""
        self.rows(
            "INSERT INTO jobs (id, kind, payload, owner, queued_at, due_at) "
            "SELECT gen_random_uuid(), 'tally', jsonb_build_object('name', name, 'seconds', %s::float8), 'test', "
            "now() - interval '1 minute', now() - interval '1 minute' FROM unnest(%s::text[]) AS name",
            seconds,
            list(names),
        )


def environment(settings: Settings, **changed: object) -> dict[str, object]:
    """Return the settings as a process is told them."""
    plain = {
        name: value.get_secret_value() if isinstance(value, SecretStr) else value
        for name, value in settings.model_dump(exclude_unset=True).items()
    }
    return plain | changed
