# SPDX-License-Identifier: GPL-3.0-or-later
"""The connection: kubeconfig to endpoint, kept connections, servers that hang up, are busy or are not there."""

from __future__ import annotations

import base64
import http.server
import select
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.opsforge.platform.plugins.module_utils._client import Cluster, connect
from ansible_collections.opsforge.platform.plugins.module_utils._errors import (
    Conflict,
    Forbidden,
    Invalid,
    NotFound,
    PlatformError,
    Unreachable,
)
from ansible_collections.opsforge.platform.plugins.module_utils._http import Answer, Pool
from ansible_collections.opsforge.platform.plugins.module_utils._kubeconfig import Endpoint, load_endpoint

Reply = tuple[int, dict[str, str], bytes]


class Server(http.server.ThreadingHTTPServer):
    """Answers with what `reply` returns; None hangs up."""

    daemon_threads = True
    reply: Callable[[str, str], Reply | None]

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.connections: set[Any] = set()
        self.hang_up_after = 0
        self.requests: list[tuple[str, str, dict[str, str]]] = []
        self.reply = lambda method, path: (200, {}, b"{}")


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def handle_one_request(self) -> None:
        self.raw_requestline = self.rfile.readline(65537)
        if not self.raw_requestline or not self.parse_request():
            self.close_connection = True
            return
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.connections.add(self.client_address)
        self.server.requests.append((self.command, self.path, dict(self.headers)))
        reply = self.server.reply(self.command, self.path)
        if reply is None:
            self.close_connection = True
            return
        status, headers, body = reply
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)
        if len(self.server.requests) == self.server.hang_up_after:
            self.close_connection = True

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


class FakeClock:
    def __init__(self) -> None:
        self.slept: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)


@pytest.fixture
def pool(server: Server) -> Pool:
    endpoint = Endpoint(f"http://127.0.0.1:{server.server_port}", None, headers={"Authorization": "Bearer t"})
    return Pool(endpoint, timeout=5, clock=FakeClock())


def test_a_connection_is_kept(pool: Pool, server: Server) -> None:
    for _ in range(5):
        assert pool.request("GET", "/api").status == 200
    assert len(server.connections) == 1
    assert server.requests[0][2]["Authorization"] == "Bearer t"


def test_a_read_is_repeated_when_the_server_hangs_up_and_a_write_is_not(pool: Pool, server: Server) -> None:
    replies: list[Reply | None] = [None, (200, {}, b"{}")]
    server.reply = lambda method, path: replies.pop(0)
    assert pool.request("GET", "/api").status == 200
    replies[:] = [None, (200, {}, b"{}")]
    with pytest.raises(Unreachable, match="cannot be reached"):
        pool.request("POST", "/api", b"{}")
    assert len(replies) == 1


def test_a_connection_closed_meanwhile_is_not_used_for_a_write(pool: Pool, server: Server) -> None:
    server.hang_up_after = 1
    assert pool.request("GET", "/api").status == 200
    (kept,) = pool._idle.queue
    assert select.select([kept.sock], [], [], 5)[0], "the server has closed"
    assert pool.request("PUT", "/api", b"{}").status == 200
    assert len(server.connections) == 2


def test_a_busy_server_is_asked_again_when_it_says(pool: Pool, server: Server) -> None:
    replies = [(429, {"Retry-After": "3"}, b""), (429, {}, b""), (200, {}, b"{}")]
    server.reply = lambda method, path: replies.pop(0)
    assert pool.request("GET", "/api").status == 200
    assert pool._clock.slept == [3.0, 1.0]


def test_a_busy_server_is_given_up(pool: Pool, server: Server) -> None:
    server.reply = lambda method, path: (429, {}, b"")
    assert pool.request("GET", "/api").status == 429
    assert len(server.requests) == 5


def test_no_server() -> None:
    with pytest.raises(Unreachable, match="http://127.0.0.1:1 cannot be reached: connection refused"):
        Pool(Endpoint("http://127.0.0.1:1", None)).request("GET", "/")


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, Invalid),
        (401, Forbidden),
        (403, Forbidden),
        (404, NotFound),
        (409, Conflict),
        (422, Invalid),
        (503, Unreachable),
    ],
)
def test_answers_become_errors(pool: Pool, server: Server, status: int, error: type[PlatformError]) -> None:
    server.reply = lambda method, path: (status, {}, b'{"kind": "Status", "message": "the reason"}')
    with pytest.raises(error, match="cannot write ConfigMap a: ") as raised:
        Cluster(pool).create({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}})
    assert ("the reason" in str(raised.value)) is (status != 401)


def test_pages_are_put_together(pool: Pool, server: Server) -> None:
    pages = [
        b'{"metadata": {"continue": "next"}, "items": [{"metadata": {"name": "a"}}]}',
        b'{"items": [{"metadata": {"name": "b"}}]}',
    ]
    server.reply = lambda method, path: (200, {}, pages.pop(0))
    found = Cluster(pool).list("apps/v1", "Deployment", "apps", {"a": "b"})
    assert [(obj["kind"], obj["apiVersion"], obj["metadata"]["name"]) for obj in found] == [
        ("Deployment", "apps/v1", "a"),
        ("Deployment", "apps/v1", "b"),
    ]
    assert server.requests[0][1] == "/apis/apps/v1/namespaces/apps/deployments?limit=500&labelSelector=a%3Db"
    assert server.requests[1][1].endswith("&continue=next")


