# SPDX-License-Identifier: GPL-3.0-or-later
"""Wait until objects are ready, or say at once, and with the evidence, that they will not be."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Protocol

from ansible_collections.opsforge.platform.plugins.module_utils._client import Cluster
from ansible_collections.opsforge.platform.plugins.module_utils._errors import NotReady, PlatformError, TimedOut
from ansible_collections.opsforge.platform.plugins.module_utils._mask import mask_text
from ansible_collections.opsforge.platform.plugins.module_utils._objects import identity, key, short
from ansible_collections.opsforge.platform.plugins.module_utils._ready import (
    Verdict,
    condition,
    failing_container,
    is_observed,
    is_unproved,
    judge,
    judge_pod,
)

Object = dict[str, Any]
Key = tuple[str, str, str, str]
_FIRST_PAUSE, _LONGEST_PAUSE = 0.2, 2.0  # seconds between two looks; each pause is half as long again as the last
_PROBATION = 3.0  # seconds
_WORKLOADS = ("Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "Job")
_LOG_LINES = 10


class Clock(Protocol):
    """What waiting needs of time; the module `time` is one."""

    def monotonic(self) -> float: ...

    def sleep(self, seconds: float, /) -> None: ...


def wait_ready(cluster: Cluster, objects: list[Object], timeout: float, clock: Clock = time) -> dict[Key, float]:
    """Wait until all objects are ready and return after how many seconds each was (by `_objects.key`).

    Raises NotReady as soon as one of them is beyond hope, TimedOut after timeout seconds. Both name the pod, its
    latest warning event and its last log lines.
    """
    watch = _Watch(cluster, clock)
    return watch.until(objects, timeout, watch.judge, "ready")


def wait_gone(cluster: Cluster, objects: list[Object], timeout: float, clock: Clock = time) -> dict[Key, float]:
    """Wait until no object exists any more and return after how many seconds each was gone. Raises TimedOut."""
    watch = _Watch(cluster, clock)
    return watch.until(objects, timeout, _judge_absence, "gone")


class _Watch:
    """One wait: how long each trouble, or readiness, has been seen, and the pods that trouble was seen in."""

    def __init__(self, cluster: Cluster, clock: Clock) -> None:
        self._cluster = cluster
        self._clock = clock
        self._since: dict[Key, float] = {}
        self._ready_since: dict[Key, float] = {}
        self._culprit: dict[Key, Object] = {}

    def until(
        self, objects: list[Object], timeout: float, decide: Callable[[Object, Object | None], Verdict], aim: str
    ) -> dict[Key, float]:
        start = self._clock.monotonic()
        pause, waiting = _FIRST_PAUSE, list(objects)
        seconds: dict[Key, float] = {}
        while True:
            verdicts = [(obj, decide(obj, live)) for obj, live in zip(waiting, self._read(waiting), strict=True)]
            elapsed = self._clock.monotonic() - start
            seconds.update({key(obj): round(elapsed, 1) for obj, verdict in verdicts if verdict.ready})
            pending = [(obj, verdict) for obj, verdict in verdicts if not verdict.ready]
            for obj, verdict in pending:
                if self._hopeless(obj, verdict):
                    raise NotReady(self._explain(f"{identity(obj)} will not become {aim}", obj, verdict, elapsed))
            if not pending:
                return seconds
            if elapsed >= timeout:
                raise TimedOut(self._late(pending, aim, elapsed))
            waiting = [obj for obj, _ in pending]
            self._clock.sleep(min(pause, max(timeout - elapsed, 0.05)))
            pause = min(pause * 1.5, _LONGEST_PAUSE)

    def judge(self, obj: Object, live: Object | None) -> Verdict:
        """Judge the object and, while it is not ready, its pods: they know earlier and better what is wrong."""
        verdict = judge(live)
        self._culprit.pop(key(obj), None)
        if live is None:
            return verdict
        if verdict.ready:
            return self._on_probation(obj, live)
        self._ready_since.pop(key(obj), None)
        if live["kind"] == "Pod":
            self._culprit[key(obj)] = live
        if live["kind"] not in _WORKLOADS or not is_observed(live):
            return verdict  # before its controller has seen the change, all pods are of the version before
        for pod in self._pods(live):
            found = judge_pod(pod)
            if not found.ready:
                self._culprit.setdefault(key(obj), pod)
            if live["kind"] == "Job" and (found.hopeless_after == 0 or "CrashLoopBackOff" in found.reason):
                continue  # a Job counts its own failures
            if found.hopeless_after is not None and self._is_current(live, pod):
                self._culprit[key(obj)] = pod
                return Verdict(False, f"Pod {pod['metadata']['name']}: {found.reason}", found.hopeless_after)
        return verdict

    def _on_probation(self, obj: Object, live: Object) -> Verdict:
        """A container without a readiness probe counts as ready the moment it starts: see whether it stays."""
        now = self._clock.monotonic()
        if is_unproved(live) and now - self._ready_since.setdefault(key(obj), now) < _PROBATION:
            return Verdict(False, f"started, and watched for {_PROBATION:.0f} s because it has no readiness probe")
        return Verdict(True)

    def _hopeless(self, obj: Object, verdict: Verdict) -> bool:
        """Tell whether trouble has stood for its grace."""
        if verdict.hopeless_after is None:
            self._since.pop(key(obj), None)
            return False
        now = self._clock.monotonic()
        return now - self._since.setdefault(key(obj), now) >= verdict.hopeless_after

    def _read(self, objects: list[Object]) -> list[Object | None]:
        """Read the live objects: one list for each kind and namespace that several are in, a get for the others."""
        groups: dict[tuple[str, str, str | None], list[str]] = {}
        for obj in objects:
            groups.setdefault(_group(obj), []).append(obj["metadata"]["name"])
        live: dict[tuple[tuple[str, str, str | None], str], Object | None] = {}
        for group, names in groups.items():
            version, kind, namespace = group
            if len(names) == 1:
                live[group, names[0]] = self._cluster.get(version, kind, names[0], namespace)
            else:
                for found in self._cluster.list(version, kind, namespace):
                    live[group, found["metadata"]["name"]] = found
        return [live.get((_group(obj), obj["metadata"]["name"])) for obj in objects]

    def _pods(self, workload: Object) -> list[Object]:
        labels = (workload["spec"].get("selector") or {}).get("matchLabels")
        if not labels:
            return []
        return self._cluster.list("v1", "Pod", workload["metadata"].get("namespace"), labels)

    def _is_current(self, workload: Object, pod: Object) -> bool:
        """Tell whether the pod is of the workload's newest template: an old one's trouble is why there is a new one."""
        labels = pod["metadata"].get("labels") or {}
        if workload["kind"] == "StatefulSet":
            revision = workload.get("status", {}).get("updateRevision")
            return labels.get("controller-revision-hash", revision) == revision
        annotations = workload["metadata"].get("annotations") or {}
        if workload["kind"] == "DaemonSet":
            generation = annotations.get("deprecated.daemonset.template.generation")
            return generation is None or labels.get("pod-template-generation", generation) == generation
        if workload["kind"] == "Deployment":
            owners = pod["metadata"].get("ownerReferences") or []
            name = next((owner["name"] for owner in owners if owner.get("kind") == "ReplicaSet"), None)
            replicas = name and self._cluster.get("apps/v1", "ReplicaSet", name, pod["metadata"].get("namespace"))
            key = "deployment.kubernetes.io/revision"
            return not replicas or (replicas["metadata"].get("annotations") or {}).get(key) == annotations.get(key)
        return True

    def _late(self, pending: list[tuple[Object, Verdict]], aim: str, elapsed: float) -> str:
        first, verdict = pending[0]
        text = self._explain(f"{identity(first)} is not {aim}", first, verdict, elapsed)
        others = "; ".join(f"{identity(obj)}: {verdict.reason}" for obj, verdict in pending[1:])
        return f"{text}\nalso not {aim}: {others}" if others else text

    def _explain(self, head: str, obj: Object, verdict: Verdict, elapsed: float) -> str:
        """Say what is wrong, and add the evidence there is; failing to get evidence must not hide the trouble."""
        lines = [f"{head} after {elapsed:.0f} s: {verdict.reason}"]
        culprit = self._culprit.get(key(obj))
        if culprit and culprit["metadata"]["name"] not in verdict.reason:
            lines[0] += f" (Pod {culprit['metadata']['name']}: {judge_pod(culprit).reason or 'ready'})"
        for gather in (self._event, self._log):
            try:
                lines += gather(culprit or obj) or (gather(obj) if culprit else [])
            except PlatformError as error:
                lines.append(f"(no more is known: {error})")
        return mask_text("\n".join(lines))

    def _event(self, obj: Object) -> list[str]:
        metadata = obj["metadata"]
        fields = {"involvedObject.kind": obj["kind"], "involvedObject.name": metadata["name"], "type": "Warning"}
        events = self._cluster.list("v1", "Event", metadata.get("namespace"), fields=fields)
        if not events:
            return []
        last = max(events, key=lambda event: event.get("lastTimestamp") or event.get("eventTime") or "")
        return [f"latest warning of {short(obj)}: {last.get('reason')}: {str(last.get('message')).strip()}"]

    def _log(self, obj: Object) -> list[str]:
        if obj["kind"] != "Pod" or condition(obj, "PodScheduled").get("status") != "True":
            return []
        container, crashed = failing_container(obj)
        if container is None:
            return []
        metadata = obj["metadata"]
        try:
            text = self._cluster.logs(metadata["namespace"], metadata["name"], container, _LOG_LINES, crashed)
        except PlatformError:
            return []  # a container that never started has no log
        return (
            [f"last log lines of container {container}:", *(f"  {line}" for line in text.splitlines())] if text else []
        )


def _group(obj: Object) -> tuple[str, str, str | None]:
    return obj["apiVersion"], obj["kind"], obj["metadata"].get("namespace")


def _judge_absence(obj: Object, live: Object | None) -> Verdict:
    if live is None:
        return Verdict(True)
    holders = live["metadata"].get("finalizers") or (live.get("spec") or {}).get("finalizers")
    held = f", held by its finalizers {', '.join(holders)}" if holders else ""
    return Verdict(False, f"still exists{held}")
