# SPDX-License-Identifier: GPL-3.0-or-later
"""Connections to one API server, kept open and shared by threads.

The standard library alone: every task is a new process, and importing the official client costs 0.25 s
and urllib3 0.1 s, where this costs 0.01 s.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import queue
import select
import socket
import ssl
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlsplit

from ansible_collections.opsforge.platform.plugins.module_utils._errors import Unreachable
from ansible_collections.opsforge.platform.plugins.module_utils._kubeconfig import Endpoint

# The server may have closed a kept connection, or be restarting, between two of our requests.
_BROKEN = (http.client.RemoteDisconnected, http.client.BadStatusLine, ConnectionResetError, BrokenPipeError)
_BUSY_TRIES = 5


@dataclass(frozen=True)
class Answer:
    """What the server said: status code, headers, raw body."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes


class _NamedTls(http.client.HTTPSConnection):
    """HTTPS to one address under the certificate name of another (`tls-server-name`)."""

    def __init__(self, host: str, port: int, *, context: ssl.SSLContext, server_name: str, timeout: float) -> None:
        super().__init__(host, port, context=context, timeout=timeout)
        self._wrap, self._server_name = context.wrap_socket, server_name

    def connect(self) -> None:
        http.client.HTTPConnection.connect(self)
        self.sock = self._wrap(self.sock, server_hostname=self._server_name)


class Pool:
    """As many connections as threads ask at once; each waits in the pool for the next request."""

    def __init__(
        self, endpoint: Endpoint, *, timeout: float = 30.0, clock: Any = time, title: str = "the API server"
    ) -> None:
        self.endpoint = endpoint
        self._title = title
        self._timeout = timeout
        self._clock = clock
        self._url = urlsplit(endpoint.url)
        self._idle: queue.LifoQueue[http.client.HTTPConnection] = queue.LifoQueue()

    def request(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        *,
        timeout: float | None = None,
        repeatable: bool | None = None,
    ) -> Answer:
        """Send one request and read the whole answer.

        A repeatable request (by default a GET) is sent once more over a new connection if the server hung up before
        answering. An overloaded server (429) is asked again after the seconds it names. Raises Unreachable.
        """
        again = method == "GET" if repeatable is None else repeatable
        for tries_left in reversed(range(_BUSY_TRIES)):
            answer = self._exchange(method, path, body, {**self.endpoint.headers, **(headers or {})}, timeout, again)
            if answer.status != 429 or not tries_left:
                break
            self._clock.sleep(min(float(answer.headers.get("Retry-After") or 1), 10.0))
        return answer

    def fetch(self, path: str, *, limit: int, timeout: float) -> Answer:
        """GET once, over a connection of its own, what a server says that is not trusted.

        Takes `timeout` seconds and `limit` bytes at the most, however slowly it answers, and follows no redirect.
        Raises Unreachable.
        """
        connection = self._open()
        connection.timeout = timeout
        answers: queue.SimpleQueue[Answer | Exception] = queue.SimpleQueue()

        def run() -> None:
            try:
                connection.request("GET", self._url.path.rstrip("/") + path, headers=dict(self.endpoint.headers))
                response = connection.getresponse()
                answers.put(Answer(response.status, response.headers, response.read(limit + 1)))
            except Exception as error:
                answers.put(error)

        # A thread, because the timeout of a socket starts again with each byte, and a name server's has no end.
        threading.Thread(target=run, daemon=True).start()
        try:
            answer = answers.get(timeout=timeout)
        except queue.Empty:
            answer = TimeoutError()
        _hang_up(connection)
        if isinstance(answer, (OSError, http.client.HTTPException, UnicodeError)):
            raise self._unreachable(answer) from answer
        if isinstance(answer, Exception):
            raise answer
        if len(answer.body) > limit:
            raise Unreachable(f"{self._title} {self.endpoint.url} answers with more than {limit} bytes")
        return answer

    def _exchange(
        self, method: str, path: str, body: bytes | None, headers: dict[str, str], timeout: float | None, again: bool
    ) -> Answer:
        connection = self._take()
        try:
            try:
                answer = self._send(connection, method, path, body, headers, timeout)
            except _BROKEN:
                connection.close()
                if not again:
                    raise
                connection = self._open()
                answer = self._send(connection, method, path, body, headers, timeout)
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise self._unreachable(error) from error
        self._idle.put(connection)
        return answer

    def _send(
        self,
        connection: http.client.HTTPConnection,
        method: str,
        path: str,
        body: bytes | None,
        headers: dict[str, str],
        timeout: float | None,
    ) -> Answer:
        connection.timeout = timeout or self._timeout
        if connection.sock is not None:
            connection.sock.settimeout(connection.timeout)
        connection.request(method, self._url.path.rstrip("/") + path, body, headers)
        response = connection.getresponse()
        return Answer(response.status, response.headers, response.read())

    def _take(self) -> http.client.HTTPConnection:
        """Take a kept connection that the server has not closed meanwhile, or a new one."""
        while True:
            try:
                connection = self._idle.get_nowait()
            except queue.Empty:
                return self._open()
            if connection.sock is not None:
                poll = select.poll()
                poll.register(connection.sock, select.POLLIN)
                if not poll.poll(0):
                    return connection
                connection.close()

    def _unreachable(self, error: Exception) -> Unreachable:
        if isinstance(error, ssl.SSLCertVerificationError):
            reason = f"its certificate is not trusted: {error.verify_message}"
        elif isinstance(error, TimeoutError):
            reason = "no answer in time"
        elif isinstance(error, socket.gaierror):
            reason = "its name does not resolve"
        elif isinstance(error, ConnectionRefusedError):
            reason = "connection refused"
        else:
            reason = str(error) or type(error).__name__
        return Unreachable(f"{self._title} {self.endpoint.url} cannot be reached: {reason}")

    def _open(self) -> http.client.HTTPConnection:
        host, tls = str(self._url.hostname), self.endpoint.tls
        port = self._url.port or (443 if tls else 80)
        proxy = urlsplit(self.endpoint.proxy) if self.endpoint.proxy else None
        if proxy and proxy.scheme != "http":
            raise Unreachable(f"the proxy {proxy.scheme}://{proxy.hostname} of the kubeconfig is not an HTTP proxy")
        first, first_port = (str(proxy.hostname), proxy.port or 80) if proxy else (host, port)
        connection: http.client.HTTPConnection
        if tls is None:
            connection = http.client.HTTPConnection(first, first_port, timeout=self._timeout)
        else:
            name = self.endpoint.tls_server_name or host
            connection = _NamedTls(first, first_port, context=tls, server_name=name, timeout=self._timeout)
        if proxy:
            connection.set_tunnel(host, port, _proxy_login(proxy.username, proxy.password))
        return connection


def _hang_up(connection: http.client.HTTPConnection) -> None:
    """Close the connection, and wake the thread that may still read from it."""
    if connection.sock is not None:
        with contextlib.suppress(OSError):
            connection.sock.shutdown(socket.SHUT_RDWR)
    connection.close()


def _proxy_login(user: str | None, password: str | None) -> dict[str, str]:
    if not user:
        return {}
    pair = f"{unquote(user)}:{unquote(password or '')}"
    return {"Proxy-Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}
