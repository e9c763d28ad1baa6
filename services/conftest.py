# SPDX-License-Identifier: GPL-3.0-or-later
"""A real PostgreSQL, a real Redis and real service processes, on loopback, gone afterwards."""

from __future__ import annotations

import http.client
import json
import os
import pwd
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
import redis as redis_client
import structlog
from psycopg import sql

from kit.testing import Issuer

SERVICES = Path(__file__).parent

# Left alone, structlog draws tracebacks with every local variable, which takes seconds of the event loop.
structlog.configure(
    processors=[
        structlog.processors.add_log_level,
        structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback),
    ],
    wrapper_class=structlog.make_filtering_bound_logger("info"),
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what needs PostgreSQL or Redis, so that nobody has to remember to."""
    for item in items:
        if {"postgresql", "redis"}.intersection(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.services)


@dataclass
class PostgreSQL:
    """A running server; `create` makes an empty database and returns its URL."""

    port: int
    password: str

    def create(self) -> str:
        """Return the URL of a new, empty database."""
        name = f"test_{secrets.token_hex(4)}"
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        return self.url(name)

    def url(self, name: str) -> str:
        """Return the URL of the database `name`."""
        return f"postgresql://opsforge:{self.password}@127.0.0.1:{self.port}/{name}"


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgreSQL]:
    """Start a PostgreSQL server in a temporary folder."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    if not found:
        pytest.fail("These tests need PostgreSQL's server programs: apt-get install --no-install-recommends postgresql")
    programs = found[-1].parent
    # The server refuses to run as root; the package brings a user for it.
    user = "postgres" if os.geteuid() == 0 else None
    home = Path(tempfile.mkdtemp(prefix="opsforge-pg-"))
    server = PostgreSQL(_free_port(), secrets.token_hex(16))
    (home / "password").write_text(server.password)
    if user:
        account = pwd.getpwnam(user)
        for path in (home, home / "password"):
            os.chown(path, account.pw_uid, account.pw_gid)

    def run(program: str, *args: str) -> None:
        command = [str(programs / program), "--pgdata", str(home / "data"), *args]
        subprocess.run(command, check=True, user=user, cwd=home, stdout=subprocess.DEVNULL)

    run("initdb", "--username=opsforge", f"--pwfile={home}/password", "--auth=scram-sha-256", "--no-sync")
    options = f"-c listen_addresses=127.0.0.1 -p {server.port} -c unix_socket_directories={home} -c fsync=off"
    run("pg_ctl", "start", "--wait", "--silent", "--options", options, "--log", f"{home}/log")
    yield server
    run("pg_ctl", "stop", "--wait", "--silent", "--mode=immediate")
    shutil.rmtree(home)


class Redis:
    """A Redis server that writes everything down; `url` names a database of it that nobody else has."""

    def __init__(self, program: str, home: Path) -> None:
        self._program = program
        self.port = _free_port()
        self.password = secrets.token_hex(16)
        self._home = home
        self._databases = iter(range(10_000))
        self._popen: subprocess.Popen[bytes] | None = None

    def url(self) -> str:
        """Return the URL of a new, empty database."""
        return f"redis://:{self.password}@127.0.0.1:{self.port}/{next(self._databases)}"

    def start(self) -> None:
        """Start the server, with what it had when it was stopped; a running one stays."""
        if self._popen:
            return
        options = {
            "bind": "127.0.0.1",
            "port": self.port,
            "requirepass": self.password,
            "dir": self._home,
            "databases": 10_000,
            "appendonly": "yes",
            "save": "",
        }
        words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
        self._popen = subprocess.Popen(["redis-server", *words], executable=self._program, stdout=subprocess.DEVNULL)
        while not self._answers():
            if self._popen.poll() is not None:
                pytest.fail(f"redis-server ended with status {self._popen.returncode}")

    def stop(self) -> None:
        """Kill the server as a power cut would; a stopped one stays."""
        if self._popen:
            self._popen.kill()
            self._popen.wait()
            self._popen = None

    def flush(self) -> None:
        """Forget everything."""
        with redis_client.Redis(port=self.port, password=self.password) as client:
            client.flushall()

    def _answers(self) -> bool:
        try:
            with redis_client.Redis(port=self.port, password=self.password, socket_timeout=1) as client:
                return bool(client.ping())
        except redis_client.RedisError:
            return False


