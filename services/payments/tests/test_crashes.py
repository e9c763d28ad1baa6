# SPDX-License-Identifier: GPL-3.0-or-later
"""A payment that is cut off at each of its steps, and what becomes of it: charged once, told of once, never lost."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest

from kit.database import Database
from kit.metrics import Metrics
from payments.book import service
from payments.book.cashier import Cashier
from payments.book.schemas import PaymentCreate
from payments.metrics import PaymentMetrics
from payments.providers import Charge, ProviderFailed
from payments.providers.local import LocalProvider
from payments.providers.signatures import HEADER, sign
from payments.settings import Settings

Rows = Callable[..., list[tuple[Any, ...]]]

PAYMENT = "SELECT id::text, state FROM payments WHERE order_id = %s"
LEDGER = (
    "SELECT outcome FROM local_charges WHERE idempotency_key = ANY(SELECT id::text FROM payments WHERE order_id = %s)"
)
OUTBOX = "SELECT type FROM outbox WHERE data->>'order_id' = %s"
# The lease of whoever died runs out.
TIME_PASSES = "UPDATE payments SET due_at = now() WHERE order_id = %s"


class Crash(BaseException):
    """The process is gone: nothing catches this."""


@dataclass
class World:
    """One process: a cashier and the provider it asks."""

    cashier: Cashier
    database: Database
    provider: LocalProvider


@asynccontextmanager
async def process(settings: Settings) -> AsyncIterator[World]:
    database, provider = Database(settings), LocalProvider(settings)
    metrics = PaymentMetrics(Metrics(settings).registry)
    cashier = Cashier(database=database, provider=provider, metrics=metrics, settings=settings)
    try:
        yield World(cashier, database, provider)
    finally:
        await provider.close()
        await database.close()


def dies_before(_call: Callable[..., Awaitable[Charge]]) -> Callable[..., Awaitable[Charge]]:
    async def charge(**_asked: Any) -> Charge:
        raise Crash

    return charge


def dies_after(call: Callable[..., Awaitable[Charge]]) -> Callable[..., Awaitable[Charge]]:
    async def charge(**asked: Any) -> Charge:
        await call(**asked)
        raise Crash

    return charge


def loses_the_answer(call: Callable[..., Awaitable[Charge]]) -> Callable[..., Awaitable[Charge]]:
    async def charge(**asked: Any) -> Charge:
        await call(**asked)
        raise ProviderFailed

    return charge


async def _initiate(settings: Settings, wanted: dict[str, Any], wrong: Any = None) -> None:
    async with process(settings) as world:
        if wrong:
            world.provider.charge = wrong(world.provider.charge)  # type: ignore[method-assign]
        await world.cashier.initiate(caller="orders", key=wanted["order_id"], wanted=PaymentCreate(**wanted))


async def _drive(settings: Settings) -> int:
    async with process(settings) as world:
        return await world.cashier.drive()


@pytest.mark.parametrize(
    "wrong, charged_before", [(dies_before, 0), (dies_after, 1)], ids=["before the charge", "after the charge"]
)
def test_what_a_crash_left_the_driver_finishes(
    settings: Settings, wanted: dict[str, Any], rows: Rows, wrong: Any, charged_before: int
) -> None:
    order = wanted["order_id"]
    with pytest.raises(Crash):
        asyncio.run(_initiate(settings, wanted, wrong))
    assert [state for _, state in rows(PAYMENT, order)] == ["created"]
    assert len(rows(LEDGER, order)) == charged_before
    assert asyncio.run(_drive(settings)) == 0  # the lease still holds: whoever died may be alive
    rows(TIME_PASSES, order)
    assert asyncio.run(_drive(settings)) == 1
    assert [state for _, state in rows(PAYMENT, order)] == ["captured"]
    assert rows(LEDGER, order) == [("captured",)]
    assert rows(OUTBOX, order) == [("payment.captured",)]


def test_the_driver_asks_before_it_charges(settings: Settings, wanted: dict[str, Any], rows: Rows) -> None:
    order = wanted["order_id"]
    with pytest.raises(Crash):
        asyncio.run(_initiate(settings, wanted, dies_after))
    rows(TIME_PASSES, order)

    async def drive() -> None:
        async with process(settings) as world:
            world.provider.charge = dies_before(world.provider.charge)  # type: ignore[assignment, method-assign]
            await world.cashier.drive()

    asyncio.run(drive())
    assert [state for _, state in rows(PAYMENT, order)] == ["captured"]


def test_a_caller_that_asks_again_after_a_crash_gets_its_payment(
    settings: Settings, wanted: dict[str, Any], rows: Rows
) -> None:
    with pytest.raises(Crash):
        asyncio.run(_initiate(settings, wanted, dies_after))
    asyncio.run(_initiate(settings, wanted))
    assert [state for _, state in rows(PAYMENT, wanted["order_id"])] == ["created"]
    assert rows(LEDGER, wanted["order_id"]) == [("captured",)]


@pytest.mark.parametrize("times", range(1, 4))
def test_a_driver_that_dies_is_followed_by_another(
    settings: Settings, wanted: dict[str, Any], rows: Rows, times: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = wanted["order_id"]
    with pytest.raises(Crash):
        asyncio.run(_initiate(settings, wanted, dies_before))
    record = service.record

    async def dies(**arguments: Any) -> None:
        await record(**arguments)
        raise Crash

    with monkeypatch.context() as patch:
        patch.setattr(service, "record", dies)
        for _ in range(times):
            rows(TIME_PASSES, order)
            asyncio.run(_driven_to_death(settings))
            assert [state for _, state in rows(PAYMENT, order)] == ["created"]
            assert rows(OUTBOX, order) == []
    rows(TIME_PASSES, order)
    asyncio.run(_drive(settings))
    assert rows(LEDGER, order) == [("captured",)]
    assert rows(OUTBOX, order) == [("payment.captured",)]


async def _driven_to_death(settings: Settings) -> None:
    async with process(settings) as world:
        with pytest.raises(Crash):
            await world.cashier.drive()


def test_a_crash_inside_the_webhook_undoes_all_of_it(
    settings: Settings, wanted: dict[str, Any], rows: Rows, event: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = wanted["order_id"]
    with pytest.raises(Crash):
        asyncio.run(_initiate(settings, wanted, dies_after))
    ((payment_id, _),) = rows(PAYMENT, order)
    body = event(payment_id)
    record = service.record

    async def dies(**arguments: Any) -> None:
        await record(**arguments)
        raise Crash

    async def hear() -> str:
        async with process(settings) as world:
            genuine = world.provider.verify_webhook(headers(settings, body), body)
            return await world.cashier.hear(genuine, body)

    with monkeypatch.context() as patch:
        patch.setattr(service, "record", dies)
        with pytest.raises(Crash):
            asyncio.run(hear())
    assert rows(PAYMENT, order) == [(payment_id, "created")]
    assert asyncio.run(hear()) == "applied"
    assert asyncio.run(hear()) == "repeated"
    rows(TIME_PASSES, order)
    assert asyncio.run(_drive(settings)) == 0  # ended: nothing is left to drive
    assert rows(OUTBOX, order) == [("payment.captured",)]


def headers(settings: Settings, body: bytes) -> dict[str, str]:
    """Sign as the provider does."""
    return {HEADER: sign(settings.webhook_secret.get_secret_value(), body, at=int(time.time()))}


def test_the_driver_and_the_webhook_at_once_have_one_effect(
    settings: Settings, wanted: dict[str, Any], rows: Rows, event: Any
) -> None:
    order = wanted["order_id"]
    with pytest.raises(Crash):
        asyncio.run(_initiate(settings, wanted, dies_after))
    ((payment_id, _),) = rows(PAYMENT, order)
    rows(TIME_PASSES, order)

    async def both() -> None:
        async with process(settings) as one, process(settings) as other:
            bodies = [event(payment_id) for _ in range(4)]
            heard = [
                one.cashier.hear(one.provider.verify_webhook(headers(settings, body), body), body) for body in bodies
            ]
            results = await asyncio.gather(one.cashier.drive(), other.cashier.drive(), *heard)
            assert sum(results[:2]) <= 1  # type: ignore[arg-type]

    asyncio.run(both())
    assert rows(LEDGER, order) == [("captured",)]
    assert rows(OUTBOX, order) == [("payment.captured",)]


def test_a_lost_answer_is_asked_for_later_and_later(settings: Settings, wanted: dict[str, Any], rows: Rows) -> None:
    asyncio.run(_initiate(settings, wanted, loses_the_answer))
    order, wait = wanted["order_id"], "SELECT asks, due_at - now() FROM payments WHERE order_id = %s"
    ((asks, first),) = rows(wait, order)
    assert asks == 1
    assert timedelta(0) < first <= timedelta(seconds=settings.look_seconds)
    rows(
        "UPDATE local_charges SET method = 'tok_error', asks = 1 WHERE idempotency_key = %s", rows(PAYMENT, order)[0][0]
    )
    for asked in (2, 3):  # find() fails too, until the third time
        rows(TIME_PASSES, order)
        asyncio.run(_drive(settings))
        ((asks, later),) = rows(wait, order)
        assert asks == asked
        assert later <= timedelta(seconds=settings.look_seconds * 2 ** (asked - 1))
    rows(TIME_PASSES, order)
    asyncio.run(_drive(settings))
    assert [state for _, state in rows(PAYMENT, order)] == ["captured"]
    assert rows(LEDGER, order) == [("captured",)]


def test_one_payment_that_can_not_be_driven_does_not_stop_the_others(
    settings: Settings, wanted: dict[str, Any], rows: Rows
) -> None:
    wrecks = [wanted | {"order_id": str(uuid4()), "amount_cents": 13 if number == 0 else 4990} for number in range(3)]
    for wreck in wrecks:
        with pytest.raises(Crash):
            asyncio.run(_initiate(settings, wreck, dies_before))
        rows(TIME_PASSES, wreck["order_id"])

    async def drive() -> None:
        async with process(settings) as world:
            charge = world.provider.charge

            async def broken(**asked: Any) -> Charge:
                if asked["amount_cents"] == 13:
                    raise RuntimeError("a bug")
                return await charge(**asked)

            world.provider.charge = broken  # type: ignore[method-assign]
            assert await world.cashier.drive() == 3

    asyncio.run(drive())
    states = [rows(PAYMENT, wreck["order_id"])[0][1] for wreck in wrecks]
    assert states == ["created", "captured", "captured"]


def test_a_provider_that_takes_too_long_leaves_the_payment_pending(
    settings: Settings, wanted: dict[str, Any], rows: Rows
) -> None:
    impatient = settings.model_copy(update={"provider_timeout_seconds": 0.05, "local_latency_seconds": 30.0})
    asyncio.run(_initiate(impatient, wanted))
    assert [state for _, state in rows(PAYMENT, wanted["order_id"])] == ["created"]
    rows(TIME_PASSES, wanted["order_id"])
    asyncio.run(_drive(settings))
    assert [state for _, state in rows(PAYMENT, wanted["order_id"])] == ["captured"]
