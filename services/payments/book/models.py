# SPDX-License-Identifier: GPL-3.0-or-later
"""The payments table."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID, uuid4

from sqlalchemy import BigInteger, DateTime, Index, Text, UniqueConstraint, func, text
from sqlalchemy.orm import Mapped, mapped_column

from kit.database import Base
from payments.book.transitions import State


class Payment(Base):
    """One attempt to be paid for an order. Its id is the idempotency key that the provider is asked with."""

    __tablename__ = "payments"
    __mapper_args__ = {"eager_defaults": True}
    __table_args__ = (
        UniqueConstraint("caller", "idempotency_key"),
        # The rule that money hangs on: an order has one payment, unless the earlier one failed.
        Index("uq_payments_live_order", "order_id", unique=True, postgresql_where=text("state <> 'failed'")),
        Index("ix_payments_order_id", "order_id", "created_at"),
        Index("ix_payments_due_at", "due_at", postgresql_where=text("state IN ('created', 'pending')")),
        Index("ix_payments_created_at", "created_at"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    order_id: Mapped[UUID]
    user_id: Mapped[UUID]
    amount_cents: Mapped[int] = mapped_column(BigInteger)
    currency: Mapped[str] = mapped_column(Text)
    method: Mapped[str] = mapped_column(Text)
    caller: Mapped[str] = mapped_column(Text)
    idempotency_key: Mapped[str] = mapped_column(Text)
    fingerprint: Mapped[str] = mapped_column(Text)
    state: Mapped[State] = mapped_column(Text)
    reason: Mapped[str] = mapped_column(Text, default="")
    charge_id: Mapped[str] = mapped_column(Text, default="")
    asks: Mapped[int] = mapped_column(default=0)
    trace: Mapped[str] = mapped_column(Text, server_default="")
    """The trace and the request that the payment follows from (`kit.trace.resume`)."""
    due_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    updated_at: Mapped[datetime] = mapped_column(
        DateTime(timezone=True), server_default=func.now(), onupdate=func.now()
    )
