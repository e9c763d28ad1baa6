# SPDX-License-Identifier: GPL-3.0-or-later
"""The worker's side of the books: claims, leases, outcomes, each for a whole batch in one statement."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import structlog
from pydantic import ValidationError
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession
from taskiq import TaskiqResult

from jobs.kinds import KINDS
from jobs.queue.delivery import Delivery, Outcome
from jobs.queue.receiver import AWAY, Claims
from jobs.queue.retries import backoff
from jobs.settings import Settings
from jobs.worker.metrics import WorkerMetrics
from kit.database import Database
from kit.trace import resume, tracing

log = structlog.get_logger("jobs.worker")

# The claim is PostgreSQL's word on who runs a job; what Redis hands out is a suggestion. Jobs of a dead worker can be
# claimed when their lease is over.
_CLAIM = text("""
    UPDATE jobs SET state = 'running', attempts = attempts + 1, losses = losses + (state = 'running')::int,
        worker = :worker, started_at = now(), due_at = now() + make_interval(secs => :lease)
    WHERE id = ANY(CAST(:ids AS uuid[]))
        AND (state = 'queued' OR state = 'running' AND due_at <= now() AND losses + 1 < :losses)
    RETURNING id, payload::text, attempts, failures, trace, extract(epoch FROM now() - queued_at)::float8
""")

_REFUSED = text("""
    SELECT id, extract(epoch FROM due_at - now())::float8 FROM jobs
    WHERE id = ANY(CAST(:ids AS uuid[])) AND state = 'running' AND due_at > now()
""")

_BURY = text("""
    UPDATE jobs SET state = 'dead', losses = losses + 1, due_at = now(), finished_at = now(), worker = NULL,
        error = 'The worker vanished, too often.'
    WHERE id = ANY(CAST(:ids AS uuid[])) AND state = 'running' AND due_at <= now() AND losses + 1 >= :losses
    RETURNING id, kind, trace
""")

_RENEW = text("""
    UPDATE jobs SET due_at = now() + make_interval(secs => :lease)
    FROM unnest(CAST(:ids AS uuid[]), CAST(:attempts AS int[])) AS held (id, attempt)
    WHERE jobs.id = held.id AND jobs.attempts = held.attempt AND jobs.state = 'running'
    RETURNING jobs.id
""")

_DONE = text("""
    UPDATE jobs SET state = 'done', result = ended.result::jsonb, error = NULL, finished_at = now(), due_at = NULL
    FROM unnest(CAST(:ids AS uuid[]), CAST(:attempts AS int[]), CAST(:results AS text[])) AS ended (id, attempt, result)
    WHERE jobs.id = ended.id AND jobs.attempts = ended.attempt AND jobs.state = 'running'
    RETURNING jobs.id
""")

_FAILED = text("""
    UPDATE jobs SET failures = failures + 1, error = ended.error, worker = NULL,
        state = CASE WHEN ended.pause IS NULL THEN 'dead' ELSE 'retrying' END,
        due_at = now() + make_interval(secs => coalesce(ended.pause, 0)),
        finished_at = CASE WHEN ended.pause IS NULL THEN now() END
    FROM unnest(CAST(:ids AS uuid[]), CAST(:attempts AS int[]), CAST(:errors AS text[]), CAST(:pauses AS float8[]))
        AS ended (id, attempt, error, pause)
    WHERE jobs.id = ended.id AND jobs.attempts = ended.attempt AND jobs.state = 'running'
    RETURNING jobs.id
""")

_HAND_BACK = text("""
    UPDATE jobs SET state = 'queued', attempts = attempts - 1, due_at = queued_at, worker = NULL, started_at = NULL
    FROM unnest(CAST(:ids AS uuid[]), CAST(:attempts AS int[])) AS held (id, attempt)
    WHERE jobs.id = held.id AND jobs.attempts = held.attempt AND jobs.state = 'running'
""")


class Refused(Exception):
    """A job that can't succeed, however often it is tried."""


