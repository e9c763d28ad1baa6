# SPDX-License-Identifier: GPL-3.0-or-later
"""Tokens as they come in and go out."""

from __future__ import annotations

from typing import Annotated, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from kit.schemas import Body


class TokenPublic(BaseModel):
    """A fresh access token and the refresh token for the next one; both `..._in` count seconds."""

    access_token: str
    token_type: Literal["Bearer"] = "Bearer"
    expires_in: int
    refresh_token: str
    refresh_expires_in: int


class TokenCheck(Body):
    """An access token to check."""

    token: Annotated[str, Field(min_length=1, max_length=4096)]


class ClaimsPublic(BaseModel):
    """What a valid access token says; times are Unix seconds."""

    model_config = ConfigDict(from_attributes=True)

    sub: UUID
    email: str
    roles: list[str]
    iat: int
    exp: int
