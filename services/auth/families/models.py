# SPDX-License-Identifier: GPL-3.0-or-later
"""The families table: one row for each log-in, however often its token is rotated."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID, uuid4

from sqlalchemy import DateTime, ForeignKey, Index, LargeBinary, false
from sqlalchemy.orm import Mapped, mapped_column

from kit.database import Base


class Family(Base):
    """Of the refresh tokens only digests: of the valid one (`current`) and of the one it replaced (`previous`).

    `salt` with the previous token itself gives the current one again (token.py), and with nothing else. `client` is who
    used it last. `expires_at` moves with each refresh and `ends_at` never: a refresh from where the last one came from
    changes nothing that an index holds. A family begun before the password's last change (`password_version`) is over.
    """

    __tablename__ = "families"
    __table_args__ = (Index("ix_families_user_id_client", "user_id", "client"),)

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    client: Mapped[bytes] = mapped_column(LargeBinary)
    password_version: Mapped[int]
    current: Mapped[bytes] = mapped_column(LargeBinary)
    previous: Mapped[bytes | None] = mapped_column(LargeBinary)
    salt: Mapped[bytes | None] = mapped_column(LargeBinary)
    begun_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    rotated_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    expires_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    ends_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), index=True)
    ended_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    reused: Mapped[bool] = mapped_column(server_default=false())
