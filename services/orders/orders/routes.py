# SPDX-License-Identifier: GPL-3.0-or-later
"""Checkout, and what became of it."""

from __future__ import annotations

import hashlib
from datetime import datetime
from typing import Any
from uuid import UUID

from fastapi import APIRouter, Response

from kit import Problem, problems
from kit.database import SessionDep
from kit.pages import CursorDep, LimitDep, Page, decode_cursor, encode_cursor
from kit.schemas import IdempotencyKeyDep
from kit.tokens import UserDep
from kit.trace import left_trace
from orders.deps import PartsDep
from orders.orders import service
from orders.orders.schemas import CheckoutCreate, OrderPublic
from orders.orders.transitions import State

router = APIRouter(tags=["orders"])

REPLAY = "Idempotent-Replay"
_PLACED: dict[int | str, dict[str, Any]] = {
    201: {
        "headers": {
            "Location": {"schema": {"type": "string"}, "description": "Where to look at the order."},
            REPLAY: {"schema": {"type": "string", "const": "true"}, "description": "The order was there already."},
        }
    }
}


@router.post("/checkout", status_code=201, responses=_PLACED | problems(400, 401, 403, 409, 413, 422, 503))
async def check_out(
    checkout: CheckoutCreate, key: IdempotencyKeyDep, user: UserDep, parts: PartsDep, response: Response
) -> OrderPublic:
    """Turn the cart into an order.

    The same key with the same body returns the same order, marked `Idempotent-Replay: true`; with another body it is
    answered 422. The answer shows the order where it stands after a moment; GET /orders/{id} shows how it goes on.
    """
    try:
        async with parts.database.session.begin() as session:
            order, new = await service.place(
                session=session,
                user_id=user.user_id,
                email=user.email,
                payment_method=checkout.payment_method,
                key=key,
                fingerprint=hashlib.sha256(checkout.model_dump_json().encode()).hexdigest(),
                traceparent=left_trace(),
                lease_seconds=(lease_seconds := parts.driver.inline_lease_seconds),
            )
    except service.EmptyCart:
        raise Problem(409, "The cart is empty.") from None
    except service.KeyReused:
        raise Problem(422, "This Idempotency-Key came with another request before.") from None
    if new:
        parts.metrics.placed.inc()
        if lease_seconds:
            await parts.driver.drive_inline(order)
            async with parts.database.session() as session:
                order = await service.of_user(session=session, order_id=order.id, user_id=user.user_id) or order
        else:
            parts.driver.nudge()
    else:
        response.headers[REPLAY] = "true"
    response.headers["Location"] = f"{parts.settings.root_path}/orders/{order.id}"
    return OrderPublic.model_validate(order)


@router.get("/orders", responses=problems(401, 403, 422, 503))
async def list_orders(user: UserDep, session: SessionDep, limit: LimitDep, cursor: CursorDep) -> Page[OrderPublic]:
    """List the caller's orders, newest first."""
    after = decode_cursor(cursor, datetime, UUID) if cursor else None
    found = await service.page_of_user(
        session=session, user_id=user.user_id, limit=limit + 1, after=(after[0], after[1]) if after else None
    )
    shown = found[:limit]
    more = encode_cursor(shown[-1].created_at, shown[-1].id) if len(found) > limit else None
    return Page(items=[OrderPublic.model_validate(order) for order in shown], next=more)


@router.get("/orders/{order_id}", responses=problems(401, 403, 404, 422, 503))
async def show_order(order_id: UUID, user: UserDep, session: SessionDep) -> OrderPublic:
    """Show one of the caller's orders."""
    order = await service.of_user(session=session, order_id=order_id, user_id=user.user_id)
    if order is None:
        raise _no_such_order()
    return OrderPublic.model_validate(order)


@router.post("/orders/{order_id}/cancel", responses=problems(401, 403, 404, 409, 422, 503))
async def cancel_order(order_id: UUID, user: UserDep, parts: PartsDep) -> OrderPublic:
    """Cancel one of the caller's orders, as long as its payment has not begun. Doing it again changes nothing."""
    async with parts.database.session.begin() as session:
        change = await service.cancel(session=session, order_id=order_id, user_id=user.user_id)
    if change is None:
        raise _no_such_order()
    if not change.moved and change.order.state not in (State.CANCELLING, State.CANCELLED):
        raise Problem(409, f"The order is {change.order.state}: it is too late to cancel it.")
    parts.metrics.count(change)
    parts.driver.nudge()
    return OrderPublic.model_validate(change.order)


def _no_such_order() -> Problem:
    # Somebody else's order and none at all look the same.
    return Problem(404, "No such order.")
