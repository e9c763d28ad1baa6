# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading and writing carts."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import delete, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from orders.carts.models import CartItem
from orders.carts.schemas import MAX_LINES


async def items_of(*, session: AsyncSession, user_id: UUID) -> Sequence[CartItem]:
    """Return the items of a user's cart, oldest first."""
    statement = select(CartItem).where(CartItem.user_id == user_id)
    return (await session.scalars(statement.order_by(CartItem.added_at, CartItem.product_id))).all()


async def put(*, session: AsyncSession, user_id: UUID, product_id: UUID, quantity: int) -> bool:
    """Set the quantity of one product; False when the cart has no place for another product."""
    # One writer for each cart, or two could both take its last place.
    await session.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(str(user_id), 0))))
    others = select(func.count()).where(CartItem.user_id == user_id, CartItem.product_id != product_id)
    if (await session.scalar(others) or 0) >= MAX_LINES:
        return False
    statement = insert(CartItem).values(user_id=user_id, product_id=product_id, quantity=quantity)
    await session.execute(
        statement.on_conflict_do_update(
            index_elements=[CartItem.user_id, CartItem.product_id], set_={"quantity": statement.excluded.quantity}
        )
    )
    return True


async def remove(*, session: AsyncSession, user_id: UUID, product_id: UUID) -> None:
    """Take one product out; nothing happens when it is not there."""
    await session.execute(delete(CartItem).where(CartItem.user_id == user_id, CartItem.product_id == product_id))


async def take(*, session: AsyncSession, user_id: UUID) -> dict[UUID, int]:
    """Empty the cart and return what was in it, quantity by product; of two at once, one gets it all."""
    statement = delete(CartItem).where(CartItem.user_id == user_id)
    rows = await session.execute(statement.returning(CartItem.product_id, CartItem.quantity))
    return {product_id: quantity for product_id, quantity in rows}
