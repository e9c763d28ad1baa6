# SPDX-License-Identifier: GPL-3.0-or-later
"""The dead as an admin sees them."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from fastapi import Path
from pydantic import BaseModel

DeadId = Annotated[
    str,
    Path(
        pattern=r"^([0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9]{1,18}-[0-9]{1,18})$",
        description="An `id` of /dead: of a mail, or of an event.",
    ),
]


class DeadPublic(BaseModel):
    """A mail that no server took, or an event that could not be handled; `error` is the last one's name."""

    id: str
    kind: Literal["mail", "event"]
    what: str
    error: str
    attempts: int
    user_id: UUID | None = None
    since: datetime | None = None


class DeadList(BaseModel):
    """The dead of both kinds."""

    items: list[DeadPublic]


class Requeued(BaseModel):
    """What is being tried again."""

    id: str
