# SPDX-License-Identifier: GPL-3.0-or-later
"""Reservations as they come in and go out."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from catalog.reservations.models import State
from kit.schemas import Body


class LineCreate(Body):
    """So many of one product."""

    product_id: Annotated[UUID, Field(strict=False)]  # JSON has no type for it
    quantity: Annotated[int, Field(ge=1, le=1000)]


def _are_different(lines: list[LineCreate]) -> list[LineCreate]:
    if len({line.product_id for line in lines}) < len(lines):
        raise ValueError("a product may be in one line only")
    return lines


class ReservationCreate(Body):
    """What an order asks for: all of it, or nothing."""

    lines: Annotated[list[LineCreate], Field(min_length=1, max_length=100), AfterValidator(_are_different)]


class LinePublic(BaseModel):
    """What is set aside of one product, and what one of them costs in this order."""

    model_config = ConfigDict(from_attributes=True)

    product_id: UUID
    name: str
    quantity: int
    unit_cents: int


class ReservationPublic(BaseModel):
    """What is set aside for an order."""

    model_config = ConfigDict(from_attributes=True)

    order_id: UUID
    state: State
    lines: list[LinePublic]
    total_cents: int
    currency: str
