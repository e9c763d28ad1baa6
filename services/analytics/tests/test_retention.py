# SPDX-License-Identifier: GPL-3.0-or-later
"""Forgetting: what is past its time goes, in small steps, and everything else stays."""

from __future__ import annotations

from datetime import timedelta

import psycopg
import pytest
from pydantic import SecretStr
from starlette.testclient import TestClient

from analytics import retention
from analytics.app import create
from analytics.settings import Settings
from analytics.tests.support import NOW, Clock, event, rows
from kit.testing import until


def count(url: str) -> tuple[int, int]:
    events, minutes = (rows(url, f"SELECT count(*) FROM {table}")[0][0] for table in ("events", "minutes"))
    return events, minutes


def fill(url: str) -> None:
    """One event and one minute for each of the last 100 days."""
    with psycopg.connect(url) as connection:
        for day in range(100):
            moment = NOW - timedelta(days=day)
            connection.execute(
                "INSERT INTO events (id, type, source, subject, time, data)"
                " VALUES (gen_random_uuid(), 'a.b', '', '', %s, '{}')",
                [moment],
            )
            connection.execute("INSERT INTO minutes VALUES ('a.b', date_trunc('minute', %s), '', 1, 0)", [moment])


def test_what_is_too_old_is_removed(
    settings: Settings, clock: Clock, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "_ROWS", 7)  # more than one step
    fill(database_url)
    changed = {"raw_days": 30, "minute_days": 90}
    with TestClient(create(settings.model_copy(update=changed), clock=clock)) as client:
        until(lambda: count(database_url) == (31, 91))
        registry = client.app.state.kit.metrics.registry  # type: ignore[attr-defined]
        until(lambda: registry.get_sample_value("analytics_rows_removed_total", {"table": "minutes"}) == 9)
        assert registry.get_sample_value("analytics_rows_removed_total", {"table": "events"}) == 69


def test_replicas_sweep_beside_each_other_again_and_again(settings: Settings, clock: Clock, database_url: str) -> None:
    often = settings.model_copy(update={"sweep_seconds": 0.01})
    with TestClient(create(often, clock=clock)), TestClient(create(often, clock=clock)):
        fill(database_url)
        until(lambda: count(database_url) == (31, 100))
        clock.now += timedelta(days=10)
        until(lambda: count(database_url) == (21, 100))


def test_what_was_forgotten_is_not_counted_again(
    settings: Settings, client: TestClient, clock: Clock, service: dict[str, str], database_url: str
) -> None:
    old = {"events": [event()]}
    assert client.post("/events", json=old, headers=service).json() == {"stored": 1, "known": 0}
    clock.now += timedelta(days=30)
    assert client.post("/events", json=old, headers=service).json() == {"stored": 0, "known": 1}
    clock.now += timedelta(days=1)
    with TestClient(create(settings, clock=clock)):
        until(lambda: count(database_url) == (0, 1))
    assert client.post("/events", json=old, headers=service).status_code == 422
    assert count(database_url) == (0, 1)


def test_a_database_that_is_away_only_delays_it(settings: Settings, clock: Clock) -> None:
    url = SecretStr("postgresql://analytics:8f14e45fceea@127.0.0.1:1/analytics")
    with TestClient(create(settings.model_copy(update={"database_url": url}), clock=clock)) as client:
        assert client.get("/health").status_code == 503
        assert client.get("/info").status_code == 200
