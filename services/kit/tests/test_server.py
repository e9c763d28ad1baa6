# SPDX-License-Identifier: GPL-3.0-or-later
"""The process: two ports, and an end that loses nothing. Real processes, real sockets."""

from __future__ import annotations

import http.client
import json
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

TINY = str(Path(__file__).parent / "tiny_service.py")


def get(connection: http.client.HTTPConnection, path: str, method: str = "GET") -> http.client.HTTPResponse:
    connection.request(method, path)
    response = connection.getresponse()
    response.read()
    return response


def wait_not_ready(process: Any) -> None:
    while process.manage("GET", "/health/ready")[0] != 503:
        pass


def test_sigterm_finishes_what_is_in_flight_and_still_accepts_for_a_while(start: Any) -> None:
    process = start(TINY, linger_seconds=20, slot="blue", version="1.2.3")
    assert process.manage("GET", "/health/ready")[0] == 200
    slow = process.connect()
    slow.request("GET", "/slow")
    process.wait_in_flight(1)

    process.popen.send_signal(signal.SIGTERM)
    wait_not_ready(process)
    assert process.manage("GET", "/health/live")[0] == 200
    # Endpoints lag behind: for as long as they may, new connections are served, and told to go.
    until = time.monotonic() + 1
    while time.monotonic() < until:
        answer = get(process.connect(), "/info")
        assert (answer.status, answer.headers["connection"]) == (200, "close")
    get(process.connect(), "/release", "POST")
    answer = slow.getresponse()
    assert (answer.status, answer.read(), answer.headers["connection"]) == (200, b'"done"', "close")

    process.popen.send_signal(signal.SIGTERM)  # a second one does not linger
    status, output = process.wait()
    assert status == 0
    stopped = json.loads(output.splitlines()[-1])
    assert (stopped["event"], stopped["unfinished"], stopped["slot"], stopped["version"]) == (
        "stopped",
        0,
        "blue",
        "1.2.3",
    )


def test_sigterm_without_lingering_still_finishes_what_is_in_flight(start: Any) -> None:
    process = start(TINY, linger_seconds=0)
    slow, other = process.connect(), process.connect()
    get(other, "/info")  # an open keep-alive connection
    slow.request("GET", "/slow")
    process.wait_in_flight(1)
    other.request("POST", "/release")
    process.popen.send_signal(signal.SIGTERM)
    assert slow.getresponse().status == 200
    assert process.wait()[0] == 0


def test_a_request_that_never_ends_does_not_hold_up_the_end(start: Any) -> None:
    process = start(TINY, linger_seconds=0, drain_seconds=1)
    process.connect().request("GET", "/slow")
    slow = process.connect()
    slow.request("GET", "/slow")
    process.wait_in_flight(2)
    process.popen.send_signal(signal.SIGTERM)
    assert process.wait()[0] == 0


def test_drain_closes_keep_alive_connections_and_can_be_undone(start: Any) -> None:
    process = start(TINY, linger_seconds=0, slot="green")
    connection = process.connect()
    answer = get(connection, "/info")
    assert answer.headers["connection"] is None
    assert answer.headers["x-opsforge-slot"] == "green"
    before = connection.sock

    assert process.manage("PUT", "/drain") == (200, '{"drained":true,"in_flight":0}')
    assert process.manage("PUT", "/drain")[0] == 200  # twice is once
    answer = get(connection, "/info")
    assert (answer.status, answer.headers["connection"]) == (200, "close")
    assert connection.sock is None  # the server's word made the client close
    assert before is not None
    assert process.manage("GET", "/health/ready")[0] == 200  # drained is not unready
    assert "http_drained 1.0" in process.manage("GET", "/metrics")[1]

    assert process.manage("DELETE", "/drain") == (200, '{"drained":false,"in_flight":0}')
    assert get(connection, "/info").headers["connection"] is None
    assert connection.sock is not None


def test_the_management_port_is_not_the_public_one(start: Any) -> None:
    process = start(TINY, linger_seconds=0)
    for path in ("/metrics", "/drain", "/health/ready"):
        assert get(process.connect(), path).status == 404
    assert process.manage("GET", "/info")[0] == 404


def test_documentation_works_below_a_gateway_prefix_and_needs_no_other_site(start: Any) -> None:
    process = start(TINY, linger_seconds=0, root_path="/tiny")

    def fetch(path: str) -> bytes:
        connection = process.connect()
        connection.request("GET", path)  # the gateway has taken the prefix off
        answer = connection.getresponse()
        assert answer.status == 200
        return bytes(answer.read())

    page = fetch("/docs").decode()
    addresses = re.findall(r"""(?:src|href)="([^"]+)"|url: ["']([^"']+)""", page)
    local = [(first or second).removeprefix("/tiny") for first, second in addresses]
    assert "/openapi.json" in local
    for address in local:
        assert fetch(address)
    document = json.loads(fetch("/openapi.json"))
    assert document["servers"] == [{"url": "/tiny"}]
    assert "/slow" in document["paths"]


def test_every_line_of_output_is_json(start: Any) -> None:
    process = start(TINY, linger_seconds=0, slot="blue")
    connection = process.connect()
    connection.request("GET", "/info?password=hunter2", headers={"x-request-id": "req-7"})
    connection.getresponse().read()
    process.popen.terminate()
    _, output = process.wait()
    events = [json.loads(line) for line in output.splitlines()]
    (request,) = [event for event in events if event["event"] == "request"]
    wanted = {"method": "GET", "route": "/info", "status": 200, "request_id": "req-7", "slot": "blue", "level": "info"}
    assert wanted.items() <= request.items()
    assert len(request["trace_id"]) == 32
    assert "hunter2" not in output


def test_a_port_in_use_is_one_sentence() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        env = {"OPSFORGE_HOST": "127.0.0.1", "OPSFORGE_PORT": str(port), "PYTHONPATH": str(Path(TINY).parents[2])}
        result = subprocess.run([sys.executable, TINY], env=env, capture_output=True, text=True, timeout=30)
    assert result.returncode == 1
    assert result.stderr == f"cannot listen on 127.0.0.1:{port}: Address already in use\n"
