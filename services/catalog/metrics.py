# SPDX-License-Identifier: GPL-3.0-or-later
"""What the catalog counts, beside what every service counts."""

from __future__ import annotations

import asyncio

from prometheus_client import CollectorRegistry, Counter, Gauge
from sqlalchemy import func, select

from catalog.products.models import Product
from catalog.reservations.models import Reservation, State
from kit.database import Database


class CatalogMetrics:
    """Counters of this process, and gauges that a look at the database sets now and then."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.reservations = Counter("catalog_reservations", "Asks about reservations.", ["outcome"], registry=registry)
        self.refused = Counter(
            "catalog_stock_refused", "Lines of an order that there was not enough of.", registry=registry
        )
        self._products = Gauge("catalog_products", "Products.", ["state"], registry=registry)
        self._open = Gauge("catalog_reservations_open", "Neither committed nor released yet.", registry=registry)
        self._age = Gauge(
            "catalog_reservation_oldest_age_seconds", "Age of the oldest open one; 0: none.", registry=registry
        )

    async def look(self, database: Database) -> None:
        """Set the gauges."""
        products = select(func.count().filter(Product.active), func.count().filter(~Product.active))
        open_ones = select(
            func.count(), func.coalesce(func.extract("epoch", func.now() - func.min(Reservation.created_at)), 0)
        ).where(Reservation.state == State.RESERVED)
        async with database.session() as session:
            active, inactive = (await session.execute(products.select_from(Product))).one()
            number, age = (await session.execute(open_ones)).one()
        self._products.labels("active").set(active)
        self._products.labels("inactive").set(inactive)
        self._open.set(number)
        self._age.set(float(age))

    async def watch(self, database: Database, *, seconds: float) -> None:
        """Look every so many seconds, for ever."""
        while True:
            await self.look(database)
            await asyncio.sleep(seconds)
