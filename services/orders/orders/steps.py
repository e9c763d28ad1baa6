# SPDX-License-Identifier: GPL-3.0-or-later
"""The step of each state: one call to another service, harmless when repeated, and what its answer means."""

from __future__ import annotations

from typing import Any

import httpx2

from kit.clients import Client
from orders.orders import outcomes
from orders.orders.models import Order
from orders.orders.outcomes import Due, Outcome
from orders.orders.transitions import STEPS, State, Step, Trigger


class Steps:
    """Takes steps. What was asked is the same every time: the order is its own idempotency key."""

    def __init__(self, *, catalog: Client, payments: Client) -> None:
        self._catalog = catalog
        self._payments = payments

    async def take(self, order: Order) -> Outcome:
        """Take the step of an unfinished order.

        Raises `kit.clients.DependencyFailed` without an answer and `outcomes.Unexpected` for one that makes no sense.
        """
        match STEPS[State(order.state)]:
            case Step.RESERVE:
                return await self._reserve(order)
            case Step.PAY:
                return Outcome(Trigger.PAY, "payment is asked for")
            case Step.ASK_PAYMENT:
                return await self._ask_payment(order)
            case Step.COMMIT:
                answer = await self._catalog.request("POST", f"/reservations/{order.id}/commit", retry=True)
                return outcomes.read_commit(answer.status_code, _body(answer))
            case Step.RELEASE:
                answer = await self._catalog.request("DELETE", f"/reservations/{order.id}")
                return outcomes.read_release(answer.status_code)

    async def _reserve(self, order: Order) -> Outcome:
        asked = {line.product_id: line.quantity for line in order.lines}
        lines = [{"product_id": str(product_id), "quantity": quantity} for product_id, quantity in asked.items()]
        answer = await self._catalog.request("PUT", f"/reservations/{order.id}", json={"lines": lines})
        return outcomes.read_reservation(answer.status_code, _body(answer), order_id=order.id, asked=asked)

    async def _ask_payment(self, order: Order) -> Outcome:
        due = Due(order.id, order.total_cents, order.currency)
        if order.payment_id:  # the ask has arrived; how it went is told by an event, or here when that is late
            answer = await self._payments.request("GET", "/status", params={"order_id": str(order.id)})
            return outcomes.read_status(answer.status_code, _body(answer), due)
        ask = {
            "order_id": str(order.id),
            "user_id": str(order.user_id),
            "amount_cents": order.total_cents,
            "currency": order.currency,
            "method": order.payment_method,
        }
        headers = {"Idempotency-Key": str(order.id)}
        answer = await self._payments.request("POST", "/initiate", json=ask, headers=headers, retry=True)
        return outcomes.read_initiation(answer.status_code, _body(answer), due)


def _body(answer: httpx2.Response) -> Any:
    try:
        return answer.json()
    except ValueError:
        return None
