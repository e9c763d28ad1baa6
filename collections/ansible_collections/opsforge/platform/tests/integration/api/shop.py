# SPDX-License-Identifier: GPL-3.0-or-later
"""One service in a namespace of a control plane without controllers: the test plays them, and the kubelet."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ansible_collections.opsforge.platform.plugins.module_utils._client import Cluster
from ansible_collections.opsforge.platform.plugins.module_utils._slots import SLOTS, deployment, preview, selector

Object = dict[str, Any]
_READY = {"conditions": [{"type": "Ready", "status": "True"}], "phase": "Running"}
_UNREADY = {"conditions": [{"type": "Ready", "status": "False"}], "phase": "Running"}
_HPA = ("autoscaling/v2", "HorizontalPodAutoscaler")


class Shop:
    """A service with whatever pods the test gives it, an autoscaler on blue, and no traffic yet."""

    def __init__(self, cluster: Cluster, namespace: str, service: str = "auth") -> None:
        self.cluster, self.namespace, self.service = cluster, namespace, service
        # Whether each pod of a slot is ready (nobody else makes pods here), and the slots with pods of two templates.
        self.pods: dict[str, list[bool]] = {slot: [] for slot in SLOTS}
        self.rolling: set[str] = set()
        self._is_spread = False
        ports = {"ports": [{"name": "http", "port": 80, "targetPort": "http"}]}
        for name in (service, preview(service)):
            cluster.create(self.object("v1", "Service", name, spec=ports))
        target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": deployment(service, "blue")}
        spec = {"scaleTargetRef": target, "minReplicas": 1, "maxReplicas": 9}
        cluster.create(self.object(*_HPA, service, spec=spec))

    def object(self, api_version: str, kind: str, name: str, **rest: Any) -> Object:
        """An object of the service."""
        labels = {"app.kubernetes.io/name": self.service}
        metadata = {"name": name, "namespace": self.namespace, "labels": labels}
        return {"apiVersion": api_version, "kind": kind, "metadata": metadata, **rest}

    def deploy(self, slot: str, version: str, pods: int = 2, ready: int | None = None) -> None:
        """A slot with so many pods, of which so many are ready (all of them, if not told)."""
        name = deployment(self.service, slot)
        template = {
            "metadata": {"labels": {**selector(self.service, slot), "app.kubernetes.io/version": version}},
            "spec": {"containers": [self._container(version)]},
        }
        labels = {"matchLabels": selector(self.service, slot)}
        wanted = self.object("apps/v1", "Deployment", name, spec={"replicas": pods, "selector": labels})
        wanted["spec"]["template"] = template
        live = self.cluster.get("apps/v1", "Deployment", name, self.namespace)
        self._run(slot, self.cluster.replace(wanted) if live else self.cluster.create(wanted), ready)

    def _container(self, version: str) -> Object:
        probe = {"httpGet": {"path": "/health/ready", "port": 9000}}
        return {"name": self.service, "image": f"{self.service}:{version}", "readinessProbe": probe}

    def run(self, slot: str, ready: int | None = None, *, rolling: bool = False) -> None:
        """Let the slot's pods be as many as its Deployment asks for, so many of them ready (all, if not told).

        :param rolling: whether one of them is of the template before.
        """
        live = self.cluster.get("apps/v1", "Deployment", deployment(self.service, slot), self.namespace)
        assert live is not None
        self._run(slot, live, ready, rolling)

    def _run(self, slot: str, live: Object, ready: int | None, rolling: bool = False) -> None:
        pods = live["spec"]["replicas"]
        ready = pods if ready is None else min(ready, pods)
        status = {
            "observedGeneration": live["metadata"]["generation"],
            "replicas": pods,
            "updatedReplicas": max(pods - rolling, 0),
            "availableReplicas": ready,
            "readyReplicas": ready,
        }
        name = live["metadata"]["name"]
        if any((live.get("status") or {}).get(key, 0) != value for key, value in status.items()):
            self.cluster.patch("apps/v1", "Deployment", name, self.namespace, {"status": status}, subresource="status")
        known = self.pods[slot]
        for number in range(pods, len(known)):
            self.cluster.delete("v1", "Pod", f"{name}-{number}", self.namespace)
        for number in range(pods):
            is_ready = number < ready
            if number >= len(known):
                container = live["spec"]["template"]["spec"]["containers"][0]
                found = self.object("v1", "Pod", f"{name}-{number}", spec={"containers": [container]})
                found["metadata"]["labels"] = selector(self.service, slot)
                self.cluster.create(found)
            if number >= len(known) or known[number] != is_ready:
                body = {"status": _READY if is_ready else _UNREADY}
                self.cluster.patch("v1", "Pod", f"{name}-{number}", self.namespace, body, subresource="status")
        self.pods[slot] = [number < ready for number in range(pods)]
        (self.rolling.add if rolling and pods else self.rolling.discard)(slot)

    def is_ready(self, slot: str) -> bool:
        """Whether the slot has pods, all of one template and ready."""
        return bool(self.pods[slot]) and all(self.pods[slot]) and slot not in self.rolling

    def is_stopped(self, slot: str) -> bool:
        """Whether nobody asks for pods of the slot, though some may still be there."""
        found = self.cluster.get("apps/v1", "Deployment", deployment(self.service, slot), self.namespace)
        return found is not None and found["spec"]["replicas"] == 0

    def spread(self, slots: Iterable[str]) -> None:
        """Make the ready pods of these slots the endpoints that nodes know."""
        names = [
            f"{deployment(self.service, slot)}-{number}"
            for slot in slots
            for number, is_ready in enumerate(self.pods[slot])
            if is_ready
        ]
        endpoints = [
            {"addresses": ["10.0.0.1"], "conditions": {"ready": True}, "targetRef": {"kind": "Pod", "name": name}}
            for name in names
        ]
        found = self.object("discovery.k8s.io/v1", "EndpointSlice", f"{self.service}-1", endpoints=endpoints)
        found["metadata"]["labels"] = {"kubernetes.io/service-name": self.service}
        self.cluster.apply({**found, "addressType": "IPv4"}, force=True)
        self._is_spread = bool(names)

    def unspread(self) -> None:
        """Let nodes forget those endpoints."""
        if self._is_spread:
            self.spread([])

    def scale(self, slot: str, pods: int) -> None:
        """Ask for so many pods, as an autoscaler does, and let them all be ready."""
        body = {"spec": {"replicas": pods}}
        name = deployment(self.service, slot)
        self.cluster.patch("apps/v1", "Deployment", name, self.namespace, body, subresource="scale")
        self.run(slot)

    def remove(self, slot: str) -> None:
        """Take the slot's Deployment away, and with it its pods."""
        name = deployment(self.service, slot)
        self.cluster.delete("apps/v1", "Deployment", name, self.namespace)
        for number in range(len(self.pods[slot])):
            self.cluster.delete("v1", "Pod", f"{name}-{number}", self.namespace)
        self.pods[slot] = []
        self.rolling.discard(slot)

    def version(self) -> str:
        """What changes with every write to the Service."""
        found = self.cluster.get("v1", "Service", self.service, self.namespace)
        assert found is not None
        return str(found["metadata"]["resourceVersion"])

    def clear(self) -> None:
        """Be as new."""
        for name in (self.service, preview(self.service)):
            body: Object = {"metadata": {"annotations": None}, "spec": {"selector": None}}
            self.cluster.patch("v1", "Service", name, self.namespace, body)
        target = {"spec": {"scaleTargetRef": {"name": deployment(self.service, "blue")}}}
        self.cluster.patch(*_HPA, self.service, self.namespace, target)
        self.cluster.delete("v1", "ConfigMap", f"{self.service}-releases", self.namespace)
        for slot in SLOTS:
            self.remove(slot)
        self.unspread()
