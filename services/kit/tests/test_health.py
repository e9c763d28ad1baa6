# SPDX-License-Identifier: GPL-3.0-or-later
"""Health, readiness and startup."""

from __future__ import annotations

import asyncio
from unittest.mock import AsyncMock

import pytest
from starlette.testclient import TestClient

from kit import Settings
from kit.health import Health
from kit.lifecycle import Lifecycle
from kit.management import create_management_app
from kit.metrics import Metrics

SETTINGS = Settings(service="kit-test")


class Clock:
    """A clock that moves when told to."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def health(check: AsyncMock, clock: Clock) -> Health:
    return Health({"database": check}, Metrics(SETTINGS, Lifecycle()), timeout=0.01, clock=clock)


def test_looks_once_a_second_however_often_it_is_asked() -> None:
    async def ask() -> None:
        check, clock = AsyncMock(), Clock()
        watched = health(check, clock)
        await asyncio.gather(*(watched.report() for _ in range(50)))
        assert check.await_count == 1
        clock.now += 1
        check.side_effect = ConnectionError("password=hunter2")
        report = await watched.report()
        assert (report.ok, report.dependencies) == (False, {"database": "ConnectionError"})

    asyncio.run(ask())


def test_a_check_that_hangs_is_a_failure() -> None:
    async def hang() -> None:
        await asyncio.Event().wait()

    report = asyncio.run(health(AsyncMock(side_effect=hang), Clock()).report())
    assert report.dependencies == {"database": "TimeoutError"}


@pytest.mark.parametrize(
    ("lifecycle", "failing", "live", "startup", "ready"),
    [
        (Lifecycle(), False, 200, 503, 503),
        (Lifecycle(started=True), False, 200, 200, 200),
        (Lifecycle(started=True), True, 200, 200, 503),
        (Lifecycle(started=True, drained=True), False, 200, 200, 200),
        (Lifecycle(started=True, stopping=True), False, 200, 200, 503),
    ],
    ids=["starting", "serving", "dependency-gone", "drained", "stopping"],
)
def test_probes(lifecycle: Lifecycle, failing: bool, live: int, startup: int, ready: int) -> None:
    metrics = Metrics(SETTINGS, lifecycle)
    check = AsyncMock(side_effect=OSError if failing else None)
    client = TestClient(create_management_app(lifecycle, Health({"database": check}, metrics), metrics))
    statuses = [client.get(f"/health/{probe}").status_code for probe in ("live", "startup", "ready")]
    assert statuses == [live, startup, ready]
    assert f'dependency_up{{dependency="database"}} {float(not failing)}' in client.get("/metrics").text
