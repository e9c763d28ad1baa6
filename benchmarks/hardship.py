# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether traffic that moves from one slot to the other loses a request when something else goes wrong meanwhile.

Needs the local platform (`make site`). Each round is a switch and a rollback, by the logic of blue_green_switch, under
one load through the gateway, half of it on connections that are kept alive:

plain                  nothing else happens
controller_killed      the run gets a SIGKILL before one of its steps, or at any moment; the next run finishes it
autoscaler_at_maximum  the slot in use has as many pods as the autoscaler may give it, and the other one pod
node_drained           the node of most of the pods is drained, from before, at or after the write that moves traffic

A request counts for the last move that had begun when it was due, so that what is done between two moves counts too.
Each one that is lost is printed, and kept in the results under `losses`.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from benchmarks._load import Request, lateness
from benchmarks._moves import BenchmarkError, Move, see
from benchmarks._report import CHECKOUT, RESULTS, NothingToAddToError, Report
from benchmarks.switch import (
    LATE_SECONDS_MAX,
    LOAD_SECONDS,
    WATCH_SECONDS,
    Site,
    Traffic,
    find_kubectl,
    parse,
    second_version,
    slot_words,
)
from loadtests.entrance import NoEntrance

sys.path.insert(0, str(CHECKOUT / "collections"))

from ansible_collections.opsforge.platform.plugins.module_utils import _releases, _slots  # noqa: E402
from ansible_collections.opsforge.platform.plugins.module_utils._client import connect  # noqa: E402
from ansible_collections.opsforge.platform.plugins.module_utils._errors import PlatformError  # noqa: E402
from ansible_collections.opsforge.platform.plugins.module_utils._switch import Options, Switch  # noqa: E402
from ansible_collections.opsforge.platform.plugins.module_utils._traffic import Step, Wish  # noqa: E402

LIMIT_SECONDS = 30 * 60
DRAIN_SECONDS = 120
# Of so many rounds, how many are of which kind: what costs little is done often.
ROUNDS = 50
SHARES = {"plain": 20, "controller_killed": 16, "autoscaler_at_maximum": 7, "node_drained": 7}
# Before which step a run is killed; None is any moment. A rollback checks nothing.
KILLS = ("check", "switch", "aim", "drain", "record", None)
# Before which step a node begins to be drained; None is before the first, with a pod already on its way out.
DRAINS = (None, "check", "switch", "aim")
LIMITS = {
    "ScaledObject": ("minReplicaCount", "maxReplicaCount"),
    "HorizontalPodAutoscaler": ("minReplicas", "maxReplicas"),
}


@dataclass
class Meddled(Switch):
    """A switch that something happens to before its steps."""

    before: Callable[[str], None] = lambda kind: None

    def _do(self, state: _slots.State, wish: Wish, step: Step, deadline: float) -> Wish:
        self.before(step.kind)
        return super()._do(state, wish, step, deadline)


def doomed(kubeconfig: str, namespace: str, service: str, wish: Wish, moment: str | None, delay: float) -> None:
    """A run, in a process of its own, that is killed before a step or after a delay in seconds."""

    def die() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    if moment is None:
        threading.Timer(delay, die).start()
    cluster = connect({"kubeconfig": kubeconfig})
    options = Options(by="benchmark")
    Meddled(cluster, namespace, service, options, before=lambda kind: die() if kind == moment else None).run(wish)


@dataclass
class Hardships(Report):
    """A report that also keeps what is known of each lost request."""

    losses: list[dict[str, Any]] = field(default_factory=list)

    def document(self) -> dict[str, object]:
        """The form that every benchmark shares, and the losses."""
        return {**super().document(), "losses": self.losses}

    def add(self, known: Mapping[str, Any]) -> None:
        """Have what an earlier run found, too."""
        super().add(known)
        self.losses += known["losses"]


