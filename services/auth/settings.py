# SPDX-License-Identifier: GPL-3.0-or-later
"""What the auth service is told by its environment, beside what every service is told."""

from __future__ import annotations

from pydantic import Field, SecretStr, field_validator
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

import kit
from kit.settings import is_placeholder


class Settings(kit.Settings):
    """Environment variables: OPSFORGE_DATABASE_URL, OPSFORGE_SIGNING_SECRET, and optional ones."""

    service: str = "auth"
    database_url: SecretStr
    signing_secret: SecretStr = Field(description="At least 32 random characters; the signing key is derived from it.")
    token_minutes: int = Field(default=15, gt=0, le=24 * 60)
    token_issuer: str = "opsforge-auth"
    token_audience: str = "opsforge"
    hash_workers: int = Field(
        default=2, ge=1, le=32, description="Passwords hashed at once; each takes 19 MiB and a core."
    )
    hash_queue: int = Field(default=16, ge=0, description="Passwords waiting; beyond it the answer is 429.")

    @field_validator("database_url")
    @classmethod
    def _has_password(cls, url: SecretStr) -> SecretStr:
        try:
            parsed = make_url(url.get_secret_value())
        except ArgumentError:
            raise ValueError("expected postgresql://user:password@host:5432/database") from None
        if not parsed.drivername.startswith("postgres"):
            raise ValueError("expected a postgresql:// URL")
        if is_placeholder(str(parsed.password or "")):
            raise ValueError("the password is a placeholder: set a real secret")
        return url

    @field_validator("signing_secret")
    @classmethod
    def _is_strong(cls, secret: SecretStr) -> SecretStr:
        value = secret.get_secret_value()
        if len(value) < 32 or len(set(value)) < 10:
            raise ValueError("too weak: use at least 32 random characters, for example from `openssl rand -hex 32`")
        return secret
