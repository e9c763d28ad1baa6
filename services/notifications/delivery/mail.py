# SPDX-License-Identifier: GPL-3.0-or-later
"""Mail: composing a message that nothing can be smuggled into, and handing it to an SMTP server."""

from __future__ import annotations

import asyncio
import smtplib
import ssl
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.utils import format_datetime
from typing import Literal
from urllib.parse import unquote, urlsplit
from uuid import UUID

from notifications.addresses import is_address

_NAME = "notifications"
_TIMEOUT_SECONDS = 10
_SCHEMES: dict[str, tuple[Literal["none", "starttls", "tls"], int]] = {
    "smtp": ("none", 25),
    "smtp+starttls": ("starttls", 587),
    "smtps": ("tls", 465),
}


class MailFailed(Exception):
    """The server did not take a mail; `for_good` when asking again can't help. The message holds no address."""

    def __init__(self, message: str, *, for_good: bool) -> None:
        super().__init__(message)
        self.for_good = for_good


@dataclass(frozen=True, slots=True)
class Server:
    """An SMTP server: `smtp+starttls://user:password@host:587`, `smtps://…`, or `smtp://host:25` without a log-in."""

    host: str
    port: int
    security: Literal["none", "starttls", "tls"]
    user: str = ""
    password: str = field(default="", repr=False)

    @classmethod
    def of(cls, url: str) -> Server:
        """Read a URL; raises ValueError for one that is not of the form, or would send a password in the clear."""
        parts = urlsplit(url)
        if parts.scheme not in _SCHEMES or not parts.hostname or parts.path.strip("/") or parts.query:
            raise ValueError("expected smtp+starttls://user:password@host:587, smtps://… or smtp://host:25")
        security, port = _SCHEMES[parts.scheme]
        if parts.username and security == "none":
            raise ValueError("a password needs smtps:// or smtp+starttls://")
        user, password = unquote(parts.username or ""), unquote(parts.password or "")
        return cls(parts.hostname, parts.port or port, security, user, password)


def compose(
    *, notification_id: UUID, sender: str, recipient: str, subject: str, body: str, at: datetime
) -> EmailMessage:
    """Build the message; raises ValueError for a line break in a header or a recipient that is no address.

    Its Message-ID is the notification's: a mail that had to be sent twice can be known as one.
    """
    if not is_address(recipient):
        raise ValueError("not an e-mail address")
    message = EmailMessage()
    message["From"] = Address(addr_spec=sender)
    message["To"] = Address(addr_spec=recipient)
    message["Subject"] = subject
    message["Date"] = format_datetime(at)
    message["Message-ID"] = f"<{notification_id}@{sender.partition('@')[2]}>"
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(body)
    return message


class Mailer:
    """Hands messages over, `workers` at a time: SMTP blocks, so each takes a thread."""

    def __init__(
        self, server: Server, workers: int, *, context: Callable[[], ssl.SSLContext] = ssl.create_default_context
    ) -> None:
        self._server = server
        self._context = context() if server.security != "none" else None
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="smtp")

    async def send(self, message: EmailMessage) -> None:
        """Return when the server has taken the message; raises MailFailed."""
        await asyncio.get_running_loop().run_in_executor(self._pool, self._send, message)

    def close(self) -> None:
        """Let the threads end."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _send(self, message: EmailMessage) -> None:
        try:
            with self._connect() as smtp:
                smtp.send_message(message)
        except smtplib.SMTPRecipientsRefused as refusal:
            codes = [code for code, _ in refusal.recipients.values()]
            raise MailFailed(f"recipient refused ({codes[0]})", for_good=codes[0] >= 500) from None
        except smtplib.SMTPResponseException as answer:
            # A refused log-in is our mistake, not the mail's: it waits for us to correct it.
            ours = isinstance(answer, smtplib.SMTPAuthenticationError)
            raise MailFailed(
                f"{type(answer).__name__} ({answer.smtp_code})", for_good=answer.smtp_code >= 500 and not ours
            ) from None
        except (smtplib.SMTPException, OSError) as error:
            raise MailFailed(type(error).__name__, for_good=False) from None

    def _connect(self) -> smtplib.SMTP:
        server = self._server
        # The name is our own: the default asks a name server for one, each time.
        if server.security == "tls":
            smtp: smtplib.SMTP = smtplib.SMTP_SSL(
                server.host, server.port, _NAME, timeout=_TIMEOUT_SECONDS, context=self._context
            )
        else:
            smtp = smtplib.SMTP(server.host, server.port, _NAME, timeout=_TIMEOUT_SECONDS)
        try:
            if server.security == "starttls":
                smtp.starttls(context=self._context)
            if server.user:
                smtp.login(server.user, server.password)
        except BaseException:
            smtp.close()
            raise
        return smtp
