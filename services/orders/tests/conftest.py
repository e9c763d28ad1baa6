# SPDX-License-Identifier: GPL-3.0-or-later
"""The orders app on a real, migrated database and a real Redis, with stand-ins for the catalog and payments."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from pydantic import SecretStr
from starlette.testclient import TestClient

from kit.events import Event
from kit.migrations import migrate
from kit.testing import Issuer
from orders.app import create
from orders.deps import Parts
from orders.settings import Settings
from orders.tests.standins import KEYS, StandIns, served

Make = Callable[..., "Shop"]
Run = Callable[..., Any]


@pytest.fixture(scope="session")
def migrated(postgresql: Any) -> str:
    """Return the URL of a migrated database."""
    url: str = postgresql.create()
    migrate(url, "orders")
    return url


@pytest.fixture
def database_url(migrated: str) -> str:
    """Return the URL of a migrated database with nothing in it: a driver drives whatever is due."""
    with psycopg.connect(migrated, autocommit=True) as connection:
        connection.execute("TRUNCATE orders, order_lines, order_events, cart_items, outbox")
    return migrated


@pytest.fixture
def stand_ins() -> StandIns:
    """Return the stand-ins for the services that orders calls."""
    return StandIns()


@dataclass
class Shop:
    """A running app and a customer of it. Its background is off: `drive` and `tell` do what it would do."""

    client: TestClient
    database_url: str
    issuer: Issuer
    stand_ins: StandIns
    headers: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.headers = self.issuer.headers()

    @property
    def parts(self) -> Parts:
        """The parts of the app."""
        parts: Parts = self.client.app.state.orders  # type: ignore[attr-defined]
        return parts

    def request(self, method: str, path: str, **options: Any) -> Any:
        """Ask as the customer."""
        headers = self.headers | options.pop("headers", {})
        return self.client.request(method, path, headers=headers, **options)

    def fill_cart(self, product_id: str = "", quantity: int = 2) -> str:
        """Put a product into the cart; returns its id."""
        product_id = product_id or self.stand_ins.product()
        answer = self.request("PUT", f"/cart/items/{product_id}", json={"quantity": quantity})
        assert answer.status_code == 200, answer.text
        return product_id

    def check_out(self, *, key: str = "", method: str = "tok_ok") -> Any:
        """Check out; returns the answer."""
        return self.request(
            "POST", "/checkout", json={"payment_method": method}, headers={"Idempotency-Key": key or uuid4().hex}
        )

    def buy(self, **options: Any) -> str:
        """Fill the cart and check out; returns the order's id."""
        self.fill_cart()
        answer = self.check_out(**options)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    def order(self, order_id: str) -> dict[str, Any]:
        """Look at an order."""
        answer = self.request("GET", f"/orders/{order_id}")
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def state(self, order_id: str) -> str:
        """Return an order's state."""
        return str(self.order(order_id)["state"])

    def call(self, function: Callable[..., Any], *args: Any) -> Any:
        """Call a coroutine function on the app's event loop."""
        assert self.client.portal
        return self.client.portal.call(function, *args)

    def drive(self) -> int:
        """Drive every order that is due; returns how many there were."""

        async def run() -> list[BaseException | None]:
            return await asyncio.gather(*await self.parts.driver.start_due(), return_exceptions=True)

        ends = self.call(run)
        for end in filter(None, ends):
            raise end
        return len(ends)

    def pass_time(self) -> None:
        """Make everything due, and let every lease end."""
        self.sql("UPDATE orders SET due_at = now() WHERE due_at IS NOT NULL")
        self.sql("UPDATE orders SET leased_until = now() WHERE leased_until IS NOT NULL")

    def tell(self, event_type: str, data: dict[str, Any], *, source: str = "payments") -> None:
        """Hand an event to the app, as the consumer would."""
        event = {"id": str(uuid4()), "type": event_type, "source": source, "subject": "x", "data": data}
        event["time"] = "2026-01-01T00:00:00Z"
        self.call(self.parts.inbox.handle, Event.model_validate(event))

    def sql(self, statement: str, *args: Any) -> list[tuple[Any, ...]]:
        """Ask the database."""
        with psycopg.connect(self.database_url, autocommit=True) as connection:
            cursor = connection.execute(statement, args)
            return cursor.fetchall() if cursor.description else []

    def published(self, order_id: str) -> list[str]:
        """Return the events about an order, in order."""
        rows = self.sql("SELECT type FROM outbox WHERE subject = %s ORDER BY sequence", order_id)
        return [kind for (kind,) in rows]

    def history(self, order_id: str) -> list[str]:
        """Return the states an order went through."""
        rows = self.sql("SELECT from_state, to_state FROM order_events WHERE order_id = %s ORDER BY id", order_id)
        for (_, before), (after, _) in zip(rows, rows[1:], strict=False):
            assert before == after, f"a gap in the audit trail: {rows}"
        return [to_state for _, to_state in rows]

    def metric(self, name: str, **labels: str) -> float:
        """Return a metric of the app."""
        registry = self.client.app.state.kit.metrics.registry  # type: ignore[attr-defined]
        value = registry.get_sample_value(name, labels)
        assert value is not None, name
        return float(value)


@pytest.fixture
def settings(database_url: str, redis: Any, issuer: Issuer) -> Settings:
    """Return the settings of one test."""
    return Settings(
        database_url=SecretStr(database_url),
        redis_url=SecretStr(redis.url()),
        catalog_key=SecretStr(KEYS["catalog"]),
        payments_key=SecretStr(KEYS["payments"]),
        background=False,
        **issuer.settings(),
    )


@pytest.fixture
def make(settings: Settings, database_url: str, issuer: Issuer, stand_ins: StandIns) -> Iterator[Make]:
    """Return a maker of replicas: each call runs another app on the same database, with changes to its settings."""
    with ExitStack() as stack:

        def run(**changed: Any) -> Shop:
            app = create(settings.model_copy(update=changed), transport=stand_ins.transport)
            return Shop(stack.enter_context(TestClient(app)), database_url, issuer, stand_ins)

        yield run


@pytest.fixture
def shop(make: Make) -> Shop:
    """Run one app; a checkout drives its order as far as it goes."""
    return make()


@pytest.fixture
def quiet_shop(make: Make) -> Shop:
    """Run one app in which nothing moves unless the test drives it."""
    return make(inline_seconds=0)


@pytest.fixture
def run(start: Any, database_url: str, redis: Any, issuer: Issuer, stand_ins: StandIns) -> Iterator[Run]:
    """Return a starter of replicas that call the stand-ins over HTTP and wait for nobody long."""
    with ExitStack() as stack:
        settings = {
            "database_url": database_url,
            "redis_url": redis.url(),
            "catalog_url": stack.enter_context(served(stand_ins, "catalog")),
            "catalog_key": KEYS["catalog"],
            "payments_url": stack.enter_context(served(stand_ins, "payments")),
            "payments_key": KEYS["payments"],
            "jwks": issuer.settings()["jwks"],
            "linger_seconds": 0,
            "poll_seconds": 0.1,
            "step_seconds": 0.5,
            "lease_seconds": 1,
            "retry_seconds": 0.1,
            "retry_cap_seconds": 0.5,
        }
        yield lambda **changed: start("-m", "orders", **(settings | changed))
