# SPDX-License-Identifier: GPL-3.0-or-later
"""Writing a letter: the event's facts in the words of a template. Pure.

A template is the text file of its name: the subject on the first line, an empty line, the body. `$name` stands for a
fact; facts are put in once and never read as templates themselves.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from string import Template
from typing import Any
from uuid import UUID

from pydantic import ValidationError

from notifications.letters.schemas import OrderEvent, PaymentEvent

_SUBJECT = "Subject: "

_EVENTS: dict[str, tuple[str, type[OrderEvent] | type[PaymentEvent]]] = {
    "order.placed": ("order_placed", OrderEvent),
    "order.paid": ("order_paid", OrderEvent),
    "order.cancelled": ("order_cancelled", OrderEvent),
    "order.refund_due": ("order_refund_due", OrderEvent),
    "payment.failed": ("payment_failed", PaymentEvent),
}

# The senders' words for machines, in words for people.
_REASONS = {
    "out_of_stock": "something in it is out of stock",
    "not_orderable": "something in it can't be ordered any more",
    "payment_failed": "the payment failed",
    "cancelled_by_user": "you asked us to",
    "not_committed": "we could not keep the goods for you",
    "captured_unasked": "it had been paid after it was given up",
    "declined": "the payment was declined",
    "unknown payment method": "this way to pay is unknown",
}

TYPES = frozenset(_EVENTS)
"""The events that somebody is told of."""


class Unreadable(Exception):
    """The event is not of the form that its type promises; the message holds no value of it."""


@dataclass(frozen=True, slots=True)
class Letter:
    """What one person is told; `email` is empty when the event names no address."""

    template: str
    user_id: UUID
    email: str
    subject: str
    body: str


def write(event_type: str, data: Mapping[str, Any]) -> Letter:
    """Write the letter about an event; raises Unreadable."""
    template, schema = _EVENTS[event_type]
    try:
        event = schema.model_validate(data)
    except ValidationError as error:
        places = sorted({".".join(map(str, item["loc"])) for item in error.errors()})
        raise Unreadable(f"{event_type}: {', '.join(places)}") from None
    subject, body = _read(template)
    facts = _facts(event)
    return Letter(template, event.user_id, event.email or "", subject.substitute(facts), body.substitute(facts))


def _facts(event: OrderEvent | PaymentEvent) -> dict[str, str]:
    cents, lines = (event.total_cents, event.lines) if isinstance(event, OrderEvent) else (event.amount_cents, [])
    count = sum(line.quantity for line in lines)
    return {
        "order": str(event.order_id)[:8],
        "items": f"{count} item{'' if count == 1 else 's'}",
        "lines": "\n".join(f"  {line.quantity} x {line.name or '(no name)'}" for line in lines),
        "total": "the amount" if cents is None else f"{cents // 100}.{cents % 100:02} {event.currency}",
        "reason": _REASONS.get(event.reason or "", "we can't say why"),
    }


@cache
def _read(name: str) -> tuple[Template, Template]:
    text = (Path(__file__).parent / f"{name}.txt").read_text(encoding="utf-8")
    subject, _, body = text.partition("\n\n")
    return Template(subject.removeprefix(_SUBJECT)), Template(body)
