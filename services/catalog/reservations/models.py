# SPDX-License-Identifier: GPL-3.0-or-later
"""The reservations table and its lines."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, DateTime, ForeignKey, Index, Text, func, text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from kit.database import Base


class State(StrEnum):
    """Where a reservation stands; only `reserved` changes, and once."""

    RESERVED = "reserved"
    COMMITTED = "committed"
    RELEASED = "released"


class Reservation(Base):
    """What one order has set aside. One that is released without ever having been reserved has no lines."""

    __tablename__ = "reservations"
    __table_args__ = (
        CheckConstraint("state IN ('reserved', 'committed', 'released')", name="state"),
        Index("ix_reservations_open", "created_at", postgresql_where=text("state = 'reserved'")),
    )

    order_id: Mapped[UUID] = mapped_column(primary_key=True)
    state: Mapped[str] = mapped_column(Text)
    total_cents: Mapped[int] = mapped_column(BigInteger, default=0)
    currency: Mapped[str] = mapped_column(Text, default="")
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    updated_at: Mapped[datetime] = mapped_column(
        DateTime(timezone=True), server_default=func.now(), onupdate=func.now()
    )
    lines: Mapped[list[Line]] = relationship(lazy="selectin", order_by="Line.product_id")


class Line(Base):
    """So many of one product, by the name and at the price of the moment."""

    __tablename__ = "reservation_lines"
    __table_args__ = (CheckConstraint("quantity > 0", name="quantity"),)

    order_id: Mapped[UUID] = mapped_column(ForeignKey("reservations.order_id"), primary_key=True)
    product_id: Mapped[UUID] = mapped_column(ForeignKey("products.id"), primary_key=True)
    name: Mapped[str] = mapped_column(Text)
    quantity: Mapped[int]
    unit_cents: Mapped[int] = mapped_column(BigInteger)
