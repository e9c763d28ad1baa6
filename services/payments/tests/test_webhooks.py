# SPDX-License-Identifier: GPL-3.0-or-later
"""The webhook: genuine calls once, everything else not at all."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import pytest
from pydantic import SecretStr
from starlette.testclient import TestClient

from payments.app import create
from payments.settings import Settings

Rows = Callable[..., list[tuple[Any, ...]]]
Event = Callable[..., bytes]
STATE = "SELECT state FROM payments WHERE id = %s"
OUTBOX = "SELECT type FROM outbox WHERE subject = %s"


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """Let the provider decide later, so that payments stay pending."""
    return settings.model_copy(update={"local_slow_seconds": 3600.0})


@pytest.fixture
def payment(initiate: Any) -> str:
    """Open a payment that stays pending; returns its id."""
    shown = initiate(method="tok_silent").json()
    assert shown["status"] == "pending"
    return str(shown["payment_id"])


@pytest.mark.parametrize("status", ["captured", "failed"])
def test_a_genuine_call_ends_the_payment(
    call: Any, event: Event, payment: str, rows: Rows, value: Any, status: Any
) -> None:
    answer = call(event(payment, status))
    assert (answer.status_code, answer.json()) == (200, {"result": "applied"})
    assert rows(STATE, payment) == [(status,)]
    assert rows(OUTBOX, payment) == [(f"payment.{status}",)]
    assert value("payments_webhooks_total", outcome="applied") == 1
    assert value("payments_total", outcome=status) == 1


def test_what_the_provider_says_later_follows_from_the_request_for_the_payment(
    client: TestClient, call: Any, event: Event, orders: dict[str, str], wanted: dict[str, Any], rows: Rows
) -> None:
    trace_id = "4bf92f3577b34da6a3ce929d0e0e4736"
    asked = {
        "Idempotency-Key": "k",
        "x-request-id": "request-7",
        "traceparent": f"00-{trace_id}-00f067aa0ba902b7-01",
    }
    answer = client.post("/initiate", json=wanted | {"method": "tok_silent"}, headers=orders | asked)
    call(event(answer.json()["payment_id"]))
    ((told,),) = rows("SELECT trace FROM outbox")
    assert (told[3:35], told.split()[1:]) == (trace_id, ["request-7"])


def test_of_a_payment_of_the_version_before_the_request_is_not_known(
    call: Any, event: Event, payment: str, rows: Rows
) -> None:
    rows("UPDATE payments SET trace = DEFAULT")
    call(event(payment))
    ((told,),) = rows("SELECT trace FROM outbox")
    assert len(told.split()) == 2


def test_a_repeated_call_has_no_effect(call: Any, event: Event, payment: str, rows: Rows, value: Any) -> None:
    body = event(payment)
    assert [call(body).json()["result"] for _ in range(3)] == ["applied", "repeated", "repeated"]
    assert rows(OUTBOX, payment) == [("payment.captured",)]
    assert value("payments_webhooks_total", outcome="repeated") == 2
    # The same news under another id: nothing changes either.
    assert call(event(payment)).json() == {"result": "known"}
    assert rows(OUTBOX, payment) == [("payment.captured",)]
    assert value("payments_total", outcome="captured") == 1


def test_the_same_call_many_times_at_once_has_one_effect(call: Any, event: Event, payment: str, rows: Rows) -> None:
    body = event(payment)
    with ThreadPoolExecutor(8) as pool:
        results = sorted(answer.json()["result"] for answer in pool.map(lambda _: call(body), range(8)))
    assert results == ["applied"] + ["repeated"] * 7
    assert rows(OUTBOX, payment) == [("payment.captured",)]


def test_an_id_that_said_something_else_before_is_refused(call: Any, event: Event, payment: str, rows: Rows) -> None:
    event_id = f"evt_{uuid4().hex}"
    call(event(payment, "captured", event_id=event_id))
    answer = call(event(payment, "failed", event_id=event_id))
    assert answer.status_code == 409
    assert rows(STATE, payment) == [("captured",)]


@pytest.mark.parametrize("first, second", [("captured", "failed"), ("failed", "captured")])
def test_an_end_is_final_and_a_contradiction_is_counted(
    call: Any, event: Event, payment: str, rows: Rows, value: Any, first: Any, second: Any
) -> None:
    call(event(payment, first))
    assert call(event(payment, second)).json() == {"result": "contradiction"}
    assert call(event(payment, "pending")).json() == {"result": "stale"}
    assert rows(STATE, payment) == [(first,)]
    assert rows(OUTBOX, payment) == [(f"payment.{first}",)]
    assert value("payments_contradictions_total") == 1


def test_another_amount_is_a_contradiction(call: Any, event: Event, payment: str, rows: Rows) -> None:
    assert call(event(payment, amount_cents=1)).json() == {"result": "contradiction"}
    assert rows(STATE, payment) == [("pending",)]


def test_forged_calls_are_refused(call: Any, event: Event, payment: str, rows: Rows, value: Any) -> None:
    body = event(payment)
    for answer in (
        call(body, secret="0f9d1c7a" * 8),
        call(body, header=f"t={int(time.time())},v1={'0' * 64}"),
    ):
        assert answer.status_code == 401
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.headers["www-authenticate"] == "OpsForge-Signature"
    for header in ("", "t=1", "nonsense", "t=1,v1=zz"):
        assert call(body, header=header).status_code == 400
    assert rows(STATE, payment) == [("pending",)]
    assert value("payments_webhooks_total", outcome="forged") == 2
    assert value("payments_webhooks_total", outcome="malformed") == 4


@pytest.mark.parametrize("seconds", [-301, 302])
def test_old_calls_are_refused(call: Any, event: Event, payment: str, rows: Rows, seconds: int) -> None:
    assert call(event(payment), at=time.time() + seconds).status_code == 401
    assert rows(STATE, payment) == [("pending",)]


def test_a_changed_body_does_not_fit_its_signature(client: TestClient, call: Any, event: Event, payment: str) -> None:
    sent = call(event(payment, "failed")).request
    headers = {name: sent.headers[name] for name in ("OpsForge-Signature", "content-type")}
    changed = sent.content.replace(b'"failed"', b'"captured"')
    assert client.post("/webhook", content=changed, headers=headers).status_code == 401


def test_a_call_about_nothing_of_ours_is_not_found_and_may_come_again(
    call: Any, event: Event, rows: Rows, payment: str
) -> None:
    stranger, number = event(uuid4()), event("order-17")
    for body in (stranger, number, stranger):
        assert call(body).status_code == 404
    # It was not remembered as heard.
    assert rows("SELECT id FROM webhook_events WHERE id = %s", json.loads(stranger)["id"]) == []


def test_a_signed_body_of_another_form_is_refused(call: Any, event: Event, payment: str) -> None:
    good = json.loads(event(payment))
    bad: list[bytes] = [b"", b"{", b"null", b"[]", b"\xff", b"[" * 5000, b'{"id": "\\ud800"}']
    for changed in (
        {"id": ""},
        {"id": "x" * 101},
        {"id": "evt\u0000"},
        {"id": 1},
        {"extra": 1},
        {"charge": None},
        {"charge": good["charge"] | {"status": "refunded"}},
        {"charge": good["charge"] | {"amount_cents": 10**30}},
        {"charge": good["charge"] | {"amount_cents": -1}},
        {"charge": good["charge"] | {"created_at": "today"}},
        {"charge": good["charge"] | {"reason": "\u0000"}},
        {"charge": good["charge"] | {"reason": "x" * 201}},
    ):
        bad.append(json.dumps(good | changed).encode())
    assert {call(body).status_code for body in bad} == {400}


def test_an_oversize_body_is_refused(call: Any) -> None:
    assert call(b" " * 70_000).status_code == 413


@pytest.fixture
def rotating(settings: Settings) -> Iterator[tuple[TestClient, str, str]]:
    """Run the app with a new secret and the previous one."""
    new, old = "9c1f04ab" * 4 + "xyz", "5e77d120" * 4 + "uvw"
    update = {"webhook_secret": SecretStr(new), "webhook_secret_previous": SecretStr(old)}
    with TestClient(create(settings.model_copy(update=update))) as client:
        yield client, new, old


def test_both_secrets_pass_during_a_rotation(
    rotating: tuple[TestClient, str, str], call: Any, event: Event, payment: str
) -> None:
    client, new, old = rotating
    for secret, status in ((new, 200), (old, 200), ("0f9d1c7a" * 8, 401)):
        sent = call(event(payment), secret=secret).request
        headers = {name: sent.headers[name] for name in ("OpsForge-Signature", "content-type")}
        assert client.post("/webhook", content=sent.content, headers=headers).status_code == status
