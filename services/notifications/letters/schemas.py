# SPDX-License-Identifier: GPL-3.0-or-later
"""What we need of the events we hear. Other fields are the sender's business and may come and go."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from pydantic import AfterValidator, BaseModel, Field

from notifications.addresses import is_address


def _clean(text: str) -> str:
    """Make one line of printable text that any encoding can carry."""
    printable = "".join(character if character.isprintable() else " " for character in text)
    return " ".join(printable.split())


def _address(text: str) -> str:
    if text and not is_address(text):
        raise ValueError("not an e-mail address")
    return text


Line = Annotated[str, Field(max_length=500), AfterValidator(_clean)]
Address = Annotated[str, AfterValidator(_address)]
Cents = Annotated[int, Field(ge=0, le=2**53)]
Currency = Annotated[str, Field(pattern=r"^[A-Z]{3}$")]


class OrderLine(BaseModel):
    """One line of an order; the name is known once the stock has been reserved."""

    name: Line | None = None
    quantity: int = Field(ge=1, le=1_000_000)


class OrderEvent(BaseModel):
    """order.placed, order.paid, order.cancelled, order.refund_due. Prices are known once stock has been reserved."""

    order_id: UUID
    user_id: UUID
    email: Address | None = None
    lines: list[OrderLine] = Field(default_factory=list, max_length=500)
    total_cents: Cents | None = None
    currency: Currency | None = None
    reason: Line | None = None


class PaymentEvent(BaseModel):
    """payment.failed. Payments know no addresses: the mail goes to the one we wrote to last."""

    order_id: UUID
    user_id: UUID
    email: Address | None = None
    amount_cents: Cents
    currency: Currency
    reason: Line | None = None
