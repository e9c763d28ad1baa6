# SPDX-License-Identifier: GPL-3.0-or-later
"""The tables that all replicas count in. Unlogged: no disk flush, and forgotten in a crash."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import DateTime, LargeBinary
from sqlalchemy.orm import Mapped, mapped_column

from kit.database import Base


class Rate(Base):
    """How far ahead of its rate somebody is (the generic cell rate algorithm: one time is the whole bucket).

    `key` is a keyed digest: whoever reads the table learns no address.
    """

    __tablename__ = "rates"
    __table_args__ = {"prefixes": ["UNLOGGED"]}

    key: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    due: Mapped[datetime] = mapped_column(DateTime(timezone=True), index=True)


class Lockout(Base):
    """Wrong passwords for one account from one client, and until when the next is not looked at."""

    __tablename__ = "lockouts"
    __table_args__ = {"prefixes": ["UNLOGGED"]}

    key: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    failures: Mapped[int]
    until: Mapped[datetime] = mapped_column(DateTime(timezone=True), index=True)
