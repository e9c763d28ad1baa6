# SPDX-License-Identifier: GPL-3.0-or-later
"""What the notifications service is told by its environment, beside what every service is told."""

from __future__ import annotations

from pydantic import Field, SecretStr, field_validator

from kit.database import DatabaseSettings
from kit.redis import RedisSettings
from kit.tokens import TokenSettings
from notifications.delivery.mail import Server


class Settings(DatabaseSettings, RedisSettings, TokenSettings):
    """Required: OPSFORGE_DATABASE_URL, OPSFORGE_REDIS_URL."""

    service: str = "notifications"
    smtp_url: SecretStr | None = Field(
        default=None, description="smtp+starttls://user:password@host:587; without it there is only the inbox."
    )
    mail_from: str = Field(default="shop@opsforge.example", max_length=254, pattern=r"^[\w.+-]+@[\w-]+(\.[\w-]+)+$")
    senders: int = Field(default=4, ge=1, le=32, description="Mails handed over at once.")
    attempts: int = Field(default=8, ge=1, le=50, description="Then a mail is dead, until somebody requeues it.")
    retry_seconds: float = Field(default=5, ge=0, description="Wait after the first failure; doubles.")
    retry_cap_seconds: float = Field(default=900, ge=0, description="Longest such wait.")
    lease_seconds: float = Field(
        default=120, gt=0, description="How long one pod has a mail to itself; more than SMTP may take."
    )
    poll_seconds: float = Field(default=1, gt=0, description="How often the queue is looked at.")
    event_visibility_seconds: float = Field(
        default=30, ge=1, description="An event whose replica died is handled by another after this long."
    )
    event_pause_seconds: float = Field(
        default=0.5, ge=0, description="Wait before an event that failed is handled again; doubles."
    )
    watch_seconds: float = Field(default=5, gt=0, description="How often the gauges are set.")
    last_seconds: float = Field(default=15, ge=0, description="At the end, wait so long for mails being sent.")

    @field_validator("smtp_url")
    @classmethod
    def _is_server(cls, url: SecretStr | None) -> SecretStr | None:
        if url:
            Server.of(url.get_secret_value())
        return url
