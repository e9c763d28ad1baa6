# SPDX-License-Identifier: GPL-3.0-or-later
"""The notifications table."""

from __future__ import annotations

from datetime import datetime
from typing import Literal
from uuid import UUID, uuid4

from sqlalchemy import DateTime, Index, Text, UniqueConstraint, func, text
from sqlalchemy.orm import Mapped, mapped_column

from kit.database import Base

Channel = Literal["inbox", "mail"]
State = Literal["queued", "sent", "dead"]


class Notification(Base):
    """One letter on one channel. In the inbox it has arrived by being stored; a mail is queued until it is sent."""

    __tablename__ = "notifications"
    __table_args__ = (
        # An event heard twice is told once.
        UniqueConstraint("event_id", "template", "user_id", "channel"),
        Index("ix_notifications_user_id", "user_id", "channel", "created_at", "id"),
        Index("ix_notifications_next_attempt_at", "next_attempt_at", postgresql_where=text("state = 'queued'")),
        Index("ix_notifications_dead", "created_at", postgresql_where=text("state = 'dead'")),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    event_id: Mapped[UUID]
    template: Mapped[str] = mapped_column(Text)
    channel: Mapped[Channel] = mapped_column(Text)
    user_id: Mapped[UUID]
    address: Mapped[str] = mapped_column(Text)
    subject: Mapped[str] = mapped_column(Text)
    body: Mapped[str] = mapped_column(Text)
    state: Mapped[State] = mapped_column(Text)
    attempts: Mapped[int] = mapped_column(default=0)
    error: Mapped[str] = mapped_column(Text, default="")
    trace: Mapped[str] = mapped_column(Text, server_default="")
    """The trace and the request that the letter follows from (`kit.trace.resume`)."""
    next_attempt_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    sent_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
