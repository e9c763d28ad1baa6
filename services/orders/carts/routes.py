# SPDX-License-Identifier: GPL-3.0-or-later
"""The caller's cart."""

from __future__ import annotations

from uuid import UUID

from fastapi import APIRouter

from kit import Problem, problems
from kit.database import SessionDep
from kit.tokens import UserDep
from orders.carts import service
from orders.carts.schemas import MAX_LINES, CartPublic, ItemPublic, ItemPut

router = APIRouter(tags=["cart"])


@router.get("/cart", responses=problems(401, 403, 503))
async def show_cart(user: UserDep, session: SessionDep) -> CartPublic:
    """Show the cart."""
    items = await service.items_of(session=session, user_id=user.user_id)
    return CartPublic(items=[ItemPublic.model_validate(item) for item in items])


@router.put("/cart/items/{product_id}", responses=problems(400, 401, 403, 409, 413, 422, 503))
async def put_item(product_id: UUID, item: ItemPut, user: UserDep, session: SessionDep) -> ItemPublic:
    """Set how many of a product are in the cart. Whether there are as many is found out at checkout."""
    if not await service.put(session=session, user_id=user.user_id, product_id=product_id, quantity=item.quantity):
        raise Problem(409, f"A cart holds at most {MAX_LINES} products.")
    return ItemPublic(product_id=product_id, quantity=item.quantity)


@router.delete("/cart/items/{product_id}", status_code=204, responses=problems(401, 403, 422, 503))
async def delete_item(product_id: UUID, user: UserDep, session: SessionDep) -> None:
    """Take a product out of the cart; nothing happens when it is not there."""
    await service.remove(session=session, user_id=user.user_id, product_id=product_id)
