# SPDX-License-Identifier: GPL-3.0-or-later
"""kube_apply's decisions and order, against a cluster in memory, and its door."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from typing import Any, cast
from unittest.mock import patch

import pytest
from ansible.module_utils.testing import patch_module_args

from ansible_collections.opsforge.platform.plugins.module_utils._apply import (
    Wish,
    ensure_absent,
    ensure_present,
    run,
)
from ansible_collections.opsforge.platform.plugins.module_utils._client import Cluster
from ansible_collections.opsforge.platform.plugins.module_utils._errors import (
    Conflict,
    Forbidden,
    Invalid,
    NotFound,
    TimedOut,
)
from ansible_collections.opsforge.platform.plugins.modules import kube_apply

from .fake_cluster import FakeCluster

Object = dict[str, Any]
CHECK = Wish(check=True)


def config_map(name: str, namespace: str = "apps", **data: str) -> Object:
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}


def named(kind: str, name: str, api_version: str = "v1", **metadata: Any) -> Object:
    return {"apiVersion": api_version, "kind": kind, "metadata": {"name": name, **metadata}}


def as_cluster(fake: FakeCluster) -> Cluster:
    return cast(Cluster, fake)


def actions(outcome: Any) -> list[str]:
    return [change.action for change in outcome.changes]


def test_check_mode_predicts_what_happens_and_writes_nothing() -> None:
    fake = FakeCluster()
    ensure_present(as_cluster(fake), [config_map("a", x="1"), config_map("b", x="1")], Wish())
    wished = [config_map("a", x="2"), config_map("b", x="1"), config_map("c", x="1")]
    before = copy.deepcopy(fake.objects)
    writes = len(fake.writes)
    predicted = ensure_present(as_cluster(fake), wished, CHECK)
    assert fake.objects == before and len(fake.writes) == writes
    happened = ensure_present(as_cluster(fake), wished, Wish())
    assert actions(predicted) == actions(happened) == ["changed", "unchanged", "created"]
    assert predicted.result(True)["diff"] == happened.result(True)["diff"]


def test_what_is_as_written_is_not_written() -> None:
    fake = FakeCluster()
    wished = [config_map("a", x="1"), config_map("b", x="1")]
    ensure_present(as_cluster(fake), wished, Wish())
    fake.calls.clear()
    assert not ensure_present(as_cluster(fake), wished, Wish()).changed
    assert [call[0] for call in fake.calls] == ["get", "get"]


def test_many_of_a_kind_are_read_by_one_list() -> None:
    fake = FakeCluster()
    wished = [config_map(f"m{number}", x="1") for number in range(20)]
    ensure_present(as_cluster(fake), wished, Wish())
    fake.calls.clear()
    ensure_present(as_cluster(fake), wished, Wish())
    assert fake.calls == [("list", "ConfigMap", "apps")]


def test_who_may_not_list_gets() -> None:
    fake = FakeCluster()
    wished = [config_map(f"m{number}", x="1") for number in range(5)]
    ensure_present(as_cluster(fake), wished, Wish())
    with patch.object(fake, "page", side_effect=Forbidden("not allowed")):
        assert actions(ensure_present(as_cluster(fake), wished, Wish())) == ["unchanged"] * 5


def test_a_list_that_is_cut_is_completed_by_gets() -> None:
    fake = FakeCluster()
    wished = [config_map(f"m{number}", x="1") for number in range(5)]
    ensure_present(as_cluster(fake), wished, Wish())
    with patch.object(fake, "page", return_value=([fake.get("v1", "ConfigMap", "m0", "apps")], "more")):
        assert actions(ensure_present(as_cluster(fake), wished, Wish())) == ["unchanged"] * 5


def test_one_refusal_and_nothing_is_written() -> None:
    fake = FakeCluster()
    fake.refuse = {"ConfigMap/b": Invalid("b is bad"), "ConfigMap/c": Invalid("c is bad")}
    wished = [config_map("a", x="1"), config_map("b", x="1"), config_map("c", x="1")]
    with pytest.raises(Invalid, match=r"is bad \(1 more objects are refused\)"):
        ensure_present(as_cluster(fake), wished, Wish())
    assert fake.writes == []


def test_a_conflict_is_an_error_unless_forced() -> None:
    fake = FakeCluster()
    fake.apply(config_map("a", x="1"), manager="rival")
    for check in (True, False):
        with pytest.raises(Conflict, match="data.x by rival"):
            ensure_present(as_cluster(fake), [config_map("a", x="2")], Wish(check=check))
    assert actions(ensure_present(as_cluster(fake), [config_map("a", x="2")], Wish(force=True))) == ["changed"]


def test_waves_are_written_one_after_another_and_deleted_backwards() -> None:
    fake = FakeCluster()
    wished = [
        named("Deployment", "d", "apps/v1", namespace="n"),
        named("Secret", "s", namespace="n"),
        named("Namespace", "n"),
    ]
    assert actions(ensure_present(as_cluster(fake), wished, CHECK)) == ["created"] * 3
    ensure_present(as_cluster(fake), wished, Wish())
    assert fake.writes == [("APPLY", "Namespace", "n"), ("APPLY", "Secret", "s"), ("APPLY", "Deployment", "d")]
    fake.calls.clear()
    assert actions(ensure_absent(as_cluster(fake), wished, CHECK)) == ["deleted"] * 3
    assert fake.writes == []
    ensure_absent(as_cluster(fake), wished, Wish())
    assert fake.writes == [("DELETE", "Deployment", "d"), ("DELETE", "Secret", "s"), ("DELETE", "Namespace", "n")]
    assert not ensure_absent(as_cluster(fake), wished, Wish()).changed


def test_a_namespace_nobody_makes_is_an_error_but_not_in_check_mode() -> None:
    fake = FakeCluster(named("Namespace", "apps"))
    wished = [config_map("a", "elsewhere", x="1")]
    with pytest.raises(NotFound, match="elsewhere"):
        ensure_present(as_cluster(fake), wished, Wish())
    assert actions(ensure_present(as_cluster(fake), wished, CHECK)) == ["created"]


def test_what_is_being_deleted_is_not_written() -> None:
    fake = FakeCluster()
    doomed = config_map("a", x="1")
    fake.put({**doomed, "metadata": {**doomed["metadata"], "deletionTimestamp": "2030-01-01T00:00:00Z"}})
    with pytest.raises(Conflict, match="ConfigMap apps/a is being deleted"):
        ensure_present(as_cluster(fake), [doomed], Wish())
    assert actions(ensure_absent(as_cluster(fake), [doomed], Wish())) == ["unchanged"]


class NoTime:
    """A clock that runs out at once."""

    def __init__(self, step: float = 100.0) -> None:
        self.now = 0.0
        self.step = step

    def monotonic(self) -> float:
        self.now += self.step
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def test_a_failed_wait_still_tells_what_was_written() -> None:
    fake = FakeCluster()
    web = {**named("Deployment", "web", "apps/v1", namespace="apps"), "spec": {"replicas": 1}}
    with pytest.raises(TimedOut) as error:
        ensure_present(as_cluster(fake), [config_map("a", x="1"), web], Wish(wait_timeout=10), NoTime())
    assert error.value.facts["changed"]
    assert [entry["action"] for entry in error.value.facts["results"]] == ["created", "created"]


def test_a_wave_of_its_own_is_waited_for_before_the_next() -> None:
    fake = FakeCluster()
    first = named("Job", "migrate", "batch/v1", namespace="apps", annotations={"opsforge.dev/wave": "5"})
    with pytest.raises(TimedOut):
        ensure_present(
            as_cluster(fake), [config_map("a", x="1"), {**first, "spec": {}}], Wish(wait_timeout=10), NoTime()
        )
    assert fake.writes == [("APPLY", "Job", "migrate")]


def test_a_server_that_does_not_serve_a_new_definition_yet_is_tried_again() -> None:
    fake = FakeCluster()
    definition = {
        **named("CustomResourceDefinition", "things.x.example", "apiextensions.k8s.io/v1"),
        "spec": {
            "group": "x.example",
            "scope": "Cluster",
            "names": {"kind": "Thing", "plural": "things"},
            "versions": [{"name": "v1"}],
        },
        "status": {"conditions": [{"type": "Established", "status": "True"}]},
    }
    fake.kinds.learn(definition)
    thing = named("Thing", "t", "x.example/v1")
    refusals = [NotFound("not served yet"), Invalid("not in schema yet")]
    apply = fake.apply

    def hesitant(obj: Object, **more: Any) -> Object:
        if obj["kind"] == "Thing" and refusals and not more["dry_run"]:
            raise refusals.pop()
        return apply(obj, **more)

    clock = NoTime(step=0.0)
    with patch.object(fake, "apply", hesitant):
        assert actions(ensure_present(as_cluster(fake), [thing, definition], Wish(), clock)) == ["created", "created"]
    assert clock.now == pytest.approx(0.4)
    refusals += [Invalid("never in schema")] * 100
    fake.delete("x.example/v1", "Thing", "t")
    with patch.object(fake, "apply", hesitant), pytest.raises(Invalid, match="never in schema"):
        ensure_present(as_cluster(fake), [thing], Wish(), clock)
    assert clock.now == pytest.approx(0.4), "only what is new is given time"


def test_what_is_ready_is_not_asked_again() -> None:
    fake = FakeCluster()
    wished = [config_map("a", x="1"), named("Service", "s", namespace="apps")]
    ensure_present(as_cluster(fake), wished, Wish())
    fake.calls.clear()
    ensure_present(as_cluster(fake), wished, Wish(wait_timeout=10))
    assert len(fake.calls) == 2


def options(**changed: Any) -> Mapping[str, Any]:
    given = {
        "objects": [],
        "src": [],
        "namespace": "apps",
        "state": "present",
        "manager": "opsforge",
        "force_conflicts": False,
        "wait": False,
        "wait_timeout": 10,
    }
    return {**given, **changed}


def test_an_error_does_not_quote_a_secret() -> None:
    fake = FakeCluster()
    fake.refuse = {"Secret/s": Invalid("s: the value 'hunter2-hunter2' is bad")}
    secret = {**named("Secret", "s"), "stringData": {"password": "hunter2-hunter2"}}
    with pytest.raises(Invalid, match="s: the value '<hidden>' is bad"):
        run(as_cluster(fake), options(objects=[secret]), check=False, diff=False)


def through_the_door(capsys: pytest.CaptureFixture[str], fake: FakeCluster, **given: Any) -> dict[str, Any]:
    with (
        patch_module_args(given),
        patch.object(kube_apply, "connect", lambda params, check_mode: fake),
        pytest.raises(SystemExit),
    ):
        kube_apply.main()
    result: dict[str, Any] = json.loads(capsys.readouterr().out)
    return result


def test_the_door(capsys: pytest.CaptureFixture[str]) -> None:
    fake = FakeCluster()
    secret = {**named("Secret", "s", namespace="apps"), "stringData": {"password": "hunter2-hunter2"}}
    wished = [secret, config_map("a", x="1")]
    predicted = through_the_door(capsys, fake, objects=wished, _ansible_check_mode=True, _ansible_diff=True)
    assert fake.objects == {}
    created = through_the_door(capsys, fake, objects=wished, _ansible_diff=True)
    again = through_the_door(capsys, fake, objects=wished, _ansible_diff=True)
    assert predicted == created and created["changed"] and not again["changed"]
    assert created["results"][1] == {
        "api_version": "v1",
        "kind": "ConfigMap",
        "namespace": "apps",
        "name": "a",
        "action": "created",
    }
    assert len(created["diff"]) == 2 and again["diff"] == []
    # ansible-core 2.21 leaves the invocation out unless it is asked for.
    assert created.get("invocation", {"module_args": {"objects": "not shown"}})["module_args"]["objects"] == "not shown"
    assert "hunter2" not in json.dumps([predicted, created, again])


def test_the_door_when_it_fails(capsys: pytest.CaptureFixture[str]) -> None:
    result = through_the_door(capsys, FakeCluster(), objects=["kind: ConfigMap"])
    assert result["failed"] and result["msg"] == "item 1 of objects has no apiVersion"
    result = through_the_door(capsys, FakeCluster())
    assert result["msg"] == "one of the following is required: objects, src"
