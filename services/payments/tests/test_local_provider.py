# SPDX-License-Identifier: GPL-3.0-or-later
"""The local provider, a stand-in: it behaves as the method says, and keeps its books and its word."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import httpx2
import pytest

from payments.providers import Charge, Provider, ProviderFailed
from payments.providers.local import LocalProvider
from payments.settings import Settings

Rows = Callable[..., list[tuple[Any, ...]]]
DUE = "UPDATE local_charges SET call_at = now() WHERE idempotency_key = %s"


def ask(settings: Settings, method: str, key: str = "", **options: Any) -> Charge:
    async def run() -> Charge:
        provider = LocalProvider(settings, **options)
        try:
            return await provider.charge(key=key or str(uuid4()), amount_cents=100, currency="EUR", method=method)
        finally:
            await provider.close()

    return asyncio.run(run())


def call_back(settings: Settings, answer: Callable[[httpx2.Request], httpx2.Response]) -> None:
    """Make the callbacks that are due, to a server that answers so."""

    async def run() -> None:
        provider = LocalProvider(settings, transport=httpx2.MockTransport(answer))
        try:
            await provider.call_back()
        finally:
            await provider.close()

    asyncio.run(run())


def test_it_is_a_provider(settings: Settings) -> None:
    provider: Provider = LocalProvider(settings)
    assert provider


def test_one_key_charges_once(settings: Settings, rows: Rows) -> None:
    key = str(uuid4())

    async def run() -> list[Charge]:
        provider = LocalProvider(settings)
        try:
            asked = [provider.charge(key=key, amount_cents=100, currency="EUR", method="tok_ok") for _ in range(8)]
            return await asyncio.gather(*asked)
        finally:
            await provider.close()

    charges = asyncio.run(run())
    assert len(set(charges)) == 1
    assert charges[0].status == "captured"
    with pytest.raises(ProviderFailed, match="another amount"):
        asyncio.run(_ask_for_more(settings, key))
    assert len(rows("SELECT 1 FROM local_charges WHERE idempotency_key = %s", key)) == 1


async def _ask_for_more(settings: Settings, key: str) -> None:
    provider = LocalProvider(settings)
    try:
        await provider.charge(key=key, amount_cents=101, currency="EUR", method="tok_ok")
    finally:
        await provider.close()


def test_late_methods_are_pending_until_they_settle(settings: Settings, rows: Rows) -> None:
    late, key = settings.model_copy(update={"local_slow_seconds": 3600.0}), str(uuid4())
    assert ask(late, "tok_silent", key).status == "pending"
    rows("UPDATE local_charges SET settles_at = now() WHERE idempotency_key = %s", key)
    assert ask(late, "tok_silent", key).status == "captured"


def test_a_slow_charge_is_made_before_it_is_answered(settings: Settings, rows: Rows) -> None:
    slow, key = settings.model_copy(update={"local_slow_seconds": 3600.0}), str(uuid4())

    async def run() -> None:
        provider = LocalProvider(slow)
        charge = asyncio.create_task(provider.charge(key=key, amount_cents=100, currency="EUR", method="tok_slow"))
        try:
            while not rows("SELECT 1 FROM local_charges WHERE idempotency_key = %s", key):
                await asyncio.sleep(0.01)
            assert not charge.done()
            charge.cancel()
        finally:
            await provider.close()

    asyncio.run(run())
    assert rows("SELECT outcome FROM local_charges WHERE idempotency_key = %s", key) == [("captured",)]


@pytest.mark.parametrize(
    "chances, charged", [((0.1, 0.1), 0), ((0.1, 0.9), 1)], ids=["nothing happened", "only the answer is lost"]
)
def test_the_failure_share_fails_before_or_after(
    settings: Settings, rows: Rows, chances: tuple[float, float], charged: int
) -> None:
    key, drill = str(uuid4()), settings.model_copy(update={"local_failure_share": 0.5})
    dice = iter(chances)
    with pytest.raises(ProviderFailed):
        ask(drill, "tok_ok", key, chance=lambda: next(dice))
    assert len(rows("SELECT 1 FROM local_charges WHERE idempotency_key = %s", key)) == charged
    assert ask(drill, "tok_ok", key, chance=lambda: 0.5).status == "captured"


@pytest.mark.parametrize(
    "method, calls",
    [("tok_ok", 1), ("tok_declined", 1), ("tok_slow", 1), ("tok_twice", 2), ("tok_silent", 0)],
)
def test_it_calls_back_as_often_as_the_method_says(settings: Settings, rows: Rows, method: str, calls: int) -> None:
    heard: list[bytes] = []

    def take(request: httpx2.Request) -> httpx2.Response:
        LocalProvider(settings).verify_webhook(request.headers, request.content)  # signed, and of the form
        heard.append(request.content)
        return httpx2.Response(200)

    ask(settings, method)
    for _ in range(3):
        call_back(settings, take)
    assert len(heard) == calls
    assert len(set(heard)) == min(calls, 1)  # twice means the same event twice


def test_it_calls_again_later_until_it_is_heard(settings: Settings, rows: Rows) -> None:
    key = str(uuid4())
    ask(settings, "tok_ok", key)
    answers: Iterator[Exception | httpx2.Response] = iter(
        [httpx2.ConnectError("refused"), httpx2.Response(503), httpx2.Response(401), httpx2.Response(200)]
    )
    asked = 0

    def answer(_request: httpx2.Request) -> httpx2.Response:
        nonlocal asked
        asked += 1
        given = next(answers)
        if isinstance(given, Exception):
            raise given
        return given

    for number in range(1, 4):
        call_back(settings, answer)
        call_back(settings, answer)  # not due again yet
        assert asked == number
        ((left, wait),) = rows("SELECT callbacks, call_at - now() FROM local_charges WHERE idempotency_key = %s", key)
        assert left == 1
        assert timedelta(0) < wait <= timedelta(seconds=0.5 * 2**number)
        rows(DUE, key)
    call_back(settings, answer)
    assert rows("SELECT callbacks FROM local_charges WHERE idempotency_key = %s", key) == [(0,)]


def test_it_lists_every_charge_in_pages(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("payments.providers.local_ledger._PAGE", 3)
    since = datetime.now(UTC)
    made = {ask(settings, "tok_ok").id for _ in range(7)}

    async def run() -> list[str]:
        provider = LocalProvider(settings)
        try:
            return [charge.id async for charge in provider.charges(since=since)]
        finally:
            await provider.close()

    listed = asyncio.run(run())
    assert len(listed) == len(set(listed))
    assert made <= set(listed)


def test_an_error_holds_its_callback_back(settings: Settings, rows: Rows) -> None:
    heard: list[str] = []

    def take(request: httpx2.Request) -> httpx2.Response:
        heard.append(json.loads(request.content)["charge"]["key"])
        return httpx2.Response(200)

    key = str(uuid4())
    for _ in range(3):
        with pytest.raises(ProviderFailed):
            ask(settings, "tok_error", key)
        call_back(settings, take)
    assert heard == []
    assert ask(settings, "tok_error", key).status == "captured"
    call_back(settings, take)
    assert heard == [key]
