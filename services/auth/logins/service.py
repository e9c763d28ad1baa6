# SPDX-License-Identifier: GPL-3.0-or-later
"""Is this the account's password? Two round trips to the database at most, and the hash between them.

Nobody can lock a victim out, for what counts against an account is kept apart by who is asking:

- Wrong passwords lock the pair of account and client. What an attacker does elsewhere never delays the owner at home.
- An attacker with many addresses meets the account's rate, which all *strangers* share: clients from which nobody has
  logged in to the account. The owner's usual places do not count there, and live sessions refresh through all of it.
- Refused attempts count nowhere: a lock-out ends at the time it was given, however often somebody knocks.

Left is an attacker behind the owner's own address, and, while a distributed attack goes on, an owner in a new place:
both can delay a log-in there, by minutes, and neither ends a session or a way in from another place.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import text

from auth.deps import Parts, unauthorized
from auth.limits import service as limits
from auth.limits.rules import Rules
from auth.statements import run
from kit import Problem
from kit.database import Database

# Read and counted at once, so that attempts in parallel and on other replicas see each other.
_ADMIT = text("""
    WITH person AS MATERIALIZED (
        SELECT u.id, u.email, u.roles, u.password_hash, u.password_version, EXISTS (
            SELECT FROM families f
            WHERE f.user_id = u.id AND f.client = :client AND f.password_version = u.password_version AND NOT f.reused
        ) AS familiar
        FROM users u WHERE u.email = :email
    ), locked AS (
        SELECT until FROM lockouts WHERE key = :pair AND until > :now
    ), by_client AS (
        INSERT INTO rates AS r (key, due)
        SELECT :client, CAST(:now AS timestamptz) + :client_gap WHERE NOT EXISTS (SELECT FROM locked)
        ON CONFLICT (key) DO UPDATE SET due = greatest(r.due, :now) + :client_gap
        WHERE r.due <= :now + CAST(:client_slack AS interval)
        RETURNING 1
    ), by_stranger AS (
        INSERT INTO rates AS r (key, due)
        SELECT :account, CAST(:now AS timestamptz) + :account_gap FROM by_client
        WHERE NOT EXISTS (SELECT FROM person WHERE familiar)
        ON CONFLICT (key) DO UPDATE SET due = greatest(r.due, :now) + :account_gap
        WHERE r.due <= :now + CAST(:account_slack AS interval)
        RETURNING 1
    )
    SELECT
        person.*,
        (SELECT until FROM locked) AS locked_until,
        EXISTS (SELECT FROM by_client) AS client_ok,
        EXISTS (SELECT FROM by_stranger) OR coalesce(person.familiar, false) AS account_ok,
        (SELECT due FROM rates WHERE key = :client) AS client_due,
        (SELECT due FROM rates WHERE key = :account) AS account_due
    FROM (SELECT) AS always LEFT JOIN person ON true
""")


@dataclass(frozen=True, slots=True)
class Person:
    """Whoever has shown the password; `renewed` is a hash with today's parameters when the stored one has others."""

    id: UUID
    email: str
    roles: list[str]
    password_version: int
    renewed: str | None


class Refused(Problem):
    """The attempt was not looked at; says nothing about whether the account exists."""

    def __init__(self, outcome: str, wait: timedelta) -> None:
        seconds = math.ceil(wait.total_seconds())
        detail = f"Too many attempts; try again in {seconds} seconds."
        super().__init__(429, detail, headers={"Retry-After": str(seconds)})
        self.outcome = outcome


class Wrong(Problem):
    """No such account, or another password."""

    def __init__(self) -> None:
        problem = unauthorized("E-mail address or password is wrong.")
        super().__init__(problem.status_code, problem.detail, headers=problem.headers)


async def check_password(*, parts: Parts, email: str, password: str, client: bytes) -> Person:
    """Return the account's owner; raise Refused, Wrong, or Busy while too many passwords are being hashed."""
    now, pair = parts.now(), pair_key(parts.rules, email, client)
    # A place among the hashes first: a storm of log-ins is turned away before it reaches the database.
    with parts.passwords.place():
        row = await _admit(database=parts.database, rules=parts.rules, email=email, client=client, pair=pair, now=now)
        fits, renewed = await parts.passwords.verify(password, row.password_hash)
    if fits:
        return Person(row.id, row.email, row.roles, row.password_version, renewed)
    if await limits.fail(database=parts.database, key=pair, delays=parts.rules.delays, now=parts.now()):
        parts.metrics.lockouts.inc()
    raise Wrong


async def _admit(*, database: Database, rules: Rules, email: str, client: bytes, pair: bytes, now: datetime) -> Any:
    by_client, by_stranger = rules.log_ins, rules.strangers
    parameters = {
        "email": email,
        "client": client,
        "pair": pair,
        "account": rules.key("account", email),
        "client_gap": by_client.gap,
        "client_slack": by_client.slack,
        "account_gap": by_stranger.gap,
        "account_slack": by_stranger.slack,
        "now": now,
    }
    row = await run(database, _ADMIT, parameters)
    assert row
    if row.locked_until:
        raise Refused("locked", row.locked_until - now)
    if not row.client_ok:
        raise Refused("limited", limits.wait(row.client_due, by_client, now))
    if not row.account_ok:
        raise Refused("limited", limits.wait(row.account_due, by_stranger, now))
    return row


def pair_key(rules: Rules, email: str, client: bytes) -> bytes:
    """Return the key of the lock-out of this account for this client."""
    return rules.key("pair", email, client.hex())
