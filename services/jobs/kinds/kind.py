# SPDX-License-Identifier: GPL-3.0-or-later
"""What makes a kind of job."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from kit.schemas import Body

LANES = ("io", "cpu")

Effect = Callable[[AsyncSession, Sequence[tuple[UUID, Any]]], Awaitable[None]]
"""Writes what runs of one kind, given by job id and result, do to the world, within the given transaction."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of job.

    `run` gets the payload and returns the result, which JSON can hold; it may run more than once, so it changes
    nothing. What a job changes is its `effect`: written in the transaction that makes the job done, so it happens
    once. A coroutine function runs on the event loop and may only wait; a plain function may compute, and gets a
    process of its own.
    """

    name: str
    payload: type[Body]
    run: Callable[[Any], Any]
    effect: Effect | None = None
    drill: bool = False
    """For exercises: users need the role admin to ask for one."""

    @property
    def lane(self) -> str:
        """The queue that jobs of this kind wait in."""
        return "io" if inspect.iscoroutinefunction(self.run) else "cpu"
