# SPDX-License-Identifier: GPL-3.0-or-later
"""What the payments service is told by its environment, beside what every service is told."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, SecretStr, field_validator, model_validator

from kit.database import DatabaseSettings
from kit.redis import RedisSettings
from kit.settings import is_weak
from kit.tokens import TokenSettings


class Settings(DatabaseSettings, RedisSettings, TokenSettings):
    """Required: OPSFORGE_DATABASE_URL, OPSFORGE_REDIS_URL, OPSFORGE_INTERNAL_KEY, OPSFORGE_WEBHOOK_SECRET."""

    service: str = "payments"
    internal_key: SecretStr
    webhook_secret: SecretStr = Field(description="What the provider signs its calls with.")
    webhook_secret_previous: SecretStr | None = Field(
        default=None, description="Accepted too, while a secret is rotated."
    )
    webhook_tolerance_seconds: int = Field(default=300, ge=1, le=3600)

    provider: Literal["local"] = Field(default="local", description="The stand-in is the only one so far.")
    provider_timeout_seconds: float = Field(default=1.5, gt=0, le=60, description="Less than our callers wait.")
    lease_seconds: float = Field(
        default=15, gt=0, description="How long one pod has a payment to itself; more than two provider time-outs."
    )
    look_seconds: float = Field(default=2, ge=0, description="First wait before an unfinished payment is looked at.")
    look_cap_seconds: float = Field(default=300, ge=0, description="Longest such wait.")
    driver_seconds: float = Field(default=1, gt=0, description="How often unfinished payments are looked for.")
    driver_batch: int = Field(default=10, ge=1, le=100)
    reconcile_seconds: float = Field(default=300, gt=0, description="How often the books are compared.")
    reconcile_hours: float = Field(default=24, gt=0, description="How far back.")
    reconcile_grace_seconds: float = Field(default=60, ge=0, description="Younger than this is not yet a difference.")

    callback_url: str = Field(
        default="", pattern=r"^(https?://[^\s]+)?$", description="Local provider: our webhook; default: this process."
    )
    local_latency_seconds: float = Field(default=0, ge=0, le=60, description="Local provider: time for each answer.")
    local_failure_share: float = Field(
        default=0, ge=0, le=1, description="Local provider: share of questions that get no answer, for drills."
    )
    local_slow_seconds: float = Field(default=5, ge=0, le=3600, description="Local provider: what tok_slow takes.")

    @field_validator("webhook_secret", "webhook_secret_previous")
    @classmethod
    def _is_strong(cls, secret: SecretStr | None) -> SecretStr | None:
        if secret and is_weak(secret.get_secret_value()):
            raise ValueError("too weak: use at least 32 random characters, as of `openssl rand -hex 32`")
        return secret

    @model_validator(mode="after")
    def _lease_covers_two_questions(self) -> Self:
        if self.lease_seconds <= 2 * self.provider_timeout_seconds:
            raise ValueError("lease_seconds must be more than twice provider_timeout_seconds")
        return self

    @property
    def webhook_url(self) -> str:
        """Where the local provider calls us back."""
        return self.callback_url or f"http://127.0.0.1:{self.port}/webhook"

    @property
    def webhook_secrets(self) -> list[str]:
        """Return every secret that a call may be signed with."""
        given = [self.webhook_secret, self.webhook_secret_previous]
        return [secret.get_secret_value() for secret in given if secret]
