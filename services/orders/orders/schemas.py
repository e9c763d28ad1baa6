# SPDX-License-Identifier: GPL-3.0-or-later
"""Orders as they come in and go out."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from kit.schemas import Body
from orders.orders.transitions import State


class CheckoutCreate(Body):
    """What turns the cart into an order; `payment_method` is the provider's token for it, never a card number."""

    payment_method: Annotated[str, Field(pattern=r"^tok_[a-z0-9_]{1,60}$", examples=["tok_ok"])]


class LinePublic(BaseModel):
    """One product of an order; name and price are known once stock is reserved."""

    model_config = ConfigDict(from_attributes=True)

    product_id: UUID
    quantity: int
    name: str | None
    unit_cents: int | None


class OrderPublic(BaseModel):
    """An order as shown to the user who placed it; `reason` says why it is not fulfilled."""

    model_config = ConfigDict(from_attributes=True)

    id: UUID
    state: State
    reason: str | None
    lines: list[LinePublic]
    total_cents: int | None
    currency: str | None
    payment_id: UUID | None
    created_at: datetime
    updated_at: datetime
