# SPDX-License-Identifier: GPL-3.0-or-later
"""Mail, to a stand-in for a mail server: sent once, tried again, given up, brought back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from email import message_from_string, policy
from typing import Any
from uuid import uuid4

import pytest
from starlette.testclient import TestClient

from kit.database import Database
from kit.metrics import Metrics
from kit.testing import Issuer, until
from notifications.delivery.mail import Mailer, MailFailed, Server
from notifications.delivery.sender import Sender
from notifications.metrics import NotificationMetrics
from notifications.settings import Settings

Rows = Callable[..., list[tuple[Any, ...]]]
STATES = "SELECT state, attempts, error FROM notifications WHERE channel = 'mail'"


def test_a_mail_is_sent_beside_the_inbox(
    mailing: TestClient, mail_server: Any, tell: Any, order: Any, rows: Rows
) -> None:
    tell("order.paid", order, times=3)
    until(lambda: rows(STATES) == [("sent", 1, "")])
    (mail,) = mail_server.mails
    assert (mail.sender, mail.recipients) == ("shop@opsforge.example", ["ada@example.org"])
    message = message_from_string(mail.text, policy=policy.default)
    ((number, subject),) = rows("SELECT id, subject FROM notifications WHERE channel = 'mail'")
    assert message["Message-ID"] == f"<{number}@opsforge.example>"
    assert message["Subject"] == subject
    assert "2 x Blue mug" in message.get_content()
    assert sorted(rows("SELECT channel, state FROM notifications")) == [("inbox", "sent"), ("mail", "sent")]


def test_a_failed_payment_is_mailed_to_the_last_address(
    mailing: TestClient, mail_server: Any, tell: Any, order: Any, rows: Rows
) -> None:
    payment = {
        "order_id": order["order_id"],
        "user_id": order["user_id"],
        "amount_cents": 1,
        "currency": "EUR",
        "reason": "declined",
    }
    unknown = payment | {"user_id": str(uuid4())}
    tell("order.placed", order)
    until(lambda: len(mail_server.mails) == 1)
    tell("payment.failed", payment)
    tell("payment.failed", unknown)
    until(lambda: len(mail_server.mails) == 2)
    assert mail_server.mails[1].recipients == ["ada@example.org"]
    until(lambda: len(rows("SELECT 1 FROM notifications WHERE channel = 'inbox'")) == 3)
    assert len(rows(STATES)) == 2


def test_a_passing_trouble_is_tried_again(
    mailing: TestClient, mail_server: Any, tell: Any, order: Any, rows: Rows
) -> None:
    mail_server.answers += ["451 try later", "hang up", "421 closing"]
    tell("order.paid", order)
    until(lambda: rows(STATES) == [("sent", 4, "")])
    assert len(mail_server.mails) == 1


def test_a_refused_recipient_is_dead_and_can_be_requeued(
    mailing: TestClient, mail_server: Any, issuer: Issuer, tell: Any, order: Any, rows: Rows
) -> None:
    mail_server.answers += ["550 no such user"]
    tell("order.paid", order)
    until(lambda: rows(STATES) == [("dead", 1, "recipient refused (550)")])
    admin = issuer.headers(roles=["admin"])
    (dead,) = mailing.get("/dead", headers=admin).json()["items"]
    assert {**dead, "id": "", "since": ""} == {
        "id": "",
        "kind": "mail",
        "what": "order_paid",
        "error": "recipient refused (550)",
        "attempts": 1,
        "user_id": order["user_id"],
        "since": "",
    }
    registry = mailing.app.state.kit.metrics.registry  # type: ignore[attr-defined]
    until(lambda: registry.get_sample_value("notifications_dead") == 1)
    answer = mailing.post(f"/dead/{dead['id']}/requeue", headers=admin)
    assert (answer.status_code, answer.json()) == (202, {"id": dead["id"]})
    until(lambda: rows(STATES) == [("sent", 1, "")])
    assert len(mail_server.mails) == 1
    assert mailing.post(f"/dead/{dead['id']}/requeue", headers=admin).status_code == 404
    assert mailing.get("/dead", headers=admin).json() == {"items": []}


class Post:
    """A post office that answers as told; the last answer is repeated."""

    def __init__(self, *answers: Exception | None) -> None:
        self.answers = list(answers)
        self.taken = 0

    async def send(self, _message: Any) -> None:
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if answer:
            raise answer
        self.taken += 1


def send(settings: Settings, post: Any, times: int = 1) -> list[int]:
    """Run the sender by hand, in a process of its own, so to say."""

    async def run() -> list[int]:
        database = Database(settings)
        metrics = NotificationMetrics(Metrics(settings).registry)
        sender = Sender(database=database, post=post, metrics=metrics, settings=settings, chance=lambda: 0)
        try:
            return [await sender.send_due() for _ in range(times)]
        finally:
            await database.close()

    return asyncio.run(run())


@pytest.fixture
def queued(rows: Rows, settings: Settings) -> Callable[..., str]:
    """Return a function that puts a mail into the queue."""

    def put(address: str = "ada@example.org", subject: str = "Hello") -> str:
        ((number,),) = rows(
            "INSERT INTO notifications (id, event_id, template, channel, user_id, address, subject, body, state,"
            " attempts, error) VALUES (gen_random_uuid(), gen_random_uuid(), 'order_paid', 'mail', gen_random_uuid(),"
            " %s, %s, 'x', 'queued', 0, '') RETURNING id",
            address,
            subject,
        )
        return str(number)

    return put


def test_attempts_are_bounded_and_wait_longer_each_time(settings: Settings, queued: Any, rows: Rows) -> None:
    queued()
    patient = settings.model_copy(update={"retry_seconds": 10.0, "attempts": 4})
    post = Post(MailFailed("ConnectionRefusedError", for_good=False))
    for attempt, wait in ((1, 10), (2, 20), (3, 40)):
        assert send(patient, post, times=2) == [1, 0]  # not due at once
        assert rows(STATES) == [("queued", attempt, "ConnectionRefusedError")]
        ((seconds,),) = rows("SELECT extract(epoch FROM next_attempt_at - now())::float FROM notifications")
        assert wait / 2 < seconds <= wait
        rows("UPDATE notifications SET next_attempt_at = now()")
    assert send(patient, post) == [1]
    assert rows(STATES) == [("dead", 4, "ConnectionRefusedError")]
    rows("UPDATE notifications SET next_attempt_at = now()")
    assert send(patient, post) == [0]


def test_a_mail_that_must_not_leave_is_dead(settings: Settings, queued: Any, rows: Rows) -> None:
    queued(subject="Hello\nBcc: eve@example.org")
    queued(address="ada@example.org\nBcc: eve@example.org")
    post = Post(None)
    assert send(settings, post) == [2]
    assert post.taken == 0
    assert rows(STATES) == [("dead", 1, "not a valid message")] * 2


def test_a_crash_while_sending_leaves_the_mail_to_another(settings: Settings, queued: Any, rows: Rows) -> None:
    class CrashError(BaseException):
        """The process is gone."""

    queued()
    with pytest.raises(CrashError):
        send(settings, Post(CrashError()))  # type: ignore[arg-type]
    post = Post(None)
    assert send(settings, post) == [0]  # the lease holds
    rows("UPDATE notifications SET next_attempt_at = now()")
    assert send(settings, post) == [1]
    assert (post.taken, rows(STATES)) == (1, [("sent", 2, "")])


def test_senders_beside_each_other_take_each_mail_once(settings: Settings, queued: Any, rows: Rows) -> None:
    for _ in range(40):
        queued()
    post = Post(None)

    async def run() -> None:
        databases = [Database(settings) for _ in range(4)]
        senders = [
            Sender(
                database=database,
                post=post,
                metrics=NotificationMetrics(Metrics(settings).registry),
                settings=settings,
            )
            for database in databases
        ]
        while any(await asyncio.gather(*(sender.send_due() for sender in senders))):
            pass
        for database in databases:
            await database.close()

    asyncio.run(run())
    assert post.taken == 40
    assert rows(STATES) == [("sent", 1, "")] * 40


def test_a_stop_waits_for_what_is_being_sent(settings: Settings, queued: Any, rows: Rows) -> None:
    queued()

    async def run() -> None:
        database = Database(settings)
        begun, go_on = asyncio.Event(), asyncio.Event()

        class Slow:
            async def send(self, _message: Any) -> None:
                begun.set()
                await go_on.wait()

        metrics = NotificationMetrics(Metrics(settings).registry)
        task = asyncio.create_task(Sender(database=database, post=Slow(), metrics=metrics, settings=settings).run())
        await begun.wait()
        task.cancel()
        asyncio.get_running_loop().call_soon(go_on.set)
        with pytest.raises(asyncio.CancelledError):
            await task
        await database.close()

    asyncio.run(run())
    assert rows(STATES) == [("sent", 1, "")]


def test_a_server_that_is_not_there_is_a_passing_trouble() -> None:
    async def run() -> None:
        mailer = Mailer(Server("127.0.0.1", 1, "none"), 1)
        try:
            with pytest.raises(MailFailed, match="^ConnectionRefusedError$") as error:
                from email.message import EmailMessage

                await mailer.send(EmailMessage())
            assert not error.value.for_good
        finally:
            mailer.close()

    asyncio.run(run())


def test_a_server_without_starttls_is_never_given_the_password(mail_server: Any) -> None:
    async def run() -> None:
        mailer = Mailer(Server("127.0.0.1", mail_server.port, "starttls", "shop", "secret"), 1)
        try:
            with pytest.raises(MailFailed) as error:
                from email.message import EmailMessage

                await mailer.send(EmailMessage())
            assert not error.value.for_good
        finally:
            mailer.close()

    asyncio.run(run())
    assert mail_server.mails == []
