# SPDX-License-Identifier: GPL-3.0-or-later
"""Jobs for exercises: they show what the queue does when jobs are slow, fail, or run twice."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import Annotated, Any
from uuid import UUID

from pydantic import Field
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from jobs.job.models import Tally as TallyRow
from jobs.queue.delivery import current_delivery
from kit.schemas import Body, Text


class DrillError(Exception):
    """The failure that was asked for."""


class Tally(Body):
    """A counter to raise by one, after some seconds."""

    name: Annotated[Text, Field(min_length=1, max_length=100)]
    seconds: float = Field(default=0, ge=0, le=600)


class Sleep(Body):
    """Seconds to wait."""

    seconds: float = Field(ge=0, le=600)


class Flaky(Body):
    """How many runs fail before one succeeds."""

    failures: int = Field(default=2, ge=0, le=100)


class Poison(Body):
    """Nothing to say: it always fails."""


async def tally(wanted: Tally) -> dict[str, Any]:
    """Wait; the counting is the effect."""
    if wanted.seconds:
        await asyncio.sleep(wanted.seconds)
    return {"name": wanted.name}


async def add_tallies(session: AsyncSession, runs: Sequence[tuple[UUID, Any]]) -> None:
    """Raise each counter by its number of jobs. An effect that happened twice shows in the sum."""
    added = Counter(result["name"] for _, result in runs)
    rows = [{"name": name, "count": count} for name, count in sorted(added.items())]  # one order: no deadlock
    new = insert(TallyRow).values(rows)
    await session.execute(
        new.on_conflict_do_update(index_elements=["name"], set_={"count": TallyRow.count + new.excluded.count})
    )


async def sleep(wanted: Sleep) -> dict[str, Any]:
    """Wait."""
    await asyncio.sleep(wanted.seconds)
    return {"slept_seconds": wanted.seconds}


async def flaky(wanted: Flaky) -> dict[str, Any]:
    """Fail as often as asked, then succeed."""
    failures = current_delivery.get().failures
    if failures < wanted.failures:
        raise DrillError(f"failure {failures + 1} of {wanted.failures}, as asked")
    return {"failures": failures}


async def poison(_wanted: Poison) -> None:
    """Fail."""
    raise DrillError("fails always, as asked")
