# SPDX-License-Identifier: GPL-3.0-or-later
"""Open-loop load on a loopback address, in a process of its own: a fixed rate, half new connections, half kept alive.

`python -m benchmarks._load URL --rate 300 --seconds 60 --log FILE` writes one line for each request: when it should
have left, when it left, when it ended (all on the machine's monotonic clock, in seconds), whether its connection was
kept (k) or new (n), the status (0: no answer) and the body or the reason. It ends by itself, or on SIGTERM. Further
headers come as JSON in the environment (OPSFORGE_LOAD_HEADERS).

A slow answer delays nobody: requests leave on time whatever became of the earlier ones. Nothing is sent twice; a kept
connection that the other side closed in between loses the request that meets it, as it does for a client.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import ipaddress
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Self
from urllib.parse import urlsplit

from benchmarks._report import CHECKOUT, p99

TIMEOUT_SECONDS = 5.0
HEADERS_VARIABLE = "OPSFORGE_LOAD_HEADERS"
# A target that leaves so many unanswered in a row, or waiting, is down. More load proves nothing and may break what is
# in between: a port that Docker publishes is gone for good once its proxy runs out of file descriptors.
UNANSWERED_IN_A_ROW_MAX = 600
ON_THE_WAY_MAX = 1500
KEPT_MAX = 32


@dataclass(frozen=True)
class Request:
    """What became of one request; moments are seconds of the monotonic clock."""

    due: float
    sent: float
    ended: float
    kept: bool
    status: int
    body: str

    @property
    def is_lost(self) -> bool:
        """Whether the client got no answer, or not the one that it asked for."""
        return self.status != 200

    @classmethod
    def parse(cls, line: str) -> Self:
        """Read a line of the log."""
        due, sent, ended, kept, status, body = line.rstrip("\n").split("\t", 5)
        return cls(float(due), float(sent), float(ended), kept == "k", int(status), body)

    def line(self) -> str:
        """The line of the log."""
        body = self.body.replace("\t", " ").replace("\n", " ")
        return f"{self.due:.6f}\t{self.sent:.6f}\t{self.ended:.6f}\t{'kn'[not self.kept]}\t{self.status}\t{body}\n"


class Connection:
    """One HTTP/1.1 connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    @classmethod
    async def open(cls, host: str, port: int) -> Self:
        return cls(*await asyncio.open_connection(host, port))

    async def get(self, request: bytes) -> tuple[int, str, bool]:
        """Status, body, and whether the connection may be used again. Raises OSError when the other side is gone."""
        self._writer.write(request)
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])}
        body = await self._reader.readexactly(int(headers.get("content-length", "0")))
        return int(head[0].split()[1]), body.decode(), headers.get("connection", "").lower() != "close"

    def close(self) -> None:
        self._writer.close()


class Generator:
    """Sends at the rate and writes what becomes of it."""

    def __init__(self, url: str, rate: float, log: IO[str], headers: Mapping[str, str] | None = None) -> None:
        parts = urlsplit(url)
        self._host, self._port = parts.hostname or "", parts.port or 80
        refuse_foreign(self._host)
        more = "".join(f"{name}: {value}\r\n" for name, value in (headers or {}).items())
        head = f"GET {parts.path or '/'} HTTP/1.1\r\nHost: {parts.netloc}\r\n{more}"
        self._kept_request = f"{head}\r\n".encode()
        self._new_request = f"{head}Connection: close\r\n\r\n".encode()
        self._rate, self._log = rate, log
        self._idle: list[Connection] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._unanswered = 0

    async def run(self, seconds: float) -> None:
        """Send until the time is over or the process is told to stop, then wait for what is on its way."""
        stop = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
        start = time.monotonic()
        for number in range(round(seconds * self._rate)):
            due = start + number / self._rate
            delay = due - time.monotonic()
            if delay > 0:
                await asyncio.sleep(delay)
            if stop.is_set() or self._is_down:
                break
            self._send(due, kept=bool(number % 2))
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=TIMEOUT_SECONDS + 1)
        for connection in self._idle:
            connection.close()

    @property
    def _is_down(self) -> bool:
        return len(self._tasks) > ON_THE_WAY_MAX or self._unanswered > UNANSWERED_IN_A_ROW_MAX

    def _send(self, due: float, *, kept: bool) -> None:
        task = asyncio.get_running_loop().create_task(self._request(due, kept=kept))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _request(self, due: float, *, kept: bool) -> None:
        sent = time.monotonic()
        connection = None
        again = False
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                connection = self._idle.pop() if kept and self._idle else await Connection.open(self._host, self._port)
                status, body, again = await connection.get(self._kept_request if kept else self._new_request)
        except (OSError, EOFError, TimeoutError, ValueError, asyncio.LimitOverrunError) as error:
            status, body = 0, type(error).__name__
        self._write(Request(due, sent, time.monotonic(), kept, status, body))
        if connection and kept and again and len(self._idle) < KEPT_MAX:
            self._idle.insert(0, connection)  # the one that rested longest is next, so that none is left out
        elif connection:
            connection.close()

    def _write(self, request: Request) -> None:
        self._unanswered = 0 if request.status else self._unanswered + 1
        self._log.write(request.line())


