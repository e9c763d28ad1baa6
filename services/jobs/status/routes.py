# SPDX-License-Identifier: GPL-3.0-or-later
"""How is the queue?"""

from __future__ import annotations

from fastapi import APIRouter

from jobs.status import service
from jobs.status.schemas import StatusPublic
from kit import problems
from kit.database import SessionDep
from kit.tokens import CallerDep

router = APIRouter(prefix="/api", tags=["status"])


@router.get("/status", responses=problems(401, 503))
async def show_status(_caller: CallerDep, session: SessionDep) -> StatusPublic:
    """Show depth, age and workers of the queue, as of now."""
    return await service.measure(session=session)
