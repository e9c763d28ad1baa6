# SPDX-License-Identifier: GPL-3.0-or-later
"""Redis for a service: one client, short patience. Connects at first use."""

from __future__ import annotations

from urllib.parse import urlsplit

from pydantic import SecretStr, field_validator
from redis import asyncio as redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import BusyLoadingError, ReadOnlyError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from kit.settings import Settings, is_placeholder

UNAVAILABLE = (RedisConnectionError, RedisTimeoutError, BusyLoadingError, ReadOnlyError)
"""What the client raises when Redis is away, too slow, still loading, or a replica."""


class RedisSettings(Settings):
    """A service with Redis."""

    redis_url: SecretStr

    @field_validator("redis_url")
    @classmethod
    def _has_redis_password(cls, url: SecretStr) -> SecretStr:
        try:
            parsed = urlsplit(url.get_secret_value())
            if parsed.scheme not in ("redis", "rediss") or not parsed.hostname or parsed.port == 0:
                raise ValueError
        except ValueError:
            raise ValueError("expected redis://:password@host:6379/0") from None
        if is_placeholder(parsed.password or ""):
            raise ValueError("the password is a placeholder: set a real secret")
        return url


class Redis:
    """One pool of connections; every command gives up after two seconds, so nobody hangs on a Redis that is gone.

    A command on a connection that a restarted Redis has cut is sent once more. Blocking reads must ask for less than
    `timeout` seconds.
    """

    def __init__(self, settings: RedisSettings, *, timeout: float = 2.0) -> None:
        self.client: redis.Redis = redis.Redis.from_url(
            settings.redis_url.get_secret_value(),
            socket_timeout=timeout,
            socket_connect_timeout=timeout,
            retry=Retry(NoBackoff(), 1),
            health_check_interval=30,
            client_name=settings.service,
        )

    async def check(self) -> None:
        """Return when Redis answers."""
        await self.client.ping()

    async def close(self) -> None:
        """Close every pooled connection."""
        await self.client.aclose()
