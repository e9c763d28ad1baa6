# SPDX-License-Identifier: GPL-3.0-or-later
"""Ways to break the running local platform, each with the alert that has to tell of it, and the way back.

A fault holds inside its `with`, which gives the moment at which it began; leaving it mends what was broken. Nothing
outside the platform's own containers is touched. Moments are seconds since the epoch.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

from ansible_collections.opsforge.platform.plugins.module_utils import _releases, _slots
from ansible_collections.opsforge.platform.plugins.module_utils._apply import Wish, ensure_absent, ensure_present
from ansible_collections.opsforge.platform.plugins.module_utils._client import Cluster, connect
from benchmarks import _flaws
from benchmarks._load import Load
from benchmarks._report import CHECKOUT
from loadtests.entrance import entrance
from loadtests.walk import Loopback, Shop

_MANAGER = "opsforge-benchmark"
_WORKERS = {"app.kubernetes.io/name": "worker"}
_KEDA = ("keda.sh/v1alpha1", "ScaledObject")
_PAUSED = "autoscaling.keda.sh/paused"
_MANAGEMENT_PORT = 9000
_FILLING = "/mnt/filling"

_BAD = '    raise RuntimeError("a bad release")\n'
_SLOW = "    import asyncio\n\n    await asyncio.sleep(2)\n"
_CRASHES = "raise SystemExit('a crash')"
# Killed once: what it writes to /tmp outlives the container.
_HUNGRY = """
import os, time
if not os.path.exists("/tmp/was-killed"):
    open("/tmp/was-killed", "w").close()
    time.sleep(20)
    memory = b"".join(bytes([number % 256]) * 2**20 for number in range(512))
time.sleep(3600)
"""


@dataclass(frozen=True)
class Stage:
    """The platform that is broken."""

    cluster: Cluster
    platform: str
    entrance: str
    # An image that has python3, and a folder for what the load writes.
    image: str
    folder: Path
    namespace: str = "apps"

    def play(self, playbook: str, tags: Sequence[str] = (), **extra: Any) -> None:
        """Run a playbook as people do. Raises RuntimeError with the end of what it said."""
        command = [str(Path(sys.executable).with_name("ansible-playbook")), f"playbooks/{playbook}.yml"]
        command += ["--tags", ",".join(tags)] if tags else []
        env = {**os.environ, "OPSFORGE_PLATFORM": self.platform}
        words = [*command, "-e", json.dumps(extra)]
        done = subprocess.run(words, cwd=CHECKOUT, env=env, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"{playbook}.yml failed: {done.stdout[-2000:]}{done.stderr[-500:]}")

    def docker(self, *words: str) -> None:
        """A command of the container engine. Raises CalledProcessError."""
        subprocess.run(["docker", *words], check=True, capture_output=True, text=True)


def enter(platform: str, folder: Path) -> Stage:
    """The running platform of this checkout. Raises RuntimeError when it is not there or has no traffic."""
    cluster = connect({"kubeconfig": str(CHECKOUT / ".state" / platform / "kubeconfig")})
    serving = _slots.read(cluster, "apps", "auth").serving
    if serving is None:
        raise RuntimeError("auth has no traffic: run make site first")
    # A service's image has python3 and is at every node.
    return Stage(cluster, platform, f"http://{entrance(platform)}", serving.image, folder)


@dataclass(frozen=True)
class Fault:
    """One way to break it, the alert that tells of it, and who is told."""

    name: str
    alert: str
    labels: dict[str, str]
    receivers: frozenset[str]
    # Seconds in which the alert has to fire, and to end once the fault is mended.
    fires_within: float
    ends_within: float
    inject: Callable[[Stage], AbstractContextManager[float]]
    # Pages that are right beside it.
    follows: frozenset[str] = frozenset()


@contextmanager
def _pod(stage: Stage, name: str, program: str, **resources: Any) -> Iterator[None]:
    """A Deployment of one pod that looks like a slot of a service, without being one."""
    labels = {"app.kubernetes.io/name": name, "opsforge.dev/slot": "blue"}
    container = {
        "name": name,
        "image": stage.image,
        "command": ["python3", "-c", program],
        "resources": resources,
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],
    }
    pod = {
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": 1,
        "securityContext": {"runAsNonRoot": True, "runAsUser": 10001, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [container],
        "volumes": [{"name": "tmp", "emptyDir": {"sizeLimit": "1Mi"}}],
    }
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": stage.namespace, "labels": labels},
        "spec": {"selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}, "spec": pod}},
    }
    ensure_present(stage.cluster, [deployment], Wish(manager=_MANAGER))
    try:
        yield
    finally:
        ensure_absent(stage.cluster, [deployment], Wish(manager=_MANAGER))


@contextmanager
def crash_loop(stage: Stage) -> Iterator[float]:
    """A container that ends as soon as it has started."""
    with _pod(stage, "faulty", _CRASHES):
        yield time.time()


def _when_killed(stage: Stage) -> float:
    """The moment of the kill as the kubelet tells it, in whole seconds. Raises TimeoutError."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        for pod in stage.cluster.list("v1", "Pod", stage.namespace, {"app.kubernetes.io/name": "hungry"}):
            for status in pod["status"].get("containerStatuses") or []:
                if ended := status["lastState"].get("terminated"):
                    return datetime.fromisoformat(ended["finishedAt"]).timestamp()
        time.sleep(0.2)
    raise TimeoutError("the container was not killed for its memory within 120 s")


