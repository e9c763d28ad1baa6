# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading both books, and telling the differences to whoever asked: a person at a shell, or Prometheus."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from uuid import UUID

import structlog
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from kit.database import Database
from payments.book.models import Payment
from payments.metrics import PaymentMetrics
from payments.providers import Charge, Provider
from payments.providers.local import LocalProvider
from payments.reconciliation.differences import KINDS, Difference, Entry, compare
from payments.settings import Settings

log = structlog.get_logger("payments.reconciliation")

_MARGIN = timedelta(minutes=10)  # the clocks of two companies
_PAGE = 1000

_ENTRY = (
    Payment.id,
    Payment.order_id,
    Payment.state,
    Payment.amount_cents,
    Payment.currency,
    Payment.updated_at,
)


async def reconcile(
    *, database: Database, provider: Provider, since: datetime, now: datetime, grace: timedelta
) -> list[Difference]:
    """Compare the books from `since` on; nothing is changed, for the driver does what can be done."""
    # Ours first: whatever we know of as asked by then, the provider must have.
    async with database.session() as session:
        ours = {entry.id: entry for entry in await _entries(session, Payment.created_at >= since)}
    theirs = [charge async for charge in provider.charges(since=since - _MARGIN)]
    missing = [key for key in map(_key, theirs) if key and key not in ours]
    async with database.session() as session:
        for start in range(0, len(missing), _PAGE):
            for entry in await _entries(session, Payment.id.in_(missing[start : start + _PAGE])):
                ours[entry.id] = entry
    return compare(ours.values(), theirs, settled_before=now - grace)


class Reconciler:
    """Compares the books every `reconcile_seconds` and shows the result as metrics."""

    def __init__(self, *, database: Database, provider: Provider, metrics: PaymentMetrics, settings: Settings) -> None:
        self._database = database
        self._provider = provider
        self._metrics = metrics
        self._settings = settings

    async def run(self) -> None:
        """Compare until cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(self._settings.reconcile_seconds)

    async def look(self) -> Sequence[Difference]:
        """Compare once."""
        settings, now = self._settings, datetime.now(UTC)
        differences = await reconcile(
            database=self._database,
            provider=self._provider,
            since=now - timedelta(hours=settings.reconcile_hours),
            now=now,
            grace=timedelta(seconds=settings.reconcile_grace_seconds),
        )
        for kind in KINDS:
            self._metrics.differences.labels(kind).set(sum(found.kind == kind for found in differences))
        self._metrics.reconciled.set(time.time())
        for difference in differences:
            log.error("the books differ", **asdict(difference))
        return differences


async def _entries(session: AsyncSession, condition: object) -> list[Entry]:
    rows = await session.execute(select(*_ENTRY).where(condition))  # type: ignore[arg-type]
    return [Entry(*row) for row in rows]


def _key(charge: Charge) -> UUID | None:
    try:
        return UUID(charge.key)
    except ValueError:
        return None


def main(settings: Settings) -> None:
    """`python -m payments reconcile`: one JSON line for each difference, and status 1 when there is one."""

    async def run() -> list[Difference]:
        database, provider = Database(settings), LocalProvider(settings)
        try:
            now = datetime.now(UTC)
            return await reconcile(
                database=database,
                provider=provider,
                since=now - timedelta(hours=settings.reconcile_hours),
                now=now,
                grace=timedelta(seconds=settings.reconcile_grace_seconds),
            )
        finally:
            await provider.close()
            await database.close()

    differences = asyncio.run(run())
    for difference in differences:
        print(json.dumps(asdict(difference)))
    print(f"{len(differences)} differences in the last {settings.reconcile_hours:g} hours")
    if differences:
        raise SystemExit(1)
