# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading and writing orders. Every change is one transaction that locks the order, decides, audits and publishes.

The database's clock decides what is due and whose lease has ended, so that replicas need not agree on the time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import func, or_, select, tuple_
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import selectinload

from kit.events import publish
from orders.carts import service as carts
from orders.orders.models import Order, OrderEvent, OrderLine
from orders.orders.outcomes import Due, Outcome, Payment, Reservation, read_payment
from orders.orders.transitions import FINAL, PLACED, State, Trigger, decide

_UNDONE = frozenset({State.CANCELLING, State.REVERSING, State.REFUND_DUE})


class EmptyCart(Exception):
    """There is nothing to order."""


class KeyReused(Exception):
    """The idempotency key came with another request before."""


@dataclass(frozen=True, slots=True)
class Change:
    """What a trigger did to an order; `moved` is False when it changed nothing."""

    order: Order
    moved: bool


async def place(
    *,
    session: AsyncSession,
    user_id: UUID,
    email: str,
    payment_method: str,
    key: str,
    fingerprint: str,
    traceparent: str,
    lease_seconds: float,
) -> tuple[Order, bool]:
    """Turn the user's cart into an order; returns it and whether it is new.

    A new order is leased to whoever placed it. The same key returns the order it made before, whatever the cart holds
    now; of two at once the second waits for the first. Raises EmptyCart and KeyReused; nothing is kept then.
    """
    statement = (
        insert(Order)
        .values(
            id=uuid4(),
            user_id=user_id,
            email=email,
            idempotency_key=key,
            fingerprint=fingerprint,
            payment_method=payment_method,
            state=State.PLACED,
            version=1,
            attempts=0,
            due_at=func.now(),
            lease=uuid4(),
            leased_until=func.now() + timedelta(seconds=lease_seconds),
            traceparent=traceparent,
        )
        .on_conflict_do_nothing(index_elements=[Order.user_id, Order.idempotency_key])
        .returning(Order.id)
    )
    order_id = await session.scalar(statement)
    if order_id is None:
        known = select(Order).where(Order.user_id == user_id, Order.idempotency_key == key)
        order = (await session.scalars(known.options(selectinload(Order.lines)))).one()
        if order.fingerprint != fingerprint:
            raise KeyReused
        return order, False
    items = await carts.take(session=session, user_id=user_id)
    if not items:
        raise EmptyCart
    session.add_all(
        OrderLine(order_id=order_id, product_id=product_id, quantity=quantity) for product_id, quantity in items.items()
    )
    session.add(OrderEvent(order_id=order_id, to_state=State.PLACED, why="checked out"))
    await session.flush()
    order = await session.get_one(Order, order_id, options=[selectinload(Order.lines)])
    publish(session, type=PLACED, subject=str(order.id), data=_described(order))
    return order, True


async def hear(*, session: AsyncSession, payment: Payment) -> Change | None:
    """Let what payments tells have its effect, whoever drives the order meanwhile; None: no such order.

    Raises `outcomes.Unexpected` for a payment that does not fit the order.
    """
    found = await _lock(session=session, order_id=payment.order_id)
    if found is None:
        return None
    order, now = found
    # Money for an order that is given up is owed back, whatever the amount.
    total_cents = None if order.state in _UNDONE | {State.CANCELLED} else order.total_cents
    outcome = read_payment(payment, Due(order.id, total_cents, order.currency))
    return _apply(session=session, order=order, outcome=outcome, now=now)


async def cancel(*, session: AsyncSession, order_id: UUID, user_id: UUID) -> Change | None:
    """Cancel a user's own order as far as it still can be; None: no such order of theirs."""
    found = await _lock(session=session, order_id=order_id)
    if found is None or found[0].user_id != user_id:
        return None
    order, now = found
    outcome = Outcome(Trigger.CANCEL, "the user cancelled", reason="cancelled_by_user")
    return _apply(session=session, order=order, outcome=outcome, now=now)


async def claim(*, session: AsyncSession, limit: int, lease_seconds: float) -> Sequence[Order]:
    """Lease orders that are due and that nobody else is driving; their lease ends by itself if we do."""
    due = (
        select(Order, func.now())
        .where(Order.due_at <= func.now(), or_(Order.leased_until.is_(None), Order.leased_until <= func.now()))
        .order_by(Order.due_at)
        .limit(limit)
        .options(selectinload(Order.lines))
        .with_for_update(skip_locked=True, of=Order)
    )
    claimed = []
    for order, now in await session.execute(due):
        order.lease, order.leased_until = uuid4(), now + timedelta(seconds=lease_seconds)
        claimed.append(order)
    return claimed