class Trials:
    """The moves under each hardship; every round begins and ends with the same slot in use."""

    def __init__(self, site: Site, traffic: Traffic, url: str, size: int) -> None:
        self._site, self._traffic, self._url, self._size = site, traffic, url, size
        # The pods of both slots, and none of a job.
        self._selector = f"{_slots.NAME_LABEL}={site.service},{_slots.SLOT_LABEL}"
        self._random = random.Random(1)
        self._began = 0
        self.moves: list[Move] = []

    def run(self, hardship: str, rounds: int) -> None:
        """So many rounds of one kind."""
        for number in range(rounds):
            print(f"{hardship}: round {number + 1} of {rounds}", file=sys.stderr, flush=True)
            # A generator that is old has too much memory: here and not in mid-move is a fresh one started.
            self._traffic.to(self._url, LOAD_SECONDS)
            getattr(self, f"_{hardship}")()

    def _plain(self) -> None:
        self._there_and_back("plain", self._switch)

    def _controller_killed(self) -> None:
        self._there_and_back("controller_killed", self._killed)

    def _autoscaler_at_maximum(self) -> None:
        idle = _slots.other(self._site.serving().name)
        self._site.hold({idle: 1})
        self._there_and_back("autoscaler_at_maximum", self._switch)

    def _node_drained(self) -> None:
        self._there_and_back("node_drained", self._drained)

    def _there_and_back(self, hardship: str, act: Callable[[Wish], None]) -> None:
        site = self._site
        for back in (False, True):
            old = site.serving()
            new = site.state().slots[_slots.other(old.name)]
            wish = Wish(previous=True, patient=False, check=False, ready_percent=50) if back else Wish(slot=new.name)
            self.moves.append(Move(hardship, slot_words(old), slot_words(new), time.monotonic(), 0, back))
            act(wish)
            self._see_arrived(hardship, new.name, size=0 if back else old.replicas)
            time.sleep(WATCH_SECONDS)
            if not self._traffic.is_running:
                raise BenchmarkError(
                    f"the load ended in the middle of {hardship}: its time is over, or nobody answered"
                )

    def _see_arrived(self, hardship: str, slot: str, size: int) -> None:
        found = self._site.state()
        if found.slots[slot].replicas < size:
            raise BenchmarkError(f"{hardship}: slot {slot} has {found.slots[slot].replicas} pods, and needed {size}")
        if not found.is_on(slot) or not found.recorded or found.scaled not in (None, slot):
            raise BenchmarkError(f"{hardship}: traffic is on {found.active}, and not wholly on {slot}")

    def _switch(self, wish: Wish, before: Callable[[str], None] = lambda kind: None) -> None:
        site = self._site
        Meddled(site.cluster, site.namespace, site.service, Options(by="benchmark"), before=before).run(wish)

    def _next(self, moments: Sequence[str | None]) -> str | None:
        """Each moment in its turn."""
        self._began += 1
        return moments[self._began % len(moments)]

    def _killed(self, wish: Wish) -> None:
        site = self._site
        moment = self._next([kill for kill in KILLS if kill != "check" or not wish.previous])
        arguments = (site.kubeconfig, site.namespace, site.service, wish, moment, self._random.uniform(0, 0.5))
        run = multiprocessing.get_context("spawn").Process(target=doomed, args=arguments)
        run.start()
        run.join(60)
        if run.exitcode != -signal.SIGKILL:
            raise BenchmarkError(f"the run that was to be killed before {moment} ended with {run.exitcode}")
        time.sleep(WATCH_SECONDS / 2)  # nobody is at it, and people go on asking
        self._switch(wish)

    def _drained(self, wish: Wish) -> None:
        moment = self._next([drain for drain in DRAINS if drain != "check" or not wish.previous])
        node = self._fullest()
        drains: list[subprocess.Popen[str]] = []

        def begin(kind: str | None) -> None:
            if kind == moment and not drains:
                drains.append(self._drain(node))

        with uncordoned(self._site, node):
            try:
                begin(None)
                self._switch(wish, before=begin)
                if not drains:
                    raise BenchmarkError(f"there was no step {moment} to drain {node} at")
                _, said = drains[0].communicate(timeout=DRAIN_SECONDS + 10)
                if drains[0].returncode:
                    raise BenchmarkError(f"{node} could not be drained: {said.strip()}")
            finally:
                for run in drains:
                    run.kill()  # one that has ended already does not mind
        self._site.hold(dict.fromkeys(_slots.SLOTS, self._size))

    def _pods(self) -> list[dict[str, Any]]:
        return self._site.cluster.list("v1", "Pod", self._site.namespace, self._selector)

    def _fullest(self) -> str:
        """The node of most of the pods."""
        nodes = [pod["spec"]["nodeName"] for pod in self._pods() if "deletionTimestamp" not in pod["metadata"]]
        return max(sorted(set(nodes)), key=nodes.count)

    def _drain(self, node: str) -> subprocess.Popen[str]:
        """Have the service's pods evicted, and return when the first of them is on its way out."""
        leaving = {pod["metadata"]["name"] for pod in self._pods() if "deletionTimestamp" in pod["metadata"]}
        options = ["--ignore-daemonsets", "--delete-emptydir-data", f"--timeout={DRAIN_SECONDS}s"]
        options += [f"--pod-selector={self._selector}"]
        command = kubectl(self._site, "drain", node, *options)
        run = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        until = time.monotonic() + DRAIN_SECONDS
        while time.monotonic() < until and run.poll() is None:
            now = {pod["metadata"]["name"] for pod in self._pods() if "deletionTimestamp" in pod["metadata"]}
            if now - leaving:
                break
            time.sleep(0.05)
        return run


