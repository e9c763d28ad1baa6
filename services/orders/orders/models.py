# SPDX-License-Identifier: GPL-3.0-or-later
"""The orders, order_lines and order_events tables."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID, uuid4

from sqlalchemy import BigInteger, CheckConstraint, DateTime, ForeignKey, Identity, Index, Text, UniqueConstraint, func
from sqlalchemy.orm import Mapped, mapped_column, relationship

from kit.database import Base
from orders.orders.transitions import FINAL, State

_FINAL = ", ".join(f"'{state}'" for state in sorted(FINAL))
_STATES = ", ".join(f"'{state}'" for state in sorted(State))


class Order(Base):
    """One order; `due_at` is when the driver looks at it next, and is empty exactly when the order is finished."""

    __tablename__ = "orders"
    __table_args__ = (
        UniqueConstraint("user_id", "idempotency_key"),
        CheckConstraint(f"state IN ({_STATES})", name="state"),
        CheckConstraint(f"(due_at IS NULL) = (state IN ({_FINAL}))", name="finished"),
        Index("ix_orders_due_at", "due_at", postgresql_where="due_at IS NOT NULL"),
        Index("ix_orders_user_id_created_at_id", "user_id", "created_at", "id"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    user_id: Mapped[UUID]
    email: Mapped[str] = mapped_column(Text)
    idempotency_key: Mapped[str] = mapped_column(Text)
    fingerprint: Mapped[str] = mapped_column(Text)
    """SHA-256 of the request that placed the order."""
    payment_method: Mapped[str] = mapped_column(Text)
    state: Mapped[str] = mapped_column(Text)
    version: Mapped[int]
    """Counts the changes; who decided on an older one decides again."""
    reason: Mapped[str | None] = mapped_column(Text)
    total_cents: Mapped[int | None] = mapped_column(BigInteger)
    currency: Mapped[str | None] = mapped_column(Text)
    payment_id: Mapped[UUID | None]
    attempts: Mapped[int]
    """Looks since the last change that brought nothing new."""
    due_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    lease: Mapped[UUID | None]
    """Names the one driver that may act for this order, until `leased_until`."""
    leased_until: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    traceparent: Mapped[str] = mapped_column(Text)
    """The trace and the request of the checkout (`kit.trace.resume`), for which the driver works on."""
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    updated_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())

    lines: Mapped[list[OrderLine]] = relationship(order_by="OrderLine.product_id", lazy="raise")


class OrderLine(Base):
    """One product of an order; name and price are what the catalog said when it reserved."""

    __tablename__ = "order_lines"
    __table_args__ = (CheckConstraint("quantity > 0", name="quantity"),)

    order_id: Mapped[UUID] = mapped_column(ForeignKey("orders.id", ondelete="CASCADE"), primary_key=True)
    product_id: Mapped[UUID] = mapped_column(primary_key=True)
    quantity: Mapped[int]
    name: Mapped[str | None] = mapped_column(Text)
    unit_cents: Mapped[int | None] = mapped_column(BigInteger)


class OrderEvent(Base):
    """One change of an order, kept for whoever asks later; `from_state` is empty for the first."""

    __tablename__ = "order_events"
    __table_args__ = (Index("ix_order_events_order_id", "order_id"),)

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    order_id: Mapped[UUID] = mapped_column(ForeignKey("orders.id", ondelete="CASCADE"))
    from_state: Mapped[str | None] = mapped_column(Text)
    to_state: Mapped[str] = mapped_column(Text)
    why: Mapped[str] = mapped_column(Text)
    at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