def refuse_foreign(host: str) -> None:
    """Load goes to this machine only. Raises ValueError."""
    with contextlib.suppress(ValueError):
        if host == "localhost" or ipaddress.ip_address(host).is_loopback:
            return
    raise ValueError(f"{host} is not a loopback address: load is sent to this machine only")


class Load:
    """The generator as a process beside the benchmark."""

    def __init__(
        self, url: str, rate: float, seconds: float, log: Path, headers: Mapping[str, str] | None = None
    ) -> None:
        self.log = log
        # Not as an argument: a header may be a token, and arguments are for everybody to see.
        env = {**os.environ, HEADERS_VARIABLE: json.dumps(dict(headers or {}))}
        words = ["-m", "benchmarks._load", url, "--rate", str(rate), "--seconds", str(seconds), "--log", str(log)]
        self._process = subprocess.Popen([sys.executable, *words], cwd=CHECKOUT, env=env)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._process.terminate()
        self._process.wait(TIMEOUT_SECONDS + 10)

    @property
    def is_running(self) -> bool:
        """Whether it still sends: a benchmark must not outlive its load."""
        return self._process.poll() is None

    def ends_within(self, seconds: float) -> bool:
        """Whether it stops sending before so much time is over; waits until one of the two is known."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(seconds)
        return not self.is_running

    def requests(self) -> Iterator[Request]:
        """All requests that ended so far."""
        with self.log.open(encoding="utf-8") as lines:
            for line in lines:
                if line.endswith("\n"):
                    yield Request.parse(line)


class _Answer(asyncio.Protocol):
    """The least that a server can do, to see how fast the generator is by itself."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
        if b"Connection: close" in data:
            self._transport.close()


async def lateness(rate: float, seconds: float, log: Path) -> float:
    """The p99 of how late requests leave, in seconds, at this rate against a server that does nothing."""
    server = await asyncio.get_running_loop().create_server(_Answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server:
        with log.open("w", encoding="utf-8") as sink:
            await Generator(f"http://127.0.0.1:{port}/", rate, sink).run(seconds)
        with log.open(encoding="utf-8") as lines:
            requests = [Request.parse(line) for line in lines]
    if any(request.is_lost for request in requests):
        raise RuntimeError("the load generator loses requests by itself on this machine")
    return p99([request.sent - request.due for request in requests])


def main() -> None:
    """Send load as the command line says."""
    parser = argparse.ArgumentParser(description="Open-loop load on a loopback address.")
    parser.add_argument("url")
    parser.add_argument("--rate", type=float, default=300, help="requests per second")
    parser.add_argument("--seconds", type=float, default=10, help="it ends by itself after so long")
    parser.add_argument("--log", type=Path, required=True, help="file that gets one line for each request")
    options = parser.parse_args()
    gc.disable()  # a collection would look like a slow answer; the process is short
    with options.log.open("w", encoding="utf-8", buffering=1) as log:
        headers = json.loads(os.environ.get(HEADERS_VARIABLE, "{}"))
        asyncio.run(Generator(options.url, options.rate, log, headers).run(options.seconds))


if __name__ == "__main__":
    main()
