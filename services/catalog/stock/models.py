# SPDX-License-Identifier: GPL-3.0-or-later
"""The stock table: a row for each product, apart from it, because orders lock it all day."""

from __future__ import annotations

from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey
from sqlalchemy.orm import Mapped, mapped_column

from kit.database import Base


class Stock(Base):
    """How many are there (`on_hand`), how many of them are set aside (`reserved`); `version` counts the changes."""

    __tablename__ = "stock"
    # The last word against overselling: no code can get past it.
    __table_args__ = (CheckConstraint("reserved >= 0 AND reserved <= on_hand", name="reserved"),)

    product_id: Mapped[UUID] = mapped_column(ForeignKey("products.id"), primary_key=True)
    on_hand: Mapped[int]
    reserved: Mapped[int] = mapped_column(default=0)
    version: Mapped[int] = mapped_column(default=1)

    @property
    def available(self) -> int:
        """How many can still be sold."""
        return self.on_hand - self.reserved
