# SPDX-License-Identifier: GPL-3.0-or-later
"""Products as they come in and go out."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from kit.schemas import Body, Text

Sku = Annotated[
    str, StringConstraints(pattern=r"^[A-Z0-9]+(-[A-Z0-9]+)*$", max_length=40), Field(examples=["MUG-BLUE"])
]
Cents = Annotated[int, Field(ge=0, le=100_000_000, examples=[1290])]
Currency = Annotated[str, StringConstraints(pattern="^[A-Z]{3}$"), Field(examples=["EUR"])]


class ProductUpdate(Body):
    """A product's new state, as a whole."""

    name: Annotated[Text, Field(min_length=1, max_length=200)]
    description: Annotated[Text, Field(max_length=4000)] = ""
    price_cents: Cents
    currency: Currency = "EUR"
    active: bool = True


class ProductCreate(ProductUpdate):
    """A new product, and how many of it there are to begin with."""

    sku: Sku
    on_hand: Annotated[int, Field(ge=0, le=1_000_000)] = 0


class ProductPublic(BaseModel):
    """A product as everybody sees it. How many there are changes with every order: see `/products/{id}/stock`."""

    model_config = ConfigDict(from_attributes=True)

    id: UUID
    sku: str
    name: str
    description: str
    price_cents: int
    currency: str
    active: bool
    version: int
    created_at: datetime
    updated_at: datetime
