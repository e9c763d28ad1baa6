# SPDX-License-Identifier: GPL-3.0-or-later
"""The service as it runs: start and refusal to start, database gone, SIGTERM under way, nothing secret in logs."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psycopg

import auth
from auth.tests.support import NO_REDIS, PASSWORD, SECRET

SECRETS = {"redis_url": NO_REDIS, "signing_secret": SECRET}


def post(connection: Any, path: str, body: dict[str, str]) -> None:
    connection.request("POST", path, json.dumps(body), {"content-type": "application/json"})


def test_sigterm_lets_a_sign_up_finish(start: Any, database_url: str, email: str) -> None:
    process = start(
        "-m",
        "auth",
        database_url=database_url,
        redis_url=NO_REDIS,
        signing_secret=SECRET,
        slot="blue",
        linger_seconds=0,
    )
    with psycopg.connect(database_url) as blocker:
        blocker.execute("LOCK TABLE users IN ACCESS EXCLUSIVE MODE")
        connection = process.connect()
        post(connection, "/signup", {"email": email, "password": PASSWORD})
        process.wait_in_flight(1)
        process.popen.send_signal(signal.SIGTERM)
        while process.manage("GET", "/health/ready")[0] != 503:
            pass
    answer = connection.getresponse()  # the lock is gone
    assert (answer.status, answer.headers["connection"], answer.headers["x-opsforge-slot"]) == (201, "close", "blue")
    status, output = process.wait()
    assert status == 0, output


def test_a_storm_of_log_ins_gets_429_and_never_5xx_and_the_end_drops_none(
    start: Any, database_url: str, email: str
) -> None:
    small = {"hash_workers": 1, "hash_queue": 2, "client_logins_per_minute": 0, "linger_seconds": 300}
    process = start("-m", "auth", database_url=database_url, **SECRETS, **small)
    connection = process.connect()
    post(connection, "/signup", {"email": email, "password": PASSWORD})
    assert connection.getresponse().status == 201

    def log_in(_: int) -> int:
        connection = process.connect()
        post(connection, "/login", {"email": email, "password": PASSWORD})
        return int(connection.getresponse().status)

    with ThreadPoolExecutor(24) as pool:
        storm = [pool.submit(log_in, number) for number in range(96)]
        storm[0].result()
        process.popen.terminate()
        statuses = [future.result() for future in storm]
    process.popen.terminate()  # cuts short the waiting for nodes that have not heard of it
    assert set(statuses) == {200, 429}
    status, output = process.wait()
    assert (status, '"unfinished": 0' in output) == (0, True)


def test_nothing_secret_is_logged(start: Any, database_url: str, postgresql: Any, email: str) -> None:
    process = start(
        "-m",
        "auth",
        database_url=database_url,
        redis_url=NO_REDIS,
        signing_secret=SECRET,
        linger_seconds=0,
        log_level="debug",
    )
    connection = process.connect()
    answers = []
    for path in ("/signup", "/signup", "/login"):
        post(connection, path, {"email": email, "password": PASSWORD})
        answer = connection.getresponse()
        answers.append((answer.status, json.loads(answer.read())))
    assert [status for status, _ in answers] == [201, 409, 200]
    token = answers[-1][1]["access_token"]
    post(connection, "/validate", {"token": token})
    assert connection.getresponse().read()
    with psycopg.connect(database_url, autocommit=True) as admin:  # an error with a statement in it
        admin.execute("ALTER TABLE users RENAME TO gone")
        post(connection, "/login", {"email": email, "password": PASSWORD})
        assert connection.getresponse().status == 500
        admin.execute("ALTER TABLE gone RENAME TO users")
    process.popen.terminate()
    status, output = process.wait()
    assert status == 0
    assert "UndefinedTable" in output  # the error itself is there
    for secret in (PASSWORD, token, SECRET, postgresql.password, email, "argon2id"):
        assert secret not in output
    assert all(json.loads(line) for line in output.splitlines())


def test_serves_without_its_database_and_says_so(start: Any, email: str) -> None:
    url = "postgresql://auth:8f14e45fceea@127.0.0.1:1/auth"
    process = start("-m", "auth", database_url=url, **SECRETS, linger_seconds=0)
    while process.manage("GET", "/health/startup")[0] != 200:  # it has looked once
        pass
    assert process.manage("GET", "/health/live")[0] == 200
    status, body = process.manage("GET", "/health/ready")
    assert (status, json.loads(body)["dependencies"]) == (
        503,
        {"database": "OperationalError", "keys": "OperationalError"},
    )
    connection = process.connect()
    post(connection, "/login", {"email": email, "password": PASSWORD})
    answer = connection.getresponse()
    assert (answer.status, answer.headers["retry-after"]) == (503, "1")
    answer.read()
    connection.request("GET", "/health")
    assert connection.getresponse().status == 503
    assert 'dependency_up{dependency="database"} 0.0' in process.manage("GET", "/metrics")[1]


def test_connections_that_the_database_cut_cost_no_request(start: Any, database_url: str, email: str) -> None:
    process = start("-m", "auth", database_url=database_url, **SECRETS, linger_seconds=0)
    connection = process.connect()
    for _ in range(2):
        post(connection, "/login", {"email": email, "password": PASSWORD})
        answer = connection.getresponse()
        answer.read()
        assert answer.status == 401
        with psycopg.connect(database_url, autocommit=True) as admin:
            admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'auth'")


def test_a_placeholder_secret_refuses_to_start() -> None:
    result = subprocess.run(
        [sys.executable, "-m", "auth"],
        env={
            "OPSFORGE_DATABASE_URL": "postgresql://auth:changeme@127.0.0.1/auth",
            "OPSFORGE_REDIS_URL": NO_REDIS,
            "OPSFORGE_SIGNING_SECRET": "changeme",
            "PYTHONPATH": str(Path(auth.__file__).parents[1]),
        },
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert result.returncode == 2
    lines = result.stderr.splitlines()
    assert len(lines) == 2
    assert "OPSFORGE_DATABASE_URL" in lines[0]
    assert "OPSFORGE_SIGNING_SECRET" in lines[1]
