# SPDX-License-Identifier: GPL-3.0-or-later
"""Calls to other services: tried again, given up, not tried at all; and what they carry."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import httpx2
import pytest
import stamina
from fastapi import APIRouter
from pydantic import SecretStr
from starlette.testclient import TestClient

from kit import Settings, create_app
from kit.clients import Client, DependencyFailed, RetryBudget
from kit.metrics import Metrics
from kit.testing import Issuer
from kit.tokens import Tokens, TokenSettings
from kit.trace import Trace, current_trace

SETTINGS = Settings(service="orders")
Answer = int | Exception | Callable[[], Awaitable[int]]


class Other:
    """Stands in for another service: answers in turn, the last answer for good."""

    def __init__(self, *answers: Answer) -> None:
        self.answers = list(answers)
        self.requests: list[httpx2.Request] = []
        self.metrics = Metrics(SETTINGS)

    async def __call__(self, request: httpx2.Request) -> httpx2.Response:
        self.requests.append(request)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        status = answer if isinstance(answer, int) else await answer()
        return httpx2.Response(status, json={"path": request.url.path})

    def client(self, **options: Any) -> Client:
        transport = httpx2.MockTransport(self)
        return Client(
            "catalog", "http://catalog", settings=SETTINGS, metrics=self.metrics, transport=transport, **options
        )

    def count(self, outcome: str) -> float:
        labels = {"dependency": "catalog", "outcome": outcome}
        return self.metrics.registry.get_sample_value("client_requests_total", labels) or 0


@pytest.fixture(autouse=True)
def no_waiting() -> Iterator[None]:
    """Keep the number of attempts, drop the pauses between them."""
    with stamina.set_testing(True, attempts=3, cap=True):
        yield


def ask(client: Client, method: str = "GET", **options: Any) -> int:
    return asyncio.run(client.request(method, "/products", **options)).status_code


def fail(client: Client, method: str = "GET", **options: Any) -> str:
    with pytest.raises(DependencyFailed) as error:
        ask(client, method, **options)
    assert error.value.dependency == "catalog"
    return error.value.outcome


@pytest.mark.parametrize("status", [200, 201, 304, 400, 404, 409, 429])
def test_answers_are_answers(status: int) -> None:
    other = Other(status)
    assert ask(other.client(), "POST") == status
    assert len(other.requests) == 1
    assert other.count("ok" if status < 400 else "refused") == 1


@pytest.mark.parametrize("failure", [500, 503, httpx2.ConnectError("away"), httpx2.ReadTimeout("late")])
def test_what_can_be_repeated_is_tried_again(failure: Answer) -> None:
    other = Other(failure, 200)
    assert ask(other.client()) == 200
    assert len(other.requests) == 2
    assert other.count("ok") == 1


@pytest.mark.parametrize(
    ("method", "retry", "tries"),
    [("GET", None, 3), ("PUT", None, 3), ("POST", None, 1), ("POST", True, 3), ("GET", False, 1)],
)
def test_what_must_not_be_repeated_is_not(method: str, retry: bool | None, tries: int) -> None:
    other = Other(503)
    assert fail(other.client(), method, retry=retry) == "failed"
    assert len(other.requests) == tries


def test_an_attempt_that_takes_too_long_is_given_up() -> None:
    async def hang() -> int:
        await asyncio.Event().wait()
        return 200

    other = Other(hang)
    assert fail(other.client(timeout=0.01), "POST") == "timeout"
    assert other.count("timeout") == 1


def test_when_all_calls_fail_retries_are_few() -> None:
    other = Other(503)

    async def go() -> None:
        client = other.client()
        client._breaker._failure_threshold = 10**6  # this is about the budget alone
        for _ in range(100):
            with pytest.raises(DependencyFailed):
                await client.request("GET", "/products")

    asyncio.run(go())
    assert 100 + 10 <= len(other.requests) <= 100 + 10 + 10  # a tenth, and a few


def test_a_budget_is_earned_back_and_has_an_end() -> None:
    budget = RetryBudget(share=0.5, few=1)
    assert [budget.spend(), budget.spend()] == [True, False]
    budget.earn()
    assert not budget.spend()
    budget.earn()
    assert budget.spend()
    for _ in range(100):
        budget.earn()
    assert [budget.spend() for _ in range(3)] == [True, True, False]


def test_a_dependency_that_is_down_is_left_alone_and_then_tried(monkeypatch: pytest.MonkeyPatch, clock: Any) -> None:
    monkeypatch.setattr("circuitbreaker.monotonic", clock)  # the library's own clock has no other door
    other = Other(503)

    def is_open() -> float | None:
        return other.metrics.registry.get_sample_value("client_circuit_open", {"dependency": "catalog"})

    async def go() -> None:
        client = other.client()

        async def outcome() -> str:
            try:
                await client.request("POST", "/products")
            except DependencyFailed as error:
                return error.outcome
            return "ok"

        assert [await outcome() for _ in range(5)] == ["failed"] * 5
        assert is_open() == 1
        assert [await outcome() for _ in range(5)] == ["open"] * 5
        assert len(other.requests) == 5
        clock.now += 6  # half open: one that fails opens it again
        assert [await outcome() for _ in range(2)] == ["failed", "open"]
        clock.now += 6
        other.answers = [200]
        assert [await outcome() for _ in range(3)] == ["ok"] * 3
        assert is_open() == 0

    asyncio.run(go())


def test_refusals_say_nothing_against_the_dependency() -> None:
    other = Other(404)

    async def go() -> None:
        client = other.client()
        for _ in range(20):
            assert (await client.request("GET", "/products/1")).status_code == 404

    asyncio.run(go())
    assert len(other.requests) == 20


def test_a_call_that_is_cancelled_says_nothing_either() -> None:
    async def go() -> None:
        async def hang() -> int:
            await asyncio.Event().wait()
            return 200

        other = Other(*[503] * 4, hang, 503, 200)
        client = other.client()
        for _ in range(4):
            with pytest.raises(DependencyFailed):
                await client.request("POST", "/products")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await client.request("POST", "/products")
        with pytest.raises(DependencyFailed):  # the fifth failure
            await client.request("POST", "/products")
        with pytest.raises(DependencyFailed) as error:
            await client.request("POST", "/products")
        assert error.value.outcome == "open"

    asyncio.run(go())


def test_calls_carry_the_trace_and_who_is_calling() -> None:
    issuer = Issuer()
    other = Other(200)
    trace = Trace.of(b"request-7", b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")

    async def go() -> None:
        current_trace.set(trace)
        client = other.client(key=issuer.internal_key)
        await client.request("PUT", "/products", json={"a": 1}, params={"q": "é&"}, headers={"if-match": '"3"'})
        sent = other.requests[0]
        assert (sent.headers["x-request-id"], sent.headers["if-match"]) == ("request-7", '"3"')
        assert (json.loads(sent.content), sent.url.params["q"]) == ({"a": 1}, "é&")
        version, trace_id, parent, flags = sent.headers["traceparent"].split("-")
        assert (version, trace_id, flags) == ("00", trace.trace_id, "01")
        assert parent not in (trace.span_id, trace.parent_id)
        callee = Tokens(TokenSettings(service="catalog", **issuer.settings()), None)
        caller = await callee.verify(sent.headers["authorization"].removeprefix("Bearer "))
        assert (caller.service, caller.id, caller.roles) == ("orders", None, frozenset())

    asyncio.run(go())


def test_without_a_key_nothing_secret_is_sent() -> None:
    other = Other(200)
    assert ask(other.client()) == 200
    assert "authorization" not in other.requests[0].headers


def test_callers_see_503_and_nothing_of_what_lies_behind() -> None:
    other = Other(httpx2.ConnectError("10.0.0.7 refused"))
    client = other.client(key=SecretStr("8f14e45fceea167a5a36dedd4bea2543"))
    router = APIRouter()

    @router.get("/cart")
    async def show_cart() -> None:
        await client.request("GET", "/products")

    with TestClient(create_app(SETTINGS, routers=[router], clients=[client], metrics=other.metrics)) as caller:
        answer = caller.get("/cart")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert "10.0.0.7" not in answer.text
    assert client._http.is_closed


def test_real_sockets(start: Any) -> None:
    """A service that is killed and started again in another place is reached again over the same client."""
    from pathlib import Path

    tiny = str(Path(__file__).parent / "tiny_service.py")

    async def go() -> None:
        process = start(tiny, linger_seconds=0)
        client = Client("tiny", f"http://127.0.0.1:{process.port}", settings=SETTINGS, metrics=Metrics(SETTINGS))
        assert (await client.request("GET", "/info")).json()["service"] == "tiny"
        process.popen.kill()
        process.wait()
        with pytest.raises(DependencyFailed) as error:
            await client.request("GET", "/info")
        assert error.value.outcome == "unreachable"
        start(tiny, linger_seconds=0, port=process.port)
        assert (await client.request("GET", "/info")).status_code == 200
        await client.close()

    asyncio.run(go())
