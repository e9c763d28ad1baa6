# SPDX-License-Identifier: GPL-3.0-or-later
"""The driver brings every order to an end, whatever dies or goes away, with one reservation and one payment each."""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress
from typing import Any

import pytest

from orders.orders.driver import backoff
from orders.orders.models import Order
from orders.orders.outcomes import Outcome
from orders.tests.conftest import Make, Shop
from orders.tests.standins import Killed

CALLS = ["catalog.reserve", "payments.initiate", "payments.status", "catalog.commit"]


def finish(shop: Shop, order_id: str) -> None:
    """Let time pass until the order is finished; the provider captures as soon as it was asked."""
    for _ in range(10):
        if shop.sql("SELECT due_at FROM orders WHERE id = %s", order_id) == [(None,)]:
            return
        shop.pass_time()
        shop.drive()
        if order_id in shop.stand_ins.payments and shop.stand_ins.payments[order_id]["status"] == "pending":
            shop.stand_ins.settle(order_id, "captured")


def assert_done_once(shop: Shop, order_id: str) -> None:
    assert shop.state(order_id) == "fulfilled"
    assert shop.stand_ins.effects == {("reserve", order_id): 1, ("initiate", order_id): 1, ("commit", order_id): 1}
    assert shop.history(order_id) == ["placed", "reserved", "paying", "paid", "fulfilled"]
    assert shop.published(order_id) == ["order.placed", "order.paid"]
    assert shop.sql("SELECT count(*) FROM orders WHERE due_at IS NOT NULL OR lease IS NOT NULL") == [(0,)]


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("operation", CALLS)
def test_killed_around_a_call_the_next_driver_finishes(make: Make, operation: str, moment: str) -> None:
    """A kill between the call and the note of it leaves what it leaves at any other time: a lease that ends."""
    dying, heir = make(inline_seconds=0), make(inline_seconds=0)
    heir.headers = dying.headers
    order_id = dying.buy()
    deaths: list[str] = []

    def die(at: str) -> None:
        if at == operation and not deaths:
            deaths.append(at)
            raise Killed

    setattr(dying.stand_ins, moment, die)
    for _ in range(5):
        with suppress(Killed):
            finish(dying, order_id)
        if deaths:
            break
    assert deaths == [operation]
    assert heir.drive() == 0  # the lease of the dead holds
    finish(heir, order_id)
    assert_done_once(heir, order_id)


@pytest.mark.parametrize("moment", ["before", "after"])
def test_killed_around_the_release(quiet_shop: Shop, moment: str) -> None:
    shop = quiet_shop
    shop.stand_ins.status = "failed"
    order_id = shop.buy()
    deaths: list[str] = []

    def die(at: str) -> None:
        if at == "catalog.release" and not deaths:
            deaths.append(at)
            raise Killed

    setattr(shop.stand_ins, moment, die)
    with pytest.raises(Killed):
        shop.drive()
    assert shop.state(order_id) == "cancelling"
    shop.pass_time()
    shop.drive()
    assert shop.state(order_id) == "cancelled"
    assert shop.stand_ins.effects == {("reserve", order_id): 1, ("initiate", order_id): 1, ("release", order_id): 1}


def test_two_drivers_at_once_share_the_work_and_double_nothing(make: Make) -> None:
    shops = [make(inline_seconds=0), make(inline_seconds=0)]
    for shop in shops:
        shop.headers = shops[0].headers
    shops[0].stand_ins.status = "captured"
    order_ids = [shops[0].buy() for _ in range(30)]

    def drive(shop: Shop) -> None:
        while shop.drive():
            pass

    threads = [threading.Thread(target=drive, args=[shop]) for shop in shops]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    effects = shops[0].stand_ins.effects
    for order_id in order_ids:
        finish(shops[0], order_id)  # a busy machine may have timed a call out
        assert shops[0].history(order_id) == ["placed", "reserved", "paying", "paid", "fulfilled"]
        assert {effects[what, order_id] for what in ("reserve", "initiate", "commit")} == {1}


