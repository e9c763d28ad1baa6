# SPDX-License-Identifier: GPL-3.0-or-later
"""Rivals that are Go programs, built from the modules that `benchmarks/go/<name>` pins by version and checksum."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from benchmarks._report import CHECKOUT
from benchmarks._rivals import RivalsMissing

sys.path.insert(0, str(CHECKOUT / "collections"))

from ansible_collections.opsforge.platform.plugins.module_utils._host import ARCHITECTURES  # noqa: E402
from ansible_collections.opsforge.platform.plugins.module_utils._recipes import (  # noqa: E402
    Settings,
    go_environment,
    go_version,
)

# A build that goes on from Go's own cache if it was stopped; from nothing it takes some ten minutes of two cores.
BUILD_SECONDS_MAX = 60 * 60


@dataclass(frozen=True)
class Program:
    """A program at hand, and the source tree of the module that it was built from."""

    path: Path
    source: Path


def program(name: str, module: str) -> Program:
    """The one program of `benchmarks/go/<name>`, built once per content as the mirror builds its own.

    It stands in the cache (`OPSFORGE_CACHE`, by default `~/.cache/opsforge`). Raises RivalsMissing.
    """
    folder = CHECKOUT / "benchmarks" / "go" / name
    settings = Settings(arch=ARCHITECTURES.get(platform.machine(), platform.machine()), registry="")
    version = go_version(settings)
    if not version:
        raise RivalsMissing(f"benchmarks/go/{name} is built from source with Go, which is not installed")
    pins = [(folder / file).read_bytes() for file in ("go.mod", "go.sum")]
    content = hashlib.sha256(b"\0".join([version.encode(), *pins])).hexdigest()[:16]
    cache = Path(os.environ.get("OPSFORGE_CACHE", "~/.cache/opsforge")).expanduser() / "benchmarks"
    home = cache / f"{name}-{content}"
    if not home.exists():
        print(f"building benchmarks/go/{name}, which takes minutes, once", file=sys.stderr, flush=True)
        fresh = cache / f"{name}-{content}.new"
        shutil.rmtree(fresh, ignore_errors=True)  # one that was begun and not finished
        fresh.mkdir(parents=True)
        _go(settings, folder, "build", "-trimpath", "-ldflags=-s -w", "-o", f"{fresh}/", "tool")
        fresh.rename(home)
    (path,) = home.iterdir()
    return Program(path, Path(json.loads(_go(settings, folder, "mod", "download", "-json", module))["Dir"]))


def _go(settings: Settings, folder: Path, *words: str) -> str:
    """What a Go command says. Raises RivalsMissing with its last words."""
    try:
        done = subprocess.run(
            ["nice", "-n", "15", "go", *words],
            cwd=folder,
            env={**os.environ, **go_environment(settings)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=BUILD_SECONDS_MAX,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise RivalsMissing(f"go {words[0]} of {folder.name} was not done in {BUILD_SECONDS_MAX} s") from None
    if done.returncode:
        raise RivalsMissing(f"go {words[0]} of {folder.name}: {done.stderr.strip()[-500:]}")
    return done.stdout.strip()
