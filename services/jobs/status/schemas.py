# SPDX-License-Identifier: GPL-3.0-or-later
"""The state of the queue as it goes out."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class WorkerPublic(BaseModel):
    """A worker that was heard of lately."""

    model_config = ConfigDict(from_attributes=True)

    name: str
    version: str
    state: Literal["working", "drained", "stopping"]
    running: int = Field(description="Jobs it has in hand.")
    started_at: datetime
    seen_at: datetime


class StatusPublic(BaseModel):
    """What is waiting, what is being done, what is not going well."""

    depth: int = Field(description="Jobs that are ready and wait for a worker.")
    oldest_age_seconds: float = Field(description="How long the first of them has been waiting; 0 when there is none.")
    running: int
    retrying: int = Field(description="Jobs that failed and wait for their next attempt.")
    dead: int
    workers: list[WorkerPublic]
