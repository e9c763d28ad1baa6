# SPDX-License-Identifier: GPL-3.0-or-later
"""What the answers of other services mean for an order. Pure: status and body in, outcome out; all of it hostile."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeVar
from uuid import UUID

from pydantic import BaseModel, Field, ValidationError

from kit.schemas import Text
from orders.orders.transitions import Trigger

_DETAIL_LENGTH = 200

M = TypeVar("M", bound=BaseModel)


class ReservedLine(BaseModel):
    """One line that the catalog holds."""

    product_id: UUID
    name: Annotated[Text, Field(min_length=1, max_length=500)]
    quantity: int = Field(gt=0)
    unit_cents: int = Field(ge=0, lt=2**40)


class Reservation(BaseModel):
    """What the catalog holds for an order."""

    order_id: UUID
    lines: list[ReservedLine] = Field(min_length=1)
    total_cents: int = Field(ge=0, lt=2**50)
    currency: str = Field(pattern=r"^[A-Z]{3}$")


class Payment(BaseModel):
    """How a payment stands, as /initiate, /status and the events say it."""

    order_id: UUID
    payment_id: UUID
    status: Literal["pending", "captured", "failed"]
    amount_cents: int
    currency: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Due:
    """What an order costs; an amount of None stands for any."""

    order_id: UUID
    total_cents: int | None
    currency: str | None


class Unexpected(Exception):
    """An answer that contradicts what we know or what was agreed on; the order waits, for somebody has to look."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a step found out. Without a trigger the order stays where it is and is looked at later."""

    trigger: Trigger | None
    why: str
    """For the audit trail; never empty."""
    reason: str | None = None
    """Shown to the user if the order is cancelled for it."""
    reservation: Reservation | None = None
    payment_id: UUID | None = None


def read_reservation(status: int, body: Any, *, order_id: UUID, asked: Mapping[UUID, int]) -> Outcome:
    """Read the catalog's answer to PUT /reservations/{order_id}."""
    match status:
        case 200:
            held = _parse(Reservation, body)
            if held.order_id != order_id or {line.product_id: line.quantity for line in held.lines} != dict(asked):
                raise Unexpected("the catalog reserved something else")
            if sum(line.quantity * line.unit_cents for line in held.lines) != held.total_cents:
                raise Unexpected("the catalog's total is not the sum of its lines")
            return Outcome(Trigger.RESERVED, "the catalog holds the stock", reservation=held)
        case 409:
            return Outcome(Trigger.RESERVE_REFUSED, f"catalog: {_detail(body)}", reason="out_of_stock")
        case 422:
            return Outcome(Trigger.RESERVE_REFUSED, f"catalog: {_detail(body)}", reason="not_orderable")
    raise Unexpected(f"the catalog answered {status}")


def read_commit(status: int, body: Any) -> Outcome:
    """Read the catalog's answer to POST /reservations/{order_id}/commit."""
    match status:
        case 200:
            return Outcome(Trigger.COMMITTED, "the catalog sold the stock")
        case 409:
            return Outcome(Trigger.COMMIT_REFUSED, f"catalog: {_detail(body)}", reason="not_committed")
    raise Unexpected(f"the catalog answered {status}")  # a 404 too: it may be a wrong deployment, and money is at stake


def read_release(status: int) -> Outcome:
    """Read the catalog's answer to DELETE /reservations/{order_id}."""
    if status == 204:
        return Outcome(Trigger.RELEASED, "the catalog let the stock go")
    raise Unexpected(f"the catalog answered {status}")


def read_initiation(status: int, body: Any, due: Due) -> Outcome:
    """Read the answer to POST /initiate."""
    if status in (200, 201):
        return read_payment(_parse(Payment, body), due)
    if status in (400, 402, 422):
        # Refused before anything was charged. Of any other status we can't be that sure, so we ask again.
        return Outcome(Trigger.PAYMENT_FAILED, f"payments: {_detail(body)}", reason="payment_failed")
    raise Unexpected(f"payments answered {status}")


def read_status(status: int, body: Any, due: Due) -> Outcome:
    """Read the answer to GET /status?order_id=."""
    if status != 200:
        raise Unexpected(f"payments answered {status}")
    return read_payment(_parse(Payment, body), due)


def read_payment(payment: Payment, due: Due) -> Outcome:
    """Read how a payment stands."""
    if payment.order_id != due.order_id:
        raise Unexpected("the payment is for another order")
    if payment.status == "pending":
        return Outcome(None, "the payment is pending", payment_id=payment.payment_id)
    if payment.status == "failed":
        why = f"payments: {_clean(payment.reason) or 'failed'}"
        return Outcome(Trigger.PAYMENT_FAILED, why, reason="payment_failed", payment_id=payment.payment_id)
    if due.total_cents is not None and (payment.amount_cents, payment.currency) != (due.total_cents, due.currency):
        raise Unexpected("the payment is of another amount")
    # The reason matters only where nobody asked for the money: see transitions.py.
    return Outcome(Trigger.CAPTURED, "the money is ours", reason="captured_unasked", payment_id=payment.payment_id)


def _parse(kind: type[M], body: Any) -> M:
    try:
        return kind.model_validate(body)
    except ValidationError:
        raise Unexpected(f"not a {kind.__name__.lower()}") from None


def _detail(body: Any) -> str:
    detail = body.get("detail") if isinstance(body, dict) else None
    return _clean(detail) if isinstance(detail, str) else "no reason given"


def _clean(text: str) -> str:
    """Make others' words fit to be stored: short, without NUL and half surrogate pairs."""
    return text[:_DETAIL_LENGTH].replace("\0", "").encode(errors="replace").decode()
