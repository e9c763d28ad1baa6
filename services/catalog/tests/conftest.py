# SPDX-License-Identifier: GPL-3.0-or-later
"""The catalog app on a real, migrated database and a real Redis."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from pydantic import SecretStr
from starlette.testclient import TestClient

from catalog.app import create
from catalog.settings import Settings
from kit.migrations import migrate
from kit.testing import Issuer


@pytest.fixture(scope="session")
def database_url(postgresql: Any) -> str:
    """Return the URL of a migrated database."""
    url: str = postgresql.create()
    migrate(url, "catalog")
    return url


@pytest.fixture
def settings(database_url: str, redis: Any, issuer: Issuer) -> Settings:
    """Return the settings of one test, with a Redis database of its own."""
    return Settings(
        database_url=SecretStr(database_url),
        redis_url=SecretStr(redis.url()),
        cache_timeout_seconds=0.5,  # patience for a busy machine
        cache_retry_seconds=0.01,
        **issuer.settings(),
    )


@pytest.fixture
def client(settings: Settings) -> Iterator[TestClient]:
    """Run the app and return a client of it."""
    with TestClient(create(settings)) as client:
        yield client


@pytest.fixture
def admin(issuer: Issuer) -> dict[str, str]:
    """Return an administrator's headers."""
    return issuer.headers(roles=["admin"])


@pytest.fixture
def orders(issuer: Issuer) -> dict[str, str]:
    """Return the headers of the service that reserves."""
    return issuer.service_headers(iss="orders", aud="catalog")


@pytest.fixture
def value(client: TestClient) -> Callable[..., float]:
    """Return a reader of the app's metrics; 0 for what was never counted."""
    registry = client.app.state.kit.metrics.registry  # type: ignore[attr-defined]
    return lambda name, **labels: registry.get_sample_value(name, labels) or 0.0


@pytest.fixture
def make(client: TestClient, admin: dict[str, str]) -> Callable[..., dict[str, Any]]:
    """Return a maker of products."""

    def run(**given: Any) -> dict[str, Any]:
        new = {"sku": f"T-{secrets.token_hex(6).upper()}", "name": "Thing", "price_cents": 250, "on_hand": 10} | given
        answer = client.post("/products", json=new, headers=admin)
        assert answer.status_code == 201, answer.text
        product: dict[str, Any] = answer.json()
        return product

    return run
