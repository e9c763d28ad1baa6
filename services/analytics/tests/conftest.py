# SPDX-License-Identifier: GPL-3.0-or-later
"""The analytics app on a real, migrated database and a real Redis, at a time of the test's own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from pydantic import SecretStr
from starlette.testclient import TestClient

from analytics.app import create
from analytics.settings import Settings
from analytics.tests.support import Clock
from kit.migrations import migrate
from kit.testing import Issuer


@pytest.fixture
def clock() -> Clock:
    """Return the app's clock; it stands still until the test moves it."""
    return Clock()


@pytest.fixture
def database_url(postgresql: Any) -> str:
    """Return the URL of a migrated database with nothing in it."""
    url: str = postgresql.create()
    migrate(url, "analytics")
    return url


@pytest.fixture
def settings(database_url: str, redis: Any, issuer: Issuer) -> Settings:
    """Return the settings of one test."""
    return Settings(database_url=SecretStr(database_url), redis_url=SecretStr(redis.url()), **issuer.settings())


@pytest.fixture
def client(settings: Settings, clock: Clock) -> Iterator[TestClient]:
    """Run the app and return a client of it."""
    with TestClient(create(settings, clock=clock)) as client:
        yield client


@pytest.fixture
def analyst(issuer: Issuer) -> dict[str, str]:
    """Return an analyst's headers."""
    return issuer.headers(roles=["customer", "analyst"])


@pytest.fixture
def service(issuer: Issuer) -> dict[str, str]:
    """Return another service's headers."""
    return issuer.service_headers(iss="orders", aud="analytics")


@pytest.fixture
def value(client: TestClient) -> Callable[..., float]:
    """Return a reader of the app's metrics; 0 for what was never counted."""
    registry = client.app.state.kit.metrics.registry  # type: ignore[attr-defined]
    return lambda name, **labels: registry.get_sample_value(name, labels) or 0.0
