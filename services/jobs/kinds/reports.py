# SPDX-License-Identifier: GPL-3.0-or-later
"""Sales, added up."""

from __future__ import annotations

from collections import defaultdict
from datetime import date
from typing import Annotated, Any

from pydantic import Field, StringConstraints

from kit.schemas import Body, Text


class Row(Body):
    """One sale."""

    day: Annotated[date, Field(strict=False)]
    product: Annotated[Text, Field(min_length=1, max_length=100)]
    quantity: int = Field(ge=1, le=1_000_000)
    amount_cents: int = Field(ge=0, le=1_000_000_000_000)
    currency: Annotated[str, StringConstraints(pattern=r"^[A-Z]{3}$")] = "EUR"


class Sales(Body):
    """Sales to report on."""

    rows: list[Row] = Field(min_length=1, max_length=1000)


def sales_report(sales: Sales) -> dict[str, Any]:
    """Add up quantity and amount by day and by product, each currency for itself."""
    by: dict[str, dict[tuple[str, str], list[int]]] = {name: defaultdict(lambda: [0, 0]) for name in ("day", "product")}
    for row in sales.rows:
        for name, key in (("day", row.day.isoformat()), ("product", row.product)):
            total = by[name][key, row.currency]
            total[0] += row.quantity
            total[1] += row.amount_cents
    return {
        f"by_{name}": [
            {name: key, "currency": currency, "quantity": quantity, "amount_cents": amount}
            for (key, currency), (quantity, amount) in sorted(totals.items())
        ]
        for name, totals in by.items()
    }
