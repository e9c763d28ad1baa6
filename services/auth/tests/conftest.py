# SPDX-License-Identifier: GPL-3.0-or-later
"""The auth app on a real, migrated database."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from starlette.testclient import TestClient

from auth.app import create
from auth.settings import Settings
from auth.tests.support import Clock, log_in, new_database, settings_of, sign_up


@pytest.fixture
def clock() -> Clock:
    """Return the clock of the replicas of one test."""
    return Clock()


@pytest.fixture(scope="session")
def database_url(postgresql: Any) -> str:
    """Return the URL of a migrated database."""
    return new_database(postgresql)


@pytest.fixture
def settings(database_url: str, redis: Any) -> Settings:
    """Return the settings of one test."""
    return settings_of(database_url, redis_url=redis.url())


@pytest.fixture
def client(settings: Settings) -> Iterator[TestClient]:
    """Run the app and return a client of it."""
    with TestClient(create(settings)) as client:
        yield client


@dataclass
class Replicas:
    """Apps on one database and one clock."""

    url: str
    redis_url: str
    clock: Clock

    def __call__(self, address: str = "203.0.113.7", **changed: Any) -> AbstractContextManager[TestClient]:
        """Run one with these settings changed; the client calls from `address`."""
        return self._run(address, changed)

    @contextmanager
    def _run(self, address: str, changed: dict[str, Any]) -> Iterator[TestClient]:
        app = create(settings_of(self.url, redis_url=self.redis_url, **changed), now=self.clock)
        with TestClient(app, client=(address, 50_000)) as client:
            yield client


@pytest.fixture
def replica(postgresql: Any, redis: Any, clock: Clock) -> Replicas:
    """Run replicas: `with replica(setting=...) as client`."""
    return Replicas(new_database(postgresql), redis.url(), clock)


@pytest.fixture
def email() -> str:
    """Return an address that nobody has used."""
    return f"{secrets.token_hex(6)}@example.org"


@pytest.fixture
def user(client: TestClient, email: str) -> dict[str, str]:
    """Sign somebody up; returns their credentials."""
    return sign_up(client, email)


@pytest.fixture
def token(client: TestClient, user: dict[str, str]) -> str:
    """Log somebody in; returns their access token."""
    return str(log_in(client, user)["access_token"])
