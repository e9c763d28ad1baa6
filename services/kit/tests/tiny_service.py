# SPDX-License-Identifier: GPL-3.0-or-later
"""A service with one answer that waits to be let go, for the tests of the server."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter

from kit import Settings, create_app, load_settings, serve


class TinySettings(Settings):
    """Nothing beyond what every service has."""

    service: str = "tiny"


def main() -> None:
    """Serve."""
    router = APIRouter()
    released = asyncio.Event()

    @router.get("/slow")
    async def slow() -> str:
        await released.wait()
        return "done"

    @router.post("/release")
    async def release() -> None:
        released.set()

    serve(create_app(load_settings(TinySettings), routers=[router]))


if __name__ == "__main__":
    main()
