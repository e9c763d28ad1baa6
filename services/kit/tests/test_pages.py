# SPDX-License-Identifier: GPL-3.0-or-later
"""Pages: limits that hold, cursors that come back as they went out, and nothing else."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from fastapi import APIRouter
from starlette.testclient import TestClient

from kit import Problem, Settings, create_app
from kit.pages import CursorDep, LimitDep, Page, decode_cursor, encode_cursor

NOW = datetime(2026, 11, 21, 12, 0, 0, 123456, tzinfo=UTC)
ID = UUID("7b0c5bb4-6a7f-4b57-8f7a-0d2b6bb3f1aa")

router = APIRouter()


@router.get("/numbers")
async def show_numbers(limit: LimitDep, cursor: CursorDep) -> Page[int]:
    (begin,) = decode_cursor(cursor, int) if cursor else (0,)
    items = list(range(begin, min(begin + limit, 50)))
    return Page(items=items, next=encode_cursor(items[-1] + 1) if items and items[-1] < 49 else None)


def test_pages_lead_from_the_first_to_the_last() -> None:
    client = TestClient(create_app(Settings(service="kit-test"), routers=[router]))
    found: list[int] = []
    params: dict[str, Any] = {}
    while True:
        page = client.get("/numbers", params=params).json()
        found += page["items"]
        if not page["next"]:
            break
        params = {"cursor": page["next"]}
    assert found == list(range(50))
    assert len(client.get("/numbers", params={"limit": 3}).json()["items"]) == 3


@pytest.mark.parametrize("query", ["limit=0", "limit=101", "limit=x", "cursor=", "cursor=%00", f"cursor={'a' * 401}"])
def test_what_is_no_limit_and_no_cursor_is_422(query: str) -> None:
    client = TestClient(create_app(Settings(service="kit-test"), routers=[router]))
    assert client.get(f"/numbers?{query}").status_code == 422


def test_cursors_carry_keys_of_every_kind() -> None:
    keys = (NOW, ID, -5)
    assert decode_cursor(encode_cursor(*keys), datetime, UUID, int) == keys


def raw(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


@pytest.mark.parametrize(
    "cursor",
    [
        "A",
        "AAAA",
        raw({}),
        raw([]),
        raw([1, 2, 3]),
        raw(["yesterday", str(ID)]),
        raw(["2026-11-21T12:00:00", str(ID)]),
        raw([NOW.isoformat(), "7"]),
        raw([NOW.isoformat(), None]),
        raw([1, str(ID)]),
        base64.urlsafe_b64encode(b"[" * 290).decode(),
    ],
)
def test_made_up_cursors_are_422(cursor: str) -> None:
    with pytest.raises(Problem) as error:
        decode_cursor(cursor, datetime, UUID)
    assert error.value.status_code == 422


@pytest.mark.parametrize(("value", "kind"), [(2**63, int), (True, int), (1.5, int), ("1", int)])
def test_keys_that_no_column_holds_are_422(value: object, kind: type) -> None:
    with pytest.raises(Problem):
        decode_cursor(raw([value]), kind)
