# SPDX-License-Identifier: GPL-3.0-or-later
"""Events as they come in, and what became of them."""

from __future__ import annotations

from typing import Annotated, Any, Self
from uuid import UUID

from pydantic import BaseModel, Field, ValidationError, model_validator

from analytics.events.types import EventType, money
from analytics.moments import Moment
from kit.schemas import Body, bounded


class EventCreate(Body):
    """Something that happened; `data` may hold 4 KiB in 5 levels."""

    id: Annotated[UUID, Field(strict=False)]
    type: EventType
    time: Moment
    data: Annotated[dict[str, Any], bounded(max_bytes=4096, max_depth=5)] = {}

    @model_validator(mode="after")
    def _has_money(self) -> Self:
        try:
            money(self.type, self.data)
        except ValidationError:
            raise ValueError(f"the data of {self.type} must have total_cents and currency") from None
        return self


class BatchCreate(Body):
    """Events that are taken in together, or not at all."""

    events: Annotated[list[EventCreate], Field(min_length=1, max_length=500)]


class BatchPublic(BaseModel):
    """How many events are new, and how many were known by their id and changed nothing."""

    stored: int
    known: int