def test_a_list_may_be_asked_to_be_no_older_than_what_is_known(pool: Pool, server: Server) -> None:
    pages = [b'{"metadata": {"continue": "next"}, "items": []}', b'{"items": []}']
    server.reply = lambda method, path: (200, {}, pages.pop(0))
    Cluster(pool).list("v1", "Pod", "apps", since="17")
    asked = [request[1].partition("?")[2] for request in server.requests]
    assert asked == ["limit=500&resourceVersion=17&resourceVersionMatch=NotOlderThan", "limit=500&continue=next"]


def test_warnings_are_collected_once(pool: Pool, server: Server) -> None:
    server.reply = lambda method, path: (200, {"Warning": '299 - "this is \\"old\\""'}, b"{}")
    cluster = Cluster(pool)
    for _ in range(2):
        cluster.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}})
    assert cluster.warnings == ['this is "old"']


def test_a_dry_run_of_a_deletion_says_so_in_its_body(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The API server ignores the query when the request has a body."""
    bodies: list[bytes | None] = []
    send = pool.request

    def record(method: str, path: str, body: bytes | None = None, *rest: Any, **more: Any) -> Answer:
        bodies.append(body)
        return send(method, path, body, *rest, **more)

    monkeypatch.setattr(pool, "request", record)
    Cluster(pool).delete("v1", "ConfigMap", "a", "apps", dry_run=True, preconditions={"uid": "u"})
    assert b'"dryRun": ["All"]' in (bodies[0] or b"") and b'"uid": "u"' in (bodies[0] or b"")


def config(**changed: Any) -> dict[str, Any]:
    return {
        "current-context": "one",
        "contexts": [{"name": "one", "context": {"cluster": "c", "user": "u", "namespace": "apps"}}],
        "clusters": [{"name": "c", "cluster": {"server": "http://127.0.0.1:8001/prefix/"}}],
        "users": [{"name": "u", "user": {"token": "t"}}],
        **changed,
    }


def write(path: Path, content: Any) -> str:
    path.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
    return str(path)


def test_a_kubeconfig(tmp_path: Path) -> None:
    endpoint = load_endpoint(write(tmp_path / "k", config()), None, {})
    assert (endpoint.url, endpoint.namespace) == ("http://127.0.0.1:8001/prefix", "apps")
    assert endpoint.headers == {"Authorization": "Bearer t"} and "Bearer" not in repr(endpoint)


@pytest.mark.parametrize(
    ("content", "context", "message"),
    [
        ("a: [", None, "is not a readable kubeconfig"),
        ("- 1", None, "is not a readable kubeconfig"),
        (config(), "two", r"has no context two \(it has: one\)"),
        (config(users=[]), None, r"has no user u \(it has: none\)"),
        (config(clusters=[{"name": "c", "cluster": {}}]), None, "has no usable server address"),
        ({}, None, "names no current context"),
        (
            config(clusters=[{"name": "c", "cluster": {"server": "https://x", "certificate-authority-data": "!"}}]),
            None,
            "a certificate or key is unusable",
        ),
        (config(users=[{"name": "u", "user": {"as-groups": ["g"]}}]), None, "impersonation of groups"),
    ],
)
def test_an_unusable_kubeconfig(tmp_path: Path, content: Any, context: str | None, message: str) -> None:
    with pytest.raises(Invalid, match=message):
        load_endpoint(write(tmp_path / "k", content), context, {})


def test_where_a_kubeconfig_is_looked_for(tmp_path: Path) -> None:
    first = write(
        tmp_path / "first", {"current-context": "one", "users": [{"name": "u", "user": {"tokenFile": "token"}}]}
    )
    second = write(tmp_path / "second", config())
    write(tmp_path / "token", "from-file\n")
    endpoint = load_endpoint(None, None, {"KUBECONFIG": f"{first}:{second}:{tmp_path}/none"})
    assert endpoint.headers == {"Authorization": "Bearer from-file"}
    assert load_endpoint(None, None, {"K8S_AUTH_KUBECONFIG": second, "KUBECONFIG": first}).headers == {
        "Authorization": "Bearer t"
    }
    with pytest.raises(NotFound, match="set the option kubeconfig"):
        load_endpoint(None, None, {"KUBECONFIG": str(tmp_path / "none")})


def test_a_kubeconfig_that_does_not_exist_is_an_empty_cluster_in_check_mode_only(tmp_path: Path) -> None:
    params = {"kubeconfig": str(tmp_path / "none"), "context": None}
    with pytest.raises(NotFound, match="none does not exist"):
        connect(params)
    cluster = connect(params, check_mode=True)
    assert cluster.get("v1", "ConfigMap", "a") is None
    assert cluster.kinds.find("x.example/v1", "Thing") is None
    assert "counts as empty" in cluster.warnings[0]


def test_inline_certificates_leave_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    user = {
        "client-certificate-data": base64.b64encode(b"x").decode(),
        "client-key-data": base64.b64encode(b"y").decode(),
    }
    clusters = [{"name": "c", "cluster": {"server": "https://x"}}]
    with pytest.raises(Invalid, match="a certificate or key is unusable"):
        load_endpoint(write(tmp_path / "k", config(clusters=clusters, users=[{"name": "u", "user": user}])), None, {})
    assert [path.name for path in tmp_path.iterdir()] == ["k"]
