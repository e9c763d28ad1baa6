# SPDX-License-Identifier: GPL-3.0-or-later
"""What the orders service is told by its environment, beside what every service is told."""

from __future__ import annotations

from typing import Self

from pydantic import Field, SecretStr, model_validator

from kit.database import DatabaseSettings
from kit.redis import RedisSettings
from kit.tokens import TokenSettings


class Settings(DatabaseSettings, RedisSettings, TokenSettings):
    """Required: OPSFORGE_DATABASE_URL, OPSFORGE_REDIS_URL, OPSFORGE_CATALOG_KEY, OPSFORGE_PAYMENTS_KEY."""

    service: str = "orders"
    catalog_url: str = Field(default="http://catalog", pattern=r"^https?://\S+$")
    catalog_key: SecretStr = Field(description="The catalog's internal key.")
    payments_url: str = Field(default="http://payments", pattern=r"^https?://\S+$")
    payments_key: SecretStr = Field(description="The payments service's internal key.")
    background: bool = Field(default=True, description="Run the driver, the relay and the consumer in this process.")
    inline_seconds: float = Field(
        default=1.5, ge=0, le=10, description="A checkout answers after at most this long, wherever the order stands."
    )
    step_seconds: float = Field(default=6, gt=0, description="One step of the driver, with every retry of its call.")
    lease_seconds: float = Field(
        default=15, gt=0, description="An order whose driver died is taken up by another one after this long."
    )
    poll_seconds: float = Field(default=1, gt=0, description="How often the driver looks for orders that are due.")
    batch: int = Field(default=10, ge=1, le=100, description="Orders that one process drives at once.")
    retry_seconds: float = Field(default=1, gt=0, description="First wait after a step that brought nothing new.")
    retry_cap_seconds: float = Field(default=60, gt=0, description="Longest such wait.")

    @model_validator(mode="after")
    def _lease_outlives_a_step(self) -> Self:
        # Else two drivers could act for one order at once, and a release could overtake its reservation.
        if self.lease_seconds < 2 * self.step_seconds:
            raise ValueError("lease_seconds must be at least twice step_seconds")
        return self
