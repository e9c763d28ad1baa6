# SPDX-License-Identifier: GPL-3.0-or-later
"""What payments tells on the stream. Said twice, late or out of order: the state machine bears it."""

from __future__ import annotations

import structlog

from kit.database import Database
from kit.events import Event
from orders.metrics import OrderMetrics
from orders.orders import service
from orders.orders.driver import Driver
from orders.orders.outcomes import Payment, Unexpected

log = structlog.get_logger("orders.inbox")

TYPES = frozenset({"payment.captured", "payment.failed"})


class Inbox:
    """Handles the events of payments."""

    def __init__(self, *, database: Database, metrics: OrderMetrics, driver: Driver) -> None:
        self._database = database
        self._metrics = metrics
        self._driver = driver

    async def handle(self, event: Event) -> None:
        """Let a payment's end have its effect.

        Raises Unexpected or pydantic's ValidationError for what can't be: tried again, then put aside for a person.
        """
        if event.source != "payments":
            raise Unexpected(f"{event.type} from {event.source[:50]!r}")
        payment = Payment.model_validate(event.data | {"status": event.type.removeprefix("payment.")})
        async with self._database.session.begin() as session:
            change = await service.hear(session=session, payment=payment)
        if change is None:
            raise Unexpected("a payment for no order of ours")
        self._metrics.count(change)
        if change.moved:
            log.info("order moved", order_id=str(change.order.id), after=change.order.state, why=event.type)
            self._driver.nudge()
