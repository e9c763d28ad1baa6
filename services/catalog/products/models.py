# SPDX-License-Identifier: GPL-3.0-or-later
"""The products table."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID, uuid4

from sqlalchemy import BigInteger, CheckConstraint, Computed, DateTime, Index, Text, func, text
from sqlalchemy.dialects.postgresql import TSVECTOR
from sqlalchemy.orm import Mapped, mapped_column

from kit.database import Base

# Names count more than descriptions (A, C); they are in it once as written, so that the beginning of a word finds them.
SEARCH = (
    "setweight(to_tsvector('simple', name), 'A') || setweight(to_tsvector('english', name), 'A')"
    " || setweight(to_tsvector('english', description), 'C')"
)


class Product(Base):
    """One thing for sale. `version` counts its changes; an inactive one is kept for the orders that name it."""

    __tablename__ = "products"
    __table_args__ = (
        CheckConstraint("price_cents >= 0", name="price"),
        Index("ix_products_search", "search", postgresql_using="gin"),
        Index("ix_products_name", "name", "id", postgresql_where=text("active")),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    sku: Mapped[str] = mapped_column(Text, unique=True)
    name: Mapped[str] = mapped_column(Text)
    description: Mapped[str] = mapped_column(Text)
    price_cents: Mapped[int] = mapped_column(BigInteger)
    currency: Mapped[str] = mapped_column(Text)
    active: Mapped[bool]
    version: Mapped[int] = mapped_column(default=1)
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    updated_at: Mapped[datetime] = mapped_column(
        DateTime(timezone=True), server_default=func.now(), onupdate=func.now()
    )
    search: Mapped[str] = mapped_column(TSVECTOR, Computed(SEARCH, persisted=True), deferred=True)