@pytest.fixture(scope="session")
def _redis_server() -> Iterator[Redis]:
    # One program of two names: Debian's redis-tools has it under the second, and brings no service along.
    program = shutil.which("redis-server") or shutil.which("redis-check-rdb")
    if not program:
        pytest.fail("These tests need Redis's programs: apt-get install --no-install-recommends redis-tools")
    home = Path(tempfile.mkdtemp(prefix="opsforge-redis-"))
    server = Redis(program, home)
    yield server
    server.stop()
    shutil.rmtree(home)


@pytest.fixture
def redis(_redis_server: Redis) -> Redis:
    """Return a running Redis server; a test may stop, start and flush it."""
    _redis_server.start()
    return _redis_server


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port: int = sock.getsockname()[1]
        return port


class Process:
    """A service process. Its output is read as it comes, for a full pipe would stop it."""

    def __init__(self, args: tuple[str, ...], settings: Mapping[str, object]) -> None:
        env = {f"OPSFORGE_{name.upper()}": str(value) for name, value in settings.items()}
        self.popen = subprocess.Popen(
            [sys.executable, *args],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={"PATH": os.environ["PATH"], "PYTHONPATH": str(SERVICES), **env},
        )
        self.port = self.management_port = 0
        self._lines: list[str] = []
        self._serving = threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.popen.stdout
        for line in self.popen.stdout:
            self._lines.append(line)
            if '"serving"' in line:
                event = json.loads(line)
                self.port, self.management_port = event["port"], event["management_port"]
                self._serving.set()
        self._serving.set()

    def wait_serving(self) -> None:
        """Return when both ports are open."""
        self._serving.wait()
        if not self.port:
            pytest.fail(f"the service did not start:\n{''.join(self._lines)}")

    def connect(self) -> http.client.HTTPConnection:
        """Return a connection to the public port; it stays open between requests."""
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)

    def manage(self, method: str, path: str) -> tuple[int, str]:
        """Return status and body of a request to the management port."""
        with closing(http.client.HTTPConnection("127.0.0.1", self.management_port, timeout=20)) as connection:
            connection.request(method, path)
            response = connection.getresponse()
            return response.status, response.read().decode()

    def wait_in_flight(self, number: int) -> None:
        """Return when so many requests are being answered."""
        while json.loads(self.manage("GET", "/drain")[1])["in_flight"] != number:
            pass

    def wait(self) -> tuple[int, str]:
        """Wait for the end; return exit status and everything that was written."""
        status = self.popen.wait(timeout=60)
        self._reader.join()
        return status, "".join(self._lines)


Start = Callable[..., Process]


@pytest.fixture
def start() -> Iterator[Start]:
    """Start `python *args` with OPSFORGE_ settings given as keywords, and wait until it serves."""
    running: list[Process] = []

    def run(*args: str, **settings: object) -> Process:
        process = Process(args, {"host": "127.0.0.1", "port": 0, "management_port": 0} | settings)
        running.append(process)
        process.wait_serving()
        return process

    yield run
    for process in running:
        process.popen.kill()
        process.wait()


@pytest.fixture
def contract() -> Callable[..., set[str]]:
    """Return `kit.testing.check_contract`: an app answers whatever is sent as its OpenAPI document says."""
    from kit.testing import check_contract

    return check_contract


@pytest.fixture(scope="session")
def issuer() -> Issuer:
    """Return what stands in for auth: whose tokens pass."""
    return Issuer()
