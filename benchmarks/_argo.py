# SPDX-License-Identifier: GPL-3.0-or-later
"""The service once more, as a Rollout of Argo Rollouts: blue-green, promoted by hand. And the controller that acts.

It is as much the same as can be: pods with probes and preStop, their number, Services and route are copied from the
live service. The controller is a process on this machine with its usual settings, and needs no image that way; what
differs from a pod of its own is all to its good: no limit on its CPU, no leader election, one namespace to watch. A
promotion is the patch that `kubectl argo rollouts promote` sends; going back is the patch of `undo` while the old pods
still run, which is as fast as that can be. Neither has the start of a command in it.
"""

from __future__ import annotations

import copy
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks._go import Program, program
from benchmarks._report import CHECKOUT

sys.path.insert(0, str(CHECKOUT / "collections"))

from ansible_collections.opsforge.platform.plugins.module_utils import _slots  # noqa: E402
from ansible_collections.opsforge.platform.plugins.module_utils._apply import Wish, ensure_present  # noqa: E402
from ansible_collections.opsforge.platform.plugins.module_utils._client import Cluster  # noqa: E402
from ansible_collections.opsforge.platform.plugins.module_utils._errors import NotFound  # noqa: E402
from ansible_collections.opsforge.platform.plugins.module_utils._objects import parse, settle  # noqa: E402

Object = dict[str, Any]

MODULE = "github.com/argoproj/argo-rollouts"
MANAGER = "opsforge-benchmark"
# On all that is made here, so that what a killed run left is told from an Argo Rollouts that somebody uses.
MARK = {"opsforge.dev/benchmark": "argo"}
HASH_LABEL = "rollouts-pod-template-hash"
VERSION_VARIABLE = "OPSFORGE_VERSION"
DATASTORES = "datastores"
ROLLOUT = ("argoproj.io/v1alpha1", "Rollout")
DEFINITION = ("apiextensions.k8s.io/v1", "CustomResourceDefinition")
POLICY = ("networking.k8s.io/v1", "NetworkPolicy")
ROUTE = ("gateway.networking.k8s.io/v1", "HTTPRoute")
SERVICE = ("v1", "Service")
REPLICA_SET = ("apps/v1", "ReplicaSet")
POD = ("v1", "Pod")
READY_SECONDS = 180.0
PAUSE_SECONDS = 0.1


class ArgoError(Exception):
    """Argo Rollouts can't be measured, or not any more; the text says why."""


def build() -> Program:
    """The controller, built once. Raises RivalsMissing."""
    return program("argo", MODULE)


@dataclass(frozen=True)
class Original:
    """The service that is done once more: its live objects, and the slot that its pods are copied from."""

    cluster: Cluster
    namespace: str
    service: str
    slot: str
    replicas: int

    @property
    def twin(self) -> str:
        """The name of the other one; the route's path is the same word."""
        return f"{self.service}-argo"

    @property
    def labels(self) -> dict[str, str]:
        """What all pods of the other one have, and none of this."""
        return {_slots.NAME_LABEL: self.twin, **MARK}

    def template(self) -> Object:
        """The pods of the slot, under the other name."""
        template = self._spec("apps/v1", "Deployment", _slots.deployment(self.service, self.slot))["template"]
        del template["metadata"]["labels"][_slots.SLOT_LABEL]
        template["metadata"]["labels"] |= self.labels
        for spread in template["spec"].get("topologySpreadConstraints", []):
            spread["labelSelector"] = {"matchLabels": self.labels}
            spread["matchLabelKeys"] = [HASH_LABEL]
        return dict(template)

    def objects(self, template: Object) -> list[Object]:
        """The Rollout with these pods, and all that brings them traffic."""
        ports = self._spec(*SERVICE, self.service)["ports"]
        service = {"ports": ports, "selector": self.labels}
        policy = self._spec(*POLICY, self.service)
        policy["podSelector"] = {"matchLabels": self.labels}
        # The datastores let a service in by its name.
        namespace = {"matchLabels": {"kubernetes.io/metadata.name": self.namespace}}
        user = {"namespaceSelector": namespace, "podSelector": {"matchLabels": self.labels}}
        datastores = {"podSelector": {}, "policyTypes": ["Ingress"], "ingress": [{"from": [user]}]}
        route = self._spec(*ROUTE, self.service)
        (rule,) = route["rules"]
        rule["matches"] = [{"path": {"type": "PathPrefix", "value": f"/{self.twin}"}}]
        rule["backendRefs"] = [{"name": self.twin, "port": ports[0]["port"]}]
        services = {"activeService": self.twin, "previewService": f"{self.twin}-preview"}
        rollout = {
            "replicas": self.replicas,
            "revisionHistoryLimit": 1,
            "selector": {"matchLabels": self.labels},
            "template": template,
            "strategy": {"blueGreen": {**services, "autoPromotionEnabled": False}},
        }
        return [
            self._object(POLICY, policy),
            self._object(POLICY, datastores, namespace=DATASTORES),
            self._object(SERVICE, service),
            self._object(SERVICE, service, name=services["previewService"]),
            self._object(ROUTE, route),
            self._object(ROLLOUT, rollout),
        ]

    def _object(self, kind: tuple[str, str], spec: Object, *, name: str = "", namespace: str = "") -> Object:
        metadata = {"name": name or self.twin, "namespace": namespace or self.namespace, "labels": dict(MARK)}
        return {"apiVersion": kind[0], "kind": kind[1], "metadata": metadata, "spec": copy.deepcopy(spec)}

    def _spec(self, api_version: str, kind: str, name: str) -> Object:
        found = self.cluster.get(api_version, kind, name, self.namespace)
        if found is None:
            raise ArgoError(f"there is no {kind} {name} to copy")
        return dict(found["spec"])


