# SPDX-License-Identifier: GPL-3.0-or-later
"""How fast, and at what loss, traffic moves from one slot to the other under load.

Needs the local platform (`make site`). Brings a second version of the service into the idle slot if there is none, then
lets the arms take turns at one load through the gateway, half of it on connections that are kept alive:

ours              the logic of blue_green_switch, in this process: all its looks, the write, drain and record
kubectl_patch     `kubectl patch service` with the same selector, and nothing else
kubernetes_core   an `ansible` command with kubernetes.core.k8s; its rival is `ours_ansible`, the same with our module
rolling_update    a new template in the slot in use (`kubectl set env`), pods replaced one by one, with a preStop
argo              a promotion of Argo Rollouts and its undo, on a copy of the service (benchmarks/_argo.py says how)

Every time counts from the decision, which is when the arm begins: `first_new_seconds` to the first answer of the new
version, `last_old_seconds` to the last one of the old. Ansible's start is part of the two arms that have it, and shown
alone as `start_seconds`. A ratio compares medians of `last_old_seconds`, when the old version is out of use; against
Argo Rollouts also by way, `ratio_vs_argo_release` and `ratio_vs_argo_rollback`.

`--requests 1000000 --rate 500` lets `ours` go on until it has moved traffic under so many requests, with the turns of
the other arms spread over the time: that takes fifty minutes.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, Self

from benchmarks import _argo
from benchmarks._go import Program
from benchmarks._load import Load, Request, lateness
from benchmarks._moves import BenchmarkError, Move, record, see, summarize
from benchmarks._report import CHECKOUT, Report
from benchmarks._rivals import RivalsMissing
from loadtests.entrance import NoEntrance, entrance

sys.path.insert(0, str(CHECKOUT / "collections"))

from ansible_collections.opsforge.platform.plugins.module_utils import _releases, _slots  # noqa: E402
from ansible_collections.opsforge.platform.plugins.module_utils._client import Cluster, connect  # noqa: E402
from ansible_collections.opsforge.platform.plugins.module_utils._errors import PlatformError  # noqa: E402
from ansible_collections.opsforge.platform.plugins.module_utils._switch import Options, Switch  # noqa: E402
from ansible_collections.opsforge.platform.plugins.module_utils._traffic import Wish  # noqa: E402

LIMIT_SECONDS = 30 * 60
# A generator is replaced by a fresh one when it has run so long.
LOAD_SECONDS = 5 * 60
# How long an arm is watched after it is done: the last old answer is late if it comes at all.
WATCH_SECONDS = 2.0
# A generator that is later than this, at twice the rate, would measure itself.
LATE_SECONDS_MAX = 0.1
# An old answer later than this is named, with when its request was sent.
LATE_ANSWER_SECONDS = 1.0
# What an autoscaler's kind calls its limits.
LIMITS = {
    "ScaledObject": ("minReplicaCount", "maxReplicaCount"),
    "HorizontalPodAutoscaler": ("minReplicas", "maxReplicas"),
}
ROLLING_VARIABLE = "OPSFORGE_VERSION"
SECOND_VERSION = "2.1.0"


@dataclass(frozen=True)
class Site:
    """The platform under test and the commands of the arms."""

    cluster: Cluster
    namespace: str
    service: str
    kubeconfig: str
    kubectl: str
    rolling_seconds: float

    def state(self) -> _slots.State:
        """The service as it stands."""
        return _slots.read(self.cluster, self.namespace, self.service)

    def serving(self) -> _slots.Slot:
        """The slot in use."""
        found = self.state().serving
        if found is None:
            raise BenchmarkError(f"{self.service} has no traffic: run make site first")
        return found

    def ours(self, slot: str, *, back: bool) -> dict[str, Any]:
        """The module's logic, as a release or a rollback."""
        wish = Wish(previous=True, patient=False, check=False) if back else Wish(slot=slot)
        switch = Switch(self.cluster, self.namespace, self.service, Options(by="benchmark"))
        return switch.run(wish)

    def patch(self, slot: str) -> None:
        """What people type."""
        body = json.dumps({"spec": {"selector": _slots.selector(self.service, slot)}})
        self.command(self.kubectl, "patch", "service", self.service, "--patch", body)

    def ansible(self, module: str, arguments: dict[str, Any]) -> None:
        """One module by the `ansible` command."""
        words = ["localhost", "-m", module, "-a", json.dumps(arguments)]
        self.command(str(Path(sys.executable).with_name("ansible")), *words)

    def ansible_ours(self, slot: str) -> None:
        """Our module."""
        self.ansible(
            "opsforge.platform.blue_green_switch",
            {"kubeconfig": self.kubeconfig, "namespace": self.namespace, "service": self.service, "slot": slot},
        )

    def ansible_core(self, slot: str) -> None:
        """The usual module, with the usual merge."""
        metadata = {"name": self.service, "namespace": self.namespace}
        spec = {"selector": _slots.selector(self.service, slot)}
        wanted = {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec}
        self.ansible("kubernetes.core.k8s", {"kubeconfig": self.kubeconfig, "definition": wanted})

    def limits(self) -> tuple[int, int] | None:
        """How many pods the autoscaler gives the service, at the least and at the most; None without one."""
        kind = self.state().scaler
        live = self.cluster.get(*kind, self.service, self.namespace) if kind else None
        if kind is None or live is None:
            return None
        low, high = (live["spec"][name] for name in LIMITS[kind[1]])
        return low, high

    def limit(self, low: int, high: int) -> None:
        """Set these, where they are written: what a ScaledObject keeps is not ours to write."""
        kind = self.state().scaler
        if kind:
            body = {"spec": dict(zip(LIMITS[kind[1]], (low, high), strict=True))}
            self.cluster.patch(*kind, self.service, self.namespace, body, manager="opsforge-service")

    def hold(self, sizes: dict[str, int]) -> None:
        """Give slots these sizes, and wait for them."""
        for slot, size in sizes.items():
            name = f"deployment/{_slots.deployment(self.service, slot)}"
            self.command(self.kubectl, "scale", name, f"--replicas={size}")
            self.command(self.kubectl, "rollout", "status", name, f"--timeout={self.rolling_seconds:.0f}s")

    def roll(self, slot: str, word: str) -> None:
        """Replace the pods of a slot by others that call themselves so; empty gives them their own name."""
        name = _slots.deployment(self.service, slot)
        setting = f"{ROLLING_VARIABLE}={word}" if word else f"{ROLLING_VARIABLE}-"
        self.command(self.kubectl, "set", "env", f"deployment/{name}", f"--containers={self.service}", setting)
        limit = f"--timeout={self.rolling_seconds:.0f}s"
        self.command(self.kubectl, "rollout", "status", f"deployment/{name}", limit)

    def command(self, *words: str) -> None:
        """Run a command against this cluster. Raises BenchmarkError with what it said."""
        env = {**os.environ, "KUBECONFIG": self.kubeconfig, "K8S_AUTH_KUBECONFIG": self.kubeconfig}
        namespace = ["--namespace", self.namespace] if words[0] == self.kubectl else []
        done = subprocess.run(
            [*words, *namespace], cwd=CHECKOUT, env=env, capture_output=True, text=True, timeout=300, check=False
        )
        if done.returncode:
            raise BenchmarkError(f"{' '.join(words[:4])} failed: {done.stderr.strip() or done.stdout.strip()}")


