# SPDX-License-Identifier: GPL-3.0-or-later
"""What the catalog service is told by its environment, beside what every service is told."""

from __future__ import annotations

from pydantic import Field

from kit.database import DatabaseSettings
from kit.redis import RedisSettings
from kit.tokens import TokenSettings


class Settings(DatabaseSettings, RedisSettings, TokenSettings):
    """Environment variables: OPSFORGE_DATABASE_URL, OPSFORGE_REDIS_URL, OPSFORGE_INTERNAL_KEY, and optional ones."""

    service: str = "catalog"
    seed_demo: bool = Field(default=False, description="Fill in the demonstration products that are missing.")
    cache_seconds: int = Field(default=30, ge=1, le=3600, description="A cached answer is forgotten after this long.")
    cache_timeout_seconds: float = Field(
        default=0.05, gt=0, le=2, description="A cache slower than this is no help: the database is asked."
    )
    cache_retry_seconds: float = Field(
        default=2, gt=0, le=60, description="A cache that failed a few times is left alone this long."
    )
