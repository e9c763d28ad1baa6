# SPDX-License-Identifier: GPL-3.0-or-later
"""From the stream into the inbox: each event once, to its user only."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import pytest
from starlette.testclient import TestClient

from kit.testing import Issuer, until


def test_an_order_is_told_of_to_its_user(client: TestClient, issuer: Issuer, tell: Any, order: Any, rows: Any) -> None:
    headers = issuer.headers(sub=order["user_id"])
    tell("order.placed", order)
    until(lambda: len(rows("SELECT 1 FROM notifications")) == 1)
    tell("order.paid", order)
    until(lambda: len(rows("SELECT 1 FROM notifications")) == 2)
    page = client.get("/notifications", headers=headers).json()
    assert [item["template"] for item in page["items"]] == ["order_paid", "order_placed"]
    assert page["next"] is None
    assert "49.90 EUR" in page["items"][0]["body"]
    assert set(page["items"][0]) == {"id", "template", "subject", "body", "created_at"}
    assert client.get("/notifications", headers=issuer.headers()).json() == {"items": [], "next": None}


def test_an_event_that_comes_twice_is_told_once(client: TestClient, tell: Any, order: Any, rows: Any) -> None:
    tell("order.paid", order, times=5)
    last = tell("order.placed", order)
    until(lambda: rows("SELECT 1 FROM notifications WHERE event_id = %s", last))
    until(
        lambda: (
            client.app.state.kit.metrics.registry.get_sample_value(  # type: ignore[attr-defined]
                "events_consumed_total", {"group": "notifications", "outcome": "ok"}
            )
            == 6
        )
    )
    assert rows("SELECT template FROM notifications ORDER BY 1") == [("order_paid",), ("order_placed",)]
    assert _stored(client, "order_paid") == 1


def _stored(client: TestClient, template: str) -> float:
    labels = {"template": template, "channel": "inbox"}
    found: float = client.app.state.kit.metrics.registry.get_sample_value("notifications_total", labels)  # type: ignore[attr-defined]
    return found


def test_the_inbox_comes_in_pages(client: TestClient, issuer: Issuer, tell: Any, order: Any, rows: Any) -> None:
    for _ in range(5):
        tell("order.placed", order)
    until(lambda: len(rows("SELECT 1 FROM notifications")) == 5)
    headers, seen, cursor = issuer.headers(sub=order["user_id"]), [], None
    for expected in (2, 2, 1):
        params = {"limit": 2} | ({"cursor": cursor} if cursor else {})
        page = client.get("/notifications", params=params, headers=headers).json()
        assert len(page["items"]) == expected
        seen += [(item["created_at"], item["id"]) for item in page["items"]]
        cursor = page["next"]
    assert cursor is None
    assert len(set(seen)) == 5
    assert seen == sorted(seen, reverse=True)


def test_only_users_have_an_inbox(client: TestClient, issuer: Issuer) -> None:
    assert client.get("/notifications").status_code == 401
    service = issuer.service_headers(iss="orders", aud="notifications")
    assert client.get("/notifications", headers=service).status_code == 403


@pytest.mark.parametrize(
    "params",
    [{"limit": 0}, {"limit": 101}, {"limit": "x"}, {"cursor": ""}, {"cursor": "x"}, {"cursor": "W10"},
     {"cursor": "\x00"}, {"cursor": "'; DROP TABLE notifications; --"}, {"cursor": "x" * 500}],
)  # fmt: skip
def test_bad_pages_are_refused(client: TestClient, issuer: Issuer, params: dict[str, Any]) -> None:
    answer = client.get("/notifications", params=params, headers=issuer.headers())
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"


def test_events_of_other_types_are_nobody_s_business(client: TestClient, tell: Any, order: Any, rows: Any) -> None:
    for kind in ("order.shipped", "payment.captured", "user.signed_up"):
        tell(kind, order)
    last = tell("order.placed", order)
    until(lambda: rows("SELECT 1 FROM notifications WHERE event_id = %s", last))
    assert len(rows("SELECT 1 FROM notifications")) == 1


def test_two_replicas_tell_each_event_once(client: TestClient, settings: Any, tell: Any, rows: Any, order: Any) -> None:
    from notifications.app import create

    with TestClient(create(settings)):
        events = [order | {"order_id": str(uuid4())} for _ in range(30)]
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda data: tell("order.placed", data, times=2), events))
        until(lambda: len(rows("SELECT 1 FROM notifications")) >= 30)
        last = tell("order.paid", order)
        until(lambda: rows("SELECT 1 FROM notifications WHERE event_id = %s", last))
    assert len(rows("SELECT 1 FROM notifications")) == 31
