# SPDX-License-Identifier: GPL-3.0-or-later
"""A service's commands."""

from __future__ import annotations

import json
import sys
from typing import Any

import psycopg
import pytest

from kit import Settings
from kit.cli import main
from kit.database import DatabaseSettings
from kit.testing import tables

PACKAGE = "kit.tests.tiny"


class TinySettings(DatabaseSettings):
    """A service with a database."""

    service: str = "tiny"


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> Any:
    def run(*args: str, settings: type[Settings] = TinySettings, **options: Any) -> int:
        monkeypatch.setattr(sys, "argv", ["tiny", *args])
        monkeypatch.setattr("kit.logs.configure_logging", lambda _settings: None)  # this process is pytest's
        return main(PACKAGE, settings, "kit.tests.tiny:create", **options)

    return run


def test_migrate_goes_up_and_down(command: Any, postgresql: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    url = postgresql.create()
    monkeypatch.setenv("OPSFORGE_DATABASE_URL", url)

    def has_outbox() -> bool:
        with psycopg.connect(url) as connection:
            return connection.execute("SELECT to_regclass('outbox')").fetchone() != (None,)

    assert command("migrate") == 0
    assert has_outbox()
    assert command("migrate", "--down", "--to", "base") == 0
    assert not has_outbox()


@pytest.mark.parametrize("args", [("--to", "0815"), ("--to", "-1")])
def test_a_revision_that_is_none_is_a_status_that_nobody_tries_again(
    command: Any, postgresql: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], args: Any
) -> None:
    monkeypatch.setenv("OPSFORGE_DATABASE_URL", postgresql.create())
    assert command("migrate", *args) == 3
    assert capsys.readouterr().err.startswith("migration failed: ")


def test_a_database_that_is_away_is_a_status_to_try_again(command: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPSFORGE_DATABASE_URL", "postgresql://tiny:8f14e45fceea@127.0.0.1:1/tiny")
    assert command("migrate", "--wait", "0") == 1


def test_a_pod_only_waits_and_a_plan_only_looks(
    command: Any, postgresql: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    url = postgresql.create()
    monkeypatch.setenv("OPSFORGE_DATABASE_URL", url)
    monkeypatch.setenv("OPSFORGE_MIGRATIONS", "wait")
    assert command("migrate", "--wait", "0") == 3
    assert capsys.readouterr().err == (
        "migration refused: the database is at nothing, and this version needs 0001: migrate it\n"
    )
    assert command("migrate", "--plan") == 0
    assert json.loads(capsys.readouterr().out) == {
        "at": "",
        "missing": [{"revision": "0001", "phase": "expand", "what": "Outbox.", "done": False, "due": True}],
        "refused": None,
    }
    assert tables(url) == set()
    monkeypatch.delenv("OPSFORGE_MIGRATIONS")
    assert command("migrate") == 0
    monkeypatch.setenv("OPSFORGE_MIGRATIONS", "wait")
    assert command("migrate", "--wait", "0") == 0


def test_a_service_may_have_commands_of_its_own(command: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPSFORGE_DATABASE_URL", "postgresql://tiny:8f14e45fceea@127.0.0.1:1/tiny")
    called: list[Settings] = []
    assert command("work", commands={"work": ("do the work", called.append)}) == 0
    assert called[0].service == "tiny"


def test_help_names_every_command(command: Any, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_info:
        command("--help", commands={"work": ("do the work", print)})
    assert exit_info.value.code == 0
    text = capsys.readouterr().out
    assert all(word in text for word in ("serve", "migrate", "work", "do the work"))