async def record(
    *, session: AsyncSession, seen: Order, outcome: Outcome, lease_seconds: float, retry_seconds: float
) -> tuple[Change, bool] | None:
    """Write down what a step found out about the order it had `seen`; None when the lease went to somebody else.

    Returns the change and whether we keep the lease and go on at once. A finding about an older version than the
    stored one is dropped: steps can be repeated, so the next look at the newer version finds out the same or better.
    """
    found = await _lock(session=session, order_id=seen.id)
    if found is None or found[0].lease != seen.lease:
        return None
    order, now = found
    stale = order.version != seen.version
    change = Change(order, moved=False) if stale else _apply(session=session, order=order, outcome=outcome, now=now)
    go_on = (stale or change.moved) and order.state not in FINAL
    if go_on:
        order.leased_until = now + timedelta(seconds=lease_seconds)
    else:
        order.lease = order.leased_until = None
    if order.state not in FINAL and not go_on:
        order.attempts += 1
        order.due_at = now + timedelta(seconds=retry_seconds)
    return change, go_on


async def of_user(*, session: AsyncSession, order_id: UUID, user_id: UUID) -> Order | None:
    """Find a user's own order."""
    statement = select(Order).where(Order.id == order_id, Order.user_id == user_id)
    return (await session.scalars(statement.options(selectinload(Order.lines)))).one_or_none()


async def page_of_user(
    *, session: AsyncSession, user_id: UUID, limit: int, after: tuple[datetime, UUID] | None
) -> Sequence[Order]:
    """Return a user's orders, newest first, that come after the one placed at that time with that id."""
    statement = select(Order).where(Order.user_id == user_id)
    if after:
        statement = statement.where(tuple_(Order.created_at, Order.id) < after)
    statement = statement.order_by(Order.created_at.desc(), Order.id.desc()).limit(limit)
    return (await session.scalars(statement.options(selectinload(Order.lines)))).all()


async def unfinished(*, session: AsyncSession) -> tuple[int, float]:
    """Return how many orders have no end yet, and the age of the oldest in seconds (0 when there is none)."""
    age = func.extract("epoch", func.now() - func.min(Order.created_at))
    row = (await session.execute(select(func.count(), func.coalesce(age, 0)).where(Order.due_at.is_not(None)))).one()
    return row[0], float(row[1])


async def _lock(*, session: AsyncSession, order_id: UUID) -> tuple[Order, datetime] | None:
    statement = select(Order, func.now()).where(Order.id == order_id).options(selectinload(Order.lines))
    row = (await session.execute(statement.with_for_update(of=Order))).one_or_none()
    return (row[0], row[1]) if row else None


def _apply(*, session: AsyncSession, order: Order, outcome: Outcome, now: datetime) -> Change:
    if outcome.payment_id and order.payment_id is None:
        order.payment_id = outcome.payment_id
    transition = decide(State(order.state), outcome.trigger) if outcome.trigger else None
    if transition is None:
        return Change(order, moved=False)
    if outcome.reservation:
        _price(order, outcome.reservation)
    if transition.to in _UNDONE and order.reason is None:
        order.reason = outcome.reason
    session.add(OrderEvent(order_id=order.id, from_state=order.state, to_state=transition.to, why=outcome.why))
    order.state = transition.to
    order.version += 1
    order.attempts = 0
    order.updated_at = now
    order.due_at = None if transition.to in FINAL else now
    for kind in transition.publish:
        publish(session, type=kind, subject=str(order.id), data=_described(order))
    return Change(order, moved=True)


def _price(order: Order, reservation: Reservation) -> None:
    held = {line.product_id: line for line in reservation.lines}
    for line in order.lines:
        line.name, line.unit_cents = held[line.product_id].name, held[line.product_id].unit_cents
    order.total_cents, order.currency = reservation.total_cents, reservation.currency


def _described(order: Order) -> Mapping[str, Any]:
    """Tell others about an order: everything they need, so that nobody has to ask back."""
    lines = [
        {
            "product_id": str(line.product_id),
            "name": line.name,
            "quantity": line.quantity,
            "unit_cents": line.unit_cents,
        }
        for line in order.lines
    ]
    return {
        "order_id": str(order.id),
        "user_id": str(order.user_id),
        "email": order.email,
        "lines": lines,
        "total_cents": order.total_cents,
        "currency": order.currency,
        "reason": order.reason,
    }
