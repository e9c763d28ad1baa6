# SPDX-License-Identifier: GPL-3.0-or-later
"""Browsing, and the administrators' changes."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Response

from catalog.deps import AdminDep, PartsDep
from catalog.etag import MatchDep, etag
from catalog.products import search, service
from catalog.products.models import Product
from catalog.products.schemas import ProductCreate, ProductPublic, ProductUpdate
from kit import Problem, problems
from kit.pages import CursorDep, LimitDep, Page, decode_cursor, encode_cursor
from kit.schemas import Text

router = APIRouter(tags=["products"])


@router.get("/products", response_model=Page[ProductPublic], responses=problems(422, 503))
async def find_products(
    parts: PartsDep,
    limit: LimitDep,
    cursor: CursorDep,
    q: Annotated[Text, Query(max_length=100, description="Words; the last may be the beginning of one.")] = "",
) -> Response:
    """Show what is for sale: all of it by name, or what `q` finds with the best first."""
    words = search.clean(q)
    after: UUID | None = decode_cursor(cursor, UUID)[0] if cursor else None

    async def make() -> bytes:
        async with parts.database.session() as session:
            found, more = await service.find(session=session, words=words, limit=limit, after=after)
        items = [ProductPublic.model_validate(product) for product in found]
        page = Page[ProductPublic](items=items, next=encode_cursor(found[-1].id) if more else None)
        return page.model_dump_json().encode()

    return Response(await parts.cache.get(f"page:{limit}:{after}:{words}", make), media_type="application/json")


@router.get("/products/{product_id}", response_model=ProductPublic, responses=problems(404, 422, 503))
async def show_product(product_id: UUID, parts: PartsDep) -> Response:
    """Show one product, also one that is no longer for sale; the ETag is for the next PUT."""

    async def make() -> bytes | None:
        async with parts.database.session() as session:
            product = await service.by_id(session=session, product_id=product_id)
        return ProductPublic.model_validate(product).model_dump_json().encode() if product else None

    body = await parts.cache.get(f"product:{product_id}", make)
    if body is None:
        raise Problem(404, "There is no such product.")
    version = ProductPublic.model_validate_json(body).version
    return Response(body, media_type="application/json", headers={"ETag": etag(version)})


@router.post("/products", status_code=201, responses=problems(400, 401, 403, 409, 413, 422, 503))
async def create_product(_admin: AdminDep, new: ProductCreate, parts: PartsDep, response: Response) -> ProductPublic:
    """Add a product."""
    async with parts.database.session.begin() as session:
        product = await service.create(session=session, new=new)
    if product is None:
        raise Problem(409, "This SKU is already in use.")
    return await _written(product, parts, response)


@router.put("/products/{product_id}", responses=problems(400, 401, 403, 404, 412, 413, 422, 428, 503))
async def replace_product(
    _admin: AdminDep, product_id: UUID, new: ProductUpdate, match: MatchDep, parts: PartsDep, response: Response
) -> ProductPublic:
    """Change a product that is still as it was read."""
    async with parts.database.session.begin() as session:
        product = await service.replace(session=session, product_id=product_id, match=match, new=new)
    return await _written(product, parts, response)


async def _written(product: Product, parts: PartsDep, response: Response) -> ProductPublic:
    # Committed by now, and not yet answered: whoever hears of the change sees it.
    await parts.cache.forget()
    response.headers["ETag"] = etag(product.version)
    return ProductPublic.model_validate(product)
