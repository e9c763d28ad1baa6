# SPDX-License-Identifier: GPL-3.0-or-later
"""The service as a process: killed in the middle of payments, without Redis, without its database, and its log."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest
import redis as redis_client

import payments
from kit.migrations import migrate
from kit.testing import Issuer, until

METHODS = ("tok_ok", "tok_declined", "tok_slow", "tok_error", "tok_twice", "tok_silent")
SECRET = "a1b2c3d4e5f60718" * 2


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port: int = sock.getsockname()[1]
        return port


@pytest.fixture
def url(postgresql: Any) -> str:
    """Return the URL of a migrated database that no other test sees."""
    made: str = postgresql.create()
    migrate(made, "payments")
    return made


@pytest.fixture
def options(url: str, redis: Any, issuer: Issuer) -> dict[str, Any]:
    """Return the settings of a process in a hurry, on a port that it will have again after a restart."""
    return {
        "database_url": url,
        "redis_url": redis.url(),
        "webhook_secret": SECRET,
        "internal_key": issuer.internal_key.get_secret_value(),
        "jwks": json.dumps(issuer.jwks()),
        "port": free_port(),
        "linger_seconds": 0,
        "driver_seconds": 0.1,
        "provider_timeout_seconds": 0.25,
        "lease_seconds": 1,
        "look_seconds": 0.2,
        "look_cap_seconds": 1,
        "local_slow_seconds": 0.5,
    }


def ask(port: int, method: str, path: str, headers: Mapping[str, str], body: Any = None) -> tuple[int, Any]:
    """Return status and answer of one request; OSError or HTTPException when the process is gone."""
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=20)) as connection:
        content = None if body is None else json.dumps(body)
        connection.request(method, path, content, {"content-type": "application/json", **headers})
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())


def order(method: str) -> dict[str, Any]:
    return {
        "order_id": str(uuid4()),
        "user_id": str(uuid4()),
        "amount_cents": 1000,
        "currency": "EUR",
        "method": method,
    }


def rows(url: str, query: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(url) as connection:
        return connection.execute(query.encode()).fetchall()


def events(redis_url: str) -> list[dict[str, Any]]:
    with redis_client.Redis.from_url(redis_url) as client:
        return [json.loads(fields[b"event"]) for _, fields in client.xrange("events")]


def test_kill_9_at_any_moment_loses_no_payment_and_doubles_no_charge(
    start: Any, url: str, options: dict[str, Any], issuer: Issuer
) -> None:
    options |= {"local_latency_seconds": 0.05, "local_failure_share": 0.2}
    port, headers = options["port"], issuer.service_headers(iss="orders", aud="payments")
    orders = [order(METHODS[number % len(METHODS)]) for number in range(48)]
    answered = threading.Semaphore(0)

    def pay(wanted: dict[str, Any]) -> None:
        while True:
            try:
                status, _ = ask(port, "POST", "/initiate", headers | {"Idempotency-Key": wanted["order_id"]}, wanted)
                assert status in (200, 201)
                break
            except (OSError, http.client.HTTPException):
                threading.Event().wait(0.05)  # killed: ask again, with the same key
        answered.release()

    process = start("-m", "payments", **options)
    with ThreadPoolExecutor(6) as pool:
        paying = [pool.submit(pay, wanted) for wanted in orders]
        for _ in range(4):
            for _ in range(8):
                answered.acquire(timeout=60)
            process.popen.send_signal(signal.SIGKILL)  # with up to six payments somewhere on their way
            process.popen.wait()
            process = start("-m", "payments", **options)
        for done in paying:
            done.result(timeout=60)

    def finished() -> bool:
        return rows(url, "SELECT count(*) FROM payments WHERE state IN ('created', 'pending')") == [(0,)]

    until(finished)
    charged = rows(
        url,
        "SELECT order_id::text, count(*), min(outcome), min(state) FROM payments"
        " JOIN local_charges ON local_charges.idempotency_key = payments.id::text GROUP BY order_id",
    )
    wrong = {wanted["order_id"] for wanted in orders if wanted["method"] == "tok_declined"}
    expected = {wanted["order_id"]: "failed" if wanted["order_id"] in wrong else "captured" for wanted in orders}
    assert {order_id: state for order_id, _, _, state in charged} == expected
    assert {order_id: outcome for order_id, _, outcome, _ in charged} == expected
    assert {count for _, count, _, _ in charged} == {1}
    assert rows(url, "SELECT count(*) FROM local_charges") == [(len(orders),)]

    told = dict(rows(url, "SELECT data->>'order_id', count(*) FROM outbox GROUP BY 1"))
    assert told == dict.fromkeys(expected, 1)
    until(lambda: {event["data"]["order_id"] for event in events(options["redis_url"])} == set(expected))
    for event in events(options["redis_url"]):
        assert event["type"] == f"payment.{expected[event['data']['order_id']]}"

    env = {f"OPSFORGE_{name.upper()}": str(value) for name, value in options.items()}
    env |= {"PATH": os.environ["PATH"], "PYTHONPATH": str(Path(payments.__file__).parents[1])}
    env["OPSFORGE_RECONCILE_GRACE_SECONDS"] = "0"
    books = subprocess.run([sys.executable, "-m", "payments", "reconcile"], env=env, capture_output=True, text=True)
    assert (books.returncode, books.stdout) == (0, "0 differences in the last 24 hours\n"), books


def test_the_provider_calls_back_over_http(start: Any, url: str, options: dict[str, Any], issuer: Issuer) -> None:
    # The driver sleeps: only a callback can end a slow payment.
    options |= {"driver_seconds": 3600, "local_slow_seconds": 6, "provider_timeout_seconds": 3, "lease_seconds": 10}
    process = start("-m", "payments", **options)
    headers = issuer.service_headers(iss="orders", aud="payments")
    ids = {}
    for method in METHODS:
        wanted = order(method)
        status, shown = ask(options["port"], "POST", "/initiate", headers | {"Idempotency-Key": method}, wanted)
        assert status == 201
        ids[method] = shown["payment_id"]
        late = method in ("tok_slow", "tok_error", "tok_silent")
        assert shown["status"] == ("pending" if late else "failed" if method == "tok_declined" else "captured")

    def state(method: str) -> str:
        return str(ask(options["port"], "GET", f"/status/{ids[method]}", headers)[1]["status"])

    until(lambda: state("tok_slow") == "captured")
    until(lambda: rows(url, "SELECT 1 FROM local_charges WHERE method = 'tok_twice' AND callbacks = 0"))
    assert state("tok_silent") == "pending"
    metrics = process.manage("GET", "/metrics")[1]
    assert 'payments_webhooks_total{outcome="repeated"} 1.0' in metrics  # tok_twice
    assert 'payments_webhooks_total{outcome="applied"} 1.0' in metrics  # tok_slow
    heard = rows(url, "SELECT count(*) FROM webhook_events")
    assert heard == [(4,)]  # ok, declined, slow, twice: each event once


def test_without_redis_payments_go_on_and_are_told_of_later(
    start: Any, options: dict[str, Any], issuer: Issuer, redis: Any
) -> None:
    process = start("-m", "payments", **options | {"provider_timeout_seconds": 10, "lease_seconds": 30})
    headers = issuer.service_headers(iss="orders", aud="payments")
    redis.stop()
    wanted = order("tok_ok")
    status, shown = ask(options["port"], "POST", "/initiate", headers | {"Idempotency-Key": "k"}, wanted)
    assert (status, shown["status"]) == (201, "captured")
    assert process.manage("GET", "/health/ready")[0] == 200
    redis.start()
    until(lambda: [event["subject"] for event in events(options["redis_url"])] == [shown["payment_id"]])


def test_without_its_database_it_says_so(start: Any, options: dict[str, Any], issuer: Issuer) -> None:
    options["database_url"] = "postgresql://payments:8f14e45fceea@127.0.0.1:1/payments"
    process = start("-m", "payments", **options)
    headers = issuer.service_headers(iss="orders", aud="payments")
    status, _ = ask(options["port"], "POST", "/initiate", headers | {"Idempotency-Key": "k"}, order("tok_ok"))
    assert status == 503
    assert process.manage("GET", "/health/ready")[0] == 503
    assert process.manage("GET", "/health/live")[0] == 200


def test_sigterm_finishes_what_is_in_flight_and_nothing_secret_is_logged(
    start: Any, url: str, options: dict[str, Any], issuer: Issuer, postgresql: Any
) -> None:
    options |= {"local_latency_seconds": 0.5, "provider_timeout_seconds": 5, "lease_seconds": 20, "log_level": "debug"}
    process = start("-m", "payments", **options)
    headers = issuer.service_headers(iss="orders", aud="payments") | {"Idempotency-Key": "the-key-is-no-secret"}
    wanted = order("tok_ok")
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(ask, options["port"], "POST", "/initiate", headers, wanted)
        process.wait_in_flight(1)
        process.popen.terminate()
        status, shown = asked.result(timeout=30)
    assert (status, shown["status"]) == (201, "captured")
    code, output = process.wait()
    assert code == 0
    for secret in (SECRET, issuer.internal_key.get_secret_value(), postgresql.password, headers["Authorization"][7:]):
        assert secret not in output
    assert "tok_ok" not in output  # what stands for somebody's card
    assert Counter(json.loads(line)["service"] for line in output.splitlines()).keys() == {"payments"}


@pytest.mark.parametrize("name", ["webhook_secret", "webhook_secret_previous", "internal_key"])
def test_a_weak_secret_refuses_to_start(options: dict[str, Any], name: str) -> None:
    env = {f"OPSFORGE_{key.upper()}": str(value) for key, value in (options | {name: "changeme"}).items()}
    env |= {"PATH": os.environ["PATH"], "PYTHONPATH": str(Path(payments.__file__).parents[1])}
    result = subprocess.run([sys.executable, "-m", "payments"], env=env, capture_output=True, text=True, timeout=60)
    assert result.returncode == 2
    assert name in result.stderr.lower()
    assert "changeme" not in result.stderr


@pytest.mark.parametrize("method, driver_seconds, least", [("tok_error", 0.1, 2), ("tok_slow", 3600, 1)])
def test_the_lines_of_driver_and_callback_carry_the_request_for_the_payment(
    start: Any, options: dict[str, Any], issuer: Issuer, method: str, driver_seconds: float, least: int
) -> None:
    trace_id = "4bf92f3577b34da6a3ce929d0e0e4736"
    asked = {"x-request-id": "request-7", "traceparent": f"00-{trace_id}-00f067aa0ba902b7-01", "Idempotency-Key": "k"}
    headers = issuer.service_headers(iss="orders", aud="payments")
    process = start("-m", "payments", **options | {"driver_seconds": driver_seconds})
    shown = ask(options["port"], "POST", "/initiate", headers | asked, order(method))[1]
    assert shown["status"] == "pending"
    until(lambda: events(options["redis_url"]))
    process.popen.terminate()
    lines = [json.loads(line) for line in process.wait()[1].splitlines()]
    (ended,) = (line for line in lines if line["event"] == "payment ended")
    assert (ended["request_id"], ended["trace_id"], ended["state"]) == ("request-7", trace_id, "captured")
    vain = [line["request_id"] for line in lines if line["event"] == "no answer from the provider"]
    assert vain == ["request-7"] * len(vain) and len(vain) >= least, "the first of them is of the request itself"