def kubectl(site: Site, *words: str) -> list[str]:
    """A command for a node."""
    return [site.kubectl, "--kubeconfig", site.kubeconfig, *words]


@contextmanager
def uncordoned(site: Site, node: str) -> Iterator[None]:
    """Take pods on a node again afterwards, whatever happens."""
    try:
        yield
    finally:
        subprocess.run(kubectl(site, "uncordon", node), check=True, stdout=subprocess.DEVNULL)


def limits(site: Site) -> tuple[int, int]:
    """How many pods the autoscaler gives the service, at the least and at the most."""
    kind, live = _scaler(site)
    low, high = (live["spec"][name] for name in LIMITS[kind[1]])
    return low, high


def limit(site: Site, low: int, high: int) -> None:
    """Set these."""
    kind, _ = _scaler(site)
    body = {"spec": dict(zip(LIMITS[kind[1]], (low, high), strict=True))}
    site.cluster.patch(*kind, site.service, site.namespace, body, manager="opsforge-service")


def _scaler(site: Site) -> tuple[tuple[str, str], dict[str, Any]]:
    """What sizes the service: where there is a ScaledObject, the HorizontalPodAutoscaler is not ours to write."""
    kind = site.state().scaler
    live = site.cluster.get(*kind, site.service, site.namespace) if kind else None
    if kind is None or live is None:
        raise BenchmarkError(f"{site.service} has no autoscaler that could be at its maximum")
    return kind, live


@contextmanager
def sized(site: Site, size: int) -> Iterator[None]:
    """Hold the slot in use and the autoscaler at a size; then give them back what they had."""
    low, high = limits(site)
    before = site.state().slots
    try:
        limit(site, size, size)
        site.hold({site.serving().name: size})
        yield
    finally:
        limit(site, low, high)
        site.hold({slot.name: slot.replicas for slot in before.values()})


@contextmanager
def left_as_found(site: Site) -> Iterator[None]:
    """Whatever happens: the traffic and the history are as they were."""
    serving = site.serving()
    record = site.cluster.get("v1", "ConfigMap", _releases.name(site.service), site.namespace)
    try:
        yield
    finally:
        site.ours(serving.name, back=False)
        if record:
            body = {"data": record["data"]}
            site.cluster.patch("v1", "ConfigMap", _releases.name(site.service), site.namespace, body)


