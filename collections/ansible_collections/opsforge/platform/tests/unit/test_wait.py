# SPDX-License-Identifier: GPL-3.0-or-later
"""Waiting: how long, with how many requests, and what is said when it is in vain. Time is the test's own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import pytest

from ansible_collections.opsforge.platform.plugins.module_utils._client import Cluster
from ansible_collections.opsforge.platform.plugins.module_utils._errors import Forbidden, NotReady, TimedOut
from ansible_collections.opsforge.platform.plugins.module_utils._objects import key
from ansible_collections.opsforge.platform.plugins.module_utils._wait import wait_gone, wait_ready

from .fake_cluster import FakeCluster

Object = dict[str, Any]


class FakeClock:
    """Time passes only in sleep, where things also happen."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.events: list[tuple[float, Callable[[], Any]]] = []

    def at(self, seconds: float, event: Callable[[], Any]) -> None:
        self.events.append((1000.0 + seconds, event))

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        for event in [event for event in self.events if event[0] <= self.now]:
            self.events.remove(event)
            event[1]()


def workload(kind: str = "Deployment", name: str = "web", ready: bool = False) -> Object:
    count = 1 if ready else 0
    return {
        "apiVersion": "batch/v1" if kind == "Job" else "apps/v1",
        "kind": kind,
        "metadata": {
            "name": name,
            "namespace": "apps",
            "generation": 1,
            "annotations": {"deployment.kubernetes.io/revision": "2"},
        },
        "spec": {"replicas": 1, "selector": {"matchLabels": {"app": name}}},
        "status": {"observedGeneration": 1, "replicas": 1, "updatedReplicas": 1, "availableReplicas": count},
    }


def pod(reason: str, name: str = "web-1", owner: str = "web-new", **labels: str) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": "apps",
            "labels": {"app": "web", **labels},
            "ownerReferences": [{"kind": "ReplicaSet", "name": owner}],
        },
        "status": {
            "phase": "Pending",
            "conditions": [{"type": "PodScheduled", "status": "True"}],
            "containerStatuses": [
                {
                    "name": "web",
                    "ready": False,
                    "restartCount": 2,
                    "state": {"waiting": {"reason": reason}},
                    "lastState": {"terminated": {"exitCode": 3, "reason": "Error"}},
                }
            ],
        },
    }


def replica_set(name: str, revision: str) -> Object:
    metadata = {"name": name, "namespace": "apps", "annotations": {"deployment.kubernetes.io/revision": revision}}
    return {"apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": metadata}


def event(name: str, stamp: str, message: str) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": name, "namespace": "apps"},
        "involvedObject": {"kind": "Pod", "name": "web-1"},
        "type": "Warning",
        "reason": "BackOff",
        "message": message,
        "lastTimestamp": stamp,
    }


def as_cluster(fake: FakeCluster) -> Cluster:
    return cast(Cluster, fake)


def test_it_returns_when_the_last_object_is_ready() -> None:
    fake, clock = FakeCluster(workload(), workload(name="api", ready=True)), FakeClock()
    clock.at(5, lambda: fake.put(workload(ready=True)))
    seconds = wait_ready(as_cluster(fake), [workload(), workload(name="api")], 60, clock)
    assert seconds[key(workload(name="api"))] == 0.0
    assert 5 <= seconds[key(workload())] < 8


def test_it_asks_seldom() -> None:
    """Twenty Deployments cost one list a look, and looks get rarer."""
    objects = [workload(name=f"web-{number}") for number in range(20)]
    fake, clock = FakeCluster(*objects), FakeClock()
    with pytest.raises(TimedOut):
        wait_ready(as_cluster(fake), objects, 60, clock)
    assert len([call for call in fake.calls if call[1] == "Deployment"]) < 40


