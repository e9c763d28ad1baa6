# SPDX-License-Identifier: GPL-3.0-or-later
"""Reservations, for other services only."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID

import structlog
from fastapi import APIRouter
from sqlalchemy.ext.asyncio import AsyncSession

from catalog.deps import Parts, PartsDep
from catalog.reservations import service
from catalog.reservations.schemas import ReservationCreate, ReservationPublic
from kit import problems
from kit.tokens import ServiceDep

log = structlog.get_logger("catalog.reservations")

router = APIRouter(tags=["reservations"])


@router.put("/reservations/{order_id}", responses=problems(400, 401, 403, 409, 413, 422, 503))
async def reserve(caller: ServiceDep, order_id: UUID, new: ReservationCreate, parts: PartsDep) -> ReservationPublic:
    """Set aside everything an order asks for, or nothing. The same ask again has the same answer and no effect."""
    async with _transaction(parts, order_id, caller.service) as session:
        reservation, outcome = await service.reserve(session=session, order_id=order_id, asked=new.lines)
    parts.metrics.reservations.labels(outcome).inc()
    return ReservationPublic.model_validate(reservation)


@router.post("/reservations/{order_id}/commit", responses=problems(401, 403, 409, 422, 503))
async def commit(caller: ServiceDep, order_id: UUID, parts: PartsDep) -> ReservationPublic:
    """Sell what was set aside."""
    async with _transaction(parts, order_id, caller.service) as session:
        reservation, outcome = await service.commit(session=session, order_id=order_id)
    parts.metrics.reservations.labels(outcome).inc()
    return ReservationPublic.model_validate(reservation)


@router.delete("/reservations/{order_id}", status_code=204, responses=problems(401, 403, 409, 422, 503))
async def release(caller: ServiceDep, order_id: UUID, parts: PartsDep) -> None:
    """Give back what was set aside, if anything; a later ask for this order is refused."""
    async with _transaction(parts, order_id, caller.service) as session:
        outcome = await service.release(session=session, order_id=order_id)
    parts.metrics.reservations.labels(outcome).inc()


@asynccontextmanager
async def _transaction(parts: Parts, order_id: UUID, caller: str) -> AsyncIterator[AsyncSession]:
    """Open a transaction; it is undone, counted and logged when the answer is no."""
    try:
        async with parts.database.session.begin() as session:
            yield session
    except service.Refused as no:
        parts.metrics.reservations.labels(no.outcome).inc()
        parts.metrics.refused.inc(no.short)
        log.info("refused", order_id=str(order_id), caller=caller, outcome=no.outcome, detail=no.detail)
        raise
