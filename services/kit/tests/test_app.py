# SPDX-License-Identifier: GPL-3.0-or-later
"""What every app has around its routes: identity, limits, metrics, problems, documentation."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from fastapi import APIRouter
from pydantic import BaseModel
from starlette.testclient import TestClient

from kit import Problem, Settings, create_app, problems
from kit.app import Kit


class DownError(Exception):
    """A dependency is gone."""


class Item(BaseModel):
    """A body."""

    password: int


router = APIRouter(prefix="/things")


@router.get("/{thing}")
async def show(thing: str) -> str:
    return thing


@router.post("", responses=problems(413, 422))
async def add(item: Item) -> int:
    return item.password


@router.get("/{thing}/broken")
async def broken(thing: str) -> None:
    raise RuntimeError(f"secret {thing}")


@router.get("/{thing}/down")
async def down(thing: str) -> None:
    raise DownError


@router.get("/{thing}/teapot")
async def teapot(thing: str) -> None:
    raise Problem(418, "Short and stout.", headers={"x-spout": "yes"})


@pytest.fixture
def client() -> Iterator[TestClient]:
    settings = Settings(service="kit-test", version="1.0", slot="blue", max_body_bytes=100)
    with TestClient(create_app(settings, routers=[router], unavailable=[DownError])) as client:
        yield client


def metrics(client: TestClient) -> Kit:
    kit: Kit = client.app.state.kit  # type: ignore[attr-defined]
    return kit


def count(client: TestClient, **labels: str) -> float | None:
    return metrics(client).metrics.registry.get_sample_value("http_requests_total", labels)


def test_metrics_count_by_route_template(client: TestClient) -> None:
    for thing in ("a", "b", "c"):
        assert client.get(f"/things/{thing}").json() == thing
    client.get("/nowhere/1")
    client.request("BREW", "/nowhere/2")
    assert count(client, method="GET", route="/things/{thing}", status="200") == 3
    assert count(client, method="GET", route="unmatched", status="404") == 1
    assert count(client, method="OTHER", route="unmatched", status="404") == 1
    value = metrics(client).metrics.registry.get_sample_value
    assert value("http_request_duration_seconds_count", {"method": "GET", "route": "/things/{thing}"}) == 3
    assert value("http_requests_in_flight") == 0
    assert value("build_info", {"service": "kit-test", "version": "1.0", "slot": "blue"}) == 1


def test_failures_are_shown_from_the_start(client: TestClient) -> None:
    """A series that begins with its first failure has none to show as an increase."""
    for route in ("/things/{thing}", "/info"):
        assert [count(client, method="GET", route=route, status=status) for status in ("500", "503")] == [0, 0]
    assert count(client, method="GET", route="/openapi.json", status="500") is not None


def test_info_and_slot_header(client: TestClient) -> None:
    answer = client.get("/info")
    assert answer.json() == {"service": "kit-test", "version": "1.0", "slot": "blue"}
    assert answer.headers["x-opsforge-slot"] == "blue"


def test_request_id_is_kept_when_it_is_one(client: TestClient) -> None:
    assert client.get("/info", headers={"x-request-id": "abc-1"}).headers["x-request-id"] == "abc-1"
    for bad in ("a b", "x" * 129, '"}{"'):
        assert client.get("/info", headers={"x-request-id": bad}).headers["x-request-id"] != bad


def test_an_unhandled_error_is_a_problem_without_its_message(client: TestClient) -> None:
    answer = client.get("/things/x/broken", headers={"x-request-id": "r1"})
    assert answer.status_code == 500
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["request_id"] == "r1" == answer.headers["x-request-id"]
    assert "secret" not in answer.text
    assert count(client, method="GET", route="/things/{thing}/broken", status="500") == 1


def test_problems_keep_status_detail_and_headers(client: TestClient) -> None:
    answer = client.get("/things/x/teapot")
    assert (answer.status_code, answer.json()["detail"], answer.headers["x-spout"]) == (418, "Short and stout.", "yes")


def test_a_dependency_that_is_gone_is_503(client: TestClient) -> None:
    answer = client.get("/things/x/down")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/none", 404), ("DELETE", "/info", 405)])
def test_the_frameworks_errors_are_problems_too(client: TestClient, method: str, path: str, status: int) -> None:
    answer = client.request(method, path)
    assert (answer.status_code, answer.json()["status"]) == (status, status)
    assert answer.headers["content-type"] == "application/problem+json"


def test_invalid_input_is_named_and_not_repeated(client: TestClient) -> None:
    answer = client.post("/things", json={"password": "hunter2"})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["at"] == "body.password"
    assert "hunter2" not in answer.text


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[" * 90, b"\x80ubp", b'{"password": NaN}'])
def test_bodies_that_are_not_json_are_422(client: TestClient, content: bytes) -> None:
    answer = client.post("/things", content=content, headers={"content-type": "application/json"})
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"


def test_bodies_nested_without_end_are_422() -> None:
    with TestClient(create_app(Settings(service="kit-test"), routers=[router])) as client:
        answer = client.post("/things", content=b"[" * 60_000, headers={"content-type": "application/json"})
    assert answer.status_code == 422


def test_oversize_bodies_are_refused_by_length_and_by_count(client: TestClient) -> None:
    assert client.post("/things", content=b" " * 101).status_code == 413
    assert count(client, method="POST", route="unmatched", status="413") == 1  # no route saw it
    chunks = iter([b" " * 60, b" " * 60])
    answer = client.post("/things", content=chunks, headers={"content-type": "application/json"})
    assert "content-length" not in answer.request.headers
    assert answer.status_code == 413
    assert answer.headers["content-type"] == "application/problem+json"


def test_drained_answers_close_also_when_they_fail(client: TestClient) -> None:
    metrics(client).lifecycle.drained = True
    for path in ("/info", "/none", "/things/x/broken"):
        assert client.get(path).headers["connection"] == "close"
    assert client.post("/things", content=b" " * 101).headers["connection"] == "close"


def test_documented_errors_are_problems(client: TestClient) -> None:
    responses = client.get("/openapi.json").json()["paths"]["/things"]["post"]["responses"]
    for status in ("413", "422"):
        assert list(responses[status]["content"]) == ["application/problem+json"]
