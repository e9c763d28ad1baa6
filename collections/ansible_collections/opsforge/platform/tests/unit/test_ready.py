# SPDX-License-Identifier: GPL-3.0-or-later
"""Readiness by kind: each row is a state that a live object can be in."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.opsforge.platform.plugins.module_utils._ready import failing_container, judge

Object = dict[str, Any]


def conditions(*entries: str, **more: Any) -> list[Object]:
    return [{"type": entry.partition("=")[0], "status": entry.partition("=")[2], **more} for entry in entries]


def obj(kind: str, status: Object | None = None, spec: Object | None = None, generation: int = 2) -> Object:
    metadata = {"name": "x", "namespace": "apps", "generation": generation}
    return {
        "kind": kind,
        "metadata": metadata,
        "spec": spec or {},
        **({"status": status} if status is not None else {}),
    }


def deployment(wanted: int | None = 2, **status: Any) -> Object:
    spec = {} if wanted is None else {"replicas": wanted}
    return obj("Deployment", {"observedGeneration": 2, **status}, spec)


def stateful_set(strategy: Object | None = None, **status: Any) -> Object:
    return obj("StatefulSet", {"observedGeneration": 2, **status}, {"replicas": 2, "updateStrategy": strategy or {}})


def daemon_set(**status: Any) -> Object:
    return obj("DaemonSet", {"observedGeneration": 2, **status})


def pod(phase: str, ready: bool = False, waiting: Object | None = None, **status: Any) -> Object:
    container: Object = {
        "name": "web",
        "ready": ready,
        "restartCount": 3,
        "state": {"waiting": waiting} if waiting else {},
    }
    if waiting and waiting["reason"] == "CrashLoopBackOff":
        container["lastState"] = {"terminated": {"exitCode": 1, "reason": "Error"}}
    entries = conditions(f"Ready={ready}")
    return obj("Pod", {"phase": phase, "conditions": entries, "containerStatuses": [container], **status})


def route(*parents: list[Object]) -> Object:
    return obj("HTTPRoute", {"parents": [{"conditions": parent} for parent in parents]})


ALL_UP = {"replicas": 2, "updatedReplicas": 2, "availableReplicas": 2}
READY = {
    "deployment up": deployment(**ALL_UP),
    "deployment of no replicas": deployment(0),
    "deployment of the default one": deployment(None, replicas=1, updatedReplicas=1, availableReplicas=1),
    "stateful set up": stateful_set(
        replicas=2, readyReplicas=2, updatedReplicas=2, currentRevision="a", updateRevision="a"
    ),
    "stateful set up, counters gone": stateful_set(
        replicas=2, readyReplicas=2, currentRevision="a", updateRevision="a"
    ),
    "stateful set with a partition": stateful_set(
        {"rollingUpdate": {"partition": 1}},
        replicas=2,
        readyReplicas=2,
        updatedReplicas=1,
        currentRevision="a",
        updateRevision="b",
    ),
    "stateful set updated by hand": stateful_set(
        {"type": "OnDelete"}, replicas=2, readyReplicas=2, currentRevision="a", updateRevision="b"
    ),
    "daemon set up": daemon_set(desiredNumberScheduled=2, updatedNumberScheduled=2, numberAvailable=2),
    "daemon set for no node": daemon_set(desiredNumberScheduled=0),
    "pod up": pod("Running", ready=True),
    "pod done": pod("Succeeded"),
    "job done": obj("Job", {"conditions": conditions("Complete=True")}),
    "job suspended": obj("Job", {}, {"suspend": True}),
    "claim bound": obj("PersistentVolumeClaim", {"phase": "Bound"}),
    "namespace active": obj("Namespace", {"phase": "Active"}),
    "definition established": obj(
        "CustomResourceDefinition", {"conditions": conditions("NamesAccepted=True", "Established=True")}
    ),
    "service available": obj("APIService", {"conditions": conditions("Available=True")}),
    "gateway class accepted": obj("GatewayClass", {"conditions": conditions("Accepted=True", observedGeneration=2)}),
    "gateway programmed": obj(
        "Gateway", {"conditions": conditions("Accepted=True", "Programmed=True", observedGeneration=2)}
    ),
    "route accepted": route(conditions("Accepted=True", "ResolvedRefs=True", observedGeneration=2)),
    "any other kind": obj("ConfigMap"),
}
ON_ITS_WAY = {
    "deployment not seen": (obj("Deployment", {}), "has not seen it yet"),
    "deployment's old status": (
        deployment(**ALL_UP) | {"metadata": {"name": "x", "generation": 3}},
        "not seen the change",
    ),
    "deployment rolling": (deployment(replicas=3, updatedReplicas=1, availableReplicas=2), "1 of 2 replicas"),
    "deployment with old pods": (deployment(replicas=3, updatedReplicas=2, availableReplicas=3), "2 of 2 replicas"),
    "deployment starting": (deployment(replicas=2, updatedReplicas=2), "0 of 2 replicas"),
    "stateful set rolling": (
        stateful_set(replicas=2, readyReplicas=2, updatedReplicas=1, currentRevision="a", updateRevision="b"),
        "1 of 2 replicas",
    ),
    "stateful set growing": (
        stateful_set(replicas=1, readyReplicas=1, currentRevision="a", updateRevision="a"),
        "1 of 2 replicas",
    ),
    "daemon set new": (obj("DaemonSet", {"observedGeneration": 0}, generation=0), "has not seen it yet"),
    "daemon set rolling": (
        daemon_set(desiredNumberScheduled=2, updatedNumberScheduled=1, numberAvailable=2),
        "1 of 2 pods",
    ),
    "pod starting": (pod("Pending", waiting={"reason": "ContainerCreating"}), "not ready"),
    "pod running, not ready": (pod("Running"), "not ready"),
    "job running": (obj("Job", {"active": 1}), "running, 0 pods succeeded"),
    "claim pending": (obj("PersistentVolumeClaim", {"phase": "Pending"}), "is Pending"),
    "namespace going": (obj("Namespace", {"phase": "Terminating"}), "is Terminating"),
    "definition new": (obj("CustomResourceDefinition", {}), "not Established: not yet"),
    "gateway stale": (
        obj("Gateway", {"conditions": conditions("Programmed=True", observedGeneration=1)}),
        "not Programmed",
    ),
    "gateway refused": (obj("Gateway", {"conditions": conditions("Accepted=False", message="no")}), "not accepted: no"),
    "route without answer": (obj("HTTPRoute", {}), "no gateway has answered"),
    "route stale": (route(conditions("Accepted=True", observedGeneration=1)), "has not seen the change"),
    "route of one unwilling parent": (
        route(
            conditions("Accepted=True", "ResolvedRefs=True", observedGeneration=2),
            conditions("Accepted=True", observedGeneration=2)
            + conditions("ResolvedRefs=False", observedGeneration=2, message="no such Service"),
        ),
        "not ResolvedRefs: no such Service",
    ),
    "gone": (None, "does not exist"),
    "going": ({"kind": "ConfigMap", "metadata": {"name": "x", "deletionTimestamp": "t"}}, "is being deleted"),
}
HOPELESS = {
    "crash loop": (
        pod("Running", waiting={"reason": "CrashLoopBackOff"}),
        "web: CrashLoopBackOff (exit code 1, Error",
        1,
    ),
    "image": (pod("Pending", waiting={"reason": "ImagePullBackOff", "message": "no"}), "ImagePullBackOff (no)", 20),
    "image, first try": (pod("Pending", waiting={"reason": "ErrImagePull"}), "ErrImagePull", 20),
    "configuration": (
        pod("Pending", waiting={"reason": "CreateContainerConfigError"}),
        "CreateContainerConfigError",
        5,
    ),
    "unschedulable": (
        pod("Pending", conditions=conditions("PodScheduled=False", reason="Unschedulable", message="no cpu")),
        "Unschedulable: no cpu",
        40,
    ),
    "failed pod": (pod("Failed", reason="Evicted"), "failed: Evicted", 0),
    "failed job": (
        obj("Job", {"conditions": conditions("Failed=True", reason="BackoffLimitExceeded", message="m")}),
        "failed: BackoffLimitExceeded: m",
        0,
    ),
    "quota": (
        deployment(conditions=conditions("ReplicaFailure=True", reason="FailedCreate", message="exceeded quota")),
        "FailedCreate: exceeded quota",
        5,
    ),
    "deadline": (
        deployment(conditions=conditions("Progressing=False", reason="ProgressDeadlineExceeded", message="late")),
        "ProgressDeadlineExceeded: late",
        0,
    ),
    "lost volume": (obj("PersistentVolumeClaim", {"phase": "Lost"}), "its volume is lost", 0),
    "definition's names": (
        obj("CustomResourceDefinition", {"conditions": conditions("NamesAccepted=False", message="taken")}),
        "names not accepted: taken",
        5,
    ),
}


@pytest.mark.parametrize("state", READY)
def test_ready(state: str) -> None:
    assert judge(READY[state]).ready


@pytest.mark.parametrize("state", ON_ITS_WAY)
def test_on_its_way(state: str) -> None:
    live, reason = ON_ITS_WAY[state]
    verdict = judge(live)
    assert not verdict.ready and reason in verdict.reason and verdict.hopeless_after is None


@pytest.mark.parametrize("state", HOPELESS)
def test_hopeless(state: str) -> None:
    live, reason, within = HOPELESS[state]
    verdict = judge(live)
    assert not verdict.ready and reason in verdict.reason
    assert verdict.hopeless_after is not None and verdict.hopeless_after <= within


@pytest.mark.parametrize(
    ("restarts", "exit_code", "hopeless"), [(0, 1, False), (1, 1, False), (2, 1, True), (9, 1, True), (9, 0, False)]
)
def test_the_third_crash_is_one_too_many(restarts: int, exit_code: int, hopeless: bool) -> None:
    """Between two crashes a container is `terminated`, most of the time not `CrashLoopBackOff`."""
    live = pod("Running")
    container = live["status"]["containerStatuses"][0]
    container |= {"restartCount": restarts, "state": {"terminated": {"exitCode": exit_code, "reason": "Error"}}}
    assert (judge(live).hopeless_after is not None) is hopeless


def test_a_stale_deadline_is_no_verdict() -> None:
    """The condition of the rollout before stays until the controller has seen the new one."""
    live = deployment(conditions=conditions("Progressing=False", reason="ProgressDeadlineExceeded"))
    live["metadata"]["generation"] = 3
    assert judge(live).hopeless_after is None


def test_the_log_that_explains_a_pod() -> None:
    crashing = pod("Running", waiting={"reason": "CrashLoopBackOff"})
    assert failing_container(crashing) == ("web", True)
    assert failing_container(pod("Running")) == ("web", False)
    done = {"name": "init", "ready": False, "state": {"terminated": {"exitCode": 0}}}
    crashing["status"]["initContainerStatuses"] = [done]
    assert failing_container(crashing) == ("web", True)
    assert failing_container(pod("Running", ready=True)) == (None, False)