@contextmanager
def oom_kill(stage: Stage) -> Iterator[float]:
    """A container that wants more memory than its limit, once, twenty seconds after its start."""
    with _pod(stage, "hungry", _HUNGRY, limits={"memory": "48Mi"}):
        yield _when_killed(stage)


@contextmanager
def _release(stage: Stage, word: str, lines: str) -> Iterator[float]:
    """People look at the catalogue, and a release without a gate breaks it."""
    url = f"{stage.entrance}/catalog/products?limit=5"
    files = _flaws.list_with(lines)
    version = _flaws.push(stage.cluster, stage.platform, stage.namespace, "catalog", word, files)
    with Load(url, 50, 1200, stage.folder / f"{word}-{uuid4().hex[:8]}"):
        try:
            stage.play("release", service="catalog", version=version, service_gate=False)
            # The record has whole seconds.
            yield _releases.seconds(_slots.read(stage.cluster, stage.namespace, "catalog").history[-1])
        finally:
            serving = _slots.read(stage.cluster, stage.namespace, "catalog").serving
            if serving and serving.version == version:
                stage.play("rollback", service="catalog")
            _flaws.empty(stage.cluster, stage.namespace, "catalog")


@contextmanager
def failing_release(stage: Stage) -> Iterator[float]:
    """A release that answers each list with a 500."""
    with _release(stage, "bad", _BAD) as began:
        yield began


@contextmanager
def slow_release(stage: Stage) -> Iterator[float]:
    """A release that takes two seconds for each list."""
    with _release(stage, "slow", _SLOW) as began:
        yield began


@contextmanager
def node_gone(stage: Stage) -> Iterator[float]:
    """A worker that stands still: nothing on it answers, and nothing is lost."""
    stage.docker("pause", f"{stage.platform}-worker1")
    try:
        yield time.time()
    finally:
        stage.docker("unpause", f"{stage.platform}-worker1")


@contextmanager
def queue_stuck(stage: Stage) -> Iterator[float]:
    """Workers that live and take no job, and jobs for them. Nobody starts more of them meanwhile."""

    def pause(value: str | None) -> None:
        body = {"metadata": {"annotations": {_PAUSED: value}}}
        stage.cluster.patch(*_KEDA, "worker", stage.namespace, body, manager=_MANAGER)

    def tell(method: str) -> None:
        for pod in stage.cluster.list("v1", "Pod", stage.namespace, _WORKERS):
            if pod["status"].get("phase") == "Running":
                stage.cluster.proxy(stage.namespace, pod["metadata"]["name"], _MANAGEMENT_PORT, method, "/drain")

    pause("true")
    try:
        tell("PUT")
        customer = Shop(Loopback(stage.entrance), patience=30).sign_up()
        for _ in range(5):
            body = {"kind": "primes", "payload": {"below": 1000}}
            customer.ask("POST", "/jobs/api/job", body=body, key=str(uuid4()))
        yield time.time()
    finally:
        tell("DELETE")
        pause(None)


@contextmanager
def disk_filling(stage: Stage) -> Iterator[float]:
    """A small disk of a node, nearly full. It is one in memory: no real one is filled, and no loop device is needed."""
    node = f"{stage.platform}-worker1"
    fill = (
        f"mkdir -p {_FILLING} && mount -t tmpfs -o size=64M tmpfs {_FILLING} && head -c 62M /dev/zero > {_FILLING}/full"
    )
    stage.docker("exec", node, "sh", "-ec", fill)
    try:
        yield time.time()
    finally:
        stage.docker("exec", node, "sh", "-c", f"umount {_FILLING}; rmdir {_FILLING}")


@contextmanager
def prometheus_gone(stage: Stage) -> Iterator[float]:
    """Nobody evaluates a rule any more: only the silence of the dead man's switch tells of it."""

    def scale(size: int) -> None:
        body = {"spec": {"replicas": size}}
        args = ("apps/v1", "StatefulSet", "prometheus", "monitoring", body)
        stage.cluster.patch(*args, subresource="scale", manager=_MANAGER)

    scale(0)
    try:
        yield time.time()
    finally:
        scale(1)


SRE, API, WORKER = frozenset({"sre"}), frozenset({"api"}), frozenset({"worker"})
FAULTS = (
    Fault("crash_loop", "PodCrashLooping", {"service": "faulty"}, API, 180, 420, crash_loop),
    Fault("oom_kill", "ContainerOOMKilled", {"service": "hungry"}, API, 60, 420, oom_kill),
    Fault("failing_release", "ServiceErrorRateHigh", {"service": "catalog"}, SRE | API, 150, 600, failing_release),
    Fault(
        "slow_release", "SLOBurnRateHigh", {"service": "catalog", "slo": "latency"}, SRE | API, 300, 600, slow_release
    ),
    # The data stores are on that node: who needs them elsewhere is down too, and that is told.
    Fault("node_gone", "NodeUnreachable", {"node": "worker1"}, SRE, 150, 180, node_gone, frozenset({"ServiceDown"})),
    Fault("queue_stuck", "QueueAgeHigh", {"service": "worker"}, WORKER, 240, 180, queue_stuck),
    Fault("disk_filling", "NodeDiskFull", {"node": "worker1"}, SRE, 150, 180, disk_filling),
)
