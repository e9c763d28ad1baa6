# SPDX-License-Identifier: GPL-3.0-or-later
"""Background work: restarted when it fails, gone when the app is."""

from __future__ import annotations

import asyncio

import pytest
from starlette.testclient import TestClient

from kit import Settings, create_app
from kit.tasks import forever, running


def test_a_job_that_fails_is_started_again_after_growing_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []

    async def no_sleep(seconds: float) -> None:
        pauses.append(seconds)

    monkeypatch.setattr(asyncio, "sleep", no_sleep)
    monkeypatch.setattr("random.uniform", lambda low, high: high)
    runs = 0

    async def job() -> None:
        nonlocal runs
        runs += 1
        if runs == 12:
            raise asyncio.CancelledError
        if runs != 10:
            raise OSError

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(forever(job))
    assert pauses == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10, 10, 0, 0.1])


def test_jobs_end_with_the_body() -> None:
    ended = []

    async def job() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)  # an end that takes a moment is waited for
            ended.append(True)

    async def go() -> None:
        async with running(job, job):
            await asyncio.sleep(0)

    asyncio.run(go())
    assert ended == [True, True]


def test_a_job_that_swallows_a_cancellation_ends_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kit.tasks._CANCEL_SECONDS", 0.01)
    swallowed: list[bool] = []

    async def job() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            if swallowed:
                raise
            swallowed.append(True)

    async def go() -> None:
        async with running(job):
            await asyncio.sleep(0)

    asyncio.run(asyncio.wait_for(go(), 10))
    assert swallowed


def test_an_app_runs_its_jobs_as_long_as_it_lives() -> None:
    states: list[str] = []

    async def job() -> None:
        states.append("begun")
        try:
            await asyncio.Event().wait()
        finally:
            states.append("ended")

    with TestClient(create_app(Settings(service="kit-test"), background=[job])) as client:
        assert client.get("/info").status_code == 200
        assert states == ["begun"]
    assert states == ["begun", "ended"]


def test_a_job_that_swallows_a_cancellation_is_cancelled_again() -> None:
    async def deaf() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await asyncio.Event().wait()

    async def go() -> None:
        async with asyncio.timeout(30), running(deaf):
            await asyncio.sleep(0)

    asyncio.run(go())
