# SPDX-License-Identifier: GPL-3.0-or-later
"""Random histories of releases and rollbacks, while everything around them goes wrong, against a small model.

Needs no platform: each worker starts a Kubernetes API of its own (etcd and kube-apiserver, from the mirror that `make
site` filled), and plays controllers, kubelet, autoscaler and a second operator. The switch is the real one.
A violation is printed as the shortest history that has it, with the seed that brings it back:

    make bench NAME=histories ARGS="--seed 17 --histories 1"
"""

from __future__ import annotations

import argparse
import itertools
import math
import multiprocessing
import multiprocessing.queues
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks._report import CHECKOUT, Report

sys.path.insert(0, str(CHECKOUT / "collections"))

from ansible_collections.opsforge.platform.plugins.module_utils._client import connect  # noqa: E402
from ansible_collections.opsforge.platform.tests.integration.api import histories  # noqa: E402
from ansible_collections.opsforge.platform.tests.integration.api.control_plane import ControlPlane  # noqa: E402

HISTORIES = 10_000
# Histories to play by one seed, as a seed is played again from its start. Not all are counted: some come twice.
BATCH = 250
# So many times as many seeds as it takes if each history counts; a violation ends a seed early.
SEEDS_MAX = 2
LIMIT_SECONDS = 3 * 60 * 60


@dataclass(frozen=True)
class Played:
    """What came of one seed."""

    seed: int
    histories: int
    runs: int
    seconds: float
    violation: str = ""


Tasks = multiprocessing.queues.SimpleQueue[int | None]
Results = multiprocessing.queues.SimpleQueue[Played | None]


def play(tasks: Tasks) -> Iterator[Played]:
    """Play the histories of seeds on a control plane of its own, until there are no more seeds."""
    with tempfile.TemporaryDirectory() as folder:
        plane = ControlPlane(Path(folder))
        try:
            plane.start()
            cluster = connect({"kubeconfig": str(plane.kubeconfig)})
            cluster.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "histories"}})
            stage = histories.Stage(cluster, "histories", plane)
            while (seed := tasks.get()) is not None:
                yield _one(stage, seed)
        finally:
            plane.stop()


def _one(stage: histories.Stage, seed: int) -> Played:
    # One real restart of the API server in each batch: it takes as long as ten histories.
    stage.begin(restarts=1)
    started = time.monotonic()
    violation = ""
    try:
        histories.play(stage, count=BATCH, seed=seed)
    except AssertionError as error:
        violation = "\n".join([str(error), *getattr(error, "__notes__", [])])
    return Played(seed, stage.histories, stage.runs, time.monotonic() - started, violation)


def work(tasks: Tasks, played: Results) -> None:
    """A worker: one process, because the threads of one take turns."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # by way of what ends the control plane
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        for one in play(tasks):
            played.put(one)
    finally:
        played.put(None)


def gather(chosen: argparse.Namespace, report: Report) -> list[Played]:
    """Let the workers play seed after seed until there are enough histories; stops by itself when the time is up."""
    context = multiprocessing.get_context("spawn")
    tasks: Tasks = context.SimpleQueue()
    played: Results = context.SimpleQueue()
    workers = [
        context.Process(target=work, args=(tasks, played))
        for _ in range(min(chosen.workers, math.ceil(chosen.histories / BATCH)))
    ]
    signal.signal(signal.SIGALRM, lambda *_: sys.exit(f"histories: not done within {LIMIT_SECONDS} s"))
    signal.alarm(LIMIT_SECONDS)
    seeds = itertools.count(chosen.seed)
    found: list[Played] = []
    try:
        for worker in workers:
            worker.start()
            tasks.put(next(seeds))
        working = len(workers)
        while working:
            one = played.get()
            if one is None:
                working -= 1
                continue
            found.append(one)
            tell(found, chosen.histories)
            report.sample("ours", "histories_per_second", one.histories / one.seconds, "histories/s")
            report.sample("ours", "runs_per_history", one.runs / max(one.histories, 1), "runs")
            missing = chosen.histories - sum(one.histories for one in found)
            is_enough = missing <= (working - 1) * BATCH / 2 or len(found) >= SEEDS_MAX * chosen.histories / BATCH
            tasks.put(None if is_enough else next(seeds))
    finally:
        for worker in workers:
            worker.terminate()
            worker.join()
    return found


def tell(found: list[Played], goal: int) -> None:
    """Say how far it is, and what was found."""
    last = found[-1]
    played, violations = sum(one.histories for one in found), sum(bool(one.violation) for one in found)
    print(
        f"seed {last.seed}: {last.histories} histories, {last.runs} runs, {last.seconds:.0f} s;"
        f" {played} of {goal} histories, {violations} violations",
        file=sys.stderr,
        flush=True,
    )
    if last.violation:
        print(f"\nviolation with seed {last.seed}:\n{last.violation}\n", file=sys.stderr, flush=True)


def options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--histories", type=int, default=HISTORIES, help="histories in all")
    parser.add_argument("--seed", type=int, default=1, help="the first seed; each is good for up to 250 histories")
    parser.add_argument("--workers", type=int, default=2, help="processes, each with a control plane of its own")
    return parser.parse_args()


def main() -> None:
    """Run the benchmark. Ends with an error if there was a violation."""
    report = Report("histories")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("histories: told to stop"))
    started = time.monotonic()
    chosen = options()
    found = gather(chosen, report)
    violations = sum(bool(one.violation) for one in found)
    report.summary["histories"] = sum(one.histories for one in found)
    report.summary["runs"] = sum(one.runs for one in found)
    report.summary["violations"] = violations
    report.summary["seconds"] = time.monotonic() - started
    report.skip("rivals", "the histories are steps of our switch; the two named regressions are tests of the API tier")
    report.finish()
    if violations or report.summary["histories"] < chosen.histories:
        sys.exit(f"histories: {violations} violations in {report.summary['histories']} histories")


if __name__ == "__main__":
    main()
