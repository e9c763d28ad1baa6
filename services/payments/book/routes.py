# SPDX-License-Identifier: GPL-3.0-or-later
"""Ask for a payment, and look how it stands."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from fastapi import APIRouter, Response

from kit import Problem, problems
from kit.database import SessionDep
from kit.schemas import IdempotencyKeyDep
from kit.tokens import Caller, CallerDep, ServiceDep
from payments.book import service
from payments.book.models import Payment
from payments.book.schemas import PaymentCreate, PaymentPublic
from payments.deps import PartsDep

router = APIRouter(tags=["payments"])


_ASKED_BEFORE: dict[int | str, dict[str, Any]] = {200: {"model": PaymentPublic, "description": "Asked before."}}


@router.post("/initiate", status_code=201, responses=_ASKED_BEFORE | problems(401, 403, 409, 413, 422, 503))
async def initiate(
    wanted: PaymentCreate, key: IdempotencyKeyDep, caller: ServiceDep, parts: PartsDep, response: Response
) -> PaymentPublic:
    """Ask for the money of an order. `pending` means that the answer comes as an event, and from /status."""
    payment, new = await parts.cashier.initiate(caller=caller.service, key=key, wanted=wanted)
    if not new:
        response.status_code = 200
    return PaymentPublic.of(payment)


@router.get("/status/{payment_id}", responses=problems(401, 404, 422, 503))
async def show(payment_id: UUID, caller: CallerDep, session: SessionDep) -> PaymentPublic:
    """Show one payment, to its owner, an admin or a service."""
    return _shown(await service.by_id(session=session, payment_id=payment_id), caller)


@router.get("/status", responses=problems(401, 404, 422, 503))
async def show_of_order(order_id: UUID, caller: CallerDep, session: SessionDep) -> PaymentPublic:
    """Show the payment that counts for an order: the live one, else the one that failed last."""
    return _shown(await service.latest_of_order(session=session, order_id=order_id), caller)


def _shown(payment: Payment | None, caller: Caller) -> PaymentPublic:
    # Somebody else's payment and none at all look the same.
    if payment is None or not (caller.service or "admin" in caller.roles or caller.id == payment.user_id):
        raise Problem(404, "No such payment.")
    return PaymentPublic.of(payment)
