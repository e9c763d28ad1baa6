# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading, finding and changing products."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, select, tuple_
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from catalog.etag import Match
from catalog.products import search
from catalog.products.models import Product
from catalog.products.schemas import ProductCreate, ProductUpdate
from catalog.stock.models import Stock
from kit import Problem


async def create(*, session: AsyncSession, new: ProductCreate, product_id: UUID | None = None) -> Product | None:
    """Store a new product and its stock; None when the SKU is taken, also by a request that runs at the same time."""
    values = new.model_dump(exclude={"on_hand"}) | ({"id": product_id} if product_id else {})
    statement = insert(Product).values(**values).on_conflict_do_nothing().returning(Product)
    product = (await session.scalars(statement)).one_or_none()
    if product is not None:
        session.add(Stock(product_id=product.id, on_hand=new.on_hand))
    return product


async def by_id(*, session: AsyncSession, product_id: UUID) -> Product | None:
    """Find a product, active or not."""
    return await session.get(Product, product_id)


async def replace(*, session: AsyncSession, product_id: UUID, match: Match, new: ProductUpdate) -> Product:
    """Change a product; 404 for no such product, 412 when it changed since it was read."""
    product = await session.get(Product, product_id, with_for_update=True)
    if product is None:
        raise Problem(404, "There is no such product.")
    match.check(product.version)
    changes = {name: value for name, value in new.model_dump().items() if getattr(product, name) != value}
    for name, value in changes.items():
        setattr(product, name, value)
    if changes:
        product.version += 1
        await session.flush()
        await session.refresh(product)
    return product


async def find(*, session: AsyncSession, words: str, limit: int, after: UUID | None) -> tuple[Sequence[Product], bool]:
    """Return a page of active products, and whether more follow.

    With words the best matches come first, without them all come by name. A page begins after a product and not at a
    number, so products that are added meanwhile move nothing.
    """
    statement = select(Product).where(Product.active)
    position: ColumnElement[Any] = Product.name.expression
    if words:
        question = search.query(words)
        position = search.rank(question)
        statement = statement.where(Product.search.bool_op("@@")(question))
    if after is not None:
        last = (await session.execute(select(position).where(Product.id == after))).one_or_none()
        if last is None:
            raise Problem(422, "The cursor is not one of ours.")
        statement = statement.where(tuple_(position, Product.id) > tuple_(last[0], after))
    found = (await session.scalars(statement.order_by(position, Product.id).limit(limit + 1))).all()
    return found[:limit], len(found) > limit
