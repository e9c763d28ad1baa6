# SPDX-License-Identifier: GPL-3.0-or-later
"""One event, and where it travels."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from pydantic import BaseModel, Field

STREAM = "events"
FIELD = "event"
DEAD = "events:dead:{group}"
MARK = "events:mark:{source}"


class Event(BaseModel):
    """Something that happened to `subject` in the service `source`; `trace` is what `kit.trace.resume` takes."""

    id: UUID
    type: str = Field(max_length=100)
    source: str
    subject: str
    time: datetime
    trace: str = ""
    data: dict[str, Any] = Field(default_factory=dict)
