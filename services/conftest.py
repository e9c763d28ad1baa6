# SPDX-License-Identifier: GPL-3.0-or-later
"""A real PostgreSQL and real service processes, on loopback, gone afterwards."""

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
from psycopg import sql

SERVICES = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what needs PostgreSQL, so that nobody has to remember to."""
    for item in items:
        if "postgresql" in getattr(item, "fixturenames", ()):
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