def slot_words(slot: _slots.Slot) -> str:
    """What every answer of a slot has in its body."""
    return f'"slot":"{slot.name}"'


def version_words(version: str) -> str:
    """What every answer of a version has in its body."""
    return f'"version":"{version}"'


class Traffic:
    """One load at a time, on one address, and all that came of its requests."""

    def __init__(self, rate: float, seconds: float, folder: Path) -> None:
        self._rate, self._until, self._folder = rate, time.monotonic() + seconds, folder
        self._loads: list[Load] = []
        self._running = ExitStack()
        self._url, self._since = "", 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._running.close()

    def to(self, url: str, age: float = 0.0) -> None:
        """Send requests there from now on; a load that is there already goes on if it is no older than this."""
        if url == self._url and time.monotonic() - self._since < age and self.is_running:
            return
        self._running.close()
        self._url, self._since = url, time.monotonic()
        seconds = self._until - time.monotonic()
        load = Load(url, self._rate, seconds, self._folder / f"load-{len(self._loads)}")
        self._loads.append(self._running.enter_context(load))
        time.sleep(WATCH_SECONDS)  # the first connections

    @property
    def is_running(self) -> bool:
        """Whether there is load."""
        return bool(self._loads) and self._loads[-1].is_running

    def requests(self) -> Iterator[Request]:
        """All requests that ended so far."""
        return chain.from_iterable(load.requests() for load in self._loads)