def test_time_is_up() -> None:
    fake, clock = FakeCluster(workload(), workload(name="api")), FakeClock()
    with pytest.raises(TimedOut) as error:
        wait_ready(as_cluster(fake), [workload(), workload(name="api")], 30, clock)
    assert clock.now - 1000 == pytest.approx(30, abs=0.2)
    assert str(error.value) == (
        "Deployment apps/web is not ready after 30 s: 0 of 1 replicas updated and available\n"
        "also not ready: Deployment apps/api: 0 of 1 replicas updated and available"
    )


def test_a_crash_loop_is_told_at_once_with_event_and_log() -> None:
    fake = FakeCluster(
        workload(),
        pod("CrashLoopBackOff"),
        replica_set("web-new", "2"),
        event("a", "2030-01-01T00:00:00Z", "first"),
        event("b", "2030-01-01T00:00:09Z", "back-off restarting"),
    )
    fake.log_lines["web-1", "web"] = "starting\nDB_PASSWORD=abc is wrong"
    clock = FakeClock()
    with pytest.raises(NotReady) as error:
        wait_ready(as_cluster(fake), [workload()], 600, clock)
    assert clock.now - 1000 < 2
    assert str(error.value).splitlines() == [
        "Deployment apps/web will not become ready after 0 s: Pod web-1: container web: CrashLoopBackOff"
        " (exit code 3, Error, 2 restarts)",
        "latest warning of Pod web-1: BackOff: back-off restarting",
        "last log lines of container web:",
        "  starting",
        "  DB_PASSWORD=<hidden>",
    ]


@pytest.mark.parametrize(
    ("reason", "after"), [("ImagePullBackOff", 15), ("CreateContainerConfigError", 3), ("InvalidImageName", 0)]
)
def test_trouble_that_may_pass_gets_its_grace(reason: str, after: float) -> None:
    fake, clock = FakeCluster(workload(), pod(reason), replica_set("web-new", "2")), FakeClock()
    with pytest.raises(NotReady, match=reason):
        wait_ready(as_cluster(fake), [workload()], 600, clock)
    assert after <= clock.now - 1000 <= after + 3


def test_trouble_that_passes_is_forgiven() -> None:
    fake, clock = FakeCluster(workload(), pod("ImagePullBackOff"), replica_set("web-new", "2")), FakeClock()
    clock.at(8, lambda: fake.put(pod("ContainerCreating")))
    clock.at(9, lambda: fake.put(pod("ImagePullBackOff")))
    clock.at(20, lambda: fake.put(workload(ready=True)))
    wait_ready(as_cluster(fake), [workload()], 600, clock)


def test_the_old_version_may_be_broken() -> None:
    """The pods of the ReplicaSet before are why there is a new one."""
    fake = FakeCluster(workload(), pod("CrashLoopBackOff", owner="web-old"), replica_set("web-old", "1"))
    clock = FakeClock()
    clock.at(10, lambda: fake.put(workload(ready=True)))
    wait_ready(as_cluster(fake), [workload()], 60, clock)


@pytest.mark.parametrize(
    ("kind", "status", "annotations", "labels"),
    [
        ("StatefulSet", {"updateRevision": "web-b"}, {}, {"controller-revision-hash": "web-a"}),
        ("DaemonSet", {}, {"deprecated.daemonset.template.generation": "2"}, {"pod-template-generation": "1"}),
    ],
)
def test_the_old_version_of_other_workloads(kind: str, status: Object, annotations: Object, labels: Object) -> None:
    live = workload(kind)
    live["status"] = {"observedGeneration": 1, "desiredNumberScheduled": 1, **status}
    live["metadata"]["annotations"] = annotations
    old, clock = FakeCluster(live, pod("CrashLoopBackOff", **labels)), FakeClock()
    with pytest.raises(TimedOut):
        wait_ready(as_cluster(old), [live], 30, clock)
    current = {name: value.replace("web-a", "web-b").replace("1", "2") for name, value in labels.items()}
    with pytest.raises(NotReady):
        wait_ready(as_cluster(FakeCluster(live, pod("CrashLoopBackOff", **current))), [live], 30, FakeClock())


