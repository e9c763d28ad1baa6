# SPDX-License-Identifier: GPL-3.0-or-later
"""The sender: takes mails from the queue, hands them over, tries again later, and at last gives up."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from datetime import UTC, datetime
from email.message import EmailMessage
from time import perf_counter
from typing import Protocol

import structlog

from kit.database import Database
from kit.trace import current_trace, resume
from notifications.delivery import service
from notifications.delivery.mail import MailFailed, compose
from notifications.inbox.models import Notification
from notifications.metrics import NotificationMetrics
from notifications.settings import Settings

log = structlog.get_logger("notifications.sender")


class Post(Protocol):
    """Whoever takes a message; raises MailFailed."""

    async def send(self, message: EmailMessage) -> None:
        """Return when the message has been taken."""
        ...


class Sender:
    """Sends each queued mail until it is taken or its attempts are used up.

    A mail is sent twice only when the process dies between the server's 250 and our commit; both have one Message-ID.
    """

    def __init__(
        self,
        *,
        database: Database,
        post: Post,
        metrics: NotificationMetrics,
        settings: Settings,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._database = database
        self._post = post
        self._metrics = metrics
        self._settings = settings
        self._chance = chance

    async def run(self) -> None:
        """Send until cancelled; what is being sent then is still written down."""
        while True:
            batch = asyncio.ensure_future(self.send_due())
            try:
                sent = await asyncio.shield(batch)
            except asyncio.CancelledError:
                await asyncio.wait([batch], timeout=self._settings.last_seconds)
                raise
            if not sent:
                await asyncio.sleep(self._settings.poll_seconds)

    async def send_due(self) -> int:
        """Send every mail of one batch that is due; returns how many there were."""
        async with self._database.session.begin() as session:
            due = await service.claim_due(
                session=session, limit=self._settings.senders, lease_seconds=self._settings.lease_seconds
            )
        await asyncio.gather(*map(self._send, due))
        return len(due)

    async def _send(self, notification: Notification) -> None:
        current_trace.set(resume(notification.trace))  # a task of its own: nobody else sees it
        begun = perf_counter()
        failure: MailFailed | None = None
        try:
            message = compose(
                notification_id=notification.id,
                sender=self._settings.mail_from,
                recipient=notification.address,
                subject=notification.subject,
                body=notification.body,
                at=datetime.now(UTC),
            )
            await self._post.send(message)
        except MailFailed as error:
            failure = error
        except ValueError:  # not a message that may leave us
            failure = MailFailed("not a valid message", for_good=True)
        self._metrics.send_seconds.observe(perf_counter() - begun)
        outcome = await self._write_down(notification, failure)
        self._metrics.deliveries.labels(notification.template, outcome).inc()

    async def _write_down(self, notification: Notification, failure: MailFailed | None) -> str:
        settings = self._settings
        async with self._database.session.begin() as session:
            if failure is None:
                await service.mark_sent(session=session, notification_id=notification.id)
                return "sent"
            dead = failure.for_good or notification.attempts >= settings.attempts
            wait = service.wait_seconds(
                notification.attempts,
                base=settings.retry_seconds,
                cap=settings.retry_cap_seconds,
                chance=self._chance(),
            )
            await service.mark_failed(
                session=session,
                notification_id=notification.id,
                error=str(failure),
                seconds=None if dead else wait,
            )
        log.warning("mail not taken", notification_id=str(notification.id), error=str(failure), dead=dead)
        return "dead" if dead else "retried"
