# SPDX-License-Identifier: GPL-3.0-or-later
"""Tokens as they come in and go out."""

from __future__ import annotations

from typing import Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from auth.users.schemas import Email, Password


class Login(BaseModel):
    """A log-in. Only lengths are checked: what a password must look like is the sign-up's business."""

    model_config = ConfigDict(extra="forbid", strict=True, hide_input_in_errors=True)

    email: Email
    password: Password


class TokenPublic(BaseModel):
    """A fresh access token; `expires_in` counts seconds."""

    access_token: str
    token_type: Literal["Bearer"] = "Bearer"
    expires_in: int


class TokenCheck(BaseModel):
    """A token to check."""

    model_config = ConfigDict(extra="forbid", strict=True, hide_input_in_errors=True)

    token: str = Field(min_length=1, max_length=4096)


class ClaimsPublic(BaseModel):
    """What a valid token says; times are Unix seconds."""

    model_config = ConfigDict(from_attributes=True)

    sub: UUID
    iat: int
    exp: int
