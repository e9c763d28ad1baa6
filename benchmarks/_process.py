# SPDX-License-Identifier: GPL-3.0-or-later
"""A service as one process on this machine, with the settings that a benchmark gives it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks._report import CHECKOUT


class NotServing(Exception):
    """The service did not start; the text holds its last words."""


@dataclass(frozen=True)
class Serving:
    """A running service: its public URL and its process."""

    url: str
    pid: int


@contextmanager
def service(package: str, log: Path, settings: Mapping[str, object], *, migrate: bool = True) -> Iterator[Serving]:
    """Migrate, then run `python -m <package>` on free ports until the block ends. Raises NotServing."""
    env = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(CHECKOUT / "services"),
        # As in the image: one hash takes 19 MiB, which glibc would keep in every arena.
        "MALLOC_ARENA_MAX": "2",
        "MALLOC_MMAP_THRESHOLD_": "1048576",
        "MALLOC_TRIM_THRESHOLD_": "1048576",
        **{f"OPSFORGE_{name.upper()}": str(value) for name, value in settings.items()},
        "OPSFORGE_HOST": "127.0.0.1",
        "OPSFORGE_PORT": "0",
        "OPSFORGE_MANAGEMENT_PORT": "0",
        "OPSFORGE_LINGER_SECONDS": "0",
    }
    command = [sys.executable, "-m", package]
    with log.open("wb") as sink:
        if migrate:
            subprocess.run([*command, "migrate"], env=env, stdout=sink, stderr=sink, check=True)
        process = subprocess.Popen(command, env=env, stdout=sink, stderr=sink)
    try:
        yield Serving(f"http://127.0.0.1:{_port(process, log)}", process.pid)
    finally:
        process.terminate()
        process.wait(30)


def _port(process: subprocess.Popen[bytes], log: Path) -> int:
    """Read from its own words where it serves."""
    with log.open() as lines:
        while process.poll() is None:
            line = lines.readline()
            if '"serving"' in line and line.endswith("\n"):
                port: int = json.loads(line)["port"]
                return port
    raise NotServing(log.read_text()[-500:])
