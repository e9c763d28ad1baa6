# SPDX-License-Identifier: GPL-3.0-or-later
"""Letters and mails: the words that people read, and nothing smuggled into them. Pure."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from email import message_from_bytes, policy
from typing import Any
from uuid import uuid4

import pytest

from notifications.delivery.mail import Server, compose
from notifications.delivery.service import wait_seconds
from notifications.letters.letter import _REASONS, TYPES, Unreadable, write
from orders.orders.models import Order, OrderLine
from orders.orders.service import _described

PAYMENT = {
    "order_id": "11111111-1111-4111-8111-111111111111",
    "payment_id": str(uuid4()),
    "user_id": str(uuid4()),
    "amount_cents": 4905,
    "currency": "EUR",
    "reason": "declined",
}


@pytest.mark.parametrize("kind", sorted(TYPES))
def test_every_event_has_a_letter_with_nothing_left_open(kind: str, order: dict[str, Any]) -> None:
    letter = write(kind, PAYMENT if kind.startswith("payment") else order | {"reason": "out_of_stock"})
    assert letter.template == kind.replace(".", "_")
    for text in (letter.subject, letter.body):
        assert text
        assert "$" not in text
        assert "None" not in text
    assert "\n" not in letter.subject


def test_what_the_letters_say(order: dict[str, Any]) -> None:
    number = order["order_id"][:8]
    paid = write("order.paid", order)
    assert paid.subject == f"Your order {number} is paid"
    assert "we have received 49.90 EUR" in paid.body
    assert "  2 x Blue mug\n  1 x Tea ☕" in paid.body
    assert (str(paid.user_id), paid.email) == (order["user_id"], "ada@example.org")
    failed = write("payment.failed", PAYMENT)
    assert "could not collect 49.05 EUR for your order 11111111: the payment was declined." in failed.body
    # Before the stock is reserved nobody knows names and prices.
    bare = order | {"total_cents": None, "currency": None, "lines": [{"product_id": "1", "quantity": 1}]}
    assert f"your order {number} (1 item)" in write("order.placed", bare).body
    cancelled = write("order.cancelled", bare | {"reason": "out_of_stock"})
    assert "(1 item) has been cancelled: something in it is out of stock." in cancelled.body


@pytest.mark.parametrize("reserved", [False, True])
@pytest.mark.parametrize("kind", ["order.placed", "order.paid", "order.cancelled", "order.refund_due"])
def test_what_orders_publishes_is_what_we_read(kind: str, reserved: bool) -> None:
    name, cents = ("Blue mug", 100) if reserved else (None, None)
    item = OrderLine(product_id=uuid4(), quantity=3, name=name, unit_cents=cents)
    order = Order(id=uuid4(), user_id=uuid4(), email="ada@example.org", lines=[item])
    if reserved:
        order.total_cents, order.currency = 300, "EUR"
    # As it comes out of the stream: through JSON.
    letter = write(kind, json.loads(json.dumps(_described(order))))
    assert (letter.user_id, letter.email) == (order.user_id, "ada@example.org")
    assert "None" not in letter.subject + letter.body


def test_a_payment_s_event_is_what_we_read() -> None:
    letter = write("payment.failed", PAYMENT | {"reason": ""})
    assert "4905" not in letter.body
    assert "49.05 EUR" in letter.body


def test_a_reason_nobody_knows_is_not_repeated(order: dict[str, Any]) -> None:
    assert "internal: table x" not in write("order.cancelled", order | {"reason": "internal: table x"}).body
    assert all(reason.isprintable() for reason in _REASONS.values())


def test_facts_are_facts_and_no_templates(order: dict[str, Any]) -> None:
    order["lines"][0]["name"] = "$reason ${order} $$ {0} %s\nSubject: new\r\n\x00\u2028 end"
    body = write("order.paid", order).body
    assert "  2 x $reason ${order} $$ {0} %s Subject: new end\n" in body
    body.encode()


@pytest.mark.parametrize(
    "changed",
    [
        {"order_id": "1"},
        {"user_id": None},
        {"email": "ada@example.org\nBcc: eve@example.org"},
        {"email": "ada@example.org, eve@example.org"},
        {"email": "ada"},
        {"email": "a" * 255 + "@example.org"},
        {"total_cents": -1},
        {"total_cents": 10**30},
        {"total_cents": "much"},
        {"currency": "EURO"},
        {"currency": "EUR\n"},
        {"lines": [{"name": "x" * 501, "quantity": 1}]},
        {"lines": [{"name": "x", "quantity": 0}]},
        {"lines": [{"name": "x", "quantity": 1}] * 501},
        {"lines": [{"name": "\ud800", "quantity": 1}]},
        {"lines": "none"},
        {"reason": ["x"]},
    ],
)
def test_events_of_another_form_are_unreadable(order: dict[str, Any], changed: dict[str, Any]) -> None:
    with pytest.raises(Unreadable) as error:
        write("order.paid", order | changed)
    assert str(error.value).startswith("order.paid: ")
    assert "example.org" not in str(error.value)  # nothing personal in the log


def build(**changed: Any) -> bytes:
    values: dict[str, Any] = {
        "notification_id": uuid4(),
        "sender": "shop@opsforge.example",
        "recipient": "ada@example.org",
        "subject": "Your order is paid",
        "body": "Hello ☕\n.\nFrom here\n",
        "at": datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
    } | changed
    return compose(**values).as_bytes(policy=policy.SMTP)


def test_a_mail_is_what_it_should_be() -> None:
    number = uuid4()
    message = message_from_bytes(build(notification_id=number), policy=policy.default)
    assert dict(message.items()) | {"Content-Type": "", "Content-Transfer-Encoding": ""} == {
        "From": "shop@opsforge.example",
        "To": "ada@example.org",
        "Subject": "Your order is paid",
        "Date": "Fri, 02 Jan 2026 03:04:05 +0000",
        "Message-ID": f"<{number}@opsforge.example>",
        "Auto-Submitted": "auto-generated",
        "Content-Type": "",
        "Content-Transfer-Encoding": "",
        "MIME-Version": "1.0",
    }
    assert message.get_content().replace("\r\n", "\n") == "Hello ☕\n.\nFrom here\n"
    assert build(notification_id=number) == build(notification_id=number)


@pytest.mark.parametrize(
    "changed",
    [
        {"subject": "Paid\nBcc: eve@example.org"},
        {"subject": "Paid\r\n\r\nbody"},
        {"subject": "Paid\rBcc: eve@example.org"},
        {"recipient": "ada@example.org\nBcc: eve@example.org"},
        {"recipient": "ada@example.org\r\nBcc: eve@example.org"},
        {"recipient": ""},
    ],
)
def test_nothing_can_be_smuggled_into_a_header(changed: dict[str, str]) -> None:
    with pytest.raises(ValueError):
        build(**changed)


def test_a_long_or_foreign_subject_stays_one_header() -> None:
    subject = "Ä" * 300 + " bcc: eve@example.org"
    message = message_from_bytes(build(subject=subject), policy=policy.default)
    assert message["Subject"] == subject
    assert message["Bcc"] is None


@pytest.mark.parametrize(
    "url, server",
    [
        ("smtp://mail", Server("mail", 25, "none")),
        ("smtp://127.0.0.1:2525", Server("127.0.0.1", 2525, "none")),
        ("smtps://shop:p%40ss@mail", Server("mail", 465, "tls", "shop", "p@ss")),
        ("smtp+starttls://shop:pass@mail", Server("mail", 587, "starttls", "shop", "pass")),
    ],
)
def test_servers_by_url(url: str, server: Server) -> None:
    assert Server.of(url) == server
    assert "pass" not in repr(server)


@pytest.mark.parametrize(
    "url", ["mail", "http://mail", "smtp://", "smtp://a:b@mail", "smtp://mail/x", "smtp://mail?x=1", "smtp://mail:x"]
)
def test_bad_urls_are_refused(url: str) -> None:
    with pytest.raises(ValueError):
        Server.of(url)


def test_waits_double_up_to_the_cap_and_spread_by_half() -> None:
    assert [wait_seconds(n, base=5, cap=900, chance=0) for n in range(1, 10)] == [5, 10, 20, 40, 80, 160, 320, 640, 900]
    assert wait_seconds(3, base=5, cap=900, chance=1) == 10
    assert wait_seconds(10_000, base=5, cap=900, chance=0) == 900
