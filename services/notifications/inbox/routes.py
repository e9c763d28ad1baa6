# SPDX-License-Identifier: GPL-3.0-or-later
"""The inbox of whoever asks."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from fastapi import APIRouter

from kit import problems
from kit.database import SessionDep
from kit.pages import CursorDep, LimitDep, Page, decode_cursor, encode_cursor
from kit.tokens import UserDep
from notifications.inbox import service
from notifications.inbox.schemas import NotificationPublic

router = APIRouter(tags=["inbox"])


@router.get("/notifications", responses=problems(401, 403, 422, 503))
async def show_inbox(
    caller: UserDep, session: SessionDep, limit: LimitDep, cursor: CursorDep
) -> Page[NotificationPublic]:
    """Show what the caller has been told, newest first."""
    after = decode_cursor(cursor, datetime, UUID) if cursor else None
    found = await service.of_user(session=session, user_id=caller.user_id, limit=limit + 1, after=after)
    shown = found[:limit]
    last = encode_cursor(shown[-1].created_at, shown[-1].id) if len(found) > limit else None
    return Page(items=[NotificationPublic.model_validate(one) for one in shown], next=last)
