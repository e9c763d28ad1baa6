# SPDX-License-Identifier: GPL-3.0-or-later
"""Our book beside the provider's: every kind of difference is seen, and nothing else."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest

import payments
from kit.migrations import migrate
from payments.providers import Charge
from payments.reconciliation.differences import Entry, compare
from payments.reconciliation.service import Reconciler

NOW = datetime(2026, 1, 1, tzinfo=UTC)
OLD, FRESH = NOW - timedelta(hours=1), NOW + timedelta(seconds=1)
ORDER = uuid4()


def entry(state: Any = "captured", **changed: Any) -> Entry:
    values: dict[str, Any] = {
        "id": uuid4(),
        "order_id": uuid4(),
        "amount_cents": 100,
        "currency": "EUR",
        "updated_at": OLD,
    } | changed
    return Entry(state=state, **values)


def charge(of: Entry | None, status: Any = "captured", **changed: Any) -> Charge:
    key = str(of.id) if of else str(uuid4())
    values: dict[str, Any] = {
        "id": f"ch_{key}",
        "key": key,
        "amount_cents": 100,
        "currency": "EUR",
        "created_at": OLD,
    } | changed
    return Charge(status=status, **values)


def kinds(ours: list[Entry], theirs: list[Charge]) -> list[str]:
    return [found.kind for found in compare(ours, theirs, settled_before=NOW)]


@pytest.mark.parametrize("state", ["captured", "failed", "pending"])
def test_equal_books_have_no_difference(state: Any) -> None:
    ours = entry(state)
    assert kinds([ours], [charge(ours, state)]) == []


@pytest.mark.parametrize(
    "state, status, updated_at, found",
    [
        ("captured", "failed", OLD, ["outcome"]),
        ("failed", "captured", OLD, ["outcome"]),
        ("captured", "pending", OLD, ["outcome"]),
        ("pending", "captured", OLD, ["unheard"]),
        ("created", "failed", OLD, ["unheard"]),
        ("pending", "captured", FRESH, []),  # on its way
        ("created", "pending", OLD, []),
        ("captured", None, OLD, ["unknown there"]),
        ("pending", None, OLD, ["unknown there"]),
        ("captured", None, FRESH, []),
        ("created", None, OLD, []),  # never asked
    ],
)
def test_states_that_differ(state: Any, status: Any, updated_at: datetime, found: list[str]) -> None:
    ours = entry(state, updated_at=updated_at)
    assert kinds([ours], [charge(ours, status)] if status else []) == found


def test_other_differences() -> None:
    ours = entry()
    assert kinds([], [charge(None)]) == ["unknown here"]
    assert kinds([], [charge(None, key="order-17")]) == ["unknown here"]
    assert kinds([ours], [charge(ours, amount_cents=101)]) == ["amount"]
    assert kinds([ours], [charge(ours, currency="USD")]) == ["amount"]


def test_a_double_charge_is_seen_even_when_our_book_hides_it() -> None:
    first, second = entry("captured", order_id=ORDER), entry("failed", order_id=ORDER)
    assert kinds([first, second], [charge(first), charge(second)]) == ["outcome", "charged twice"]
    assert kinds([first], [charge(first, id="ch_1"), charge(first, id="ch_2")]) == ["charged twice"]
    # A second try after a failure is no double charge.
    assert kinds([first, second], [charge(second, "failed"), charge(first)]) == []


def write(url: str, query: str, *values: object) -> None:
    with psycopg.connect(url) as connection:
        connection.execute(query.encode(), values)


@pytest.fixture
def command(postgresql: Any, redis: Any) -> tuple[str, Callable[[], tuple[int, list[str]]]]:
    """Return a database of its own and the command that reconciles it."""
    url = postgresql.create()
    migrate(url, "payments")
    env = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(Path(payments.__file__).parents[1]),
        "OPSFORGE_DATABASE_URL": url,
        "OPSFORGE_REDIS_URL": redis.url(),
        "OPSFORGE_INTERNAL_KEY": "0f9d1c7a5e2b8463" * 2,
        "OPSFORGE_WEBHOOK_SECRET": "a1b2c3d4e5f60718" * 2,
    }

    def run() -> tuple[int, list[str]]:
        done = subprocess.run(
            [sys.executable, "-m", "payments", "reconcile"], env=env, capture_output=True, text=True, timeout=60
        )
        assert done.stderr == ""
        return done.returncode, done.stdout.splitlines()

    return url, run


def test_the_command_prints_what_differs(command: Any) -> None:
    url, run = command
    assert run() == (0, ["0 differences in the last 24 hours"])
    payment, order = uuid4(), uuid4()
    write(url, PAYMENT, payment, order, str(payment))
    write(url, CHARGE, "ch_1", str(payment))
    assert run()[0] == 0
    write(url, CHARGE, "ch_2", "from-elsewhere")
    status, (line, summary) = run()
    assert (status, summary) == (1, "1 differences in the last 24 hours")
    assert json.loads(line) == {
        "kind": "unknown here",
        "payment_id": "",
        "order_id": "",
        "charge_id": "ch_2",
        "ours": "",
        "theirs": "captured",
    }


def test_a_payment_older_than_the_period_is_found_for_its_charge(command: Any) -> None:
    url, run = command
    payment = uuid4()
    write(url, PAYMENT, payment, uuid4(), str(payment))
    write(url, "UPDATE payments SET created_at = now() - interval '2 days'")
    write(url, CHARGE, "ch_1", str(payment))
    assert run()[0] == 0


def test_the_look_sets_the_metrics(client: Any, initiate: Any, rows: Any, value: Any) -> None:
    initiate()
    rows("UPDATE local_charges SET amount_cents = 1")
    parts, state = client.app.state.payments, client.app.state
    look = Reconciler(
        database=state.database, provider=parts.cashier.provider, metrics=parts.metrics, settings=state.kit.settings
    ).look
    client.portal.call(look)
    assert value("payments_differences", kind="amount") == 1
    assert value("payments_differences", kind="charged twice") == 0
    assert value("payments_reconciled_timestamp_seconds") > 0


PAYMENT = """INSERT INTO payments (id, order_id, user_id, amount_cents, currency, method, caller, idempotency_key,
    fingerprint, state, reason, charge_id, asks, due_at, updated_at)
    VALUES (%s, %s, gen_random_uuid(), 100, 'EUR', 'tok_ok', 'orders', %s, '', 'captured', '', '', 1, now(),
    now() - interval '1 hour')"""
CHARGE = """INSERT INTO local_charges (id, idempotency_key, amount_cents, currency, method, outcome, reason, asks,
    callbacks, call_at, calls, settles_at) VALUES (%s, %s, 100, 'EUR', 'tok_ok', 'captured', '',
    1, 0, now(), 1, now())"""
