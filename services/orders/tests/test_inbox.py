# SPDX-License-Identifier: GPL-3.0-or-later
"""Events of payments: twice, late, out of order, unfit; and the whole way over a real stream."""

from __future__ import annotations

from itertools import permutations
from typing import Any
from uuid import uuid4

import pytest
import redis as redis_client
from pydantic import ValidationError

from kit.events import Event
from orders.orders.outcomes import Unexpected
from orders.tests.conftest import Make, Shop


@pytest.mark.parametrize("order", list(permutations(["captured", "captured", "failed"])))
def test_captured_is_never_lost_in_whatever_order_events_come(shop: Shop, order: tuple[str, ...]) -> None:
    order_id = shop.buy()
    data = shop.stand_ins.settle(order_id, "captured", "declined")
    for status in order:
        shop.tell(f"payment.{status}", data)
        shop.pass_time()
        shop.drive()
    assert shop.state(order_id) == ("fulfilled" if order[0] == "captured" else "refund_due")
    assert len(shop.published(order_id)) == len(set(shop.published(order_id)))


def test_a_failed_payment_cancels_once_and_gives_the_stock_back(shop: Shop) -> None:
    order_id = shop.buy()
    data = shop.stand_ins.settle(order_id, "failed", "card_declined")
    for _ in range(2):
        shop.tell("payment.failed", data)
    shop.drive()
    order = shop.order(order_id)
    assert (order["state"], order["reason"]) == ("cancelled", "payment_failed")
    assert shop.published(order_id) == ["order.placed", "order.cancelled"]
    assert shop.stand_ins.effects["release", order_id] == 1
    assert shop.sql("SELECT why FROM order_events WHERE to_state = 'cancelling'") == [("payments: card_declined",)]


def test_money_that_comes_after_the_cancel_is_a_refund_due(shop: Shop) -> None:
    shop.stand_ins.status = "failed"
    order_id = shop.buy()
    assert shop.state(order_id) == "cancelled"
    data = shop.stand_ins.settle(order_id, "captured")
    shop.tell("payment.captured", data | {"amount_cents": 1})  # owed back, however much it is
    assert shop.state(order_id) == "refund_due"
    assert shop.published(order_id) == ["order.placed", "order.cancelled", "order.refund_due"]
    assert shop.metric("orders_finished_total", state="refund_due") == 1


def test_money_that_comes_while_stock_is_being_let_go_is_a_refund_due(shop: Shop) -> None:
    order_id = shop.buy()
    shop.tell("payment.failed", shop.stand_ins.settle(order_id, "failed"))
    shop.tell("payment.captured", shop.stand_ins.settle(order_id, "captured"))
    assert shop.state(order_id) == "reversing"
    shop.drive()
    assert shop.state(order_id) == "refund_due"
    assert shop.stand_ins.reservations[order_id]["state"] == "released"


def test_an_event_that_overtakes_the_answer_is_not_undone_by_it(quiet_shop: Shop) -> None:
    """payment.captured is handled while our ask is still under way; its answer, "pending", is older."""
    shop = quiet_shop
    order_id = shop.buy()

    def capture(operation: str) -> None:
        if operation == "payments.initiate":
            shop.sql(
                "UPDATE orders SET state = 'paid', version = version + 1, payment_id = %s",
                shop.stand_ins.payments[order_id]["payment_id"],
            )

    shop.stand_ins.after = capture
    shop.drive()
    assert shop.state(order_id) == "fulfilled"
    assert shop.stand_ins.calls["payments.status"] == 0


def test_when_the_event_is_late_the_payment_is_asked_for(shop: Shop) -> None:
    order_id = shop.buy()
    shop.stand_ins.settle(order_id, "captured")  # and nobody tells
    shop.pass_time()
    shop.drive()
    assert shop.state(order_id) == "fulfilled"
    shop.tell("payment.captured", shop.stand_ins.settle(order_id, "captured"))  # at last
    assert shop.history(order_id) == ["placed", "reserved", "paying", "paid", "fulfilled"]


@pytest.mark.parametrize(
    "change",
    [
        {"order_id": "x"},
        {"order_id": None},
        {"order_id": str(uuid4())},
        {"payment_id": 1},
        {"amount_cents": 1},
        {"currency": "USD"},
        {"amount_cents": "' OR 1=1"},
    ],
)
def test_events_that_do_not_fit_raise_and_change_nothing(shop: Shop, change: dict[str, Any]) -> None:
    order_id = shop.buy()
    with pytest.raises((Unexpected, ValidationError)):
        shop.tell("payment.captured", shop.stand_ins.settle(order_id, "captured") | change)
    assert shop.state(order_id) == "paying"


def test_only_payments_may_speak_of_payments(shop: Shop) -> None:
    order_id = shop.buy()
    with pytest.raises(Unexpected):
        shop.tell("payment.captured", shop.stand_ins.settle(order_id, "captured"), source="analytics")
    assert shop.state(order_id) == "paying"


@pytest.mark.parametrize("reason", ["x" * 5000, "nul \u0000 inside", "half a pair \ud800"])
def test_odd_reasons_are_kept_as_far_as_they_can_be(shop: Shop, reason: str) -> None:
    order_id = shop.buy()
    shop.tell("payment.failed", shop.stand_ins.settle(order_id, "failed") | {"reason": reason})
    assert shop.state(order_id) == "cancelling"


def wait_for_state(shop: Shop, order_id: str, state: str) -> None:
    """Return when the background has brought the order there; the suite's own time limit ends a wait in vain."""
    while shop.state(order_id) != state:
        pass


def test_over_the_real_stream_and_with_the_stream_away_for_a_while(make: Make, redis: Any) -> None:
    shop = make(background=True)
    stream: Any = redis_client.Redis.from_url(shop.parts.settings.redis_url.get_secret_value())

    def say(event_type: str, data: dict[str, Any]) -> None:
        event = Event.model_validate(
            {"id": uuid4(), "type": event_type, "source": "payments", "subject": "x", "time": "2026-01-01T00:00:00Z"}
        )
        stream.xadd("events", {"event": event.model_copy(update={"data": data}).model_dump_json()})

    first, second = shop.buy(), shop.buy()
    say("payment.captured", shop.stand_ins.settle(first, "captured"))
    wait_for_state(shop, first, "fulfilled")
    redis.stop()
    third = shop.buy()  # checkout does not need Redis
    assert shop.state(third) == "paying"
    shop.stand_ins.settle(third, "captured")
    shop.sql("UPDATE orders SET due_at = now() WHERE id = %s", third)  # the event can't come: time to ask
    wait_for_state(shop, third, "fulfilled")
    redis.start()
    say("payment.failed", shop.stand_ins.settle(second, "failed"))
    wait_for_state(shop, second, "cancelled")
    while b"order.cancelled" not in b"".join(fields[b"event"] for _, fields in stream.xrange("events")):
        pass
    said = [Event.model_validate_json(fields[b"event"]) for _, fields in stream.xrange("events")]
    for order_id, types in (
        (first, ["order.placed", "order.paid"]),
        (second, ["order.placed", "order.cancelled"]),
        (third, ["order.placed", "order.paid"]),
    ):
        seen = [event.type for event in said if event.subject == order_id]
        assert list(dict.fromkeys(seen)) == types  # at least once, in order
