# SPDX-License-Identifier: GPL-3.0-or-later
"""The service as it runs: killed in the middle of a checkout, database or Redis away, nothing secret in logs."""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import psycopg
import pytest

import orders
from kit.testing import Issuer
from orders.tests.conftest import Run
from orders.tests.standins import KEYS, StandIns

AWAY = "postgresql://orders:8f14e45fceea@127.0.0.1:1/orders"


def ask(process: Any, method: str, path: str, headers: dict[str, str], body: Any = None) -> tuple[int, Any]:
    connection = process.connect()
    try:
        connection.request(method, path, json.dumps(body), {"content-type": "application/json", **headers})
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    finally:
        connection.close()


def wait_for_state(process: Any, order_id: str, state: str, headers: dict[str, str]) -> None:
    """Return when the order is there; the suite's own time limit ends a wait in vain."""
    while ask(process, "GET", f"/orders/{order_id}", headers)[1]["state"] != state:
        pass


@pytest.mark.parametrize(
    "operation", ["catalog.reserve", "payments.initiate", "catalog.commit"], ids=lambda name: name.split(".")[1]
)
def test_kill_9_during_a_checkout_loses_and_doubles_nothing(
    run: Run, issuer: Issuer, stand_ins: StandIns, operation: str, database_url: str
) -> None:
    reached, gone = threading.Event(), threading.Event()

    def hold(at: str) -> None:
        if at == operation and not reached.is_set():
            reached.set()
            gone.wait()

    stand_ins.after = hold  # the effect is there, the answer never comes
    stand_ins.status = "captured"
    headers = issuer.headers()
    process = run()
    ask(process, "PUT", f"/cart/items/{stand_ins.product()}", headers, {"quantity": 1})
    key, body = {"Idempotency-Key": "k-1"}, {"payment_method": "tok_ok"}

    def check_out() -> None:
        with pytest.raises((http.client.HTTPException, OSError)):
            ask(process, "POST", "/checkout", headers | key, body)

    customer = threading.Thread(target=check_out)
    customer.start()
    reached.wait()
    process.popen.kill()
    customer.join()
    gone.set()

    process = run()
    status, order = ask(process, "POST", "/checkout", headers | key, body)  # the customer tries again
    assert status == 201
    wait_for_state(process, order["id"], "fulfilled", headers)
    assert stand_ins.effects == {(what, order["id"]): 1 for what in ("reserve", "initiate", "commit")}
    with psycopg.connect(database_url) as connection:
        assert connection.execute("SELECT count(*) FROM orders").fetchone() == (1,)
        states = connection.execute("SELECT to_state FROM order_events ORDER BY id").fetchall()
    assert [state for (state,) in states] == ["placed", "reserved", "paying", "paid", "fulfilled"]


def test_sigterm_lets_the_step_that_is_under_way_finish(run: Run, issuer: Issuer, stand_ins: StandIns) -> None:
    reached, go_on = threading.Event(), threading.Event()

    def hold(at: str) -> None:
        if at == "payments.initiate":
            reached.set()
            go_on.wait()

    stand_ins.after = hold
    stand_ins.status = "captured"
    headers = issuer.headers()
    process = run(lease_seconds=60, step_seconds=20, inline_seconds=0.05)
    ask(process, "PUT", f"/cart/items/{stand_ins.product()}", headers, {"quantity": 1})
    key = {"Idempotency-Key": "k-1"}
    assert ask(process, "POST", "/checkout", headers | key, {"payment_method": "tok_ok"})[0] == 201
    reached.wait()
    process.popen.terminate()
    with pytest.raises(ConnectionError):  # nobody is being answered any more, yet an order is being driven
        while True:
            ask(process, "GET", "/health", {})
    go_on.set()
    status, output = process.wait()
    assert status == 0, output
    assert '"after": "fulfilled"' in output


def test_nothing_secret_is_logged(run: Run, issuer: Issuer, stand_ins: StandIns, database_url: str, redis: Any) -> None:
    stand_ins.status = "captured"
    headers = issuer.headers(email="ada@example.org")
    process = run(log_level="debug")
    ask(process, "PUT", f"/cart/items/{stand_ins.product()}", headers, {"quantity": 1})
    key = {"Idempotency-Key": "k-1"}
    status, order = ask(process, "POST", "/checkout", headers | key, {"payment_method": "tok_secret"})
    assert status == 201
    wait_for_state(process, order["id"], "fulfilled", headers)
    with psycopg.connect(database_url, autocommit=True) as admin:  # an error with a statement in it
        admin.execute("ALTER TABLE cart_items RENAME TO gone")
        assert ask(process, "GET", "/cart", headers)[0] == 500
        admin.execute("ALTER TABLE gone RENAME TO cart_items")
    process.popen.terminate()
    status, output = process.wait()
    assert status == 0
    assert "UndefinedTable" in output  # the error itself is there
    token = headers["Authorization"].removeprefix("Bearer ")
    passwords = [url.split(":")[2].split("@")[0] for url in (database_url, redis.url())]
    for secret in (token, *KEYS.values(), *passwords, "ada@example.org", "tok_secret"):
        assert secret not in output
    assert all(json.loads(line) for line in output.splitlines())


def test_without_its_database_it_answers_503_and_says_so(run: Run, issuer: Issuer) -> None:
    process = run(database_url=AWAY)
    status, body = process.manage("GET", "/health/ready")
    assert (status, json.loads(body)["dependencies"]) == (503, {"database": "OperationalError"})
    headers = issuer.headers() | {"Idempotency-Key": "k"}
    for method, path in (("GET", "/cart"), ("GET", "/orders"), ("POST", "/checkout")):
        assert ask(process, method, path, headers, {"payment_method": "tok_ok"})[0] == 503
    assert process.manage("GET", "/health/live")[0] == 200


def test_without_redis_and_without_the_others_it_is_ready_and_takes_orders(
    run: Run, issuer: Issuer, stand_ins: StandIns
) -> None:
    away = "http://127.0.0.1:1"
    process = run(redis_url="redis://:8f14e45fceea@127.0.0.1:1/0", catalog_url=away, payments_url=away)
    assert process.manage("GET", "/health/ready")[0] == 200
    headers = issuer.headers() | {"Idempotency-Key": "k"}
    ask(process, "PUT", f"/cart/items/{stand_ins.product()}", headers, {"quantity": 1})
    status, order = ask(process, "POST", "/checkout", headers, {"payment_method": "tok_ok"})
    assert (status, order["state"]) == (201, "placed")


def test_placeholder_secrets_refuse_to_start() -> None:
    result = subprocess.run(
        [sys.executable, "-m", "orders"],
        env={
            "OPSFORGE_DATABASE_URL": "postgresql://orders:changeme@127.0.0.1/orders",
            "OPSFORGE_REDIS_URL": "redis://:changeme@127.0.0.1/0",
            "OPSFORGE_CATALOG_KEY": "changeme",
            "OPSFORGE_LEASE_SECONDS": "1",
            "PYTHONPATH": str(Path(orders.__file__).parents[1]),
        },
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert result.returncode == 2
    named = {line.split(": ")[1] for line in result.stderr.splitlines()}
    assert {"OPSFORGE_DATABASE_URL", "OPSFORGE_REDIS_URL", "OPSFORGE_PAYMENTS_KEY"} <= named, result.stderr
