# SPDX-License-Identifier: GPL-3.0-or-later
"""`python -m benchmarks._web._serve MODULE PORT [PROFILE]`: one process, the same server and settings for every arm."""

from __future__ import annotations

import cProfile
import sys
from contextlib import nullcontext, suppress
from importlib import import_module

import uvicorn


def main(module: str, port: str, profile: str = "") -> None:
    """Serve until SIGTERM; with a third argument, write there where the time went."""
    app = import_module(f"benchmarks._web.{module}").app
    config = uvicorn.Config(
        app, host="127.0.0.1", port=int(port), loop="uvloop", http="httptools", ws="none", access_log=False,
        log_level="warning", log_config=None, lifespan="on" if module == "ours" else "off",
    )  # fmt: skip
    server = uvicorn.Server(config)
    profiler = cProfile.Profile() if profile else None
    # uvicorn hands the signal on to the process once it is done.
    with profiler or nullcontext(), suppress(KeyboardInterrupt):
        server.run()
    if profiler:
        profiler.dump_stats(profile)


if __name__ == "__main__":
    main(*sys.argv[1:])
