# SPDX-License-Identifier: GPL-3.0-or-later
"""Rivals, and other people's programs, in Python environments of their own: what they need is no business of ours."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

from benchmarks._report import CHECKOUT


class RivalsMissing(Exception):
    """The environment could not be made; the text holds pip's last words."""


def python(name: str) -> Path:
    """The interpreter of the environment with what `requirements/benchmarks_<name>.txt` pins, made once per content.

    It stands in the cache (`OPSFORGE_CACHE`, by default `~/.cache/opsforge`). Raises RivalsMissing.
    """
    lock = CHECKOUT / "requirements" / f"benchmarks_{name}.txt"
    version = ".".join(map(str, sys.version_info[:3]))
    content = hashlib.sha256(version.encode() + lock.read_bytes()).hexdigest()[:16]
    cache = Path(os.environ.get("OPSFORGE_CACHE", "~/.cache/opsforge")).expanduser() / "benchmarks"
    home = cache / f"{name}-{content}"
    interpreter = home / "bin" / "python"
    if (home / "ready").exists():
        return interpreter
    print(f"installing requirements/{lock.name}", file=sys.stderr, flush=True)
    shutil.rmtree(home, ignore_errors=True)  # one that was begun and not finished
    cache.mkdir(parents=True, exist_ok=True)
    for command in (
        [sys.executable, "-m", "venv", str(home)],
        [str(interpreter), "-m", "pip", "install", "--quiet", "--require-hashes", "-r", str(lock)],
    ):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RivalsMissing(f"{' '.join(command[1:4])}: {done.stderr.strip()[-500:]}")
    (home / "ready").touch()
    return interpreter
