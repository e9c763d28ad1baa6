# SPDX-License-Identifier: GPL-3.0-or-later
"""Notifications as their readers see them."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from pydantic import BaseModel, ConfigDict


class NotificationPublic(BaseModel):
    """One notification; `template` says of which kind."""

    model_config = ConfigDict(from_attributes=True)

    id: UUID
    template: str
    subject: str
    body: str
    created_at: datetime
