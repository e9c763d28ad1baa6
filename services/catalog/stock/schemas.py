# SPDX-License-Identifier: GPL-3.0-or-later
"""Stock as it comes in and goes out."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from kit.schemas import Body


class StockUpdate(Body):
    """What was counted on the shelf, with what is set aside for orders."""

    on_hand: Annotated[int, Field(ge=0, le=1_000_000)]


class StockPublic(BaseModel):
    """How many there are right now; never from the cache."""

    model_config = ConfigDict(from_attributes=True)

    product_id: UUID
    on_hand: int
    reserved: int
    available: int
    version: int
