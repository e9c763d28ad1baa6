# SPDX-License-Identifier: GPL-3.0-or-later
"""What the auth service is told by its environment, beside what every service is told."""

from __future__ import annotations

from ipaddress import ip_network
from typing import Annotated, Any

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import NoDecode

from auth.limits.client import Network
from auth.users.schemas import LEAST_PASSWORD, MOST_PASSWORD, Email
from kit.database import DatabaseSettings
from kit.redis import RedisSettings
from kit.settings import is_weak


class Settings(DatabaseSettings, RedisSettings):
    """Environment variables: OPSFORGE_DATABASE_URL, OPSFORGE_REDIS_URL, OPSFORGE_SIGNING_SECRET, and optional ones."""

    service: str = "auth"
    signing_secret: SecretStr = Field(
        description="At least 32 random characters; seals the signing keys, and the first of them is derived from it."
    )
    previous_signing_secret: SecretStr | None = Field(
        default=None, description="While the secret is being replaced: still opens keys that were sealed under it."
    )
    token_minutes: int = Field(default=15, gt=0, le=24 * 60)
    token_issuer: str = "opsforge-auth"
    token_audience: str = "opsforge"
    refresh_days: int = Field(default=14, ge=1, le=365, description="A session not refreshed for so long is over.")
    session_days: int = Field(default=90, ge=1, le=365, description="And over after so long in any case.")
    refresh_grace_seconds: int = Field(
        default=10, ge=0, le=60, description="A replaced token is answered with the same successor again for so long."
    )
    key_days: float = Field(default=30, gt=0, description="A key that has signed for so long is rotated.")
    key_settle_seconds: int = Field(default=30, ge=0, description="A key is published so long before it may sign.")
    key_poll_seconds: float = Field(default=5, gt=0, le=15, description="How soon a replica hears of a rotation.")
    hash_workers: int = Field(
        default=2, ge=1, le=32, description="Passwords hashed at once; each takes 19 MiB and a core."
    )
    hash_queue: int = Field(default=16, ge=0, description="Passwords waiting; beyond it the answer is 429.")
    client_logins_per_minute: int = Field(default=60, ge=0, description="From one address; 0: any number.")
    client_signups_per_minute: int = Field(default=60, ge=0, description="From one address; 0: any number.")
    account_logins_per_hour: int = Field(
        default=30, ge=0, description="For one account, from clients it was never used from; 0: any number."
    )
    lockout_failures: int = Field(default=5, ge=1, le=1000, description="Wrong passwords until the first delay.")
    lockout_seconds: float = Field(default=30, gt=0, description="The first delay; each further one is twice as long.")
    lockout_max_seconds: float = Field(default=900, gt=0, le=24 * 3600)
    trusted_proxies: Annotated[tuple[Network, ...], NoDecode] = Field(
        default=(),
        description="Networks, with commas, whose X-Forwarded-For is believed: the gateway's pods.",
    )
    admin_email: Email = "admin@opsforge.local"
    admin_password: SecretStr | None = Field(
        default=None, description="When set, there is an administrator with the address above."
    )

    @field_validator("signing_secret", "previous_signing_secret")
    @classmethod
    def _is_strong(cls, secret: SecretStr | None) -> SecretStr | None:
        if secret and is_weak(secret.get_secret_value()):
            raise ValueError("too weak: use at least 32 random characters, for example from `openssl rand -hex 32`")
        return secret

    @field_validator("admin_password")
    @classmethod
    def _has_length(cls, password: SecretStr | None) -> SecretStr | None:
        if password and not LEAST_PASSWORD <= len(password.get_secret_value()) <= MOST_PASSWORD:
            raise ValueError(f"a password has {LEAST_PASSWORD} to {MOST_PASSWORD} characters")
        return password

    @field_validator("trusted_proxies", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        return tuple(ip_network(part.strip()) for part in value.split(",") if part.strip())

    @property
    def secrets(self) -> list[str]:
        """The signing secret, and the one before it if there is one."""
        found = (self.signing_secret, self.previous_signing_secret)
        return [secret.get_secret_value() for secret in found if secret]
