# SPDX-License-Identifier: GPL-3.0-or-later
"""STAND-IN. The books of the local provider: its own table, which the rest of the service never touches.

Every write is a transaction of its own, as an outside provider's would be.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from datetime import datetime, timedelta
from uuid import uuid4

from sqlalchemy import (
    BigInteger,
    DateTime,
    Index,
    Text,
    UniqueConstraint,
    and_,
    func,
    literal,
    not_,
    select,
    text,
    tuple_,
    update,
)
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Mapped, mapped_column

from kit.database import Base, Database
from payments.providers import Charge

METHODS = frozenset({"tok_ok", "tok_declined", "tok_slow", "tok_error", "tok_twice", "tok_silent"})
_PAGE = 500
ERRORS = 3
"""How often a charge by tok_error gives no answer before it does."""


class LocalCharge(Base):
    """One charge. `outcome` is hidden until `settles_at`; `callbacks` counts those still to be made."""

    __tablename__ = "local_charges"
    __table_args__ = (
        UniqueConstraint("idempotency_key"),
        Index("ix_local_charges_call_at", "call_at", postgresql_where=text("callbacks > 0")),
        Index("ix_local_charges_created_at", "created_at"),
    )

    id: Mapped[str] = mapped_column(Text, primary_key=True, default=lambda: f"ch_{uuid4().hex}")
    idempotency_key: Mapped[str] = mapped_column(Text)
    amount_cents: Mapped[int] = mapped_column(BigInteger)
    currency: Mapped[str] = mapped_column(Text)
    method: Mapped[str] = mapped_column(Text)
    outcome: Mapped[str] = mapped_column(Text)
    reason: Mapped[str] = mapped_column(Text)
    asks: Mapped[int] = mapped_column(default=0)
    callbacks: Mapped[int]
    call_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    calls: Mapped[int] = mapped_column(default=0)
    settles_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())

    def shown(self, now: datetime) -> Charge:
        """Return what the provider tells about this charge at the time `now`."""
        settled = self.settles_at <= now
        return Charge(
            id=self.id,
            key=self.idempotency_key,
            status=("captured" if self.outcome == "captured" else "failed") if settled else "pending",
            amount_cents=self.amount_cents,
            currency=self.currency,
            created_at=self.created_at,
            reason=self.reason if settled else "",
        )


class Ledger:
    """Reads and writes the table."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def enter(
        self, *, key: str, amount_cents: int, currency: str, method: str, settle_seconds: float, callbacks: int
    ) -> None:
        """Charge, unless the key has charged before: what a provider's idempotency keys are for."""
        reason = {"tok_declined": "declined"}.get(method, "" if method in METHODS else "unknown payment method")
        settles = func.clock_timestamp() + timedelta(seconds=settle_seconds)
        statement = insert(LocalCharge).values(
            idempotency_key=key,
            amount_cents=amount_cents,
            currency=currency,
            method=method,
            outcome="failed" if reason else "captured",
            reason=reason,
            callbacks=callbacks,
            settles_at=settles,
            call_at=settles,
        )
        async with self._database.session.begin() as session:
            await session.execute(statement.on_conflict_do_nothing())

    async def look(self, key: str) -> tuple[LocalCharge, datetime] | None:
        """Return a charge and the time; counts that somebody asked."""
        statement = (
            update(LocalCharge)
            .where(LocalCharge.idempotency_key == key)
            .values(asks=LocalCharge.asks + 1)
            .returning(LocalCharge, func.clock_timestamp())
        )
        async with self._database.session.begin() as session:
            row = (await session.execute(statement)).one_or_none()
        return (row[0], row[1]) if row else None

    async def list(self, since: datetime) -> AsyncIterator[Charge]:
        """List charges made at or after `since`, a page at a time."""
        after = (since, "")
        while True:
            statement = (
                select(LocalCharge, func.clock_timestamp())
                .where(tuple_(LocalCharge.created_at, LocalCharge.id) > tuple_(*map(literal, after)))
                .order_by(LocalCharge.created_at, LocalCharge.id)
                .limit(_PAGE)
            )
            async with self._database.session() as session:
                rows = (await session.execute(statement)).all()
            for charge, now in rows:
                yield charge.shown(now)
                after = (charge.created_at, charge.id)
            if len(rows) < _PAGE:
                return

    async def claim_callbacks(self, *, limit: int, lease_seconds: float) -> Sequence[LocalCharge]:
        """Take charges whose callback is due; nobody else calls for them within the lease."""
        due = (
            select(LocalCharge.id)
            .where(
                LocalCharge.callbacks > 0,
                LocalCharge.call_at <= func.clock_timestamp(),
                not_(and_(LocalCharge.method == "tok_error", LocalCharge.asks <= ERRORS)),
            )
            .order_by(LocalCharge.call_at)
            .limit(limit)
            .with_for_update(skip_locked=True)
            .cte("due")
        )
        statement = (
            update(LocalCharge)
            .where(LocalCharge.id.in_(select(due.c.id)))
            .values(call_at=func.clock_timestamp() + timedelta(seconds=lease_seconds), calls=LocalCharge.calls + 1)
            .returning(LocalCharge)
        )
        async with self._database.session.begin() as session:
            return (await session.scalars(statement)).all()

    async def called(self, charge: LocalCharge, *, left: int, wait_seconds: float) -> None:
        """Write down how many callbacks are left, and when the next one may be made."""
        statement = (
            update(LocalCharge)
            .where(LocalCharge.id == charge.id)
            .values(callbacks=left, call_at=func.clock_timestamp() + timedelta(seconds=wait_seconds))
        )
        async with self._database.session.begin() as session:
            await session.execute(statement)
