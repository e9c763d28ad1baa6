# SPDX-License-Identifier: GPL-3.0-or-later
"""The contract check finds what it is for, and is content with what every app has."""

from __future__ import annotations

from typing import Annotated, Any

import pytest
from fastapi import APIRouter, Response
from pydantic import Field
from schemathesis.core.failures import Failure, FailureGroup
from starlette.testclient import TestClient

from kit import Problem, create_app, problems
from kit.pages import CursorDep, LimitDep, Page, decode_cursor
from kit.schemas import Body, IdempotencyKeyDep, Text
from kit.testing import Issuer
from kit.tokens import TokenSettings, UserDep


class NoteCreate(Body):
    """A note."""

    text: Annotated[Text, Field(min_length=1, max_length=50)]
    number: int = Field(ge=0, lt=2**31)


def good() -> APIRouter:
    router = APIRouter()

    @router.post("/notes", status_code=201, responses=problems(401, 403, 413, 422, 503))
    async def add(note: NoteCreate, caller: UserDep, key: IdempotencyKeyDep) -> int:
        return note.number

    @router.get("/notes", responses=problems(401, 403, 422, 503))
    async def show(caller: UserDep, limit: LimitDep, cursor: CursorDep) -> Page[int]:
        decode_cursor(cursor, int) if cursor else None
        return Page(items=[1], next=None)

    return router


def test_an_app_of_the_kits_parts_keeps_its_word(contract: Any) -> None:
    issuer = Issuer()
    settings = TokenSettings(service="notes", **issuer.settings())
    with TestClient(create_app(settings, routers=[good()])) as client:
        tried = contract(client, headers=issuer.headers())
    assert tried == {"POST /notes", "GET /notes", "GET /health", "GET /info"}


async def crash(text: str) -> int:
    return 1 // len(text.rstrip("\x00"))


async def teapot(text: str) -> int:
    raise Problem(418, "Short and stout.")


async def plain(text: str) -> Response:
    return Response("text", media_type="text/plain")


async def lie(text: str) -> Response:
    return Response('"text"', media_type="application/json")


@pytest.mark.parametrize("endpoint", [crash, teapot, plain, lie])
def test_whoever_breaks_their_word_is_found(contract: Any, endpoint: Any) -> None:
    router = APIRouter()
    router.add_api_route("/broken", endpoint, response_model=int, responses=problems(422))
    app = create_app(TokenSettings(service="notes"), routers=[router])
    with TestClient(app) as client:
        with pytest.raises((Failure, FailureGroup)):
            contract(client)
        assert contract(client, skip=["GET /broken"]) == {"GET /health", "GET /info"}
