# SPDX-License-Identifier: GPL-3.0-or-later
"""Jobs as they come in and go out."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, create_model

from jobs.kinds import KINDS, Kind
from kit.schemas import Body


class JobRequest(Body):
    """A job to do; each kind says what its payload is."""

    kind: str
    payload: Any


def _request(kind: Kind) -> type[JobRequest]:
    name = "".join(word.capitalize() for word in kind.name.split("_"))
    what = (kind.run.__doc__ or "").strip()
    return create_model(
        f"{name}Job",
        __base__=JobRequest,
        __doc__=f"Drill, for admins: {what}" if kind.drill else what,
        kind=(Literal[kind.name], ...),  # type: ignore[arg-type]  # known only now
        payload=(kind.payload, ...),
    )


if TYPE_CHECKING:
    JobCreate = JobRequest
else:  # one model for each kind, told apart by `kind`
    JobCreate = Annotated[Union[tuple(map(_request, KINDS.values()))], Field(discriminator="kind")]  # noqa: UP007


class JobPublic(BaseModel):
    """A job as shown to its owner."""

    model_config = ConfigDict(from_attributes=True)

    id: UUID
    kind: str
    state: Literal["queued", "running", "retrying", "done", "dead"]
    attempts: int
    created_at: datetime
    started_at: datetime | None = Field(description="When the latest attempt began.")
    finished_at: datetime | None
    error: str | None = Field(description="Why the latest attempt failed.")
    result: Any


class DeadPublic(JobPublic):
    """A job that was given up."""

    owner: str = Field(description="The user's id, or the service's name.")
    payload: dict[str, Any]
    failures: int
    losses: int = Field(description="How many workers vanished while they had it.")
