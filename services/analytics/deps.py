# SPDX-License-Identifier: GPL-3.0-or-later
"""What routes ask for, as named types."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated

from fastapi import Depends, Request
from prometheus_client import Counter

from analytics.settings import Settings
from kit.tokens import Caller, require_role


def utc_now() -> datetime:
    """Return the time, in UTC."""
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Parts:
    """What the service holds for its whole life, found at `app.state.analytics`."""

    settings: Settings
    events: Counter
    clock: Callable[[], datetime]


def get_parts(request: Request) -> Parts:
    """Return the parts of the running app."""
    parts: Parts = request.app.state.analytics
    return parts


PartsDep = Annotated[Parts, Depends(get_parts)]
AnalystDep = Annotated[Caller, Depends(require_role("analyst", "admin"))]
