# SPDX-License-Identifier: GPL-3.0-or-later
"""The cashier: between our book and the provider.

Written down, then asked, then written down: a crash between any two leaves a row that the driver finds, and the
payment's id, being the idempotency key, makes a second question harmless. No transaction is open while we wait.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from time import perf_counter
from typing import TypeVar
from uuid import UUID

import structlog

from kit.database import Database
from kit.trace import current_trace, resume, tracing
from payments.book import service
from payments.book.models import Payment
from payments.book.schemas import PaymentCreate
from payments.book.service import Recorded
from payments.book.transitions import look_again_seconds
from payments.metrics import PaymentMetrics
from payments.providers import Charge, Provider, ProviderEvent, ProviderFailed
from payments.settings import Settings
from payments.webhooks import service as webhooks
from payments.webhooks.service import Heard

T = TypeVar("T")

log = structlog.get_logger("payments.cashier")


class Cashier:
    """Opens payments, asks the provider, and lets every report have its effect once."""

    def __init__(
        self,
        *,
        database: Database,
        provider: Provider,
        metrics: PaymentMetrics,
        settings: Settings,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.provider = provider
        self._database = database
        self._metrics = metrics
        self._settings = settings
        self._chance = chance

    async def initiate(self, *, caller: str, key: str, wanted: PaymentCreate) -> tuple[Payment, bool]:
        """Open a payment and ask for the money; returns it, perhaps still pending, and whether it is new."""
        async with self._database.session.begin() as session:
            payment, new = await service.open_payment(
                session=session, caller=caller, key=key, wanted=wanted, lease_seconds=self._settings.lease_seconds
            )
        return (await self._settle(payment, known=False) if new else payment), new

    async def drive(self) -> int:
        """Bring unfinished payments that are due one step further; returns how many there were."""
        async with self._database.session.begin() as session:
            due = await service.claim_due(
                session=session, limit=self._settings.driver_batch, lease_seconds=self._settings.lease_seconds
            )
        await asyncio.gather(*map(self._drive_one, due))
        async with self._database.session() as session:
            count, age = await service.unfinished(session=session)
        self._metrics.unfinished.set(count)
        self._metrics.unfinished_age.set(age)
        return len(due)

    async def hear(self, event: ProviderEvent, body: bytes) -> Heard:
        """Let a genuine webhook call have its effect, unless it had it before."""
        payment_id = _payment_id(event.charge)
        async with self._database.session.begin() as session:
            heard = await webhooks.remember(session=session, event_id=event.id, body=body)
            if heard != "new":
                return heard
            recorded = payment_id and await service.record(session=session, payment_id=payment_id, charge=event.charge)
            if not recorded:
                await session.rollback()  # not ours, or not ours yet: the same event may come again
                return "unknown payment"
        self._count(recorded)
        return recorded.verdict

    async def _drive_one(self, payment: Payment) -> None:
        current_trace.set(resume(payment.trace))  # a task of its own: nobody else sees it
        try:
            await self._settle(payment, known=True)
        except Exception:  # its lease brings it back; the others go on
            log.exception("payment not driven", payment_id=str(payment.id))

    async def _settle(self, payment: Payment, *, known: bool) -> Payment:
        """Ask the provider about a payment and write down what it says; no answer leaves the payment for later."""
        try:
            charge = await self._ask(payment, known=known)
        except (ProviderFailed, TimeoutError) as error:
            log.warning("no answer from the provider", payment_id=str(payment.id), error=type(error).__name__)
            charge = None
        recorded = None
        async with self._database.session.begin() as session:
            if charge:
                recorded = await service.record(session=session, payment_id=payment.id, charge=charge)
            wait = look_again_seconds(
                payment.asks,
                base=self._settings.look_seconds,
                cap=self._settings.look_cap_seconds,
                chance=self._chance(),
            )
            await service.postpone(session=session, payment_id=payment.id, seconds=wait)
        if recorded:
            self._count(recorded)
        return recorded.payment if recorded else payment

    async def _ask(self, payment: Payment, *, known: bool) -> Charge:
        key = str(payment.id)
        if known and (found := await self._timed("find", lambda: self.provider.find(key))):
            return found
        return await self._timed(
            "charge",
            lambda: self.provider.charge(
                key=key, amount_cents=payment.amount_cents, currency=payment.currency, method=payment.method
            ),
        )

    async def _timed(self, operation: str, call: Callable[[], Awaitable[T]]) -> T:
        begun, outcome = perf_counter(), "failed"
        try:
            async with asyncio.timeout(self._settings.provider_timeout_seconds):
                answer = await call()
            outcome = "answered"
            return answer
        except TimeoutError:
            outcome = "timeout"
            raise
        finally:
            self._metrics.provider_seconds.labels(operation, outcome).observe(perf_counter() - begun)

    def _count(self, recorded: Recorded) -> None:
        """Count and tell what has been committed."""
        payment = recorded.payment
        if recorded.verdict == "contradiction":
            self._metrics.contradictions.inc()
        if recorded.finished:
            with tracing(resume(payment.trace)):
                log.info("payment ended", payment_id=str(payment.id), state=payment.state)
            self._metrics.finished.labels(payment.state).inc()
            if payment.state == "captured":
                self._metrics.captured_cents.labels(payment.currency).inc(payment.amount_cents)


def _payment_id(charge: Charge) -> UUID | None:
    try:
        return UUID(charge.key)
    except ValueError:
        return None