def record_moves(report: Hardships, moves: Sequence[Move], requests: Iterable[Request]) -> None:
    """Add what the clients saw: each request to the last move that had begun when it was due."""
    ends = [after.decided for _, after in pairwise(moves)] + [float("inf")]
    moves = [replace(move, watched_until=end) for move, end in zip(moves, ends, strict=True)]
    requests = [request for request in requests if request.due >= moves[0].decided]
    for move, seen in zip(moves, see(moves, requests), strict=True):
        if seen.first_new is None:
            raise BenchmarkError(f"{move.arm}: the other slot ({move.new}) never answered")
        kind = "rollback" if move.is_rollback else "switch"
        report.sample(move.arm, f"{kind}_first_new_seconds", seen.first_new, "s")
        report.sample(move.arm, f"{kind}_last_old_seconds", seen.last_old, "s")
        report.sample(move.arm, "requests", seen.requests, "requests")
        report.sample(move.arm, "lost", seen.lost, "requests")
    for request in filter(lambda request: request.is_lost, requests):
        move = [move for move in moves if move.decided <= request.due][-1]
        report.losses.append(
            {
                "hardship": move.arm,
                "is_rollback": move.is_rollback,
                "sent_after_seconds": request.sent - move.decided,
                "ended_after_seconds": request.ended - move.decided,
                "kept": request.kept,
                "status": request.status,
                "body": request.body,
            }
        )
        print(f"lost: {report.losses[-1]}", file=sys.stderr)


def summarize(report: Hardships) -> None:
    """Fill in the summary from the samples."""

    def total(figure: str, arms: Iterable[str] = SHARES) -> int:
        return round(sum(sum(report.samples(arm, figure)) for arm in arms))

    for summary, kind in (("switches", "switch"), ("rollbacks", "rollback")):
        report.summary[summary] = sum(len(report.samples(arm, f"{kind}_first_new_seconds")) for arm in SHARES)
    report.summary["requests"] = total("requests")
    report.summary["lost"] = total("lost")
    for arm in SHARES:
        report.summary[f"lost_{arm}"] = total("lost", [arm])


def options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="a switch and a rollback each; spread over all")
    parser.add_argument("--short", action="store_true", help="two rounds of each")
    parser.add_argument("--only", nargs="+", choices=SHARES, default=SHARES, help="these kinds, as often as of all")
    parser.add_argument("--add", action="store_true", help="to the results that there are")
    parser.add_argument("--results", type=Path, default=RESULTS)
    return parse(parser)


def main() -> None:
    """Run the benchmark."""
    report = Hardships("hardship")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("hardship: told to stop"))  # by way of what puts things back
    try:
        chosen = options()
        if chosen.add:
            report.resume(chosen.results)
        run(chosen, report)
    except (BenchmarkError, NothingToAddToError, NoEntrance, PlatformError, subprocess.SubprocessError) as error:
        sys.exit(f"hardship: {error}")
    report.finish(chosen.results)


def run(chosen: argparse.Namespace, report: Hardships) -> None:
    """Try as the command line says. Raises BenchmarkError."""
    cluster = connect({"kubeconfig": chosen.kubeconfig})
    site = Site(cluster, chosen.namespace, chosen.service, chosen.kubeconfig, find_kubectl(), 180)
    rounds = {arm: 2 if chosen.short else max(1, round(chosen.rounds * SHARES[arm] / ROUNDS)) for arm in SHARES}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        late = asyncio.run(lateness(chosen.rate * 2, 2, folder / "lateness"))
        report.sample("load_generator", "late_seconds_p99_at_twice_the_rate", late, "s")
        if late > LATE_SECONDS_MAX:
            raise BenchmarkError(f"the machine is too busy: the load generator alone is {late:.2f} s late at p99")
        second_version(site, CHECKOUT / "playbooks", chosen.version)
        low, high = limits(site)
        # One pod alone is more than half of a slot, and a node that is drained takes it.
        size = max(low, 2)
        with left_as_found(site), sized(site, size), Traffic(chosen.rate, LIMIT_SECONDS, folder) as traffic:
            site.hold(dict.fromkeys(_slots.SLOTS, size))
            trials = Trials(site, traffic, chosen.url, size)
            for hardship in chosen.only:
                if hardship == "autoscaler_at_maximum":
                    with sized(site, high):
                        trials.run(hardship, rounds[hardship])
                else:
                    trials.run(hardship, rounds[hardship])
        record_moves(report, trials.moves, traffic.requests())
    summarize(report)


if __name__ == "__main__":
    main()
