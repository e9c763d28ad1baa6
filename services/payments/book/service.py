# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading and writing payments. The database's clock decides what is due, so that pods need not agree on the time."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

import structlog
from sqlalchemy import func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from kit import Problem
from kit.events import publish
from kit.trace import left_trace, resume, tracing
from payments.book.models import Payment
from payments.book.schemas import PaymentCreate
from payments.book.transitions import UNFINISHED, Verdict, decide
from payments.providers import Charge

log = structlog.get_logger("payments.book")


@dataclass(frozen=True, slots=True)
class Recorded:
    """What became of a report, and the payment after it."""

    verdict: Verdict
    payment: Payment

    @property
    def finished(self) -> bool:
        """Tell whether this very report ended the payment."""
        return self.verdict == "applied" and self.payment.state not in UNFINISHED


async def open_payment(
    *, session: AsyncSession, caller: str, key: str, wanted: PaymentCreate, lease_seconds: float
) -> tuple[Payment, bool]:
    """Write a payment down before anyone is asked for money; returns it and whether it is new.

    The same key returns what it made before. A new key makes another payment only when the order's earlier one failed.
    Raises Problem 409 for a key that came with another request before, and for an order that has another payment.
    """
    fingerprint = hashlib.sha256(wanted.model_dump_json().encode()).hexdigest()
    statement = (
        insert(Payment)
        .values(
            **wanted.model_dump(),
            caller=caller,
            idempotency_key=key,
            fingerprint=fingerprint,
            trace=left_trace(),
            state="created",
            due_at=func.clock_timestamp() + timedelta(seconds=lease_seconds),
        )
        .on_conflict_do_nothing()  # waits for whoever is writing the same key or order at this moment
        .returning(Payment)
    )
    with_key = select(Payment).where(Payment.caller == caller, Payment.idempotency_key == key)
    with_order = select(Payment).where(Payment.order_id == wanted.order_id, Payment.state != "failed")
    while True:
        if payment := (await session.scalars(statement)).one_or_none():
            return payment, True
        if payment := (await session.scalars(with_key)).one_or_none():
            if payment.fingerprint != fingerprint:
                raise Problem(409, "This Idempotency-Key came with another request before.")
            return payment, False
        if payment := (await session.scalars(with_order)).one_or_none():
            if payment.fingerprint != fingerprint:
                raise Problem(409, "This order has another payment already.")
            return payment, False
        # The order's payment failed between our two looks: now there is room for another.


async def claim_due(*, session: AsyncSession, limit: int, lease_seconds: float) -> Sequence[Payment]:
    """Take unfinished payments whose time has come; nobody else looks at them for `lease_seconds`."""
    due = (
        select(Payment.id)
        .where(Payment.state.in_(UNFINISHED), Payment.due_at <= func.clock_timestamp())
        .order_by(Payment.due_at)
        .limit(limit)
        .with_for_update(skip_locked=True)
        .cte("due")
    )
    statement = (
        update(Payment)
        .where(Payment.id.in_(select(due.c.id)))
        .values(due_at=func.clock_timestamp() + timedelta(seconds=lease_seconds))
        .returning(Payment)
    )
    return (await session.scalars(statement)).all()


async def postpone(*, session: AsyncSession, payment_id: UUID, seconds: float) -> None:
    """Count one more question to the provider, and let the next one come no earlier than in `seconds`."""
    await session.execute(
        update(Payment)
        .where(Payment.id == payment_id, Payment.state.in_(UNFINISHED))
        .values(due_at=func.clock_timestamp() + timedelta(seconds=seconds), asks=Payment.asks + 1)
    )


async def record(*, session: AsyncSession, payment_id: UUID, charge: Charge) -> Recorded | None:
    """Let a report of the provider have its effect, with its event in the same transaction; None: no such payment."""
    payment = await session.get(Payment, payment_id, with_for_update=True, populate_existing=True)
    if payment is None:
        return None
    with tracing(resume(payment.trace)):  # a provider that calls knows nothing of the request that it answers
        recorded = _apply(session=session, payment=payment, charge=charge)
    await session.flush()
    return recorded


def _apply(*, session: AsyncSession, payment: Payment, charge: Charge) -> Recorded:
    agrees = (charge.amount_cents, charge.currency) == (payment.amount_cents, payment.currency)
    verdict = decide(payment.state, charge.status, agrees=agrees)
    if verdict == "contradiction":
        log.error(
            "the provider contradicts our book",
            payment_id=str(payment.id),
            ours=payment.state,
            theirs=charge.status,
            agrees=agrees,
        )
    if verdict != "applied":
        return Recorded(verdict, payment)
    payment.state, payment.charge_id, payment.reason = charge.status, charge.id, charge.reason
    if payment.state not in UNFINISHED:
        publish(
            session,
            type=f"payment.{payment.state}",
            subject=payment.id,
            data={
                "payment_id": payment.id,
                "order_id": payment.order_id,
                "user_id": payment.user_id,
                "amount_cents": payment.amount_cents,
                "currency": payment.currency,
                "reason": payment.reason,
            },
        )
    return Recorded(verdict, payment)


async def by_id(*, session: AsyncSession, payment_id: UUID) -> Payment | None:
    """Find a payment."""
    return await session.get(Payment, payment_id)


async def latest_of_order(*, session: AsyncSession, order_id: UUID) -> Payment | None:
    """Find the payment that counts for an order: the live one, else the one that failed last."""
    statement = (
        select(Payment)
        .where(Payment.order_id == order_id)
        .order_by((Payment.state != "failed").desc(), Payment.created_at.desc())
    )
    return (await session.scalars(statement.limit(1))).one_or_none()


async def unfinished(*, session: AsyncSession) -> tuple[int, float]:
    """Return how many payments have no end yet, and the age of the oldest in seconds (0 when there is none)."""
    statement = select(
        func.count(), func.coalesce(func.extract("epoch", func.clock_timestamp() - func.min(Payment.created_at)), 0)
    ).where(Payment.state.in_(UNFINISHED))
    count, age = (await session.execute(statement)).one()
    return count, float(age)
