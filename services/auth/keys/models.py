# SPDX-License-Identifier: GPL-3.0-or-later
"""The signing_keys table."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import CheckConstraint, DateTime, Index, LargeBinary, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from kit.database import Base

NEXT, ACTIVE, RETIRING = "next", "active", "retiring"


class SigningKey(Base):
    """One Ed25519 key: `next` is published but does not sign yet, `active` signs, `retiring` verifies until `ends_at`.

    `sealed` is the private part, encrypted (seal.py). A key that is gone has no row.
    """

    __tablename__ = "signing_keys"
    __table_args__ = (
        CheckConstraint("state IN ('next', 'active', 'retiring')", name="state"),
        CheckConstraint("(state = 'retiring') = (ends_at IS NOT NULL)", name="ends_at"),
        # One that signs and one that is about to, whatever replicas do at the same time.
        Index("uq_signing_keys_state", "state", unique=True, postgresql_where=text("state <> 'retiring'")),
    )

    kid: Mapped[str] = mapped_column(Text, primary_key=True)
    state: Mapped[str] = mapped_column(Text)
    state_since: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    ends_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    public: Mapped[bytes] = mapped_column(LargeBinary)
    sealed: Mapped[bytes] = mapped_column(LargeBinary)
