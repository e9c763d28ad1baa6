# SPDX-License-Identifier: GPL-3.0-or-later
"""What routes ask for, as named types."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Header, Request

from jobs.queue.queues import Queues
from jobs.status.service import Watch
from kit.database import Database


@dataclass(frozen=True, slots=True)
class Parts:
    """What the service holds for its whole life, found at `app.state.jobs`."""

    database: Database
    queues: Queues
    status: Watch


def get_parts(request: Request) -> Parts:
    """Return the parts of the running app."""
    parts: Parts = request.app.state.jobs
    return parts


PartsDep = Annotated[Parts, Depends(get_parts)]

KeyDep = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=100,
        pattern=r"^[\x21-\x7e]+$",
        description="The same key asks for the same job. Without one, every request is a job.",
    ),
]
