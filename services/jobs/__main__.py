# SPDX-License-Identifier: GPL-3.0-or-later
"""`python -m jobs`: see `kit.cli`; `worker` does the jobs."""

from __future__ import annotations

import sys

from jobs.settings import Settings
from kit.cli import main


def work(settings: Settings) -> None:
    """Run a worker until SIGTERM; imported only then."""
    from jobs.worker.app import create
    from kit import serve

    serve(create(settings))


if __name__ == "__main__":
    commands = {"worker": ("do jobs until SIGTERM; PUT /drain on the management port stops taking new ones", work)}
    sys.exit(main("jobs", Settings, "jobs.app:create", commands=commands))
