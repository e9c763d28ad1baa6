# SPDX-License-Identifier: GPL-3.0-or-later
"""The users table."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID, uuid4

from sqlalchemy import DateTime, Text, func, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from kit.database import Base

CUSTOMER, ANALYST, ADMIN = "customer", "analyst", "admin"


class User(Base):
    """One person; `email` is stored in lower case and is unique.

    `password_version` counts changes of the password: sessions begun under another one are over.
    """

    __tablename__ = "users"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    email: Mapped[str] = mapped_column(Text, unique=True)
    password_hash: Mapped[str] = mapped_column(Text)
    password_version: Mapped[int] = mapped_column(server_default=text("1"))
    roles: Mapped[list[str]] = mapped_column(ARRAY(Text), server_default=text("'{customer}'"))
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
