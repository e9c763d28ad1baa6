# SPDX-License-Identifier: GPL-3.0-or-later
"""Carts as they come in and go out."""

from __future__ import annotations

from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

MAX_LINES = 50
MAX_QUANTITY = 99


class ItemPut(BaseModel):
    """How many of a product; to have none, delete the item."""

    model_config = ConfigDict(extra="forbid", strict=True, hide_input_in_errors=True)

    quantity: int = Field(ge=1, le=MAX_QUANTITY)


class ItemPublic(BaseModel):
    """One product of a cart. Names and prices are the catalog's; they become fixed when stock is reserved."""

    model_config = ConfigDict(from_attributes=True)

    product_id: UUID
    quantity: int


class CartPublic(BaseModel):
    """A user's cart, oldest item first."""

    items: list[ItemPublic] = Field(max_length=MAX_LINES)
