# SPDX-License-Identifier: GPL-3.0-or-later
"""The payments app on a real, migrated database, with the local provider (a stand-in) behind it."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from pydantic import SecretStr
from starlette.testclient import TestClient

from kit.migrations import migrate
from kit.testing import Issuer
from payments.app import create
from payments.providers import Charge, ChargeStatus
from payments.providers.local import event_body
from payments.providers.signatures import HEADER, sign
from payments.settings import Settings

# Nothing runs in the background unless a test wants it to: what happens is what the test does.
QUIET: dict[str, Any] = {
    "driver_seconds": 3600,
    "reconcile_seconds": 3600,
    "callback_url": "http://127.0.0.1:1/webhook",
}


@pytest.fixture(scope="session")
def database_url(postgresql: Any) -> str:
    """Return the URL of a migrated database."""
    url: str = postgresql.create()
    migrate(url, "payments")
    return url


@pytest.fixture
def settings(database_url: str, redis: Any, issuer: Issuer) -> Settings:
    """Return the settings of one test, with empty books."""
    with psycopg.connect(database_url) as connection:
        connection.execute("TRUNCATE payments, webhook_events, outbox, local_charges")
    return Settings(
        database_url=SecretStr(database_url),
        redis_url=SecretStr(redis.url()),
        webhook_secret=SecretStr(secrets.token_hex(32)),
        local_slow_seconds=0,
        provider_timeout_seconds=20,
        lease_seconds=60,
        **QUIET,
        **issuer.settings(),
    )


@pytest.fixture
def client(settings: Settings) -> Iterator[TestClient]:
    """Run the app and return a client of it."""
    with TestClient(create(settings)) as client:
        yield client


@pytest.fixture
def orders(issuer: Issuer) -> dict[str, str]:
    """Return the headers that the orders service calls with."""
    return issuer.service_headers(iss="orders", aud="payments")


@pytest.fixture
def wanted() -> dict[str, Any]:
    """Return a request for the payment of a new order."""
    return {
        "order_id": str(uuid4()),
        "user_id": str(uuid4()),
        "amount_cents": 4990,
        "currency": "EUR",
        "method": "tok_ok",
    }


Initiate = Callable[..., Any]


@pytest.fixture
def initiate(client: TestClient, orders: dict[str, str], wanted: dict[str, Any]) -> Initiate:
    """Return a function that asks for the payment; keywords change the request."""

    def ask(key: str = "", **changed: Any) -> Any:
        headers = orders | {"Idempotency-Key": key or str(uuid4())}
        return client.post("/initiate", json=wanted | changed, headers=headers)

    return ask


@pytest.fixture
def rows(database_url: str) -> Callable[..., list[tuple[Any, ...]]]:
    """Return a reader (and writer) of the database."""

    def run(query: str, *values: Any) -> list[tuple[Any, ...]]:
        with psycopg.connect(database_url, autocommit=True) as connection:
            cursor = connection.execute(query.encode(), values)
            return cursor.fetchall() if cursor.description else []

    return run


@pytest.fixture
def value(client: TestClient) -> Callable[..., float | None]:
    """Return a reader of the app's metrics."""
    registry = client.app.state.kit.metrics.registry  # type: ignore[attr-defined]
    return lambda name, **labels: registry.get_sample_value(name, labels)


Call = Callable[..., Any]


@pytest.fixture
def call(client: TestClient, settings: Settings) -> Call:
    """Return a function that calls the webhook as the provider would; keywords forge."""

    def post(body: bytes, *, secret: str = "", at: float | None = None, header: str | None = None) -> Any:
        secret = secret or settings.webhook_secret.get_secret_value()
        signature = sign(secret, body, at=int(time.time() if at is None else at)) if header is None else header
        headers = {"content-type": "application/json"} | ({HEADER: signature} if signature else {})
        return client.post("/webhook", content=body, headers=headers)

    return post


@pytest.fixture(scope="session")
def event() -> Callable[..., bytes]:
    """Return a writer of bodies: what the provider says about a payment."""

    def write(
        payment_id: UUID | str, status: ChargeStatus = "captured", *, event_id: str = "", amount_cents: int = 4990
    ) -> bytes:
        charge = Charge(
            id=f"ch_{uuid4().hex}",
            key=str(payment_id),
            status=status,
            amount_cents=amount_cents,
            currency="EUR",
            created_at=datetime.now(UTC),
        )
        return event_body(charge, event_id=event_id or f"evt_{uuid4().hex}")

    return write
