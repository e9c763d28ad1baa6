# SPDX-License-Identifier: GPL-3.0-or-later
"""Keys as they go out."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict


class KeyPublic(BaseModel):
    """Where one signing key stands; `ends_at` is when a retiring one stops verifying."""

    model_config = ConfigDict(from_attributes=True)

    kid: str
    state: Literal["next", "active", "retiring"]
    state_since: datetime
    ends_at: datetime | None


class KeySet(BaseModel):
    """A JSON Web Key Set (RFC 7517)."""

    keys: list[dict[str, Any]]
