# SPDX-License-Identifier: GPL-3.0-or-later
"""The demonstration products of `seed.json`. What is there already, also under another price, stays as it is."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from uuid import NAMESPACE_URL, UUID, uuid5

import structlog

from catalog.products import service
from catalog.products.schemas import ProductCreate
from catalog.settings import Settings
from kit.cli import Command
from kit.database import Database
from kit.logs import configure_logging

log = structlog.get_logger("catalog.seed")


def product_id(sku: str) -> UUID:
    """Return the id that a demonstration product has everywhere."""
    return uuid5(NAMESPACE_URL, f"opsforge:{sku}")


async def seed(database: Database) -> int:
    """Add the products that are missing, all or none; returns how many that were."""
    rows = json.loads((Path(__file__).parent / "seed.json").read_text(encoding="utf-8"))
    products = [ProductCreate.model_validate(row) for row in rows]
    async with database.session.begin() as session:
        # By SKU, as every replica does: two that begin together can't wait for each other.
        made = [
            await service.create(session=session, new=new, product_id=product_id(new.sku))
            for new in sorted(products, key=lambda new: new.sku)
        ]
    added = sum(product is not None for product in made)
    log.info("seeded", added=added, known=len(made) - added)
    return added


def run(settings: Settings) -> None:
    """Seed once, for the command line. Caches hear nothing of it and see the products within their seconds."""

    async def once() -> None:
        database = Database(settings)
        try:
            await seed(database)
        finally:
            await database.close()

    configure_logging(settings)
    asyncio.run(once())


COMMAND: Command = ("add the demonstration products that are missing", run)
