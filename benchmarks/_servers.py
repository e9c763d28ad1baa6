# SPDX-License-Identifier: GPL-3.0-or-later
"""A PostgreSQL and a Redis for the time of a benchmark, on loopback, set up as they come."""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class ServersMissing(Exception):
    """A server program is not installed; the text says which package brings it."""


@contextmanager
def redis(*options: str) -> Iterator[str]:
    """Run redis-server with its default settings and `options`; yields the URL, without a database number."""
    # One program of two names: Debian's redis-tools has it under the second.
    program = shutil.which("redis-server") or shutil.which("redis-check-rdb")
    if not program:
        raise ServersMissing("no redis-server: apt-get install --no-install-recommends redis-tools")
    port, password = free_port(), secrets.token_hex(16)
    with tempfile.TemporaryDirectory(prefix="opsforge-redis-") as home:
        command = ["redis-server", "--bind", "127.0.0.1", "--port", str(port), "--requirepass", password, *options]
        server = subprocess.Popen(command, executable=program, cwd=home, stdout=subprocess.DEVNULL)
        try:
            _wait_for(port, server)
            yield f"redis://:{password}@127.0.0.1:{port}"
        finally:
            server.kill()
            server.wait()


@contextmanager
def postgresql() -> Iterator[str]:
    """Run PostgreSQL with its default settings (a commit is on disk when it returns); yields the URL of a database."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    if not found:
        raise ServersMissing("no PostgreSQL: apt-get install --no-install-recommends postgresql")
    programs = found[-1].parent
    # The server refuses to run as root; the package brings a user for it.
    user = "postgres" if os.geteuid() == 0 else None
    port, password = free_port(), secrets.token_hex(16)
    home = Path(tempfile.mkdtemp(prefix="opsforge-pg-"))
    (home / "password").write_text(password)
    if user:
        account = pwd.getpwnam(user)
        for path in (home, home / "password"):
            os.chown(path, account.pw_uid, account.pw_gid)

    def run(program: str, *args: str) -> None:
        command = [str(programs / program), "--pgdata", str(home / "data"), *args]
        subprocess.run(command, check=True, user=user, cwd=home, stdout=subprocess.DEVNULL)

    try:
        run("initdb", "--username=opsforge", f"--pwfile={home}/password", "--auth=scram-sha-256", "--no-sync")
        options = f"-c listen_addresses=127.0.0.1 -p {port} -c unix_socket_directories={home}"
        run("pg_ctl", "start", "--wait", "--silent", "--options", options, "--log", f"{home}/log")
        try:
            yield f"postgresql://opsforge:{password}@127.0.0.1:{port}/postgres"
        finally:
            run("pg_ctl", "stop", "--wait", "--silent", "--mode=immediate")
    finally:
        shutil.rmtree(home, ignore_errors=True)


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on just now."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port: int = sock.getsockname()[1]
        return port


def _wait_for(port: int, server: subprocess.Popen[bytes]) -> None:
    while server.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            continue
    raise ServersMissing(f"redis-server ended with status {server.returncode}")
