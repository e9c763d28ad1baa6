# SPDX-License-Identifier: GPL-3.0-or-later
"""The kit with all it does: identity and trace, body limit, access log, RED metrics, in-flight, drain, problems."""

from __future__ import annotations

from fastapi import APIRouter
from pydantic import BaseModel

from kit import Settings, create_app, problems
from kit.logs import configure_logging


class Product(BaseModel):
    """A product."""

    number: int
    name: str
    price_cents: int
    currency: str


router = APIRouter()


@router.get("/products/{number}", responses=problems(422))
async def show_product(number: int) -> Product:
    """Answer with a product."""
    return Product(number=number, name=f"Product {number}", price_cents=1290, currency="EUR")


_settings = Settings(service="bench", slot="blue")
configure_logging(_settings)
app = create_app(_settings, routers=[router])
