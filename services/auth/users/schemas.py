# SPDX-License-Identifier: GPL-3.0-or-later
"""Users as they come in and go out."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, StringConstraints

# Enough to catch typing errors; whether mail arrives only a mail can tell.
Email = Annotated[
    str,
    StringConstraints(
        to_lower=True,
        max_length=254,
        pattern=r"^[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+$",
    ),
    Field(examples=["ada@example.org"]),
]


def _is_text(secret: SecretStr) -> SecretStr:
    # JSON can carry half a surrogate pair, which no encoding can hash.
    if any("\ud800" <= character <= "\udfff" for character in secret.get_secret_value()):
        raise ValueError("not valid Unicode text")
    return secret


Password = Annotated[SecretStr, Field(min_length=1, max_length=128), AfterValidator(_is_text)]


class UserCreate(BaseModel):
    """A sign-up."""

    model_config = ConfigDict(extra="forbid", strict=True, hide_input_in_errors=True)

    email: Email
    password: Annotated[Password, Field(min_length=12)]


class UserPublic(BaseModel):
    """A user as shown to themselves."""

    model_config = ConfigDict(from_attributes=True)

    id: UUID
    email: str
    created_at: datetime