def test_a_driver_that_lost_its_lease_writes_nothing(quiet_shop: Shop) -> None:
    shop = quiet_shop
    order_id = shop.buy()

    def lose(operation: str) -> None:
        if operation == "catalog.reserve":
            shop.sql("UPDATE orders SET lease = gen_random_uuid()")

    shop.stand_ins.after = lose
    shop.drive()
    assert shop.state(order_id) == "placed"
    assert shop.history(order_id) == ["placed"]
    shop.stand_ins.back()
    shop.stand_ins.status = "captured"
    finish(shop, order_id)
    assert_done_once(shop, order_id)


@pytest.mark.parametrize(
    ("service", "state"), [("catalog", "placed"), ("payments", "paying")], ids=["catalog", "payments"]
)
def test_with_a_service_away_checkout_answers_and_the_driver_finishes_later(
    shop: Shop, service: str, state: str
) -> None:
    shop.stand_ins.away(service)
    shop.stand_ins.status = "captured"
    shop.fill_cart()
    answer = shop.check_out()
    assert (answer.status_code, answer.json()["state"]) == (201, state)
    order_id = answer.json()["id"]
    assert shop.drive() == 0  # not at once: it backs off
    shop.stand_ins.back()
    shop.pass_time()
    shop.drive()
    assert_done_once(shop, order_id)


def test_more_orders_than_places_are_driven_without_waiting_for_the_next_poll(make: Make) -> None:
    shop = make(inline_seconds=0, batch=2, poll_seconds=3600)
    shop.stand_ins.status = "captured"
    order_ids = [shop.buy() for _ in range(7)]

    async def run() -> None:
        task = asyncio.create_task(shop.parts.driver.run())
        async with asyncio.timeout(60):
            while shop.stand_ins.calls["catalog.commit"] < len(order_ids):
                await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        await shop.parts.driver.close()

    shop.call(run)
    assert {shop.state(order_id) for order_id in order_ids} == {"fulfilled"}


def test_no_transaction_is_open_during_a_call(quiet_shop: Shop) -> None:
    shop = quiet_shop
    shop.stand_ins.status = "captured"
    shop.buy()
    seen: list[Any] = []

    def look(operation: str) -> None:
        seen.extend(
            shop.sql(
                "SELECT state FROM pg_stat_activity WHERE application_name = 'orders' AND state <> 'idle'"
                " AND datname = current_database()"
            )
        )
        seen.append(operation)

    shop.stand_ins.before = look
    shop.drive()
    assert seen == ["catalog.reserve", "payments.initiate", "catalog.commit"]


