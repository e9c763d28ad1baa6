# SPDX-License-Identifier: GPL-3.0-or-later
"""What the jobs service and its worker are told by their environment, beside what every service is told."""

from __future__ import annotations

from pydantic import Field

from kit.database import DatabaseSettings
from kit.redis import RedisSettings
from kit.tokens import TokenSettings


class Settings(DatabaseSettings, RedisSettings, TokenSettings):
    """Required: OPSFORGE_DATABASE_URL and OPSFORGE_REDIS_URL. API and worker share them all."""

    service: str = "jobs"

    queue_limit: int = Field(default=100_000, gt=0, description="Beyond so many waiting jobs the API answers 429.")
    keep_days: float = Field(default=7, gt=0, description="Jobs that are done are forgotten after that.")

    concurrency: int = Field(default=200, ge=1, le=5000, description="Jobs that wait for something, at once.")
    cpu_workers: int = Field(default=1, ge=1, le=32, description="Jobs that compute, at once, a process for each.")
    batch: int = Field(default=200, ge=1, le=5000, description="Most jobs fetched or settled in one step.")
    visibility_seconds: float = Field(
        default=30, ge=0.2, le=3600, description="A job whose worker has been silent this long is given to another."
    )
    job_seconds: float = Field(default=60, gt=0, description="A computation that takes longer has failed.")
    attempts: int = Field(default=5, ge=1, le=100, description="A job that failed so often is dead.")
    losses: int = Field(default=20, ge=1, le=1000, description="So is one that so many workers did not survive.")
    backoff_seconds: float = Field(default=1, gt=0, description="Longest pause before the second attempt; it doubles.")
    backoff_cap_seconds: float = Field(default=300, gt=0)
    schedule_seconds: float = Field(default=0.5, gt=0, description="How often retries that are due are looked for.")
    sweep_seconds: float = Field(default=5, gt=0, description="How often PostgreSQL and Redis are compared.")
    status_seconds: float = Field(default=2, gt=0, description="How often depth and age are measured.")
