# SPDX-License-Identifier: GPL-3.0-or-later
"""Asking: by range and bucket, by day, and what is refused."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from starlette.testclient import TestClient

from analytics.reports.buckets import MAX_BUCKETS, Bucket, buckets
from analytics.tests.support import NOW, event, paid
from kit.testing import Issuer


def ask(client: TestClient, headers: dict[str, str], **params: Any) -> Any:
    given = {("from" if name == "begin" else name): value for name, value in params.items()}
    return client.get("/query", params={"type": "page.viewed"} | given, headers=headers)


def test_counts_by_bucket_have_no_holes(client: TestClient, service: dict[str, str], analyst: dict[str, str]) -> None:
    moments = ["11:58:59", "11:59:00", "11:59:59", "12:02:30", "12:30:00"]
    events = [event(time=f"2026-03-15T{moment}Z") for moment in moments]
    others = [event(time="2026-03-15T12:00:00Z", type="page.left")]
    assert client.post("/events", json={"events": events + others}, headers=service).status_code == 200
    answer = ask(client, analyst, begin="2026-03-15T11:59:30Z", to="2026-03-15T13:03:00+01:00", bucket="minute")
    assert answer.status_code == 200, answer.text
    assert answer.json() == {
        "type": "page.viewed",
        "bucket": "minute",
        "start": "2026-03-15T11:59:00Z",  # whole buckets
        "end": "2026-03-15T12:03:00Z",
        "total": 3,
        "points": [
            {"time": f"2026-03-15T{moment}:00Z", "count": count}
            for moment, count in (("11:59", 2), ("12:00", 0), ("12:01", 0), ("12:02", 1))
        ],
    }
    by_hour = ask(client, analyst, begin="2026-03-15T11:00:00Z").json()
    assert [(point["time"][11:13], point["count"]) for point in by_hour["points"]] == [("11", 3), ("12", 2)]
    by_day = ask(client, analyst, bucket="day").json()
    assert (len(by_day["points"]), by_day["points"][-1]) == (25, {"time": "2026-03-15T00:00:00Z", "count": 5})


def test_the_summary_has_orders_revenue_and_sign_ups_by_day(
    client: TestClient, service: dict[str, str], analyst: dict[str, str]
) -> None:
    yesterday = timedelta(days=1)
    events = [
        event(type="order.placed"),
        event(type="order.placed"),
        event(type="order.placed", ago=yesterday),
        event(type="order.placed", ago=3 * yesterday),  # not asked for
        paid(1000),
        paid(250),
        paid(99, "USD"),
        paid(5, ago=yesterday),
        event(type="user.signed_up", ago=yesterday),
        event(type="page.viewed"),
    ]
    assert client.post("/events", json={"events": events}, headers=service).status_code == 200
    none = {"orders": 0, "paid": 0, "revenue_cents": {}, "sign_ups": 0}
    assert client.get("/summary", params={"days": 3}, headers=analyst).json()["days"] == [
        none | {"day": "2026-03-13"},
        {"day": "2026-03-14", "orders": 1, "paid": 1, "revenue_cents": {"EUR": 5}, "sign_ups": 1},
        {"day": "2026-03-15", "orders": 2, "paid": 3, "revenue_cents": {"EUR": 1250, "USD": 99}, "sign_ups": 0},
    ]
    assert len(client.get("/summary", headers=analyst).json()["days"]) == 7


@pytest.mark.parametrize(
    "params",
    [
        {"type": "page"},
        {"type": "x'; DROP TABLE minutes; --"},
        {"type": "order.paid\0"},
        {"bucket": "week"},
        {"bucket": "minute'"},
        {"begin": "yesterday"},
        {"begin": "0"},
        {"begin": "1773577800"},
        {"begin": "2026-03-15T12:00:00"},
        {"begin": "2026-03-15T13:00:00Z"},  # after now
        {"begin": "2026-03-15T12:00:00Z", "to": "2026-03-15T12:00:00Z"},
        {"begin": "2026-03-14T11:00:00Z", "bucket": "minute"},  # too many
        {"begin": "2000-01-01T00:00:00Z", "to": "2199-12-31T00:00:00Z", "bucket": "day"},
        {"to": "9999-12-31T23:59:59Z"},
        {"to": "0001-01-01T00:00:00Z"},
    ],
)
def test_bad_questions_are_refused(client: TestClient, analyst: dict[str, str], params: dict[str, str]) -> None:
    answer = ask(client, analyst, **params)
    assert answer.status_code == 422, answer.text
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("days", ["0", "91", "x", "-1", "1.5", "1e1"])
def test_bad_summaries_are_refused(client: TestClient, analyst: dict[str, str], days: str) -> None:
    assert client.get("/summary", params={"days": days}, headers=analyst).status_code == 422


@pytest.mark.parametrize("path", ["/query?type=page.viewed", "/summary"])
def test_only_analysts_and_administrators_ask(client: TestClient, issuer: Issuer, path: str) -> None:
    for headers, status in (
        ({}, 401),
        ({"Authorization": "Bearer x.y.z"}, 401),
        (issuer.headers(), 403),
        (issuer.service_headers(iss="orders", aud="analytics"), 403),
        (issuer.headers(roles=["analyst"]), 200),
        (issuer.headers(roles=["admin"]), 200),
    ):
        assert client.get(path, headers=headers).status_code == status


@pytest.mark.parametrize(
    ("begin", "end", "bucket", "first", "number"),
    [
        ("12:00", "12:01", Bucket.MINUTE, "12:00", 1),
        ("12:00", "12:00:00.000001", Bucket.MINUTE, "12:00", 1),
        ("12:00:59.999999", "12:01:00.000001", Bucket.MINUTE, "12:00", 2),
        ("12:59", "13:01", Bucket.HOUR, "12:00", 2),
        ("00:00", "23:59", Bucket.DAY, "00:00", 1),
        ("00:00", "23:59", Bucket.MINUTE, "00:00", 1439),
    ],
)
def test_buckets_cover_the_range(begin: str, end: str, bucket: Bucket, first: str, number: int) -> None:
    day = f"{NOW:%Y-%m-%d}T"
    begin_at, end_at, first_at = (datetime.fromisoformat(f"{day}{moment}+00:00") for moment in (begin, end, first))
    found = buckets(begin_at, end_at, bucket)
    assert (found[0], len(found)) == (first_at, number)
    assert all(later - earlier == bucket.length for earlier, later in zip(found, found[1:], strict=False))


def test_buckets_are_bounded() -> None:
    assert len(buckets(NOW - MAX_BUCKETS * Bucket.DAY.length, NOW - Bucket.DAY.length, Bucket.DAY)) == MAX_BUCKETS
    with pytest.raises(ValueError, match="1501 buckets"):
        buckets(NOW - MAX_BUCKETS * Bucket.DAY.length, NOW, Bucket.DAY)
