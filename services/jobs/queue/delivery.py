# SPDX-License-Identifier: GPL-3.0-or-later
"""A job on its way: what the stream handed out, and what became of it."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from taskiq import TaskiqMessage, TaskiqResult

from kit.trace import Trace, resume


@dataclass(slots=True, eq=False)
class Delivery:
    """One delivery of one job to this worker. The same job may be delivered again, here or elsewhere."""

    entry: bytes
    """Where it stands in the stream."""
    data: bytes
    message: TaskiqMessage
    attempt: int = 1
    """Number of this run; whoever holds an older one may not write any more."""
    failures: int = 0
    """Runs that ended with an error before this one."""
    trace: Trace = field(default_factory=lambda: resume(""))
    """Of the request that asked for the job, once it is claimed."""
    waited: float = 0.0
    """Seconds from ready to begun."""

    @property
    def id(self) -> UUID:
        """The job's id."""
        return UUID(self.message.task_id)

    @property
    def kind(self) -> str:
        """The job's kind, which is the name of its task."""
        return self.message.task_name


@dataclass(slots=True, eq=False)
class Outcome:
    """How a run ended, after `seconds`."""

    delivery: Delivery
    result: TaskiqResult[Any]
    seconds: float


current_delivery: ContextVar[Delivery] = ContextVar("current_delivery")
"""What the running job was delivered as."""