class Arms:
    """The moves of each arm, taken in turns; every move starts from the slot in use."""

    def __init__(self, site: Site, report: Report, traffic: Traffic, url: str) -> None:
        self._site, self._report, self._traffic, self._url = site, report, traffic, url
        self.moves: list[Move] = []
        self._rolled = 0

    def load(self) -> None:
        """Have the service under load, and by no generator that is old: it keeps all memory that it ever had."""
        self._traffic.to(self._url, LOAD_SECONDS)

    def switch(self, arm: str, act: Callable[[str], Any], *, is_rollback: bool = False) -> Any:
        """Move the traffic to the other slot by an act, and watch."""
        old = self._site.serving()
        new = self._site.state().slots[_slots.other(old.name)]
        decided = time.monotonic()
        answer = act(new.name)
        self._watch(Move(arm, slot_words(old), slot_words(new), decided, 0, is_rollback))
        return answer

    def ours(self) -> None:
        """There as a release, back as a rollback."""
        for back in (False, True):
            answer = self.switch("ours", partial(self._site.ours, back=back), is_rollback=back)
            for name in ("patch_seconds", "total_seconds"):
                self._report.sample("ours", name, answer["timings"][name], "s")

    def there_and_back(self, arm: str, act: Callable[[str], None]) -> None:
        """An arm that knows no difference between the two directions."""
        for back in (False, True):
            self.switch(arm, act, is_rollback=back)

    def roll(self) -> None:
        """A rolling update of the slot in use."""
        old = self._version()
        self._rolled += 1
        new = f"bench-{self._rolled}"
        decided = time.monotonic()
        self._site.roll(self._site.serving().name, new)
        self._watch(Move("rolling_update", version_words(old), version_words(new), decided, 0))

    def argo(self, rollout: _argo.Rollout) -> None:
        """A promotion and its undo, under a load of its own; the new version's pods are there before."""
        rollout.preview()
        self._traffic.to(self._url.replace(f"/{self._site.service}/", f"{rollout.path}/"))
        first, newest = version_words(rollout.FIRST), version_words(rollout.newest)
        for act, old, new in ((rollout.promote, first, newest), (rollout.undo, newest, first)):
            decided = time.monotonic()
            act()
            self._watch(Move("argo", old, new, decided, 0, is_rollback=new == first))
        rollout.rest()

    def _version(self) -> str:
        return f"bench-{self._rolled}" if self._rolled else self._site.serving().version

    def _watch(self, move: Move) -> None:
        done = time.monotonic()
        time.sleep(WATCH_SECONDS)
        if not self._traffic.is_running:
            raise BenchmarkError(
                f"the load ended in the middle of {move.arm}: its time is over, or nobody answered any more"
            )
        self.moves.append(replace(move, watched_until=time.monotonic()))
        print(f"  {move.arm}: {done - move.decided:.1f} s", file=sys.stderr, flush=True)


@contextmanager
def left_as_found(site: Site) -> Iterator[None]:
    """Hold both slots at one size, since a release brings its slot to size before the decision; then undo everything.

    Whatever happens: the traffic, the template, the size and the history are as they were.
    """
    before = site.state()
    serving = site.serving()
    record = site.cluster.get("v1", "ConfigMap", _releases.name(site.service), site.namespace)
    limits = site.limits()
    try:
        if limits:
            site.limit(serving.replicas, serving.replicas)
        site.hold({slot: serving.replicas for slot in before.slots})
        yield
    finally:
        live = site.cluster.get("apps/v1", "Deployment", _slots.deployment(site.service, serving.name), site.namespace)
        if ROLLING_VARIABLE in json.dumps((live or {}).get("spec", {})):
            site.roll(serving.name, "")
        site.ours(serving.name, back=False)
        if limits:
            site.limit(*limits)
        site.hold({slot.name: slot.replicas for slot in before.slots.values()})
        if record:
            site.cluster.patch(
                "v1", "ConfigMap", _releases.name(site.service), site.namespace, {"data": record["data"]}
            )