def test_a_broken_version_can_be_replaced() -> None:
    """Until its controller has seen the new one, the pods that crash are still the newest there are."""
    changed = workload()
    changed["metadata"]["generation"] = 2
    fake = FakeCluster(changed, pod("CrashLoopBackOff"), replica_set("web-new", "2"))
    fake.objects["apps/v1", "Deployment", "apps", "web"]["metadata"]["generation"] = 2
    clock = FakeClock()
    clock.at(10, lambda: fake.put(workload(ready=True)))
    wait_ready(as_cluster(fake), [changed], 60, clock)


def test_without_a_readiness_probe_it_must_stay_up() -> None:
    """Such a pod is ready for a moment before each crash."""

    def unprobed(ready: bool) -> Object:
        obj = workload(ready=ready)
        obj["spec"]["template"] = {"spec": {"containers": [{"name": "web"}]}}
        return obj

    fake, clock = FakeCluster(unprobed(True), pod("CrashLoopBackOff"), replica_set("web-new", "2")), FakeClock()
    clock.at(1, lambda: fake.put(unprobed(False)))
    with pytest.raises(NotReady, match="CrashLoopBackOff"):
        wait_ready(as_cluster(fake), [unprobed(True)], 60, clock)
    assert (
        3 <= wait_ready(as_cluster(FakeCluster(unprobed(True))), [unprobed(True)], 60, FakeClock())[key(workload())] < 6
    )


def test_a_failed_job_shows_its_pods_log() -> None:
    job = workload("Job")
    failure = {"type": "Failed", "status": "True", "reason": "BackoffLimitExceeded", "message": "limit"}
    job["status"] = {"conditions": [failure]}
    ended = pod("Error")
    ended["status"]["phase"] = "Failed"
    ended["status"]["containerStatuses"][0]["state"] = {"terminated": {"exitCode": 1}}
    fake = FakeCluster(job, ended)
    fake.log_lines["web-1", "web"] = "column exists"
    with pytest.raises(NotReady) as error:
        wait_ready(as_cluster(fake), [job], 60, FakeClock())
    assert str(error.value).splitlines() == [
        "Job apps/web will not become ready after 0 s: failed: BackoffLimitExceeded: limit"
        " (Pod web-1: failed: container web ended with exit code 1)",
        "last log lines of container web:",
        "  column exists",
    ]


def test_a_job_counts_its_own_failures() -> None:
    job = workload("Job")
    job["status"] = {"active": 1}
    failed = pod("CrashLoopBackOff")
    fake, clock = FakeCluster(job, failed), FakeClock()
    done = {**job, "status": {"conditions": [{"type": "Complete", "status": "True"}]}}
    clock.at(20, lambda: fake.put(done))
    wait_ready(as_cluster(fake), [job], 60, clock)


def test_evidence_that_cannot_be_had_does_not_hide_the_trouble() -> None:
    fake = FakeCluster(workload(), pod("CrashLoopBackOff"), replica_set("web-new", "2"))
    allowed = fake.list

    def no_events(api_version: str, kind: str, *rest: Any, **more: Any) -> list[Object]:
        if kind == "Event":
            raise Forbidden("cannot list Event: not allowed")
        return allowed(api_version, kind, *rest, **more)

    fake.list = no_events  # type: ignore[method-assign]
    with pytest.raises(NotReady, match=r"CrashLoopBackOff .*\n\(no more is known: cannot list Event: not allowed\)"):
        wait_ready(as_cluster(fake), [workload()], 60, FakeClock())


def test_gone() -> None:
    live: Object = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "namespace": "apps"}}
    fake, clock = FakeCluster(live), FakeClock()
    clock.at(3, fake.objects.clear)
    assert 3 <= wait_gone(as_cluster(fake), [live], 60, clock)[key(live)] < 5
    held = {**live, "metadata": {**live["metadata"], "finalizers": ["x.dev/hold"]}}
    with pytest.raises(TimedOut, match=r"ConfigMap apps/a is not gone after 5 s: still exists, held by .* x.dev/hold"):
        wait_gone(as_cluster(FakeCluster(held)), [live], 5, FakeClock())
