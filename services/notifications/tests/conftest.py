# SPDX-License-Identifier: GPL-3.0-or-later
"""The notifications app on a real database and a real Redis, and a stand-in for a mail server."""

from __future__ import annotations

import json
import socketserver
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
import redis as redis_client
from pydantic import SecretStr
from starlette.testclient import TestClient

from kit.migrations import migrate
from kit.testing import Issuer
from notifications.app import create
from notifications.settings import Settings


@dataclass
class Mail:
    """What the server was given: the envelope and the text."""

    sender: str
    recipients: list[str]
    text: str


@dataclass
class MailServer:
    """STAND-IN. An SMTP server on loopback that keeps what it is given; `answers` are its next words after RCPT TO."""

    port: int = 0
    mails: list[Mail] = field(default_factory=list)
    answers: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"smtp://127.0.0.1:{self.port}"

    def has(self, number: int) -> bool:
        """Tell whether it has been given at least so many mails."""
        return len(self.mails) >= number


class _Session(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        server: MailServer = self.server.kept  # type: ignore[attr-defined]
        self.wfile.write(b"220 stand-in\r\n")
        sender, recipients = "", []
        for line in iter(self.rfile.readline, b""):
            word = line[:4].upper()
            answer = "250 well"
            if word == b"MAIL":
                sender = line.decode().split("<")[1].split(">")[0]
            elif word == b"RCPT":
                recipients.append(line.decode().split("<")[1].split(">")[0])
                answer = server.answers.pop(0) if server.answers else answer
                if answer == "hang up":
                    return
            elif word == b"DATA":
                self.wfile.write(b"354 go on\r\n")
                text = b"".join(iter(self.rfile.readline, b".\r\n"))
                server.mails.append(Mail(sender, recipients, text.decode()))
                sender, recipients = "", []
            elif word == b"QUIT":
                answer = "221 bye"
            self.wfile.write(f"{answer}\r\n".encode())
            if word == b"QUIT":
                return


@pytest.fixture
def mail_server() -> Iterator[MailServer]:
    """Run the stand-in for a mail server."""
    kept = MailServer()
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), _Session) as server:
        server.daemon_threads = True
        server.kept = kept  # type: ignore[attr-defined]
        kept.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield kept
        server.shutdown()
        thread.join()


@pytest.fixture(scope="session")
def database_url(postgresql: Any) -> str:
    """Return the URL of a migrated database."""
    url: str = postgresql.create()
    migrate(url, "notifications")
    return url


@pytest.fixture
def settings(database_url: str, redis: Any, issuer: Issuer) -> Settings:
    """Return the settings of one test, with nothing stored; it mails to nobody."""
    with psycopg.connect(database_url) as connection:
        connection.execute("TRUNCATE notifications")
    return Settings(
        database_url=SecretStr(database_url),
        redis_url=SecretStr(redis.url()),
        retry_seconds=0,
        event_pause_seconds=0,
        watch_seconds=0.1,
        poll_seconds=0.05,
        **issuer.settings(),
    )


@pytest.fixture
def client(settings: Settings) -> Iterator[TestClient]:
    """Run the app and return a client of it."""
    with TestClient(create(settings)) as client:
        yield client


@pytest.fixture
def mailing(settings: Settings, mail_server: MailServer) -> Iterator[TestClient]:
    """Run the app with the mail server and return a client of it."""
    with TestClient(create(settings.model_copy(update={"smtp_url": SecretStr(mail_server.url)}))) as client:
        yield client


@pytest.fixture
def rows(database_url: str) -> Callable[..., list[tuple[Any, ...]]]:
    """Return a reader (and writer) of the database."""

    def run(query: str, *values: Any) -> list[tuple[Any, ...]]:
        with psycopg.connect(database_url, autocommit=True) as connection:
            cursor = connection.execute(query.encode(), values)
            return cursor.fetchall() if cursor.description else []

    return run


@pytest.fixture
def tell(settings: Settings) -> Callable[..., UUID]:
    """Return a function that puts an event on the stream, as a relay does; returns the event's id."""

    def put(kind: str, data: Any, *, event_id: UUID | None = None, times: int = 1, trace: str = "") -> UUID:
        event_id = event_id or uuid4()
        event = {
            "id": str(event_id),
            "type": kind,
            "source": "orders",
            "subject": str(uuid4()),
            "time": datetime.now(UTC).isoformat(),
            "trace": trace,
            "data": data,
        }
        with redis_client.Redis.from_url(settings.redis_url.get_secret_value()) as stream:
            for _ in range(times):
                stream.xadd("events", {"event": json.dumps(event)})
        return event_id

    return put


@pytest.fixture
def order() -> dict[str, Any]:
    """Return the data of an order's event."""
    return {
        "order_id": str(uuid4()),
        "user_id": str(uuid4()),
        "email": "ada@example.org",
        "lines": [
            {"product_id": str(uuid4()), "name": "Blue mug", "quantity": 2, "unit_cents": 1250},
            {"product_id": str(uuid4()), "name": "Tea ☕", "quantity": 1, "unit_cents": 2490},
        ],
        "total_cents": 4990,
        "currency": "EUR",
        "reason": "",
    }