def named(template: Object, container: str, version: str) -> Object:
    """The template with pods that call themselves this version."""
    template = copy.deepcopy(template)
    (own,) = (one for one in template["spec"]["containers"] if one["name"] == container)
    others = [variable for variable in own.get("env", []) if variable["name"] != VERSION_VARIABLE]
    own["env"] = [*others, {"name": VERSION_VARIABLE, "value": version}]
    return template


class Rollout:
    """What people do with a Rollout. Each round brings one more version, and ends with the first one again."""

    FIRST = "argo-0"

    def __init__(self, original: Original, template: Object, check: Callable[[], None]) -> None:
        self._original, self._template, self._check = original, template, check
        self._number = 0

    @property
    def path(self) -> str:
        """Where the gateway has it."""
        return f"/{self._original.twin}"

    @property
    def newest(self) -> str:
        """What the pods of the version that was brought last call themselves."""
        return f"argo-{self._number}"

    def preview(self) -> None:
        """Bring one more version beside the one in use, and wait until nothing but its promotion is missing."""
        self._number += 1
        self._bring(self.newest)
        self._until("its new version waits to be promoted", lambda status: bool(status.get("pauseConditions")))

    def promote(self) -> None:
        """Send the traffic to the newest version, and wait until the controller did."""
        self._patch({"status": {"pauseConditions": None}}, subresource="status")
        self._until("its new version has the traffic", _is_active)

    def undo(self) -> None:
        """Send the traffic back to the first version, and wait until the controller did."""
        self._bring(self.FIRST)
        self._until("its old version has the traffic again", _is_active)

    def rest(self) -> None:
        """Wait until the controller has nothing left to do but to stop old pods."""
        self._until("it is healthy", lambda status: status.get("phase") == "Healthy")

    def _bring(self, version: str) -> None:
        self._patch({"spec": {"template": named(self._template, self._original.service, version)}})

    def _patch(self, body: Object, *, subresource: str | None = None) -> None:
        where = self._original
        where.cluster.patch(*ROLLOUT, where.twin, where.namespace, body, subresource=subresource, manager=MANAGER)

    def _until(self, wanted: str, is_so: Callable[[Object], bool]) -> None:
        where = self._original
        deadline = time.monotonic() + READY_SECONDS
        while True:
            live = where.cluster.get(*ROLLOUT, where.twin, where.namespace) or {"metadata": {}}
            status = live.get("status") or {}
            if status.get("observedGeneration") == str(live["metadata"].get("generation")) and is_so(status):
                return
            self._check()
            if time.monotonic() > deadline:
                said = status.get("message") or status.get("phase") or "nothing"
                raise ArgoError(f"Rollout {where.twin}: not so after {READY_SECONDS:.0f} s: {wanted}; it says: {said}")
            time.sleep(PAUSE_SECONDS)


def _is_active(status: Object) -> bool:
    return bool(status.get("blueGreen", {}).get("activeSelector") == status.get("currentPodHash"))


@contextmanager
def controller(path: Path, kubeconfig: str, namespace: str, log: Path) -> Iterator[Callable[[], None]]:
    """Run the controller; what it gives raises ArgoError once the controller has ended."""
    words = ["--kubeconfig", kubeconfig, "--namespace", namespace, "--namespaced", "--leader-elect=false"]
    ports = ["--metricsport=0", "--healthzPort=0"]  # any that is free
    with log.open("wb") as sink:
        # It must not outlive a benchmark that was killed.
        command = ["setpriv", "--pdeathsig", "TERM", str(path), *words, *ports]
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=sink, stderr=sink)

    def check() -> None:
        if process.poll() is not None:
            raise ArgoError(f"the controller ended: {log.read_text(errors='replace').strip()[-300:]}")

    try:
        yield check
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextmanager
def rollout(original: Original, argo: Program, kubeconfig: str, log: Path) -> Iterator[Rollout]:
    """Bring Argo Rollouts and the Rollout, and take away every trace of them. Raises ArgoError and PlatformError."""
    cluster = original.cluster
    found = cluster.get(*DEFINITION, "rollouts.argoproj.io")
    if found and not (found["metadata"].get("labels") or {}).items() >= MARK.items():
        raise ArgoError("this cluster has an Argo Rollouts of its own, which a second controller would disturb")
    remove(cluster)
    template = original.template()
    files = [str(path) for path in sorted((argo.source / "manifests" / "crds").glob("*-crd.yaml"))]
    objects = [*parse([], files), *original.objects(named(template, original.service, Rollout.FIRST))]
    for obj in objects:
        obj["metadata"].setdefault("labels", {}).update(MARK)
    try:
        settle(objects, cluster.kinds, original.namespace)
        ensure_present(cluster, objects, Wish(manager=MANAGER, wait_timeout=READY_SECONDS))
        with controller(argo.path, kubeconfig, original.namespace, log) as check:
            made = Rollout(original, template, check)
            made.rest()
            yield made
    finally:
        remove(cluster)


def remove(cluster: Cluster) -> None:
    """Delete everything that carries the mark, and wait until its pods and definitions are gone. Raises ArgoError."""
    for kind in (ROLLOUT, REPLICA_SET, ROUTE, SERVICE, POLICY, DEFINITION):
        with suppress(NotFound):  # without a definition there is no Rollout either
            for one in cluster.list(*kind, labels=MARK):
                cluster.delete(*kind, one["metadata"]["name"], one["metadata"].get("namespace"))
    deadline = time.monotonic() + READY_SECONDS
    while any(cluster.list(*kind, labels=MARK) for kind in (POD, DEFINITION)):
        if time.monotonic() > deadline:
            raise ArgoError(f"what the Rollout left was not gone after {READY_SECONDS:.0f} s")
        time.sleep(PAUSE_SECONDS)
