# SPDX-License-Identifier: GPL-3.0-or-later
"""Beginning, rotating and ending families.

A refresh token is good for one refresh. Who presents one that was replaced is either a thief, or the owner after a
thief: the family ends for both, and whoever knows the password begins another.

The exception is an answer that got lost. For a few seconds the token just replaced is answered with the *same*
successor again, as long as nobody has used that. It opens no second line: a thief who is quick enough ends up with the
very token that the owner holds, and the first of them to use it makes the other's next refresh a reuse. After these
seconds a lost answer costs a log-in.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import structlog
from sqlalchemy import text

from auth.deps import Parts, unauthorized
from auth.families.token import RefreshToken
from auth.logins.service import Person, Wrong, pair_key
from auth.statements import run
from kit.database import Database

log = structlog.get_logger("auth.families")

# What a log-in changes, at once: a slow database is asked one question.
_BEGIN = text("""
    WITH forgiven AS (
        DELETE FROM lockouts WHERE key = :pair
    ), rehashed AS (
        UPDATE users SET password_hash = :renewed
        WHERE id = :user_id AND password_version = :password_version AND CAST(:renewed AS text) IS NOT NULL
    )
    INSERT INTO families
        (id, user_id, client, password_version, current, begun_at, rotated_at, expires_at, ends_at)
    SELECT :id, id, :client, password_version, :current, :now, :now, :expires_at, :ends_at
    FROM users WHERE id = :user_id AND password_version = :password_version
    RETURNING expires_at
""")

# Of two that come at once the second waits for the row, sees another `current`, and changes nothing.
_ROTATE = text("""
    UPDATE families f
    SET previous = f.current, current = :successor, salt = :salt, rotated_at = :now, client = :client,
        expires_at = least(:expires_at, f.ends_at)
    FROM users u
    WHERE f.id = :id AND f.current = :digest AND f.ended_at IS NULL AND f.expires_at > :now
        AND u.id = f.user_id AND u.password_version = f.password_version
    RETURNING u.id, u.email, u.roles, f.expires_at
""")

_LOOK = text("""
    SELECT u.id, u.email, u.roles, f.expires_at, f.current, f.previous, f.salt, f.rotated_at,
        f.ended_at IS NULL AND f.expires_at > :now AND u.password_version = f.password_version AS live
    FROM families f JOIN users u ON u.id = f.user_id
    WHERE f.id = :id
""")

_END = text("""
    UPDATE families SET ended_at = :now, reused = :reused WHERE id = :id AND ended_at IS NULL RETURNING user_id
""")

_PURGE = text("""
    DELETE FROM families WHERE id IN (SELECT id FROM families WHERE ends_at < :now LIMIT 1000 FOR UPDATE SKIP LOCKED)
""")


@dataclass(frozen=True, slots=True)
class Session:
    """Somebody's place in a family: who they are, and the one token that is valid now."""

    user_id: UUID
    email: str
    roles: list[str]
    token: RefreshToken
    expires_at: datetime


async def begin(*, parts: Parts, person: Person, client: bytes) -> Session:
    """Begin a family for somebody who has just shown their password; raises Wrong if it was changed meanwhile."""
    now, token = parts.now(), RefreshToken.first(uuid4())
    row = await run(
        parts.database,
        _BEGIN,
        {
            "id": token.family_id,
            "user_id": person.id,
            "client": client,
            "password_version": person.password_version,
            "current": token.digest,
            "now": now,
            "expires_at": now + timedelta(days=parts.settings.refresh_days),
            "ends_at": now + timedelta(days=parts.settings.session_days),
            "pair": pair_key(parts.rules, person.email, client),
            "renewed": person.renewed,
        },
    )
    if row is None:
        raise Wrong
    return Session(person.id, person.email, person.roles, token, row.expires_at)


async def rotate(*, parts: Parts, token: RefreshToken, client: bytes) -> Session:
    """Replace a token by its successor; a 401 for a token that is not the family's valid one."""
    now, salt = parts.now(), secrets.token_bytes(32)
    parameters = {
        "id": token.family_id,
        "digest": token.digest,
        "successor": token.successor(salt).digest,
        "salt": salt,
        "client": client,
        "now": now,
        "expires_at": now + timedelta(days=parts.settings.refresh_days),
    }
    row = await run(parts.database, _ROTATE, parameters)
    if row:
        parts.metrics.refreshes.labels("ok").inc()
        return Session(row.id, row.email, row.roles, token.successor(salt), row.expires_at)
    return await _explain(parts=parts, token=token, now=now)


async def _explain(*, parts: Parts, token: RefreshToken, now: datetime) -> Session:
    row = await run(parts.database, _LOOK, {"id": token.family_id, "now": now})
    verdict = judge(row, token, now=now, grace=timedelta(seconds=parts.settings.refresh_grace_seconds))
    parts.metrics.refreshes.labels(verdict).inc()
    if verdict == "again":
        assert row
        return Session(row.id, row.email, row.roles, token.successor(row.salt), row.expires_at)
    if verdict == "reused":
        await end(database=parts.database, token=token, now=now, reused=True)
        log.warning("a refresh token was used twice, its family has ended", user=str(row.id if row else ""))
    raise unauthorized("The refresh token is not valid; log in again.")


def judge(row: Any, token: RefreshToken, *, now: datetime, grace: timedelta) -> str:
    """Say what a token that was not rotated is: `again`, `reused` or `refused`. `row` is its family, if any."""
    if row is None or not row.live or row.current == token.digest:
        return "refused"
    # Once its successor has been used, it is no longer the previous one.
    just_replaced = grace and row.previous == token.digest and now - row.rotated_at <= grace
    return "again" if just_replaced else "reused"


async def end(*, database: Database, token: RefreshToken, now: datetime, reused: bool = False) -> bool:
    """End the token's family; tells whether it was still alive."""
    return await run(database, _END, {"id": token.family_id, "now": now, "reused": reused}) is not None


async def purge(*, database: Database, now: datetime) -> None:
    """Drop families that are past their end."""
    await run(database, _PURGE, {"now": now})
