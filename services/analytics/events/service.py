# SPDX-License-Identifier: GPL-3.0-or-later
"""Taking events in, and forgetting them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from pydantic_core import to_jsonable_python
from sqlalchemy import BigInteger, DateTime, Text, Uuid, column, delete, func, literal, select, tuple_
from sqlalchemy.dialects.postgresql import JSONB, insert
from sqlalchemy.ext.asyncio import AsyncSession

from analytics.events.models import Minute, RawEvent
from analytics.events.types import money


@dataclass(frozen=True, slots=True)
class Arrival:
    """An event, checked, and who brought it."""

    id: UUID
    type: str
    time: datetime
    data: dict[str, Any]
    source: str
    subject: str = ""
    user_id: UUID | None = None


async def store(*, session: AsyncSession, arrivals: Sequence[Arrival]) -> int:
    """Store the events that are new, count them in their minutes, and return how many that were.

    One statement: an event is counted by the transaction that stored it and by no other. Both tables are written in the
    order of their keys, so that batches with the same events in them can't wait for each other.
    """
    rows = []
    for arrival in {arrival.id: arrival for arrival in arrivals}.values():
        cents, currency = money(arrival.type, arrival.data)
        rows.append(asdict(arrival) | {"cents": cents, "currency": currency})
    given = (
        func.jsonb_to_recordset(literal(to_jsonable_python(rows), JSONB))
        .table_valued(
            column("id", Uuid),
            column("type", Text),
            column("time", DateTime(timezone=True)),
            column("data", JSONB),
            column("source", Text),
            column("subject", Text),
            column("user_id", Uuid),
            column("cents", BigInteger),
            column("currency", Text),
            name="given",
        )
        .render_derived(with_types=True)
    )
    stored = ("id", "type", "time", "data", "source", "subject", "user_id")
    new = (
        insert(RawEvent)
        .from_select(stored, select(*(given.c[name] for name in stored)).order_by(given.c.id))
        .on_conflict_do_nothing()
        .returning(RawEvent.id)
        .cte("new")
    )
    key = (given.c.type, func.date_trunc("minute", given.c.time, "UTC"), given.c.currency)
    sums = select(*key, func.count(), func.sum(given.c.cents)).join(new, new.c.id == given.c.id)
    add = insert(Minute).from_select(
        ("type", "minute", "currency", "count", "amount_cents"), sums.group_by(*key).order_by(*key)
    )
    add = add.on_conflict_do_update(
        index_elements=("type", "minute", "currency"),
        set_={
            "count": Minute.count + add.excluded.count,
            "amount_cents": Minute.amount_cents + add.excluded.amount_cents,
        },
    )
    counted = add.returning(Minute.type).cte("counted")
    return (await session.scalars(select(func.count()).select_from(new).add_cte(counted))).one()


async def forget(*, session: AsyncSession, table: type[RawEvent | Minute], before: datetime, limit: int) -> int:
    """Delete up to `limit` rows from before that time, the oldest first; returns how many that were.

    Rows that another replica is deleting are left to it.
    """
    key = list(table.__table__.primary_key)
    age = RawEvent.time if table is RawEvent else Minute.minute
    oldest = select(*key).where(age < before).order_by(age).limit(limit).with_for_update(skip_locked=True)
    gone = await session.execute(delete(table).where(tuple_(*key).in_(oldest)).returning(key[0]))
    return len(gone.all())
