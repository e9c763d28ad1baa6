# SPDX-License-Identifier: GPL-3.0-or-later
"""What the analytics service is told by its environment, beside what every service is told."""

from __future__ import annotations

from pydantic import Field

from kit.database import DatabaseSettings
from kit.redis import RedisSettings
from kit.tokens import TokenSettings


class Settings(DatabaseSettings, RedisSettings, TokenSettings):
    """Environment variables: OPSFORGE_DATABASE_URL, OPSFORGE_REDIS_URL, OPSFORGE_INTERNAL_KEY, and optional ones."""

    service: str = "analytics"
    max_body_bytes: int = Field(default=1_048_576, gt=0, description="A batch may have 500 events.")
    raw_days: int = Field(
        default=30, ge=1, le=3650, description="Events are kept, known again and accepted for this long."
    )
    minute_days: int = Field(default=400, ge=1, le=36_500, description="The counts by minute are kept for this long.")
    sweep_seconds: float = Field(default=600, gt=0, description="How often what is too old is removed.")
