# SPDX-License-Identifier: GPL-3.0-or-later
"""The stream: every event of the shop is counted once, whatever is sent twice, broken, old or restarted."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
import redis as redis_client
from starlette.testclient import TestClient

from analytics.settings import Settings
from analytics.tests.support import NOW, rows
from kit.events import STREAM, Event
from kit.events.event import FIELD
from kit.testing import until

Value = Callable[..., float]
Wait = Callable[[str, int], None]


@pytest.fixture
def publish(settings: Settings) -> Callable[..., Event]:
    """Return what puts an event on the stream."""

    def run(**given: Any) -> Event:
        plain = {"id": uuid4(), "type": "order.placed", "source": "orders", "subject": "o1", "time": NOW}
        event = Event.model_validate(plain | given)
        with redis_client.Redis.from_url(settings.redis_url.get_secret_value()) as server:
            server.xadd(STREAM, {FIELD: event.model_dump_json()})
        return event

    return run


@pytest.fixture
def wait(value: Value) -> Wait:
    """Return what waits until so many events of the stream had the outcome."""
    return lambda outcome, number: until(
        lambda: value("analytics_events_total", via="stream", outcome=outcome) >= number
    )


def test_the_stream_is_counted_once(
    client: TestClient, publish: Callable[..., Event], wait: Wait, analyst: dict[str, str], database_url: str
) -> None:
    data = {"total_cents": 1290, "currency": "EUR", "user_id": str(uuid4()), "lines": [{"name": "Mug", "quantity": 1}]}
    placed = publish(data={"total_cents": None, "currency": None})
    sold = publish(type="order.paid", data=data)
    wait("stored", 2)
    publish(**dict(placed))  # the relay sends again after a crash
    publish(**dict(sold))
    wait("known", 2)
    day = client.get("/summary", params={"days": 1}, headers=analyst).json()["days"][0]
    assert day == {"day": "2026-03-15", "orders": 1, "paid": 1, "revenue_cents": {"EUR": 1290}, "sign_ups": 0}
    stored = rows(database_url, "SELECT source, subject, data FROM events WHERE type = 'order.paid'")
    assert stored == [("orders", "o1", data)]


def test_what_the_api_brought_is_known_to_the_stream(
    client: TestClient, publish: Callable[..., Event], wait: Wait, service: dict[str, str]
) -> None:
    event = {"id": str(uuid4()), "type": "order.placed", "time": NOW.isoformat()}
    assert client.post("/events", json={"events": [event]}, headers=service).status_code == 200
    publish(id=event["id"])
    wait("known", 1)


def test_an_event_too_old_to_be_known_again_is_left_out(
    client: TestClient, publish: Callable[..., Event], wait: Wait, database_url: str
) -> None:
    publish(time=NOW - timedelta(days=31))
    wait("too_old", 1)
    assert rows(database_url, "SELECT * FROM minutes") == []


def test_redis_goes_away_and_comes_back(
    client: TestClient, publish: Callable[..., Event], wait: Wait, redis: Any
) -> None:
    publish()
    wait("stored", 1)
    redis.stop()
    redis.start()
    publish()
    wait("stored", 2)
    redis.flush()  # its data are gone, and our group with them
    publish()
    wait("stored", 3)


def test_an_order_without_money_in_it_is_no_revenue_and_holds_nobody_up(
    client: TestClient, publish: Callable[..., Event], wait: Wait, value: Value, database_url: str
) -> None:
    publish(type="order.paid", data={"total_cents": "much"})
    good = publish(subject="o2")
    wait("stored", 1)
    until(lambda: value("events_consumed_total", group="analytics", outcome="failed"))  # and later put aside
    assert rows(database_url, "SELECT id FROM events") == [(good.id,)]
