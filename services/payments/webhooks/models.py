# SPDX-License-Identifier: GPL-3.0-or-later
"""The events that the provider told us of."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import DateTime, Text, func
from sqlalchemy.orm import Mapped, mapped_column

from kit.database import Base


class WebhookEvent(Base):
    """One event by the provider's id for it; `digest` tells whether a repetition says the same."""

    __tablename__ = "webhook_events"

    id: Mapped[str] = mapped_column(Text, primary_key=True)
    digest: Mapped[str] = mapped_column(Text)
    received_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
