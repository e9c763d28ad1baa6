# SPDX-License-Identifier: GPL-3.0-or-later
"""The auth app on a real, migrated database."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from starlette.testclient import TestClient

import auth
from auth.app import create
from auth.settings import Settings
from kit.migrations import migrate

SCRIPTS = str(Path(auth.__file__).parent / "migrations")
PASSWORD = "correct horse battery"


@pytest.fixture(scope="session")
def database_url(postgresql: Any) -> str:
    """Return the URL of a migrated database."""
    url: str = postgresql.create()
    migrate(url, SCRIPTS)
    return url


@pytest.fixture
def settings(database_url: str) -> Settings:
    """Return the settings of one test."""
    return Settings(database_url=SecretStr(database_url), signing_secret=SecretStr(secrets.token_hex(32)))


@pytest.fixture
def client(settings: Settings) -> Iterator[TestClient]:
    """Run the app and return a client of it."""
    with TestClient(create(settings)) as client:
        yield client


@pytest.fixture
def email() -> str:
    """Return an address that nobody has used."""
    return f"{secrets.token_hex(6)}@example.org"


@pytest.fixture
def user(client: TestClient, email: str) -> dict[str, str]:
    """Sign somebody up; returns their credentials."""
    credentials = {"email": email, "password": PASSWORD}
    assert client.post("/signup", json=credentials).status_code == 201
    return credentials


@pytest.fixture
def token(client: TestClient, user: dict[str, str]) -> str:
    """Log somebody in; returns their token."""
    answer = client.post("/login", json=user)
    assert answer.status_code == 200
    return str(answer.json()["access_token"])


@pytest.fixture
def value(client: TestClient) -> Callable[..., float | None]:
    """Return a reader of the app's metrics."""
    registry = client.app.state.kit.metrics.registry  # type: ignore[attr-defined]
    return lambda name, **labels: registry.get_sample_value(name, labels)
