# SPDX-License-Identifier: GPL-3.0-or-later
"""The service as it runs: killed in mid-reservation, without its database, told to stop."""

from __future__ import annotations

import json
import signal
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from catalog.settings import Settings


def environment(settings: Settings) -> dict[str, object]:
    return {
        "database_url": settings.database_url.get_secret_value(),
        "redis_url": settings.redis_url.get_secret_value(),
        "internal_key": settings.internal_key.get_secret_value() if settings.internal_key else "",
        "jwks": settings.jwks,
        "linger_seconds": 0,
    }


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_reservation_in_flight_is_made_whole_or_not_at_all(
    start: Any, settings: Settings, make: Any, orders: dict[str, str], database_url: str, number: signal.Signals
) -> None:
    product, order = make(on_hand=10), uuid4()
    stock = "SELECT reserved FROM stock WHERE product_id = %s"
    ask = json.dumps({"lines": [{"product_id": product["id"], "quantity": 4}]})
    headers = orders | {"content-type": "application/json"}
    process = start("-m", "catalog", **environment(settings))
    with psycopg.connect(database_url) as blocker:
        blocker.execute("SELECT 1 FROM stock WHERE product_id = %s FOR UPDATE", [product["id"]])
        connection = process.connect()
        connection.request("PUT", f"/reservations/{order}", ask, headers)
        process.wait_in_flight(1)
        process.popen.send_signal(number)
        if number == signal.SIGKILL:
            process.popen.wait()
    if number == signal.SIGTERM:
        assert connection.getresponse().status == 200
        status, output = process.wait()
        assert status == 0, output
    again = start("-m", "catalog", **environment(settings)).connect()
    again.request("PUT", f"/reservations/{order}", ask, headers)
    assert again.getresponse().status == 200
    with psycopg.connect(database_url) as connection:
        assert connection.execute(stock, [product["id"]]).fetchone() == (4,)


def test_serves_without_its_database_and_says_so(start: Any, settings: Settings) -> None:
    url = "postgresql://catalog:8f14e45fceea@127.0.0.1:1/catalog"
    process = start("-m", "catalog", **environment(settings) | {"database_url": url, "seed_demo": True})
    assert process.manage("GET", "/health/live")[0] == 200
    status, body = process.manage("GET", "/health/ready")
    assert (status, json.loads(body)["dependencies"]) == (503, {"database": "OperationalError"})
    connection = process.connect()
    connection.request("GET", "/products")
    answer = connection.getresponse()
    assert (answer.status, answer.headers["retry-after"]) == (503, "1")
    process.popen.terminate()
    status, output = process.wait()
    assert status == 0
    assert "8f14e45fceea" not in output
