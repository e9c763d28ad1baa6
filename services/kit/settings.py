# SPDX-License-Identifier: GPL-3.0-or-later
"""Settings come from environment variables named OPSFORGE_<FIELD>, and placeholders are refused."""

from __future__ import annotations

import re
import sys
from typing import Self, TypeVar

from pydantic import Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

_PLACEHOLDER = re.compile(
    r"^(change.?(me|this|it)|(my.?)?(secret|password|token|key)|placeholder|example|default|dummy|todo|xxx+|test|admin"
    r"|postgres|none|null)[\W\d_]*$|^<.*>$|^\$\{?.*\}?$|^\{\{.*\}\}$",
    re.IGNORECASE,
)


def is_placeholder(secret: str) -> bool:
    """Tell whether a secret was never set: empty, a well-known filler, or a template nobody filled in."""
    return not secret.strip() or bool(_PLACEHOLDER.match(secret.strip()))


def is_weak(key: str) -> bool:
    """Tell whether a key can be guessed: shorter than a SHA-256 digest, or made of a handful of characters."""
    return len(key) < 32 or len(set(key)) < 10


class Settings(BaseSettings):
    """What every service is told by its environment; a service adds its own fields in a subclass."""

    # Values stay out of error messages: they may be secrets.
    model_config = SettingsConfigDict(env_prefix="OPSFORGE_", frozen=True, hide_input_in_errors=True)

    service: str
    version: str = "0.0.0"
    slot: str = Field(default="", description="Blue-green slot this process belongs to; shown, never acted upon.")
    root_path: str = Field(
        default="", pattern=r"^(/[\w./-]*[\w-])?$", description="Path prefix a gateway strips before us."
    )
    host: str = "0.0.0.0"  # a container is reached from outside itself
    port: int = Field(default=8000, ge=0, le=65535)
    management_port: int = Field(default=9000, ge=0, le=65535)
    log_level: str = Field(default="info", pattern="^(debug|info|warning|error)$")
    max_body_bytes: int = Field(default=65_536, gt=0)
    keep_alive_seconds: int = Field(default=75, gt=0, description="Longer than the gateway keeps an idle connection.")
    linger_seconds: float = Field(
        default=5, ge=0, description="On SIGTERM, still accept this long: endpoints lag behind."
    )
    drain_seconds: int = Field(default=20, ge=0, description="Then wait this long for requests in flight.")
    otlp_endpoint: str = Field(
        default="", pattern=r"^(https?://\S+)?$", description="OTLP/HTTP collector; traces are exported when it is set."
    )
    otlp_share: float = Field(default=1, ge=0, le=1, description="How many of the traces that begin here are exported.")

    @model_validator(mode="after")
    def _refuse_placeholders(self) -> Self:
        for name in type(self).model_fields:
            value = getattr(self, name)
            if not isinstance(value, SecretStr):
                continue
            if is_placeholder(value.get_secret_value()):
                raise ValueError(f"{name} is a placeholder: set a real secret")
            if name.endswith("_key") and is_weak(value.get_secret_value()):
                raise ValueError(f"{name} is too weak: use at least 32 random characters, as of `openssl rand -hex 32`")
        return self


S = TypeVar("S", bound=Settings)


def load_settings(kind: type[S]) -> S:
    """Read the settings, or leave the process with status 2 and one line for each mistake."""
    try:
        return kind()  # type: ignore[call-arg]  # the environment gives them
    except ValidationError as error:
        for mistake in error.errors(include_input=False, include_url=False):
            name = "_".join(str(part) for part in mistake["loc"])
            where = f"OPSFORGE_{name.upper()}: " if name else ""
            print(f"{kind.__name__}: {where}{mistake['msg']}", file=sys.stderr)
        raise SystemExit(2) from None
