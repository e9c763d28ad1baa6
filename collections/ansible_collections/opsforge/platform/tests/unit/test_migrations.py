# SPDX-License-Identifier: GPL-3.0-or-later
"""Migrations as Jobs: who is in the way of a contract, what is run, what is said of it. Time is the test's own."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
import yaml

from ansible_collections.opsforge.platform.plugins.module_utils._client import Cluster
from ansible_collections.opsforge.platform.plugins.module_utils._errors import Invalid, NotReady, TimedOut
from ansible_collections.opsforge.platform.plugins.module_utils._migrations import Migration, check_contract, run
from ansible_collections.opsforge.platform.plugins.module_utils._releases import Release
from ansible_collections.opsforge.platform.plugins.module_utils._slots import Slot, State

from .fake_cluster import FakeCluster

Object = dict[str, Any]

LEFT = Release(2, "2026-11-21T10:00:00Z", "release", "green", "1.1.0", from_slot="blue", from_version="1.0.0")
BLUE = Slot("blue", "1.0.0", replicas=2, pods=("orders-blue-1", "orders-blue-2"))
GREEN = Slot("green", "1.1.0", replicas=2, pods=("orders-green-1", "orders-green-2"))
SENDER = State("sender", "apps", active="blue", slots={"blue": Slot("blue", "1.1.0", replicas=1)})


def job(args: str = "migrate", **spec: Any) -> Object:
    container = {"name": "migrate", "image": "orders:1.1.0", "args": [args]}
    spec = {"activeDeadlineSeconds": 60, "template": {"spec": {"containers": [container]}}, **spec}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "orders-migrate"}, "spec": spec}


def migration(**changed: Any) -> Migration:
    options = {"service": "orders", "version": "1.1.0", "job": job(), "shared_with": None, "keep_seconds": 3600}
    return Migration.of({**options, **changed}, "apps")


def state(*slots: Slot, active: str | None = "green") -> State:
    return State("orders", "apps", active=active, slots={slot.name: slot for slot in slots}, history=(LEFT,))


class Kitchen:
    """A cluster whose Job controller and kubelet do what the test says, a second after a Job was made."""

    def __init__(self) -> None:
        self.fake = FakeCluster()
        self.now = 1000.0
        self.cook: Callable[[Object], None] = lambda job: self.end(job)

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        for (_, kind, _, _), found in list(self.fake.objects.items()):
            if kind == "Job" and "status" not in found:
                self.cook(found)

    def end(self, job: Object, said: str = "", phase: str = "Succeeded", code: int = 0) -> None:
        name = job["metadata"]["name"]
        labels = {"batch.kubernetes.io/job-name": name, "uid": "1"}
        ended = {"name": "migrate", "ready": False, "state": {"terminated": {"exitCode": code}}}
        scheduled = {"type": "PodScheduled", "status": "True"}
        status = {"phase": phase, "conditions": [scheduled], "containerStatuses": [ended]}
        metadata = {"name": f"{name}-1", "namespace": "apps", "labels": labels}
        self.fake.put({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {}, "status": status})
        self.fake.log_lines[f"{name}-1", None] = self.fake.log_lines[f"{name}-1", "migrate"] = said
        failed = {"type": "Failed", "status": "True", "reason": "PodFailurePolicy", "message": "exit code 3"}
        done = {"type": "Complete", "status": "True"} if phase == "Succeeded" else failed
        spec = {**job["spec"], "selector": {"matchLabels": {"uid": "1"}}}
        self.fake.put({**job, "spec": spec, "status": {"conditions": [done]}})

    def run(self, *migrations: Migration, **options: Any) -> dict[str, Any]:
        options = {"contract": False, "check_mode": False, **options}
        return run(cast(Cluster, self.fake), "apps", migrations, clock=self, **options)


@pytest.fixture
def kitchen() -> Kitchen:
    return Kitchen()


def said(before: str, after: str, run: list[str], left: list[str]) -> str:
    line = {"before": before, "after": after, "run": run, "left": left, "event": "migrated", "level": "info"}
    return '{"event": "waiting for the database"}\n' + json.dumps(line) + "\nnot JSON\n"


def test_what_ran_is_a_change_and_what_is_left_is_told(kitchen: Kitchen) -> None:
    kitchen.cook = lambda job: kitchen.end(job, said("0001", "0002", ["0002"], ["0003"]))
    found = kitchen.run(migration())
    assert found["changed"]
    (told,) = found["migrations"]
    assert (told["service"], told["version"]) == ("orders", "1.1.0")
    assert (told["at"], told["run"], told["left"]) == ("0002", ["0002"], ["0003"])


def test_nothing_to_run_is_no_change(kitchen: Kitchen) -> None:
    kitchen.cook = lambda job: kitchen.end(job, said("0002", "0002", [], []))
    assert not kitchen.run(migration())["changed"]


def test_images_that_say_less_are_understood(kitchen: Kitchen) -> None:
    kitchen.cook = lambda job: kitchen.end(job, '{"event": "migrated", "before": ["0001"], "after": ["0001"]}')
    assert not kitchen.run(migration())["changed"]
    kitchen.cook = lambda job: kitchen.end(job, '{"event": "migrated", "before": [], "after": ["0001"]}')
    assert kitchen.run(migration())["changed"]


def test_somebodys_own_migrations_need_say_nothing(kitchen: Kitchen) -> None:
    found = kitchen.run(migration())
    assert found["changed"]
    assert found["migrations"][0]["run"] is None


def test_a_failure_names_the_version_and_the_last_lines_without_secrets(kitchen: Kitchen) -> None:
    kitchen.cook = lambda job: kitchen.end(job, "migration failed: no table at postgresql://a:s3cr3t@db/x", "Failed", 3)
    with pytest.raises(NotReady) as caught:
        kitchen.run(migration())
    text = str(caught.value)
    assert text.startswith("the migrations of orders 1.1.0 did not run to their end, so traffic stays where it is")
    assert "migration failed: no table" in text
    assert "s3cr3t" not in text
    assert [found for _, found in kitchen.fake.objects.items() if found["kind"] == "Job"], "it tells why"


def test_a_job_that_never_ends_is_not_waited_for_for_ever(kitchen: Kitchen) -> None:
    kitchen.cook = lambda job: None
    with pytest.raises(TimedOut, match=r"the migrations of orders 1\.1\.0"):
        kitchen.run(migration())
    assert kitchen.now < 1000 + 60 + 20
    assert not [found for _, found in kitchen.fake.objects.items() if found["kind"] == "Job"], "it won't begin later"


def test_all_are_begun_though_one_fails(kitchen: Kitchen) -> None:
    other = migration(service="stock", job={**job(), "metadata": {"name": "stock-migrate"}})

    def cook(job: Object) -> None:
        kitchen.end(job, phase="Failed" if job["metadata"]["name"].startswith("orders") else "Succeeded")

    kitchen.cook = cook
    with pytest.raises(NotReady, match="orders"):
        kitchen.run(migration(), other)
    assert ("CREATE", "Job", other.job["metadata"]["name"]) in kitchen.fake.writes


def test_a_job_that_is_under_way_is_waited_for_and_one_that_is_over_is_made_anew(kitchen: Kitchen) -> None:
    wanted = migration()
    kitchen.fake.create(wanted.job)
    kitchen.fake.calls.clear()
    kitchen.run(wanted)
    assert kitchen.fake.writes == []
    kitchen.run(wanted)
    name = wanted.job["metadata"]["name"]
    assert kitchen.fake.writes == [("DELETE", "Job", name), ("CREATE", "Job", name)]


def test_what_would_be_run_names_the_job() -> None:
    name = migration().job["metadata"]["name"]
    assert name.startswith("orders-migrate-")
    assert migration().job["metadata"]["name"] == name
    assert migration(job=job("other")).job["metadata"]["name"] != name


def test_alerts_and_logs_find_the_service_by_that_name() -> None:
    roles = Path(__file__).parents[2] / "roles"
    name = migration().job["metadata"]["name"]
    rules = (roles / "monitoring/files/rules/alerts_service_health.yml").read_text(encoding="utf-8")
    (alerts,) = re.findall(r'"service", "\$1", "job_name", "([^"]+)"', rules)
    logs = yaml.safe_load((roles / "logging/vars/main.yml").read_text(encoding="utf-8"))["__logging_migration_pod"]
    found = re.fullmatch(alerts, name), re.fullmatch(logs, f"{name}-x7k2p")
    assert [one and one[1] for one in found] == ["orders", "orders"]


def test_check_mode_writes_nothing_and_claims_nothing(kitchen: Kitchen) -> None:
    found = kitchen.run(migration(), check_mode=True)
    assert found["changed"]
    assert (found["migrations"][0]["run"], kitchen.fake.calls) == (None, [])


@pytest.mark.parametrize(
    "bad, reason",
    [
        ({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}}, "the job of orders must be one Job"),
        (job(activeDeadlineSeconds=0), "nobody waits for ever"),
        ("a: [", "not valid YAML"),
    ],
)
def test_what_is_no_job_is_refused(bad: Any, reason: str) -> None:
    with pytest.raises(Invalid, match=reason):
        migration(job=bad)


@pytest.mark.parametrize(
    "states, reason",
    [
        pytest.param(
            [state(BLUE, GREEN)],
            "slot blue \\(1.0.0\\) is kept for a rollback until 2026-11-21T11:00:00Z, when a run of playbooks/site.yml"
            " stops it. Wait for that, or give up the way back with .*contract_approved_by",
            id="kept",
        ),
        pytest.param([state(replace(BLUE, pods=()), GREEN)], "is kept", id="its pods are about to come"),
        pytest.param([state(replace(BLUE, version="1.2.0"), GREEN)], "holds 1.2.0: promote it", id="a release waits"),
        pytest.param([state(BLUE, active="blue")], "for 1.0.0 is in use", id="not in use"),
        pytest.param([state(GREEN, active=None)], "for none is in use", id="nothing in use"),
        pytest.param([], "for none is in use", id="no service"),
        pytest.param(
            [state(GREEN), replace(SENDER, slots={"blue": Slot("blue", "1.0.0", replicas=1)})],
            "sender 1.0.0 is in use on the same database: release 1.1.0 of it first",
            id="another service",
        ),
    ],
)
def test_who_is_in_the_way_of_a_contract(states: list[State], reason: str) -> None:
    with pytest.raises(Invalid, match=reason):
        check_contract(migration(), states)


@pytest.mark.parametrize(
    "states",
    [
        pytest.param([state(GREEN)], id="one slot"),
        pytest.param([state(replace(BLUE, replicas=0, pods=()), GREEN)], id="no longer kept"),
        pytest.param([state(replace(BLUE, replicas=0), GREEN)], id="its pods are on their way out"),
        pytest.param([state(replace(BLUE, version="1.1.0"), GREEN)], id="both are this version"),
        pytest.param([state(GREEN), SENDER], id="the others are of this version, too"),
    ],
)
def test_who_is_not(states: list[State]) -> None:
    check_contract(migration(), states)


def service(name: str = "orders", version: str = "1.1.0") -> list[Object]:
    """A Service with one version, on green."""
    labels = {"app.kubernetes.io/name": name, "opsforge.dev/slot": "green"}
    template = {
        "metadata": {"labels": {**labels, "app.kubernetes.io/version": version}},
        "spec": {"containers": [{"name": name, "image": "x"}]},
    }
    return [
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": name, "namespace": "apps"},
            "spec": {"selector": labels},
        },
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": f"{name}-green", "namespace": "apps", "labels": labels},
            "spec": {"replicas": 1, "template": template},
        },
    ]


def pod(name: str, version: str, **metadata: Any) -> Object:
    labels = {"app.kubernetes.io/name": "orders", "app.kubernetes.io/version": version, "opsforge.dev/slot": "blue"}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "apps", "labels": labels, **metadata},
        "status": {"phase": "Running"},
    }


def test_a_contract_waits_for_pods_that_were_told_to_stop(kitchen: Kitchen) -> None:
    leaving = pod("old", "1.0.0", deletionTimestamp="2026-11-21T10:00:00Z", deletionGracePeriodSeconds=43)
    for found in (*service(), leaving, pod("mine", "1.1.0")):
        kitchen.fake.put(found)
    with pytest.raises(TimedOut, match="old"):
        kitchen.run(migration(), contract=True)
    assert kitchen.fake.writes == []
    kitchen.fake.delete("v1", "Pod", "old", "apps")
    kitchen.run(migration(), contract=True)
    assert kitchen.fake.writes[-1][0] == "CREATE"


def test_a_contract_that_is_refused_makes_no_job_in_check_mode_either(kitchen: Kitchen) -> None:
    for found in service():
        kitchen.fake.put(found)
    for check_mode in (True, False):
        with pytest.raises(Invalid, match=r"orders 1\.2\.0 can't contract, for 1\.1\.0 is in use"):
            kitchen.run(migration(version="1.2.0"), contract=True, check_mode=check_mode)
    assert kitchen.fake.writes == []


def test_a_contract_asks_all_who_share_the_database(kitchen: Kitchen) -> None:
    for found in (*service(), *service("sender", "1.0.0")):
        kitchen.fake.put(found)
    with pytest.raises(Invalid, match=r"sender 1\.0\.0 is in use on the same database: release 1\.1\.0 of it first"):
        kitchen.run(migration(shared_with=["sender"]), contract=True)
    assert kitchen.fake.writes == []
