# SPDX-License-Identifier: GPL-3.0-or-later
"""FastAPI as its guide and the usual packages have it: request id, access log in JSON, RED metrics."""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Awaitable, Callable
from uuid import uuid4

from fastapi import FastAPI, Request, Response
from prometheus_fastapi_instrumentator import Instrumentator
from pydantic import BaseModel

logging.basicConfig(stream=sys.stdout, level=logging.INFO, format="%(message)s")
log = logging.getLogger("access")

Next = Callable[[Request], Awaitable[Response]]


class Product(BaseModel):
    """A product."""

    number: int
    name: str
    price_cents: int
    currency: str


app = FastAPI()


@app.middleware("http")
async def write_access_log(request: Request, call_next: Next) -> Response:
    """Log each answer."""
    begun = time.perf_counter()
    response = await call_next(request)
    line = {
        "time": time.time(),
        "level": "info",
        "event": "request",
        "request_id": request.state.request_id,
        "method": request.method,
        "path": request.url.path,
        "status": response.status_code,
        "seconds": round(time.perf_counter() - begun, 6),
    }
    log.info(json.dumps(line))
    return response


@app.middleware("http")
async def give_request_id(request: Request, call_next: Next) -> Response:
    """Name each request."""
    request.state.request_id = request.headers.get("x-request-id", uuid4().hex)
    response = await call_next(request)
    response.headers["x-request-id"] = request.state.request_id
    return response


Instrumentator().instrument(app).expose(app)


@app.get("/products/{number}")
async def show_product(number: int) -> Product:
    """Answer with a product."""
    return Product(number=number, name=f"Product {number}", price_cents=1290, currency="EUR")
