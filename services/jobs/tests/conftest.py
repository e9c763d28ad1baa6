# SPDX-License-Identifier: GPL-3.0-or-later
"""The jobs API and workers on a real PostgreSQL and a real Redis, as apps in this process and as processes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import SecretStr
from starlette.testclient import TestClient

import jobs.app
import jobs.worker.app
from jobs.settings import Settings
from jobs.tests.support import Books, Show, Submit, until
from kit.migrations import migrate
from kit.testing import Issuer


@pytest.fixture
def database_url(postgresql: Any) -> str:
    """Return the URL of a migrated database without jobs."""
    url: str = postgresql.create()
    migrate(url, "jobs")
    return url


@pytest.fixture
def settings(database_url: str, redis: Any, issuer: Issuer) -> Settings:
    """Return settings of one test: a database and a Redis database of its own, and little patience."""
    return Settings(
        database_url=SecretStr(database_url),
        redis_url=SecretStr(redis.url()),
        visibility_seconds=1,
        backoff_seconds=0.02,
        backoff_cap_seconds=0.1,
        schedule_seconds=0.02,
        sweep_seconds=0.2,
        status_seconds=0.05,
        drain_seconds=5,
        **issuer.settings(),
    )


@pytest.fixture
def client(settings: Settings) -> Iterator[TestClient]:
    """Run the API and return a client of it."""
    with TestClient(jobs.app.create(settings)) as client:
        yield client


@pytest.fixture
def worker(settings: Settings) -> Iterator[TestClient]:
    """Run a worker in this process."""
    with TestClient(jobs.worker.app.create(settings)) as worker:
        yield worker


@pytest.fixture
def admin(issuer: Issuer) -> dict[str, str]:
    """Return an administrator's headers."""
    return issuer.headers(roles=["admin"])


@pytest.fixture
def books(database_url: str) -> Books:
    """Return a look into the database."""
    return Books(database_url)


@pytest.fixture
def submit(client: TestClient, admin: dict[str, str]) -> Submit:
    """Return a way to ask for a job as an administrator; it returns the job's id."""

    def run(kind: str, **payload: Any) -> str:
        answer = client.post("/api/job", json={"kind": kind, "payload": payload}, headers=admin)
        assert answer.status_code == 202, answer.text
        job: str = answer.json()["id"]
        return job

    return run


@pytest.fixture
def show(client: TestClient, admin: dict[str, str]) -> Show:
    """Return a way to look at a job, once it is in one of the given states."""

    def look(job: str) -> dict[str, Any]:
        answer = client.get(f"/api/job/{job}", headers=admin)
        assert answer.status_code == 200, answer.text
        shown: dict[str, Any] = answer.json()
        return shown

    def run(job: str, *states: str) -> dict[str, Any]:
        until(lambda: look(job)["state"] in states, lambda: look(job))
        return look(job)

    return run
