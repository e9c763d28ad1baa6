# SPDX-License-Identifier: GPL-3.0-or-later
"""How fast, and at what loss, traffic moves from one slot to the other under load.

Needs the local platform (`make site`). Brings a second version of the service into the idle slot if there is none, then
lets the arms take turns at one load through the gateway, half of it on connections that are kept alive:

ours              the logic of blue_green_switch, in this process: all its looks, the write, drain and record
kubectl_patch     `kubectl patch service` with the same selector, and nothing else
kubernetes_core   an `ansible` command with kubernetes.core.k8s; its rival is `ours_ansible`, the same with our module
rolling_update    a new template in the slot in use (`kubectl set env`), pods replaced one by one, with a preStop

Every time counts from the decision, which is when the arm begins: `first_new_seconds` to the first answer of the new
version, `last_old_seconds` to the last one of the old. Ansible's start is part of the two arms that have it, and shown
alone as `start_seconds`. A ratio compares medians of `last_old_seconds`, when the old version is out of use.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks._load import Load, Request, lateness
from benchmarks._report import CHECKOUT, Report, bootstrap_ratio, median, p99
from loadtests.entrance import NoEntrance, entrance

sys.path.insert(0, str(CHECKOUT / "collections"))

from ansible_collections.opsforge.platform.plugins.module_utils import _releases, _slots  # noqa: E402
from ansible_collections.opsforge.platform.plugins.module_utils._client import Cluster, connect  # noqa: E402
from ansible_collections.opsforge.platform.plugins.module_utils._errors import PlatformError  # noqa: E402
from ansible_collections.opsforge.platform.plugins.module_utils._switch import Options, Switch, Wish  # noqa: E402

LIMIT_SECONDS = 30 * 60
# How long an arm is watched after it is done: the last old answer is late if it comes at all.
WATCH_SECONDS = 2.0
# A generator that is later than this, at twice the rate, would measure itself.
LATE_SECONDS_MAX = 0.1
# An old answer later than this is named, with when its request was sent.
LATE_ANSWER_SECONDS = 1.0
ROLLING_VARIABLE = "OPSFORGE_VERSION"
SECOND_VERSION = "2.1.0"


class BenchmarkError(Exception):
    """The switch could not be measured; the text says why."""


@dataclass(frozen=True)
class Move:
    """One time that traffic moved; moments are seconds of the monotonic clock."""

    arm: str
    # Part of the body of each answer of the old and of the new version.
    old: str
    new: str
    decided: float
    watched_until: float
    is_rollback: bool = False


@dataclass(frozen=True)
class Seen:
    """What the clients saw of one move."""

    requests: int
    lost: int
    first_new: float | None
    last_old: float
    # The request that the last old answer was for: it may have left before the decision.
    last: Request | None = None


def see(move: Move, requests: list[Request]) -> Seen:
    """Read from the answers what a move did. Requests count for the move in whose time they were due."""
    ours = [request for request in requests if move.decided <= request.due < move.watched_until]
    new = [request.ended for request in ours if move.new in request.body]
    # An answer on its way at the decision is the old version's good right; the last one still counts.
    # After the watch the traffic moves on, and what was old may be new again.
    old = [r for r in requests if move.old in r.body and move.decided <= r.ended < move.watched_until]
    last = max(old, key=lambda request: request.ended, default=None)
    return Seen(
        requests=len(ours),
        lost=sum(request.is_lost for request in ours),
        first_new=min(new) - move.decided if new else None,
        last_old=last.ended - move.decided if last else 0.0,
        last=last,
    )


def record(report: Report, move: Move, seen: Seen) -> None:
    """Add what was seen of a move to the report. Raises BenchmarkError if the traffic never moved."""
    if seen.first_new is None:
        raise BenchmarkError(f"{move.arm}: the new version ({move.new}) never answered")
    report.sample(move.arm, "first_new_seconds", seen.first_new, "s")
    report.sample(move.arm, "last_old_seconds", seen.last_old, "s")
    report.sample(move.arm, "requests", seen.requests, "requests")
    report.sample(move.arm, "lost", seen.lost, "requests")
    if move.is_rollback:
        report.sample(move.arm, "rollback_seconds", seen.first_new, "s")


def summarize(report: Report) -> None:
    """Fill in the summary from the samples."""
    ours = {
        name: report.samples("ours", name) for name in ("first_new_seconds", "last_old_seconds", "rollback_seconds")
    }
    every = [arm for arm in report.arms if report.samples(arm, "requests")]
    report.summary["requests"] = round(sum(report.samples("ours", "requests")))
    report.summary["lost"] = round(sum(report.samples("ours", "lost")))
    report.summary["requests_all_arms"] = round(sum(sum(report.samples(arm, "requests")) for arm in every))
    report.summary["first_new_seconds_p50"] = median(ours["first_new_seconds"])
    report.summary["last_old_seconds_p99"] = p99(ours["last_old_seconds"])
    report.summary["rollback_seconds_p50"] = median(ours["rollback_seconds"])
    for key, rival, own in (
        ("kubectl_patch", "kubectl_patch", "ours"),
        ("rolling_update", "rolling_update", "ours"),
        ("kubernetes_core", "kubernetes_core", "ours_ansible"),
        ("argo", "argo", "ours"),
    ):
        theirs, mine = report.samples(rival, "last_old_seconds"), report.samples(own, "last_old_seconds")
        report.summary[f"ratio_vs_{key}"] = bootstrap_ratio(theirs, mine)[0] if theirs and mine else None


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

    def autoscale(self, sizes: dict[str, int]) -> None:
        """Set the limits of the autoscaler."""
        kind = ("autoscaling/v2", "HorizontalPodAutoscaler")
        self.cluster.patch(*kind, self.service, self.namespace, {"spec": sizes}, manager="opsforge-service")

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


class Arms:
    """The moves of each arm, taken in turns; every move starts from the slot in use."""

    def __init__(self, site: Site, report: Report, load: Load) -> None:
        self._site, self._report, self._load = site, report, load
        self.moves: list[Move] = []
        self._rolled = 0

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

    def _version(self) -> str:
        return f"bench-{self._rolled}" if self._rolled else self._site.serving().version

    def _watch(self, move: Move) -> None:
        time.sleep(WATCH_SECONDS)
        if not self._load.is_running:
            raise BenchmarkError(
                f"the load ended in the middle of {move.arm}: {LIMIT_SECONDS} s are over, or nobody answered any more"
            )
        until = time.monotonic()
        self.moves.append(Move(move.arm, move.old, move.new, move.decided, until, move.is_rollback))
        print(f"  {move.arm}: {until - move.decided - WATCH_SECONDS:.1f} s", file=sys.stderr, flush=True)


@contextmanager
def left_as_found(site: Site) -> Iterator[None]:
    """Hold both slots at one size, since a release brings its slot to size before the decision; then undo everything.

    Whatever happens: the traffic, the template, the size and the history are as they were.
    """
    before = site.state()
    serving = site.serving()
    record = site.cluster.get("v1", "ConfigMap", _releases.name(site.service), site.namespace)
    scaler = site.cluster.get("autoscaling/v2", "HorizontalPodAutoscaler", site.service, site.namespace)
    sizes = {name: scaler["spec"][name] for name in ("minReplicas", "maxReplicas")} if scaler else {}
    try:
        if scaler:
            site.autoscale(dict.fromkeys(sizes, serving.replicas))
        site.hold({slot: serving.replicas for slot in before.slots})
        yield
    finally:
        live = site.cluster.get("apps/v1", "Deployment", _slots.deployment(site.service, serving.name), site.namespace)
        if ROLLING_VARIABLE in json.dumps((live or {}).get("spec", {})):
            site.roll(serving.name, "")
        site.ours(serving.name, back=False)
        if scaler:
            site.autoscale(sizes)
        site.hold({slot.name: slot.replicas for slot in before.slots.values()})
        if record:
            site.cluster.patch(
                "v1", "ConfigMap", _releases.name(site.service), site.namespace, {"data": record["data"]}
            )


def measure(site: Site, report: Report, load: Load, *, switches: int, rollings: int, commands: int) -> list[Move]:
    """Let the arms take turns until each has its number of moves."""
    arms = Arms(site, report, load)
    rounds = max(switches // 2, 1)
    for number in range(rounds):
        print(f"round {number + 1} of {rounds}", file=sys.stderr, flush=True)
        arms.ours()
        arms.there_and_back("kubectl_patch", site.patch)
        if number < commands:
            arms.there_and_back("kubernetes_core", site.ansible_core)
            arms.there_and_back("ours_ansible", site.ansible_ours)
            start = time.monotonic()
            site.ansible("ansible.builtin.ping", {"data": "pong"})
            report.sample("ours_ansible", "start_seconds", time.monotonic() - start, "s")
        if number < rollings:
            arms.roll()
    return arms.moves


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


def options() -> argparse.Namespace:
    """The command line."""
    name = os.environ.get("OPSFORGE_PLATFORM") or "opsforge"
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--switches", type=int, default=20, help="moves of the arms that cost little")
    parser.add_argument("--rollings", type=int, default=4, help="rolling updates")
    parser.add_argument("--commands", type=int, default=4, help="rounds of the two arms that start Ansible")
    parser.add_argument("--rate", type=float, default=300, help="requests per second")
    parser.add_argument("--short", action="store_true", help="4 switches, one rolling update, one round of commands")
    parser.add_argument("--url", help="what is asked; by default the service, through the entrance of the platform")
    parser.add_argument("--service", default="auth")
    parser.add_argument("--namespace", default="apps")
    parser.add_argument("--version", default=SECOND_VERSION, help="version to release when there is one slot only")
    parser.add_argument("--kubeconfig", default=str(CHECKOUT / ".state" / name / "kubeconfig"))
    chosen = parser.parse_args()
    chosen.url = chosen.url or f"http://{entrance(name)}/{chosen.service}/info"
    if chosen.short:
        chosen.switches, chosen.rollings, chosen.commands = 4, 1, 1
    return chosen


def main() -> None:
    """Run the benchmark."""
    report = Report("switch")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("switch: told to stop"))  # by way of what puts things back
    try:
        chosen = options()
        run(chosen, report)
    except (BenchmarkError, NoEntrance, PlatformError, subprocess.TimeoutExpired) as error:
        sys.exit(f"switch: {error}")
    report.finish()


def run(chosen: argparse.Namespace, report: Report) -> None:
    """Measure as the command line says. Raises BenchmarkError."""
    cluster = connect({"kubeconfig": chosen.kubeconfig})
    site = Site(cluster, chosen.namespace, chosen.service, chosen.kubeconfig, find_kubectl(), 180)
    with tempfile.TemporaryDirectory() as folder:
        late = asyncio.run(lateness(chosen.rate * 2, 2, Path(folder) / "lateness"))
        report.sample("load_generator", "late_seconds_p99_at_twice_the_rate", late, "s")
        if late > LATE_SECONDS_MAX:
            raise BenchmarkError(f"the machine is too busy: the load generator alone is {late:.2f} s late at p99")
        second_version(site, CHECKOUT / "playbooks", chosen.version)
        with (
            left_as_found(site),
            Load(chosen.url, chosen.rate, LIMIT_SECONDS, Path(folder) / "load") as load,
        ):
            time.sleep(WATCH_SECONDS)  # the first connections
            numbers = {"switches": chosen.switches, "rollings": chosen.rollings, "commands": chosen.commands}
            moves = measure(site, report, load, **numbers)
        requests = list(load.requests())
    for move in moves:
        seen = see(move, requests)
        record(report, move, seen)
        if seen.last and seen.last_old > LATE_ANSWER_SECONDS and move.arm in ("ours", "kubectl_patch"):
            sent = seen.last.sent - move.decided
            kind = "kept" if seen.last.kept else "new"
            print(
                f"{move.arm}: an old answer after {seen.last_old:.2f} s, sent at {sent:.2f} s, {kind}", file=sys.stderr
            )
    for request in requests:
        if request.is_lost:
            print(f"lost: {request.line().strip()}", file=sys.stderr)
    summarize(report)
    report.skip("argo", "Argo Rollouts is not part of the platform, and its controller was not installed for this run")


if __name__ == "__main__":
    main()
