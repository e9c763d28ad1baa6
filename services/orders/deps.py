# SPDX-License-Identifier: GPL-3.0-or-later
"""What routes ask for, as named types."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from kit.database import Database
from orders.metrics import OrderMetrics
from orders.orders.driver import Driver
from orders.orders.inbox import Inbox
from orders.settings import Settings


@dataclass(frozen=True, slots=True)
class Parts:
    """What the service holds for its whole life, found at `app.state.orders`."""

    settings: Settings
    database: Database
    metrics: OrderMetrics
    driver: Driver
    inbox: Inbox


async def get_parts(request: Request) -> Parts:
    """Return the parts of the running app."""
    parts: Parts = request.app.state.orders
    return parts


PartsDep = Annotated[Parts, Depends(get_parts)]
