# SPDX-License-Identifier: GPL-3.0-or-later
"""How long a platform takes from nothing, how long a second run takes, and what it then occupies.

Makes the platform that OPSFORGE_PLATFORM names (`bench` when it names none), and takes it down again.
A platform that is there already is left alone, unless `--replace` says that it may go.

The arm `warm` uses the machine's cache; `--cold` measures an empty one first, in a directory of its own,
and then the warm arm on what the cold one filled.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker

from benchmarks._report import CHECKOUT, Report, median

COLD_LIMIT_SECONDS = 120 * 60
WARM_LIMIT_SECONDS = 30 * 60
SECOND_LIMIT_SECONDS = 10 * 60
DOWN_LIMIT_SECONDS = 5 * 60


class BenchmarkError(Exception):
    """The platform could not be measured; the text says why."""


@dataclass(frozen=True)
class Run:
    """What one run of the site playbook took, from the log of the progress callback."""

    seconds: float
    changed: int
    roles: Mapping[str, float]


def roles_of(log: Mapping[str, Any]) -> dict[str, float]:
    """Seconds by role; what belongs to no role counts for its play."""
    seconds: dict[str, float] = defaultdict(float)
    for task in log["tasks"]:
        role, separator, _ = task["task"].partition(" : ")
        seconds[role.removeprefix("opsforge.platform.") if separator else f"play: {task['play']}"] += task["seconds"]
    return dict(seconds)


def in_use_bytes(memory: Mapping[str, Any]) -> int:
    """What the machine cannot get back from a container: its memory without the page cache, from Docker's statistics.

    `docker stats` shows more: it takes off the inactive half of the page cache only.
    """
    counters = memory["stats"]
    prefix = "total_" if "total_inactive_file" in counters else ""  # cgroup v1 counts its children under these names
    return memory["usage"] - counters[f"{prefix}inactive_file"] - counters[f"{prefix}active_file"]


class Platform:
    """One platform on this machine, by name."""

    def __init__(self, name: str, cache: Path | None) -> None:
        self.name = name
        self.docker = docker.from_env()
        self.environ = {**os.environ, "OPSFORGE_PLATFORM": name}
        if cache:
            # The compiler's own caches live beside ours: a cold run must not find them either.
            self.environ |= {
                "OPSFORGE_CACHE": str(cache),
                "GOCACHE": str(cache / "go-build"),
                "GOMODCACHE": str(cache / "go-mod"),
            }

    def containers(self) -> list[Any]:
        """Its containers, running or not."""
        return self.docker.containers.list(all=True, filters={"label": f"opsforge.dev/platform={self.name}"})

    def memory(self) -> int:
        """What its containers have in use together, in bytes."""
        running = [container for container in self.containers() if container.status == "running"]
        return sum(in_use_bytes(container.stats(stream=False)["memory_stats"]) for container in running)

    def down(self) -> None:
        """Remove it; nothing happens where there is none."""
        self._play("down", DOWN_LIMIT_SECONDS)

    def site(self, limit: float) -> Run:
        """Run the site playbook once. Raises BenchmarkError if it fails or passes the limit of seconds."""
        with tempfile.TemporaryDirectory() as folder:
            log = Path(folder) / "tasks.json"
            self._play("site", limit, OPSFORGE_PROGRESS_LOG=str(log))
            found = json.loads(log.read_text(encoding="utf-8"))
        return Run(found["seconds"], found["changed"], roles_of(found))

    def _play(self, name: str, limit: float, **environ: str) -> None:
        ansible = str(Path(sys.executable).with_name("ansible-playbook"))
        print(f"\n# {name} of platform {self.name}", flush=True)
        command = [ansible, f"playbooks/{name}.yml"]
        # A group of its own, so that nothing it started, a compiler least of all, outlives it.
        with subprocess.Popen(command, cwd=CHECKOUT, env=self.environ | environ, process_group=0) as play:
            try:
                code = play.wait(limit)
            except BaseException as error:
                os.killpg(play.pid, signal.SIGTERM)
                if isinstance(error, subprocess.TimeoutExpired):
                    raise BenchmarkError(f"{command[1]} took longer than {limit:.0f} s for {self.name}") from error
                raise
        if code:
            raise BenchmarkError(f"{command[1]} failed for platform {self.name}")


def measure(report: Report, arm: str, platform: Platform, limit: float, seconds_runs: int) -> None:
    """From nothing, then again as often as asked; all figures go to the arm."""
    first = platform.site(limit)
    report.sample(arm, "first", first.seconds, "seconds")
    for role, seconds in first.roles.items():
        report.sample(arm, f"first, {role}", seconds, "seconds")
    for _ in range(seconds_runs):
        second = platform.site(SECOND_LIMIT_SECONDS)
        report.sample(arm, "second", second.seconds, "seconds")
        report.sample(arm, "second, changed", second.changed, "tasks")
        for role, seconds in second.roles.items():
            report.sample(arm, f"second, {role}", seconds, "seconds")
    report.sample(arm, "memory", platform.memory(), "bytes")


def summarize(report: Report) -> None:
    """The flat summary: the warm arm's figures, and the cold arm's first run beside them."""

    def of(arm: str, figure: str) -> float | None:
        found = report.samples(arm, figure)
        return median(found) if found else None

    changed = report.samples("warm", "second, changed")
    memory = of("warm", "memory")
    report.summary = {
        "first_seconds": of("warm", "first"),
        "second_seconds": of("warm", "second"),
        "second_changed": int(max(changed)) if changed else None,
        "memory_bytes": int(memory) if memory else None,
        "cold_first_seconds": of("cold", "first"),
    }


def run(arguments: argparse.Namespace, name: str) -> None:
    """Measure the arms one after the other, and leave no platform behind."""
    report = Report("site")
    cache = Path(tempfile.mkdtemp(prefix="opsforge-cold-")) if arguments.cold else None
    platform = Platform(name, cache)
    if platform.containers() and not arguments.replace:
        raise BenchmarkError(
            f"platform {name} is there already: take it down (`make down`), name another in OPSFORGE_PLATFORM,"
            " or allow its removal with --replace"
        )
    try:
        if arguments.cold:
            platform.down()
            measure(report, "cold", platform, COLD_LIMIT_SECONDS, 1)
        else:
            report.skip("cold", "takes up to an hour; run it with --cold")
        platform.down()
        measure(report, "warm", platform, WARM_LIMIT_SECONDS, arguments.second_runs)
    finally:
        if not arguments.keep:
            platform.down()
        if cache:
            subprocess.run(["chmod", "--recursive", "u+w", cache], check=True)  # Go keeps its modules read-only
            shutil.rmtree(cache)
    summarize(report)
    report.finish()


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="make bench NAME=site ARGS=...", description=__doc__.splitlines()[0])
    parser.add_argument("--cold", action="store_true", help="measure an empty cache too (up to an hour)")
    parser.add_argument("--second-runs", type=int, default=3, help="how often to run again (default: %(default)s)")
    parser.add_argument("--replace", action="store_true", help="a platform of that name may be removed first")
    parser.add_argument("--keep", action="store_true", help="leave the platform up at the end")
    try:
        run(parser.parse_args(), os.environ.get("OPSFORGE_PLATFORM") or "bench")
    except BenchmarkError as error:
        sys.exit(f"bench site: {error}")


if __name__ == "__main__":
    main()
