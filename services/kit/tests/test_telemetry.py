# SPDX-License-Identifier: GPL-3.0-or-later
"""Traces: the spans of requests and calls reach a collector, under the ids that logs and headers show."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx2
import pytest
from fastapi import APIRouter
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from prometheus_client.openmetrics.exposition import generate_latest
from starlette.testclient import TestClient

from kit import Settings, create_app
from kit.clients import Client
from kit.metrics import Metrics

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
SERVICES = Path(__file__).parents[2]


class Collector:
    """Stands in for an OpenTelemetry collector: takes OTLP over HTTP on loopback, and keeps the spans."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self.resource: dict[str, str] = {}
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                assert self.path == "/v1/traces"
                content = self.rfile.read(int(self.headers["content-length"]))
                if self.headers["content-encoding"] == "gzip":
                    import gzip

                    content = gzip.decompress(content)
                for group in ExportTraceServiceRequest.FromString(content).resource_spans:
                    collector.resource = {item.key: item.value.string_value for item in group.resource.attributes}
                    for scope in group.scope_spans:
                        collector.spans += scope.spans
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def collector() -> Iterator[Collector]:
    collector = Collector()
    yield collector
    collector.close()


def attributes(span: Span) -> dict[str, Any]:
    return {item.key: item.value.string_value or item.value.int_value for item in span.attributes}


def answer(settings: Settings, path: str, metrics: Metrics | None = None, **headers: str) -> list[httpx2.Request]:
    """Ask a service that calls another one; returns what the other one received."""
    received: list[httpx2.Request] = []

    def other(request: httpx2.Request) -> httpx2.Response:
        received.append(request)
        return httpx2.Response(200)

    metrics = metrics or Metrics(settings)
    client = Client(
        "catalog", "http://catalog", settings=settings, metrics=metrics, transport=httpx2.MockTransport(other)
    )
    router = APIRouter()

    @router.get("/orders/{order}")
    async def show(order: str) -> None:
        if order == "broken":
            raise RuntimeError
        await client.request("GET", "/products")

    with TestClient(create_app(settings, routers=[router], clients=[client], metrics=metrics)) as caller:
        caller.get(path, headers=headers)
    return received


def test_a_request_and_its_call_are_two_spans_of_the_callers_trace(collector: Collector) -> None:
    settings = Settings(service="orders", version="1.2.3", slot="blue", otlp_endpoint=collector.url)
    (call,) = answer(settings, "/orders/7?secret=x", traceparent=f"00-{TRACE}-{PARENT}-01")
    spans = {span.name: span for span in collector.spans}
    server, client = spans["GET /orders/{order}"], spans["GET catalog"]
    assert [server.kind, client.kind] == [Span.SPAN_KIND_SERVER, Span.SPAN_KIND_CLIENT]
    assert {server.trace_id.hex(), client.trace_id.hex()} == {TRACE}
    assert (server.parent_span_id.hex(), client.parent_span_id) == (PARENT, server.span_id)
    assert call.headers["traceparent"] == f"00-{TRACE}-{client.span_id.hex()}-01"
    assert server.start_time_unix_nano <= client.start_time_unix_nano
    assert client.end_time_unix_nano <= server.end_time_unix_nano
    assert attributes(server) == {
        "http.request.method": "GET",
        "http.route": "/orders/{order}",
        "http.response.status_code": 200,
    }
    assert attributes(client)["peer.service"] == "catalog"
    assert (collector.resource["service.name"], collector.resource["service.version"]) == ("orders", "1.2.3")
    assert "secret" not in str(collector.spans)


@pytest.mark.parametrize("flags, examples", [("01", {TRACE}), ("00", set())], ids=["traced", "not traced"])
def test_a_duration_names_a_trace_that_took_so_long(collector: Collector, flags: str, examples: set[str]) -> None:
    settings = Settings(service="orders", otlp_endpoint=collector.url)
    metrics = Metrics(settings)
    answer(settings, "/orders/7", metrics, traceparent=f"00-{TRACE}-{PARENT}-{flags}")
    shown = generate_latest(metrics.registry).decode()
    assert "http_request_duration_seconds_bucket{" in shown
    assert set(re.findall(r'^http_request_duration_seconds_bucket.* # \{trace_id="(\w+)"\}', shown, re.M)) == examples


def test_a_trace_may_begin_here_and_failures_are_marked(collector: Collector) -> None:
    answer(Settings(service="orders", otlp_endpoint=f"{collector.url}/"), "/orders/broken")
    (span,) = collector.spans
    assert (span.parent_span_id, span.status.code) == (b"", Status.STATUS_CODE_ERROR)


def test_what_the_caller_does_not_trace_is_not_traced(collector: Collector) -> None:
    (call,) = answer(
        Settings(service="orders", otlp_endpoint=collector.url), "/orders/7", traceparent=f"00-{TRACE}-{PARENT}-00"
    )
    assert call.headers["traceparent"].startswith(f"00-{TRACE}-")
    assert collector.spans == []


def test_a_collector_that_is_away_costs_no_request() -> None:
    assert len(answer(Settings(service="orders", otlp_endpoint="http://127.0.0.1:1"), "/orders/7")) == 1


def test_without_a_collector_the_exporter_is_not_even_imported() -> None:
    script = """
import json, sys
from starlette.testclient import TestClient
from kit import Settings, create_app
with TestClient(create_app(Settings(service="orders"))) as client:
    assert client.get("/info").status_code == 200
print(json.dumps([name for name in sys.modules if name in ("requests", "google.protobuf", "opentelemetry.exporter")]))
"""
    result = subprocess.run(
        [sys.executable, "-c", script], env={"PYTHONPATH": str(SERVICES)}, capture_output=True, text=True, check=True
    )
    assert json.loads(result.stdout.splitlines()[-1]) == []


@pytest.mark.parametrize("endpoint", ["collector:4318", "ftp://collector", "http://", "http://a b"])
def test_what_is_no_endpoint_refuses_to_start(endpoint: str) -> None:
    with pytest.raises(ValueError, match="otlp_endpoint"):
        Settings(service="orders", otlp_endpoint=endpoint)
