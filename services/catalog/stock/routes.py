# SPDX-License-Identifier: GPL-3.0-or-later
"""How many are there, and setting it right."""

from __future__ import annotations

from uuid import UUID

from fastapi import APIRouter, Response

from catalog.deps import AdminDep
from catalog.etag import MatchDep, etag
from catalog.stock import service
from catalog.stock.schemas import StockPublic, StockUpdate
from kit import problems
from kit.database import SessionDep

router = APIRouter(tags=["stock"])


@router.get("/products/{product_id}/stock", responses=problems(404, 422, 503))
async def show_stock(product_id: UUID, session: SessionDep, response: Response) -> StockPublic:
    """Show how many there are; the ETag is for the next PUT."""
    return _answer(StockPublic.model_validate(await service.find(session=session, product_id=product_id)), response)


@router.put("/products/{product_id}/stock", responses=problems(400, 401, 403, 404, 409, 412, 413, 422, 428, 503))
async def count_stock(
    _admin: AdminDep,
    product_id: UUID,
    new: StockUpdate,
    match: MatchDep,
    session: SessionDep,
    response: Response,
) -> StockPublic:
    """Set how many there are. `If-Match: *` sets it whatever happened since: for products that sell every second."""
    stock = await service.count(session=session, product_id=product_id, match=match, on_hand=new.on_hand)
    return _answer(StockPublic.model_validate(stock), response)


def _answer(stock: StockPublic, response: Response) -> StockPublic:
    response.headers["ETag"] = etag(stock.version)
    return stock
