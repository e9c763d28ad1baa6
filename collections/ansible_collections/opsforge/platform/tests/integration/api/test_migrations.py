# SPDX-License-Identifier: GPL-3.0-or-later
"""migration_run against a real API server. The test plays the Job controller; nobody writes a log."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
import yaml

from ansible_collections.opsforge.platform.plugins.module_utils._client import Cluster

from .shop import Shop

Object = dict[str, Any]
RunModule = Callable[..., Object]

JOB = """
apiVersion: batch/v1
kind: Job
metadata:
  name: auth-migrate
spec:
  backoffLimit: 0
  activeDeadlineSeconds: 30
  template:
    metadata:
      labels: {app.kubernetes.io/name: auth}
    spec:
      restartPolicy: Never
      readinessGates:
        - conditionType: opsforge.dev/serves
      containers:
        - name: migrate
          image: auth:1.0.0
          args: [migrate]
"""
COMPLETE = {"conditions": [{"type": kind, "status": "True"} for kind in ("SuccessCriteriaMet", "Complete")]}
COMPLETE |= {"startTime": "2026-01-01T00:00:00Z", "completionTime": "2026-01-01T00:00:01Z", "succeeded": 1}  # type: ignore[dict-item]
FAILED = {"conditions": [{"type": kind, "status": "True", "reason": "X"} for kind in ("FailureTarget", "Failed")]}
FAILED |= {"startTime": "2026-01-01T00:00:00Z"}  # type: ignore[dict-item]


class Controller(threading.Thread):
    """Gives every Job of a namespace a status as soon as it sees it."""

    def __init__(self, cluster: Cluster, namespace: str, status: Object) -> None:
        super().__init__()
        self._cluster, self._namespace, self._status = cluster, namespace, status
        self._end = threading.Event()

    def run(self) -> None:
        while not self._end.wait(0.05):
            for job in self._cluster.list("batch/v1", "Job", self._namespace):
                if not (job.get("status") or {}).get("conditions"):
                    where = ("batch/v1", "Job", job["metadata"]["name"], self._namespace)
                    self._cluster.patch(*where, {"status": self._status}, subresource="status")

    def __enter__(self) -> Controller:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self.join()


@pytest.fixture
def migrate(run_module: RunModule, namespace: str) -> RunModule:
    def run(version: str = "1.0.0", *, job: str = JOB, shared_with: list[str] | None = None, **options: Any) -> Object:
        one = {"service": "auth", "version": version, "job": job, "shared_with": shared_with or []}
        return run_module("migration_run", namespace=namespace, services=[one], **options)

    return run


def jobs(cluster: Cluster, namespace: str) -> list[Object]:
    return cluster.list("batch/v1", "Job", namespace)


def test_in_check_mode_then_for_real_then_again(migrate: RunModule, cluster: Cluster, namespace: str) -> None:
    assert migrate(check=True)["changed"]
    assert jobs(cluster, namespace) == []
    with Controller(cluster, namespace, COMPLETE):
        assert migrate()["changed"], "nobody said what was run"
        (first,) = jobs(cluster, namespace)
        migrate()
        (second,) = jobs(cluster, namespace)
    assert first["metadata"]["name"] == second["metadata"]["name"]
    assert first["metadata"]["uid"] != second["metadata"]["uid"], "a Job that is over is made anew"


def test_a_failure_is_said_with_the_versions_name(migrate: RunModule, cluster: Cluster, namespace: str) -> None:
    with Controller(cluster, namespace, FAILED):
        found = migrate()
    assert found["failed"]
    assert found["msg"].startswith("the migrations of auth 1.0.0 did not run to their end")


def test_two_at_once_share_one_job(migrate: RunModule, cluster: Cluster, namespace: str) -> None:
    cluster.create(_named(cluster, namespace, migrate))
    (before,) = jobs(cluster, namespace)
    with Controller(cluster, namespace, COMPLETE):
        migrate()
    (after,) = jobs(cluster, namespace)
    assert after["metadata"]["uid"] == before["metadata"]["uid"]


def _named(cluster: Cluster, namespace: str, migrate: RunModule) -> Object:
    """The Job as the module would make it."""
    name = migrate(check=True)["migrations"][0]["job"]
    job: Object = yaml.safe_load(JOB)
    job["metadata"].update(name=name, namespace=namespace)
    return job


def test_a_contract_is_refused_while_the_slot_before_is_kept(
    migrate: RunModule, run_module: RunModule, cluster: Cluster, namespace: str
) -> None:
    shop = Shop(cluster, namespace)
    shop.deploy("blue", "1.0.0")
    shop.deploy("green", "1.1.0")
    switch = {"service": "auth", "namespace": namespace, "check_path": "", "management_port": 0, "timeout": 5}
    run_module("blue_green_switch", slot="blue", **switch)
    run_module("blue_green_switch", slot="green", **switch)
    for check in (True, False):
        found = migrate("1.1.0", contract=True, check=check)
        assert found["failed"]
        assert "slot blue (1.0.0) is kept for a rollback" in found["msg"]
    assert jobs(cluster, namespace) == []

    run_module("blue_green_switch", slot="green", keep_seconds=0.001, **switch)
    shop.run("blue")
    with Controller(cluster, namespace, COMPLETE):
        assert not migrate("1.1.0", contract=True).get("failed")
    assert len(jobs(cluster, namespace)) == 1
    assert migrate("1.0.0", contract=True)["failed"], "only the version in use contracts"
