# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading and counting stock."""

from __future__ import annotations

from collections.abc import Iterable
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from catalog.etag import Match
from catalog.stock.models import Stock
from kit import Problem


async def find(*, session: AsyncSession, product_id: UUID) -> Stock:
    """Return a product's stock; 404 for no such product."""
    return _found(await session.get(Stock, product_id))


async def count(*, session: AsyncSession, product_id: UUID, match: Match, on_hand: int) -> Stock:
    """Set what is on hand; 412 when it changed since it was read, 409 when more than that is set aside."""
    stock = _found(await session.get(Stock, product_id, with_for_update=True))
    match.check(stock.version)
    if on_hand < stock.reserved:
        raise Problem(409, f"{stock.reserved} are set aside for orders: there can't be fewer.")
    if on_hand != stock.on_hand:
        stock.on_hand = on_hand
        stock.version += 1
    return stock


async def lock(*, session: AsyncSession, product_ids: Iterable[UUID]) -> dict[UUID, Stock]:
    """Lock the stock of several products, always in the same order: two orders can't wait for each other."""
    statement = (
        select(Stock).where(Stock.product_id.in_(list(product_ids))).order_by(Stock.product_id).with_for_update()
    )
    return {stock.product_id: stock for stock in await session.scalars(statement)}


def _found(stock: Stock | None) -> Stock:
    if stock is None:
        raise Problem(404, "There is no such product.")
    return stock
