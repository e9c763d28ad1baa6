# SPDX-License-Identifier: GPL-3.0-or-later
"""Types of events: which there are names for, and who may send them."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

EventType = Annotated[
    str,
    StringConstraints(pattern=r"^[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*){1,3}$", max_length=64),
    Field(examples=["page.viewed"]),
]

PLACED, PAID, SIGNED_UP = "order.placed", "order.paid", "user.signed_up"

_RESERVED = frozenset({"order", "payment", "notification", "user", "job"})


def is_reserved(event_type: str) -> bool:
    """Tell whether only services may send this: it is what reports are made of."""
    return event_type.partition(".")[0] in _RESERVED


class Money(BaseModel):
    """What an order.paid says beside other things."""

    model_config = ConfigDict(strict=True, hide_input_in_errors=True)

    total_cents: Annotated[int, Field(ge=0, le=10**13)]
    currency: Annotated[str, StringConstraints(pattern="^[A-Z]{3}$")]


def money(event_type: str, data: dict[str, Any]) -> tuple[int, str]:
    """Return the cents and currency that an event brought in; raises pydantic.ValidationError where they should be."""
    if event_type != PAID:
        return 0, ""
    paid = Money.model_validate(data)
    return paid.total_cents, paid.currency
