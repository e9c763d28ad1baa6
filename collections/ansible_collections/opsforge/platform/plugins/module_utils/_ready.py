# SPDX-License-Identifier: GPL-3.0-or-later
"""Is an object ready, still on its way, or beyond hope? Pure functions of the live object, one for each kind."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Object = dict[str, Any]


@dataclass(frozen=True)
class Verdict:
    """What a live object says of itself.

    :param ready: it does what it is for.
    :param reason: why it is not, in a few words.
    :param hopeless_after: seconds of this reason after which waiting is in vain; None if it may still end well.
    """

    ready: bool
    reason: str = ""
    hopeless_after: float | None = None


READY = Verdict(True)
_UNSCHEDULABLE_GRACE = 30.0  # a node may be joining
_PULL_GRACE = 15.0  # one retry of the kubelet: a registry may be restarting
_CONFIG_GRACE = 3.0  # a controller may be about to write the missing Secret
_TWO_LOOKS = 0.1  # must be seen twice
_CRASHES = 3  # the first may come from a dependency that starts at the same time, and the second follows at once
_HOPELESS_WAITING = {
    "ImagePullBackOff": _PULL_GRACE,
    "ErrImagePull": _PULL_GRACE,
    "ErrImageNeverPull": _TWO_LOOKS,
    "InvalidImageName": _TWO_LOOKS,
    "CreateContainerConfigError": _CONFIG_GRACE,
    "CreateContainerError": _CONFIG_GRACE,
    "RunContainerError": _CONFIG_GRACE,
}


def judge(obj: Object | None) -> Verdict:
    """Judge one live object; None means that it does not exist (yet)."""
    if obj is None:
        return Verdict(False, "does not exist")
    if "deletionTimestamp" in obj["metadata"]:
        return Verdict(False, "is being deleted")
    if not is_observed(obj):
        return Verdict(False, "its controller has not seen the change yet")
    return _JUDGES.get(obj["kind"], _exists)(obj)


def is_observed(obj: Object) -> bool:
    """Tell whether the status is of the present specification, as far as the kind says so."""
    observed = obj.get("status", {}).get("observedGeneration")
    return observed is None or observed >= obj["metadata"].get("generation", 0)


def is_unproved(obj: Object) -> bool:
    """Tell whether ready means no more than started: some container has no readiness probe, and nothing else waits."""
    spec = obj.get("spec") or {}
    if obj["kind"] not in ("Deployment", "StatefulSet", "DaemonSet") or spec.get("minReadySeconds"):
        return False
    pod = (spec.get("template") or {}).get("spec") or {}
    return any("readinessProbe" not in container for container in pod.get("containers") or [])


def judge_pod(pod: Object) -> Verdict:
    """Judge a pod by its conditions and containers."""
    status = pod.get("status", {})
    phase = status.get("phase", "Pending")
    if phase == "Succeeded" or (phase == "Running" and condition(pod, "Ready").get("status") == "True"):
        return READY
    if phase == "Failed":
        return Verdict(False, f"failed: {status.get('reason') or _exit_reason(status) or 'no reason given'}", 0)
    scheduled = condition(pod, "PodScheduled")
    if scheduled.get("reason") == "Unschedulable":
        return Verdict(False, f"Unschedulable: {scheduled.get('message', '')}".rstrip(": "), _UNSCHEDULABLE_GRACE)
    verdict = Verdict(False, "not ready")
    for container in (status.get("initContainerStatuses") or []) + (status.get("containerStatuses") or []):
        reason, hopeless_after = _trouble(container)
        if reason and verdict.hopeless_after is None:
            verdict = Verdict(False, f"container {container['name']}: {reason}", hopeless_after)
    return verdict


def failing_container(pod: Object) -> tuple[str | None, bool]:
    """Name the container whose log explains the pod, and whether its run before the current one does."""
    status = pod.get("status", {})
    containers = (status.get("initContainerStatuses") or []) + (status.get("containerStatuses") or [])
    for container in containers:
        now = container.get("state") or {}
        if not container.get("ready") and now.get("terminated", {}).get("exitCode") != 0:
            return container["name"], "waiting" in now and bool(container.get("lastState"))
    return None, False


def condition(obj: Object, kind: str) -> Object:
    """Return one condition of an object, {} if it has none of that type."""
    conditions = obj.get("status", {}).get("conditions") or []
    return next((entry for entry in conditions if entry.get("type") == kind), {})


def _exists(obj: Object) -> Verdict:
    return READY


def _deployment(obj: Object) -> Verdict:
    status = obj.get("status", {})
    wanted = obj["spec"].get("replicas", 1)
    failure = condition(obj, "ReplicaFailure")
    if failure.get("status") == "True":
        return Verdict(False, f"{failure.get('reason')}: {failure.get('message')}", _CONFIG_GRACE)
    progress = condition(obj, "Progressing")
    if progress.get("reason") == "ProgressDeadlineExceeded":
        return Verdict(False, f"ProgressDeadlineExceeded: {progress.get('message')}", 0)
    if "observedGeneration" not in status:
        return Verdict(False, "its controller has not seen it yet")
    updated, total = status.get("updatedReplicas", 0), status.get("replicas", 0)
    available = status.get("availableReplicas", 0)
    if updated >= wanted and total == updated and available >= updated:
        return READY
    return Verdict(False, f"{min(updated, available)} of {wanted} replicas updated and available")


def _stateful_set(obj: Object) -> Verdict:
    status = obj.get("status", {})
    wanted = obj["spec"].get("replicas", 1)
    strategy = obj["spec"].get("updateStrategy") or {}
    if "observedGeneration" not in status:
        return Verdict(False, "its controller has not seen it yet")
    kept = (strategy.get("rollingUpdate") or {}).get("partition") or 0
    by_hand = strategy.get("type") == "OnDelete"
    updated = wanted if by_hand else min(wanted, status.get("updatedReplicas", 0) + kept)
    if status.get("updateRevision") == status.get("currentRevision"):
        updated = wanted
    ready = status.get("readyReplicas", 0)
    if updated >= wanted and ready >= wanted and status.get("replicas", 0) == wanted:
        return READY
    return Verdict(False, f"{min(updated, ready)} of {wanted} replicas updated and ready")


def _daemon_set(obj: Object) -> Verdict:
    status = obj.get("status", {})
    if not status.get("observedGeneration"):
        return Verdict(False, "its controller has not seen it yet")
    wanted = status.get("desiredNumberScheduled", 0)
    by_hand = (obj["spec"].get("updateStrategy") or {}).get("type") == "OnDelete"
    updated = wanted if by_hand else status.get("updatedNumberScheduled", 0)
    available = status.get("numberAvailable", 0)
    if updated >= wanted and available >= wanted:
        return READY
    return Verdict(False, f"{min(updated, available)} of {wanted} pods updated and available")


def _job(obj: Object) -> Verdict:
    failed = condition(obj, "Failed")
    if failed.get("status") == "True":
        return Verdict(False, f"failed: {failed.get('reason')}: {failed.get('message')}", 0)
    if condition(obj, "Complete").get("status") == "True" or obj["spec"].get("suspend"):
        return READY
    return Verdict(False, f"running, {obj.get('status', {}).get('succeeded', 0)} pods succeeded")


def _claim(obj: Object) -> Verdict:
    phase = obj.get("status", {}).get("phase", "Pending")
    if phase == "Lost":
        return Verdict(False, "its volume is lost", 0)
    return READY if phase == "Bound" else Verdict(False, f"is {phase}")


def _namespace(obj: Object) -> Verdict:
    # An API server without a controller manager leaves no phase: what exists can be written into.
    phase = obj.get("status", {}).get("phase", "Active")
    return READY if phase == "Active" else Verdict(False, f"is {phase}")


def _definition(obj: Object) -> Verdict:
    names = condition(obj, "NamesAccepted")
    if names.get("status") == "False":
        return Verdict(False, f"names not accepted: {names.get('message')}", _CONFIG_GRACE)
    return _has(obj, "Established")


def _gateway(obj: Object) -> Verdict:
    accepted = condition(obj, "Accepted")
    if accepted.get("status") == "False":
        return Verdict(False, f"not accepted: {accepted.get('message') or accepted.get('reason')}")
    return _has(obj, "Programmed")


def _route(obj: Object) -> Verdict:
    """Every parent that answers must accept the current generation and resolve its references."""
    parents = obj.get("status", {}).get("parents") or []
    if not parents:
        return Verdict(False, "no gateway has answered yet")
    for parent in parents:
        for wanted in ("Accepted", "ResolvedRefs"):
            found = condition({"status": parent}, wanted)
            if found.get("observedGeneration", 0) < obj["metadata"].get("generation", 0):
                return Verdict(False, "its gateway has not seen the change yet")
            if found.get("status") != "True":
                return Verdict(False, f"not {wanted}: {found.get('message') or found.get('reason')}")
    return READY


def _has(obj: Object, kind: str) -> Verdict:
    found = condition(obj, kind)
    stale = found.get("observedGeneration", obj["metadata"].get("generation", 0)) < obj["metadata"].get("generation", 0)
    if found.get("status") == "True" and not stale:
        return READY
    return Verdict(False, f"not {kind}: {found.get('message') or found.get('reason') or 'not yet'}")


def _trouble(container: Object) -> tuple[str, float | None]:
    """Say what is wrong with a container and after how many seconds of it that is hopeless.

    Between two crashes its state is `terminated`, and `CrashLoopBackOff` only for the moment before the next start.
    """
    now = container.get("state") or {}
    waiting, ended = now.get("waiting") or {}, now.get("terminated") or {}
    restarts = container.get("restartCount", 0)
    loops = waiting.get("reason") == "CrashLoopBackOff"
    if loops:
        ended = (container.get("lastState") or {}).get("terminated") or {"exitCode": "unknown"}
    if loops or (ended and ended.get("exitCode") != 0):
        how = f"exit code {ended.get('exitCode')}, {ended.get('reason', 'no reason')}, {restarts} restarts"
        return f"CrashLoopBackOff ({how})", _TWO_LOOKS if restarts + 1 >= _CRASHES else None
    if waiting.get("reason") in _HOPELESS_WAITING:
        message = f" ({waiting['message']})" if waiting.get("message") else ""
        return f"{waiting['reason']}{message}", _HOPELESS_WAITING[waiting["reason"]]
    return "", None


def _exit_reason(status: Object) -> str:
    for container in status.get("containerStatuses") or []:
        ended = (container.get("state") or {}).get("terminated") or {}
        if ended.get("exitCode"):
            return f"container {container['name']} ended with exit code {ended['exitCode']}"
    return ""


_JUDGES: dict[str, Callable[[Object], Verdict]] = {
    "Deployment": _deployment,
    "StatefulSet": _stateful_set,
    "DaemonSet": _daemon_set,
    "Pod": judge_pod,
    "Job": _job,
    "PersistentVolumeClaim": _claim,
    "Namespace": _namespace,
    "CustomResourceDefinition": _definition,
    "APIService": lambda obj: _has(obj, "Available"),
    "GatewayClass": lambda obj: _has(obj, "Accepted"),
    "Gateway": _gateway,
    "HTTPRoute": _route,
    "GRPCRoute": _route,
}
