# SPDX-License-Identifier: GPL-3.0-or-later
"""What routes ask for, as named types."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from catalog.cache import Cache
from catalog.metrics import CatalogMetrics
from kit.database import Database
from kit.tokens import Caller, require_role


@dataclass(frozen=True, slots=True)
class Parts:
    """What the service holds for its whole life, found at `app.state.catalog`."""

    database: Database
    cache: Cache
    metrics: CatalogMetrics


def get_parts(request: Request) -> Parts:
    """Return the parts of the running app."""
    parts: Parts = request.app.state.catalog
    return parts


PartsDep = Annotated[Parts, Depends(get_parts)]
AdminDep = Annotated[Caller, Depends(require_role("admin"))]