class PostgresLedger:
    """The ledger of one worker (`queue.receiver.Ledger`)."""

    def __init__(self, database: Database, settings: Settings, metrics: WorkerMetrics, *, worker: str) -> None:
        self._database = database
        self._settings = settings
        self._metrics = metrics
        self._worker = worker

    async def claim(self, deliveries: Sequence[Delivery]) -> Claims:
        """Make these jobs ours, as far as they are free."""
        claims = Claims()
        by_id: dict[UUID, Delivery] = {}
        for delivery in deliveries:
            if by_id.setdefault(delivery.id, delivery) is not delivery:
                claims.forget.append(delivery)  # twice in one read
        ids: dict[str, Any] = {"ids": list(by_id)}
        async with self._database.session.begin() as session:
            lease = {"worker": self._worker, "lease": self._settings.visibility_seconds}
            limit = {"losses": self._settings.losses}
            rows = (await session.execute(_CLAIM, ids | lease | limit)).all()
            left = set(by_id) - {row[0] for row in rows}
            elsewhere: dict[UUID, float] = {}
            if left:
                ids = {"ids": list(left)}
                elsewhere = {job: seconds for job, seconds in await session.execute(_REFUSED, ids)}
                for job, kind, trace in await session.execute(_BURY, ids | limit):
                    with tracing(resume(trace)):
                        log.warning("job is dead", job=str(job), kind=kind, error="the worker vanished, too often")
                    self._metrics.ended(kind, "dead")
        for job, payload, attempt, failures, trace, waited in rows:
            delivery = by_id[job]
            delivery.attempt, delivery.failures, delivery.waited = attempt, failures, waited
            delivery.trace = resume(trace)
            try:
                delivery.message.args = [KINDS[delivery.kind].payload.model_validate_json(payload)]
            except ValidationError:  # written by another version
                misfit = Refused("the payload does not fit this version")
                result: TaskiqResult[Any] = TaskiqResult(is_err=True, return_value=None, execution_time=0, error=misfit)
                await self.settle([Outcome(delivery, result, 0.0)])
                claims.forget.append(delivery)
            else:
                claims.run.append(delivery)
        for job in left:
            if job in elsewhere:
                claims.postpone.append((by_id[job], elsewhere[job]))
            else:
                claims.forget.append(by_id[job])
        return claims

    async def renew(self, deliveries: Sequence[Delivery]) -> set[Delivery]:
        """Prolong our leases."""
        async with self._database.session.begin() as session:
            held = _held(deliveries) | {"lease": self._settings.visibility_seconds}
            kept = set(await session.scalars(_RENEW, held))
        return {delivery for delivery in deliveries if delivery.id not in kept}

    async def hand_back(self, deliveries: Sequence[Delivery]) -> None:
        """Make these jobs free again; the attempt does not count."""
        async with self._database.session.begin() as session:
            await session.execute(_HAND_BACK, _held(deliveries))
        for delivery in deliveries:
            self._metrics.ended(delivery.kind, "handed_back")

    async def settle(self, outcomes: Sequence[Outcome]) -> None:
        """Write results, effects and failures in one transaction. What another run has written stays."""
        try:
            await self._settle(outcomes)
        except AWAY:
            raise
        except Exception as error:  # a result that the database does not take, or an effect that fails
            if len(outcomes) > 1:  # it must not hold up the others
                for outcome in outcomes:
                    await self.settle([outcome])
                return
            with tracing(outcomes[0].delivery.trace):
                log.error("cannot settle", job=str(outcomes[0].delivery.id), error=type(error).__name__)
            outcomes[0].result.is_err, outcomes[0].result.error = True, error
            await self._settle(outcomes)

    async def _settle(self, outcomes: Sequence[Outcome]) -> None:
        done = [outcome for outcome in outcomes if not outcome.result.is_err]
        failed = [outcome for outcome in outcomes if outcome.result.is_err]
        pauses = [self._pause(outcome) for outcome in failed]
        async with self._database.session.begin() as session:
            written: set[UUID] = set()
            if done:
                results = [json.dumps(outcome.result.return_value) for outcome in done]
                written |= set(
                    await session.scalars(_DONE, _held([outcome.delivery for outcome in done]) | {"results": results})
                )
                await self._write_effects(session, [outcome for outcome in done if outcome.delivery.id in written])
            if failed:
                errors = [_describe(outcome.result.error) for outcome in failed]
                held = _held([outcome.delivery for outcome in failed])
                written |= set(await session.scalars(_FAILED, held | {"errors": errors, "pauses": pauses}))
        for outcome in done:
            self._count(outcome, "done", written)
        for outcome, pause in zip(failed, pauses, strict=True):
            self._count(outcome, "dead" if pause is None else "retried", written)

    @staticmethod
    async def _write_effects(session: AsyncSession, done: Sequence[Outcome]) -> None:
        for kind in {outcome.delivery.kind for outcome in done}:
            if effect := KINDS[kind].effect:
                await effect(
                    session,
                    [(each.delivery.id, each.result.return_value) for each in done if each.delivery.kind == kind],
                )

    def _pause(self, outcome: Outcome) -> float | None:
        """Return the seconds until the next attempt; None when there is none."""
        failures = outcome.delivery.failures + 1
        if failures >= self._settings.attempts or isinstance(outcome.result.error, Refused):
            return None
        return backoff(failures, first=self._settings.backoff_seconds, cap=self._settings.backoff_cap_seconds)

    def _count(self, outcome: Outcome, what: str, written: set[UUID]) -> None:
        delivery = outcome.delivery
        if delivery.id not in written:
            what = "too_late"
        self._metrics.ended(delivery.kind, what, seconds=outcome.seconds, waited=delivery.waited)
        error = {"error": _describe(outcome.result.error)} if outcome.result.error else {}
        tell = log.info if what == "done" else log.warning
        with tracing(delivery.trace):
            tell("job", outcome=what, job=str(delivery.id), kind=delivery.kind, attempt=delivery.attempt, **error)


def _held(deliveries: Sequence[Delivery]) -> dict[str, Any]:
    return {"ids": [each.id for each in deliveries], "attempts": [each.attempt for each in deliveries]}


def _describe(error: BaseException | None) -> str:
    error = getattr(error, "orig", None) or error  # without the statement that SQLAlchemy shows
    return f"{type(error).__name__}: {error}".replace("\0", "")[:500].encode(errors="replace").decode()
