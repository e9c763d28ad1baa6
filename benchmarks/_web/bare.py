# SPDX-License-Identifier: GPL-3.0-or-later
"""Bare Starlette: the endpoint, and nothing that one needs to operate it."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route


async def show_product(request: Request) -> Response:
    """Answer with a product."""
    number = request.path_params["number"]
    return JSONResponse({"number": number, "name": f"Product {number}", "price_cents": 1290, "currency": "EUR"})


app = Starlette(routes=[Route("/products/{number:int}", show_product)])
