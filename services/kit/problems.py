# SPDX-License-Identifier: GPL-3.0-or-later
"""Errors as RFC 9457 problem documents, for what we raise and for what the framework raises."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from http import HTTPStatus
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from kit.trace import current_trace

log = structlog.get_logger("kit.problems")

MEDIA_TYPE = "application/problem+json"

_SCHEMA = {
    "type": "object",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "request_id": {"type": "string"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"at": {"type": "string"}, "message": {"type": "string"}},
            },
        },
    },
}


class Problem(HTTPException):
    """An answer other than success; the detail is one sentence for the caller and holds no secret."""

    def __init__(self, status: int, detail: str, *, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(status, detail, headers)


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Document the problems of a route: `@router.post(..., responses=problems(401, 422))`."""
    content = {MEDIA_TYPE: {"schema": _SCHEMA}}
    return {status: {"description": HTTPStatus(status).phrase, "content": content} for status in statuses}


def problem_response(
    status: int,
    detail: str,
    *,
    headers: Mapping[str, str] | None = None,
    errors: Sequence[Mapping[str, str]] = (),
) -> Response:
    """Render one problem document."""
    body: dict[str, Any] = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
    }
    if trace := current_trace.get():
        body["request_id"] = trace.request_id
    if errors:
        body["errors"] = list(errors)
    return Response(json.dumps(body), status, headers, MEDIA_TYPE)


async def _on_http_exception(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code == 400 and not isinstance(error, Problem):
        # The framework's word for a body that is no text at all, or nested without end; other bad bodies are 422.
        return problem_response(422, "The request body can't be read.")
    return problem_response(error.status_code, str(error.detail), headers=error.headers)


async def _on_invalid(_request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    # Only place and message: the framework's own answer repeats the input, which may be a password.
    errors = [{"at": ".".join(map(str, item["loc"])), "message": item["msg"]} for item in error.errors()]
    return problem_response(422, "The request does not have the expected form.", errors=errors)


async def _on_unavailable(_request: Request, error: Exception) -> Response:
    log.error("dependency failed", error=type(error).__name__)
    return problem_response(503, "A dependency is not available.", headers={"Retry-After": "1"})


def handle_problems(app: FastAPI, unavailable: Iterable[type[Exception]] = ()) -> None:
    """Answer every error of `app` as a problem; those of the `unavailable` types with 503."""
    app.add_exception_handler(HTTPException, _on_http_exception)
    app.add_exception_handler(RequestValidationError, _on_invalid)
    for kind in unavailable:
        app.add_exception_handler(kind, _on_unavailable)
