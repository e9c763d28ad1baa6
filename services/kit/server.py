# SPDX-License-Identifier: GPL-3.0-or-later
"""Two servers in one process and one event loop, and an orderly end."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import structlog
import uvicorn
import uvloop
from fastapi import FastAPI
from starlette.types import ASGIApp

from kit.app import Kit
from kit.logs import configure_logging
from kit.management import create_management_app

log = structlog.get_logger("kit.server")


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        # Left alone, uvicorn stops accepting the moment SIGTERM lands; `_run` decides instead.
        yield


def serve(app: FastAPI) -> None:
    """Serve the public and the management port until SIGTERM, then finish what is in flight and return."""
    kit: Kit = app.state.kit
    configure_logging(kit.settings)
    # What is loaded by now stays to the end. To look through it for garbage took 110 ms, in the midst of a request.
    gc.collect()
    gc.freeze()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_run(app, kit))


async def _run(app: FastAPI, kit: Kit) -> None:
    settings, lifecycle = kit.settings, kit.lifecycle
    told, hurry = asyncio.Event(), asyncio.Event()

    def on_signal() -> None:
        (hurry if told.is_set() else told).set()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, on_signal)

    public, management = (_listen(settings.host, port) for port in (settings.port, settings.management_port))
    admin = create_management_app(lifecycle, kit.health, kit.metrics)
    servers = [
        (_server(admin, kit, root_path="", lifespan="off"), management),
        (_server(app, kit, root_path=settings.root_path, lifespan="on"), public),
    ]
    tasks = [asyncio.create_task(server.serve(sockets=[sock])) for server, sock in servers]
    log.info("serving", port=public.getsockname()[1], management_port=management.getsockname()[1])

    signalled = asyncio.create_task(told.wait())
    await asyncio.wait([*tasks, signalled], return_when=asyncio.FIRST_COMPLETED)

    # Not ready from here on, and every answer closes its connection. New requests still come until every node has
    # heard of it, so accept them; a second signal cuts this short.
    lifecycle.stopping = True
    log.info("stopping", in_flight=lifecycle.in_flight)
    if signalled.done() and settings.linger_seconds:
        await asyncio.wait([asyncio.create_task(hurry.wait())], timeout=settings.linger_seconds)

    # The public server first: probes and metrics answer to the end.
    for (server, _), task in reversed(list(zip(servers, tasks, strict=True))):
        server.should_exit = True
        await task
    log.info("stopped", unfinished=lifecycle.in_flight)


def _listen(host: str, port: int) -> socket.socket:
    try:
        return socket.create_server((host, port), backlog=2048)
    except OSError as error:
        print(f"cannot listen on {host}:{port}: {os.strerror(error.errno or 0)}", file=sys.stderr)
        raise SystemExit(1) from None


def _server(app: ASGIApp, kit: Kit, *, root_path: str, lifespan: str) -> _Server:
    config = uvicorn.Config(
        app,
        http="httptools",
        ws="none",
        root_path=root_path,
        lifespan=lifespan,  # type: ignore[arg-type]
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=kit.settings.keep_alive_seconds,
        timeout_graceful_shutdown=kit.settings.drain_seconds,
    )
    return _Server(config)