@dataclass(frozen=True)
class Turns:
    """In how many rounds there are, and in how many of them each arm but ours has its turn."""

    rounds: int
    patches: int
    commands: int
    rollings: int
    promotions: int

    @classmethod
    def of(cls, chosen: argparse.Namespace) -> Self:
        """Read them from the command line. A round of ours is watched twice."""
        pairs = max(chosen.switches // 2, 1)
        rounds = max(pairs, math.ceil(chosen.requests / chosen.rate / WATCH_SECONDS / 2))
        return cls(rounds, pairs, chosen.commands, chosen.rollings, chosen.promotions)

    def has(self, times: int, number: int) -> bool:
        """Whether an arm with so many turns has one in this round, the first being 0: they are spread evenly."""
        return number * times % self.rounds < times


def measure(arms: Arms, site: Site, report: Report, turns: Turns, rollout: _argo.Rollout | None) -> None:
    """Let the arms take turns until each has its number of moves."""
    for number in range(turns.rounds):
        print(f"round {number + 1} of {turns.rounds}", file=sys.stderr, flush=True)
        arms.load()
        arms.ours()
        if turns.has(turns.patches, number):
            arms.there_and_back("kubectl_patch", site.patch)
        if turns.has(turns.commands, number):
            arms.there_and_back("kubernetes_core", site.ansible_core)
            arms.there_and_back("ours_ansible", site.ansible_ours)
            start = time.monotonic()
            site.ansible("ansible.builtin.ping", {"data": "pong"})
            report.sample("ours_ansible", "start_seconds", time.monotonic() - start, "s")
        if turns.has(turns.rollings, number):
            arms.roll()
        if rollout and turns.has(turns.promotions, number):
            try:
                arms.argo(rollout)
            except _argo.ArgoError as error:  # a rival that fails halfway costs nobody else's figures
                report.skip("argo", f"after {number} of {turns.rounds} rounds: {error}")
                rollout = None


def find_kubectl() -> str:
    """The kubectl on PATH, else the one that the mirror holds. Raises BenchmarkError without one."""
    cache = Path(os.environ.get("OPSFORGE_CACHE", "~/.cache/opsforge")).expanduser()
    held = sorted(cache.glob("files/kubernetes/*/kubectl"), reverse=True)
    found = shutil.which("kubectl") or next((str(path) for path in held), None)
    if found is None:
        raise BenchmarkError("there is no kubectl, neither on PATH nor in the mirror: run make site first")
    return found


def second_version(site: Site, playbook: Path, version: str) -> None:
    """Bring a second version into the idle slot, by the way that people use, and go back to where traffic was."""
    serving = site.serving()
    if _slots.other(serving.name) in site.state().slots:
        return
    print(f"releasing {site.service} {version} to have two slots", file=sys.stderr, flush=True)
    command = str(Path(sys.executable).with_name("ansible-playbook"))
    site.command(command, str(playbook / "release.yml"), "-e", f"service={site.service}", "-e", f"version={version}")
    site.command(command, str(playbook / "rollback.yml"), "-e", f"service={site.service}")


def parse(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """Read the command line, with what every benchmark of a switch is told: which service, where, and its load."""
    name = os.environ.get("OPSFORGE_PLATFORM") or "opsforge"
    parser.add_argument("--rate", type=float, default=300, help="requests per second")
    parser.add_argument("--url", help="what is asked; by default the service, through the entrance of the platform")
    parser.add_argument("--service", default="auth")
    parser.add_argument("--namespace", default="apps")
    parser.add_argument("--version", default=SECOND_VERSION, help="version to release when there is one slot only")
    parser.add_argument("--kubeconfig", default=str(CHECKOUT / ".state" / name / "kubeconfig"))
    chosen = parser.parse_args()
    chosen.url = chosen.url or f"http://{entrance(name)}/{chosen.service}/info"
    return chosen


def options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--switches", type=int, default=20, help="moves of the arms that cost little")
    parser.add_argument("--rollings", type=int, default=4, help="rolling updates")
    parser.add_argument("--commands", type=int, default=4, help="rounds of the two arms that start Ansible")
    parser.add_argument("--promotions", type=int, default=6, help="rounds of Argo Rollouts; 0 goes without it")
    parser.add_argument("--requests", type=int, default=0, help="switch on until ours saw so many requests")
    parser.add_argument("--short", action="store_true", help="two rounds of ours, one of each other arm")
    chosen = parse(parser)
    if chosen.short:
        chosen.switches, chosen.rollings, chosen.commands, chosen.promotions = 4, 1, 1, 1
    return chosen


def main() -> None:
    """Run the benchmark."""
    report = Report("switch")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("switch: told to stop"))  # by way of what puts things back
    try:
        chosen = options()
        run(chosen, report)
    except (BenchmarkError, _argo.ArgoError, NoEntrance, PlatformError, subprocess.TimeoutExpired) as error:
        sys.exit(f"switch: {error}")
    report.finish()


def run(chosen: argparse.Namespace, report: Report) -> None:
    """Measure as the command line says. Raises BenchmarkError."""
    cluster = connect({"kubeconfig": chosen.kubeconfig})
    site = Site(cluster, chosen.namespace, chosen.service, chosen.kubeconfig, find_kubectl(), 180)
    argo = build_argo(report) if chosen.promotions else None
    with tempfile.TemporaryDirectory() as folder:
        late = asyncio.run(lateness(chosen.rate * 2, 2, Path(folder) / "lateness"))
        report.sample("load_generator", "late_seconds_p99_at_twice_the_rate", late, "s")
        if late > LATE_SECONDS_MAX:
            raise BenchmarkError(f"the machine is too busy: the load generator alone is {late:.2f} s late at p99")
        second_version(site, CHECKOUT / "playbooks", chosen.version)
        seconds = LIMIT_SECONDS + 2 * chosen.requests / chosen.rate
        with left_as_found(site), ExitStack() as stack, Traffic(chosen.rate, seconds, Path(folder)) as traffic:
            rollout = bring_argo(site, report, argo, Path(folder) / "argo", stack) if argo else None
            arms = Arms(site, report, traffic, chosen.url)
            measure(arms, site, report, Turns.of(chosen), rollout)
        seen = see(arms.moves, traffic.requests())
        lost = [request for request in traffic.requests() if request.is_lost]
    for move, one in zip(arms.moves, seen, strict=True):
        record(report, move, one)
        if one.last and one.last_old > LATE_ANSWER_SECONDS and move.arm in ("ours", "kubectl_patch"):
            sent = one.last.sent - move.decided
            kind = "kept" if one.last.kept else "new"
            print(
                f"{move.arm}: an old answer after {one.last_old:.2f} s, sent at {sent:.2f} s, {kind}", file=sys.stderr
            )
    for request in lost:
        print(f"lost: {request.line().strip()}", file=sys.stderr)
    summarize(report)
    if not chosen.promotions:
        report.skip("argo", "it was not asked for")
    report.summary["lost_between_moves"] = len(lost) - sum(one.lost for one in seen)


def build_argo(report: Report) -> Program | None:
    """The controller, before anything is measured or held; None, and why in the report, where it can't be had."""
    try:
        return _argo.build()
    except RivalsMissing as error:
        report.skip("argo", str(error))
        return None


def bring_argo(site: Site, report: Report, argo: Program, log: Path, stack: ExitStack) -> _argo.Rollout | None:
    """The Rollout, until the stack ends; None, and why in the report, where it can't be had."""
    serving = site.serving()
    original = _argo.Original(site.cluster, site.namespace, site.service, serving.name, serving.replicas)
    try:
        return stack.enter_context(_argo.rollout(original, argo, site.kubeconfig, log))
    except (_argo.ArgoError, PlatformError) as error:
        report.skip("argo", str(error))
        return None


if __name__ == "__main__":
    main()
