# SPDX-License-Identifier: GPL-3.0-or-later
"""Redis: checked, cut off, and back again."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from fastapi import APIRouter, Request
from pydantic import SecretStr
from starlette.testclient import TestClient

from kit import create_app
from kit.redis import UNAVAILABLE, Redis, RedisSettings


def test_a_restart_costs_no_command(redis: Any) -> None:
    async def go() -> None:
        served = Redis(RedisSettings(service="kit-test", redis_url=SecretStr(redis.url())))
        await served.client.set("a", "1")
        redis.stop()
        with pytest.raises(UNAVAILABLE):
            await served.check()
        redis.start()
        assert await served.client.get("a") == b"1"
        await served.close()

    asyncio.run(go())


def test_a_command_without_redis_is_503(redis: Any) -> None:
    settings = RedisSettings(service="kit-test", redis_url=SecretStr(redis.url()))
    router = APIRouter()

    @router.get("/value")
    async def show_value(request: Request) -> str:
        await request.app.state.redis.client.set("a", "1")
        return "set"

    served = Redis(settings)
    app = create_app(settings, routers=[router], redis=served, checks={"redis": served.check})
    with TestClient(app) as client:
        assert client.get("/value").status_code == 200
        redis.stop()
        assert client.get("/value").status_code == 503
        assert client.get("/health").json()["dependencies"] == {"redis": "ConnectionError"}


@pytest.mark.parametrize(
    "url",
    [
        "",
        "localhost",
        "http://:8f14e45fceea@redis",
        "redis://redis:6379/0",
        "redis://:changeme@redis",
        "redis://catalog:password@redis",
        "redis://:8f14e45fceea@redis:99999",
        "redis://:8f14e45fceea@",
    ],
)
def test_what_is_no_url_with_a_password_refuses_to_start(url: str) -> None:
    with pytest.raises(ValueError, match="redis_url") as error:
        RedisSettings(service="kit-test", redis_url=SecretStr(url))
    assert "8f14e45fceea" not in str(error.value)
