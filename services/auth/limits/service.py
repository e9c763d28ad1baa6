# SPDX-License-Identifier: GPL-3.0-or-later
"""Counting: one statement, one transaction. What one replica counts is counted for all."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import text

from auth.limits.rules import FORGET, Pace
from auth.statements import run
from kit.database import Database

_TAKE = text("""
    WITH taken AS (
        INSERT INTO rates AS r (key, due) VALUES (:key, CAST(:now AS timestamptz) + :gap)
        ON CONFLICT (key) DO UPDATE SET due = greatest(r.due, :now) + :gap
        WHERE r.due <= :now + CAST(:slack AS interval)
        RETURNING 1
    )
    SELECT EXISTS (SELECT FROM taken) AS ok, (SELECT due FROM rates WHERE key = :key) AS due
""")

_FAIL = text("""
    INSERT INTO lockouts AS l (key, failures, until)
    VALUES (:key, 1, CAST(:now AS timestamptz) + make_interval(secs => (CAST(:delays AS float8[]))[1]))
    ON CONFLICT (key) DO UPDATE SET
        failures = l.failures + 1,
        until = :now + make_interval(secs => (CAST(:delays AS float8[]))[least(l.failures + 1, :last)])
    RETURNING until
""")

# A batch at a time and past what others hold: nobody waits for it.
_PURGE_RATES = text("""
    DELETE FROM rates WHERE key IN (SELECT key FROM rates WHERE due < :before LIMIT 5000 FOR UPDATE SKIP LOCKED)
""")
_PURGE_LOCKOUTS = text("""
    DELETE FROM lockouts WHERE key IN (SELECT key FROM lockouts WHERE until < :before LIMIT 5000 FOR UPDATE SKIP LOCKED)
""")


async def take(*, database: Database, key: bytes, pace: Pace, now: datetime) -> timedelta | None:
    """Take one place of the rate `key`; returns None, or how long to wait when there is none."""
    parameters = {"key": key, "gap": pace.gap, "slack": pace.slack, "now": now}
    row = await run(database, _TAKE, parameters)
    assert row
    return None if row.ok else wait(row.due, pace, now)


def wait(due: datetime | None, pace: Pace, now: datetime) -> timedelta:
    """Return how long until a rate has a place again; never nothing, for it had none."""
    return max((due or now) - pace.slack - now, timedelta(seconds=1))


async def fail(*, database: Database, key: bytes, delays: list[float], now: datetime) -> bool:
    """Count a wrong password; tells whether it locks."""
    row = await run(database, _FAIL, {"key": key, "now": now, "delays": delays, "last": len(delays)})
    return row is not None and row.until > now


async def purge(*, database: Database, now: datetime) -> None:
    """Drop counters that mean nothing any more."""
    await run(database, _PURGE_RATES, {"before": now})
    await run(database, _PURGE_LOCKOUTS, {"before": now - FORGET})
