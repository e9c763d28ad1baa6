# SPDX-License-Identifier: GPL-3.0-or-later
"""What routes ask for, as named types."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from payments.book.cashier import Cashier
from payments.metrics import PaymentMetrics


@dataclass(frozen=True, slots=True)
class Parts:
    """What the service holds for its whole life, found at `app.state.payments`."""

    cashier: Cashier
    metrics: PaymentMetrics


def get_parts(request: Request) -> Parts:
    """Return the parts of the running app."""
    parts: Parts = request.app.state.payments
    return parts


PartsDep = Annotated[Parts, Depends(get_parts)]
