# SPDX-License-Identifier: GPL-3.0-or-later
"""Payments as they come in and go out."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Self
from uuid import UUID

from pydantic import BaseModel, Field

from kit.schemas import Body
from payments.book.models import Payment
from payments.book.transitions import public_status
from payments.providers import ChargeStatus

# JSON has no UUID type: text is taken for one.
Id = Annotated[UUID, Field(strict=False)]


class PaymentCreate(Body):
    """An order to be paid; `method` is the provider's token for the customer's card."""

    order_id: Id
    user_id: Id
    amount_cents: int = Field(ge=1, le=100_000_000)
    currency: str = Field(pattern=r"^[A-Z]{3}$", examples=["EUR"])
    method: str = Field(pattern=r"^[A-Za-z0-9_-]{1,100}$", examples=["tok_ok"])


class PaymentPublic(BaseModel):
    """A payment as shown to callers; `reason` says why it failed."""

    payment_id: UUID
    order_id: UUID
    status: ChargeStatus
    amount_cents: int
    currency: str
    reason: str
    created_at: datetime

    @classmethod
    def of(cls, payment: Payment) -> Self:
        """Show a payment."""
        return cls(
            payment_id=payment.id,
            order_id=payment.order_id,
            status=public_status(payment.state),
            amount_cents=payment.amount_cents,
            currency=payment.currency,
            reason=payment.reason,
            created_at=payment.created_at,
        )
