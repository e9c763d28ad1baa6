# SPDX-License-Identifier: GPL-3.0-or-later
"""What the tests of auth have in common beside their fixtures."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
from starlette.testclient import TestClient

from auth.settings import Settings
from kit.migrations import migrate

PASSWORD = "correct horse battery"
SECRET = "5e884898da28047151d0e56f8dc62927"
NO_REDIS = "redis://:8f14e45fceea@127.0.0.1:1/0"


@dataclass
class Clock:
    """A clock that stands still until it is told to go on."""

    moment: datetime = field(default_factory=lambda: datetime.now(UTC))

    def __call__(self) -> datetime:
        return self.moment

    def go_on(self, **much: float) -> None:
        """Let time pass: `go_on(minutes=3)`."""
        self.moment += timedelta(**much)


def new_database(postgresql: Any) -> str:
    """Return the URL of another migrated database: keys and limits are everybody's who shares one."""
    url: str = postgresql.create()
    migrate(url, "auth")
    return url


def settings_of(database_url: str, **changed: Any) -> Settings:
    """Return settings with limits that only their own tests reach, and no Redis unless one is named."""
    values: dict[str, Any] = {
        "database_url": database_url,
        "redis_url": NO_REDIS,
        "signing_secret": SECRET,
        "client_logins_per_minute": 0,
        "client_signups_per_minute": 0,
        "account_logins_per_hour": 0,
    }
    return Settings.model_validate(values | changed)


def sign_up(client: TestClient, email: str) -> dict[str, str]:
    """Sign somebody up; returns their credentials."""
    credentials = {"email": email, "password": PASSWORD}
    assert client.post("/signup", json=credentials).status_code == 201
    return credentials


def log_in(client: TestClient, credentials: dict[str, str]) -> dict[str, Any]:
    """Log somebody in; returns their tokens."""
    answer = client.post("/login", json=credentials)
    assert answer.status_code == 200, answer.text
    tokens: dict[str, Any] = answer.json()
    return tokens


def bearer(tokens: dict[str, Any]) -> dict[str, str]:
    """Return the header that goes with tokens."""
    return {"Authorization": f"Bearer {tokens['access_token']}"}


def metric(client: TestClient, name: str, **labels: str) -> float | None:
    """Read a metric of the app."""
    registry = client.app.state.kit.metrics.registry  # type: ignore[attr-defined]
    value: float | None = registry.get_sample_value(name, labels)
    return value


def rows(url: str, statement: str, *parameters: Any) -> list[Any]:
    """Ask the database behind the app's back."""
    with psycopg.connect(url) as connection:
        cursor = connection.execute(statement, parameters)
        return cursor.fetchall() if cursor.description else []