def test_a_slow_service_does_not_hold_up_the_answer(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    shop = make(inline_seconds=0.01)
    asked, go_on, done = asyncio.Event(), asyncio.Event(), asyncio.Event()
    take = shop.parts.driver._steps.take

    async def hang(order: Order) -> Outcome:
        asked.set()
        await go_on.wait()
        if order.state == "paid":
            done.set()
        return await take(order)

    monkeypatch.setattr(shop.parts.driver._steps, "take", hang)
    shop.stand_ins.status = "captured"
    shop.fill_cart()
    answer = shop.check_out()
    assert (answer.status_code, answer.json()["state"]) == (201, "placed")
    assert asked.is_set()

    async def let_go() -> None:
        go_on.set()
        await done.wait()

    shop.call(let_go)  # it goes on behind the answer


def test_a_step_that_hangs_is_given_up(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    shop = make(inline_seconds=0, step_seconds=0.01)

    async def hang(_: Order) -> Outcome:
        await asyncio.sleep(3600)
        raise AssertionError

    monkeypatch.setattr(shop.parts.driver._steps, "take", hang)
    order_id = shop.buy()
    shop.drive()
    assert shop.state(order_id) == "placed"
    assert shop.sql("SELECT attempts, lease FROM orders") == [(1, None)]
    assert shop.metric("orders_driver_steps_total", step="reserve", outcome="unavailable") == 1


@pytest.mark.parametrize("operation", CALLS)
@pytest.mark.parametrize("answer", [(200, None), (200, {}), (200, []), (401, {"detail": "x"}), (404, None), (429, {})])
def test_answers_that_make_no_sense_change_nothing_and_are_asked_for_again(
    quiet_shop: Shop, operation: str, answer: Any
) -> None:
    if operation == "catalog.commit" and answer[0] == 200:
        return  # its body says nothing that we need
    shop = quiet_shop
    order_id = shop.buy()
    shop.stand_ins.change = lambda at, real: answer if at == operation else real
    finish(shop, order_id)
    before = shop.state(order_id)
    assert before not in ("fulfilled", "cancelled", "refund_due")
    shop.stand_ins.back()
    finish(shop, order_id)
    assert_done_once(shop, order_id)


@pytest.mark.parametrize(
    "lie",
    [
        {"order_id": "00000000-0000-0000-0000-000000000000"},
        {"total_cents": 1},
        {"total_cents": -5},
        {"currency": "euro"},
        {"lines": []},
    ],
)
def test_a_catalog_that_contradicts_itself_is_not_believed(quiet_shop: Shop, lie: dict[str, Any]) -> None:
    shop = quiet_shop
    order_id = shop.buy()
    shop.stand_ins.change = lambda _, real: (real[0], {**(real[1] or {}), **lie})
    shop.drive()
    assert shop.state(order_id) == "placed"
    assert shop.metric("orders_driver_steps_total", step="reserve", outcome="unexpected") == 1


def test_a_payment_of_another_amount_is_not_taken_for_ours(quiet_shop: Shop) -> None:
    shop = quiet_shop
    shop.stand_ins.status = "captured"
    order_id = shop.buy()
    shop.stand_ins.change = lambda at, real: (
        (real[0], real[1] | {"amount_cents": 1}) if at == "payments.initiate" else real
    )
    shop.drive()
    assert shop.state(order_id) == "paying"


def test_paid_but_not_to_be_had_is_a_refund_due(quiet_shop: Shop) -> None:
    shop = quiet_shop
    shop.stand_ins.status = "captured"
    order_id = shop.buy()

    def lose(operation: str) -> None:
        if operation == "catalog.commit":
            shop.stand_ins.reservations[order_id]["state"] = "released"

    shop.stand_ins.before = lose
    shop.drive()
    order = shop.order(order_id)
    assert (order["state"], order["reason"]) == ("refund_due", "not_committed")
    assert shop.published(order_id) == ["order.placed", "order.paid", "order.cancelled", "order.refund_due"]
    assert shop.stand_ins.reservations[order_id]["state"] == "released"
    assert shop.metric("orders_finished_total", state="refund_due") == 1


def test_looks_in_vain_come_further_and_further_apart(quiet_shop: Shop) -> None:
    shop = quiet_shop
    order_id = shop.buy()
    shop.drive()
    waits = []
    for _ in range(8):
        shop.pass_time()
        shop.drive()
        waits += shop.sql("SELECT attempts, extract(epoch FROM due_at - now())::float FROM orders")
    assert [attempts for attempts, _ in waits] == list(range(2, 10))
    assert all(wait > 25 for _, wait in waits[-2:])
    shop.tell("payment.captured", shop.stand_ins.settle(order_id, "captured"))
    assert shop.sql("SELECT attempts, due_at <= now() FROM orders") == [(0, True)]


def test_gauges_show_what_has_no_end_yet(quiet_shop: Shop) -> None:
    shop = quiet_shop
    shop.buy()
    shop.sql("UPDATE orders SET created_at = now() - interval '1 hour'")
    shop.buy()
    shop.call(shop.parts.driver._measure)
    assert shop.metric("orders_unfinished") == 2
    assert shop.metric("orders_oldest_unfinished_seconds") == pytest.approx(3600, abs=60)


@pytest.mark.parametrize(
    ("attempts", "chance", "seconds"),
    [(0, 0, 1), (1, 0, 2), (5, 0, 32), (6, 0, 60), (10_000, 0, 60), (0, 1, 0.5), (6, 1, 30)],
)
def test_backoff(attempts: int, chance: float, seconds: float) -> None:
    assert backoff(attempts, base=1, cap=60, chance=chance) == seconds
