# SPDX-License-Identifier: GPL-3.0-or-later
"""Users as they come in and go out."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, StringConstraints

from kit.schemas import Body

LEAST_PASSWORD, MOST_PASSWORD = 12, 128

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


Password = Annotated[SecretStr, Field(min_length=1, max_length=MOST_PASSWORD), AfterValidator(_is_text)]
NewPassword = Annotated[Password, Field(min_length=LEAST_PASSWORD)]

Role = Literal["customer", "analyst", "admin"]


class UserCreate(Body):
    """A sign-up."""

    email: Email
    password: NewPassword


class PasswordChange(Body):
    """A new password, and the one it replaces."""

    password: Password
    new_password: NewPassword


class RolesChange(Body):
    """The roles that somebody is to have; everybody is a customer."""

    roles: Annotated[list[Role], Field(max_length=3)]


class UserPublic(BaseModel):
    """A user as shown to themselves and to administrators."""

    model_config = ConfigDict(from_attributes=True)

    id: UUID
    email: str
    roles: list[Role]
    created_at: datetime
