# SPDX-License-Identifier: GPL-3.0-or-later
"""The outbox: events wait in the service's own database, in the transaction of the change that they tell of."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

import sqlalchemy as sa
from pydantic_core import to_jsonable_python
from sqlalchemy import BigInteger, DateTime, Identity, Index, Text, func
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from kit.database import Base
from kit.trace import left_trace

PUBLISHED = "published"
"""Set in a session's `info` once it holds an event: whoever relays wants to hear of its commit."""


class OutboxEvent(Base):
    """One event; `batch` is the database transaction that put it on the stream, null before."""

    __tablename__ = "outbox"
    __table_args__ = (
        Index("ix_outbox_waiting", "sequence", postgresql_where=sa.text("batch IS NULL")),
        Index("ix_outbox_batch", "batch"),
    )

    sequence: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    id: Mapped[UUID]
    type: Mapped[str] = mapped_column(Text)
    subject: Mapped[str] = mapped_column(Text)
    time: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    trace: Mapped[str] = mapped_column(Text)
    data: Mapped[dict[str, Any]] = mapped_column(JSONB)
    batch: Mapped[int | None] = mapped_column(BigInteger)


def publish(session: AsyncSession, *, type: str, subject: object, data: Mapping[str, Any]) -> UUID:  # noqa: A002
    """Add an event to the session's transaction and return its id; both happen, or neither.

    `data` may hold UUIDs, times and models; what JSON can't say raises `pydantic_core.PydanticSerializationError`.
    """
    event_id = uuid4()
    session.add(
        OutboxEvent(
            id=event_id,
            type=type,
            subject=str(subject),
            trace=left_trace(),
            data=to_jsonable_python(dict(data)),
        )
    )
    session.info[PUBLISHED] = True
    return event_id


def create_outbox(op: Any) -> None:
    """Create the table, in a migration: `create_outbox(op)`."""
    op.create_table(
        "outbox",
        sa.Column("sequence", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("time", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.Column("trace", sa.Text(), nullable=False),
        sa.Column("data", JSONB(), nullable=False),
        sa.Column("batch", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("sequence", name="pk_outbox"),
    )
    op.create_index("ix_outbox_waiting", "outbox", ["sequence"], postgresql_where=sa.text("batch IS NULL"))
    op.create_index("ix_outbox_batch", "outbox", ["batch"])


def drop_outbox(op: Any) -> None:
    """Drop the table, with the events that nobody was told of."""
    op.drop_table("outbox")
