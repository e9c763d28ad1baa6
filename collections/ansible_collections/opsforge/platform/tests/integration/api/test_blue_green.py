# SPDX-License-Identifier: GPL-3.0-or-later
"""blue_green_switch and blue_green_info against a real API server. The test plays the controllers and the kubelet."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from ansible_collections.opsforge.platform.plugins.module_utils import _slots
from ansible_collections.opsforge.platform.plugins.module_utils._apply import Wish as ApplyWish
from ansible_collections.opsforge.platform.plugins.module_utils._apply import ensure_absent, ensure_present
from ansible_collections.opsforge.platform.plugins.module_utils._client import Cluster, connect
from ansible_collections.opsforge.platform.plugins.module_utils._errors import Conflict
from ansible_collections.opsforge.platform.plugins.module_utils._objects import parse
from ansible_collections.opsforge.platform.plugins.module_utils._slots import selector
from ansible_collections.opsforge.platform.plugins.module_utils._switch import Options, Switch
from ansible_collections.opsforge.platform.plugins.module_utils._traffic import Wish

from .control_plane import find_file
from .shop import Shop

Object = dict[str, Any]
RunModule = Callable[..., dict[str, Any]]


class Doors(Shop):
    """A service behind the doors of the modules."""

    def __init__(self, cluster: Cluster, namespace: str, run_module: RunModule) -> None:
        super().__init__(cluster, namespace)
        self._run_module = run_module

    def switch(self, *, check: bool = False, **options: Any) -> Object:
        options = {"check_path": "", "management_port": 0, "timeout": 5, "by": "somebody", **options}
        return self._run_module(
            "blue_green_switch", check=check, diff=True, service="auth", namespace=self.namespace, **options
        )

    def info(self, **options: Any) -> Object:
        return self._run_module("blue_green_info", service="auth", namespace=self.namespace, **options)


@pytest.fixture
def shop(cluster: Cluster, namespace: str, run_module: RunModule) -> Doors:
    return Doors(cluster, namespace, run_module)


def test_create_again_change_again_back_again_each_in_check_mode_too(shop: Doors) -> None:
    shop.deploy("blue", "1.0.0")
    shop.deploy("green", "1.1.0")
    moves: list[tuple[Object, str, str]] = [
        ({"slot": "blue"}, "blue", "release"),
        ({"version": "1.1.0"}, "green", "release"),
        ({"previous": True}, "blue", "rollback"),
    ]
    for wish, active, action in moves:
        before = shop.version()
        foretold = shop.switch(check=True, **wish)
        assert shop.version() == before, "check mode writes nothing"
        done = shop.switch(**wish)
        for key in ("changed", "active", "version", "steps", "diff"):
            assert foretold[key] == done[key], key
        assert (done["changed"], done["active"]) == (True, active)
        assert shop.info()["history"][-1]["action"] == action
        assert shop.info()["autoscaler_follows"] == active

        before = shop.version()
        assert not shop.switch(check=True, **wish)["changed"]
        assert not shop.switch(**wish)["changed"]
        assert shop.version() == before, "the second time writes nothing"
    assert [entry["number"] for entry in shop.info()["history"]] == [1, 2, 3]


@pytest.fixture
def scaled_object_kind(cluster: Cluster) -> Iterator[None]:
    """The definition of KEDA's kind, from the mirror. It goes again: the other tests prove life without it."""
    (definition,) = (
        found
        for found in parse([], [str(find_file("keda-crds", "keda.yaml"))])
        if found["spec"]["names"]["kind"] == "ScaledObject"
    )
    ensure_present(cluster, [definition], ApplyWish())
    yield
    ensure_absent(cluster, [definition], ApplyWish(wait_timeout=30))


@pytest.mark.usefixtures("scaled_object_kind")
def test_a_scaled_object_follows_the_traffic_in_place_of_the_autoscaler(shop: Doors) -> None:
    trigger = {"type": "cpu", "metricType": "Utilization", "metadata": {"value": "70"}}
    spec = {"scaleTargetRef": {"name": "auth-blue"}, "minReplicaCount": 2, "triggers": [trigger]}
    shop.cluster.create(shop.object("keda.sh/v1alpha1", "ScaledObject", "auth", spec=spec))
    shop.deploy("blue", "1.0.0")
    shop.deploy("green", "1.1.0")
    shop.switch(slot="blue")
    assert shop.switch(slot="green")["steps"] == ["switch", "aim", "record"]
    assert (shop.info()["autoscaler"], shop.info()["autoscaler_follows"]) == ("ScaledObject", "green")
    found = shop.cluster.get("keda.sh/v1alpha1", "ScaledObject", "auth", shop.namespace)
    assert found is not None
    assert found["spec"] == {**spec, "scaleTargetRef": {"name": "auth-green"}}
    behind = shop.cluster.get("autoscaling/v2", "HorizontalPodAutoscaler", "auth", shop.namespace)
    assert behind is not None
    assert behind["spec"]["scaleTargetRef"]["name"] == "auth-blue", "KEDA's to write, and nobody runs it here"


def test_the_slot_gets_the_size_of_the_one_in_use(shop: Doors) -> None:
    shop.deploy("blue", "1.0.0", pods=5)
    shop.switch(slot="blue")
    shop.deploy("green", "1.1.0", pods=2)
    answer = shop.switch(slot="green", timeout=1)
    assert answer["failed"]
    assert "stays on blue" in answer["msg"]
    found = shop.cluster.get("apps/v1", "Deployment", "auth-green", shop.namespace)
    assert found is not None
    assert found["spec"]["replicas"] == 5


@pytest.mark.parametrize(
    "ready, wish, words",
    [
        (1, {"slot": "green", "timeout": 1}, "traffic of auth stays on blue"),
        (1, {"slot": "green", "patient": False}, "is not ready (1 of 2 pods): traffic stays on blue"),
        (2, {"slot": "green", "version": "9.9.9"}, "holds version 1.1.0, not 9.9.9"),
        (2, {"version": "9.9.9"}, "no slot of auth holds version 9.9.9"),
    ],
)
def test_refusal_leaves_traffic_where_it_was(shop: Doors, ready: int, wish: Object, words: str) -> None:
    shop.deploy("blue", "1.0.0")
    shop.switch(slot="blue")
    shop.deploy("green", "1.1.0", ready=ready)
    before = shop.version()
    answer = shop.switch(**wish)
    assert answer["failed"]
    assert words in answer["msg"]
    assert shop.version() == before


def test_a_foreign_selector_is_refused_by_both_modules(shop: Doors) -> None:
    shop.deploy("blue", "1.0.0")
    shop.cluster.patch("v1", "Service", "auth", shop.namespace, {"spec": {"selector": {"app": "auth"}}})
    for answer in (shop.switch(slot="blue"), shop.info()):
        assert answer["failed"]
        assert "is not ours (app=auth)" in answer["msg"]


def test_pods_that_nobody_can_reach_hold_no_switch_up(shop: Doors) -> None:
    shop.deploy("blue", "1.0.0")
    shop.switch(slot="blue")
    shop.deploy("green", "1.1.0")
    answer = shop.switch(slot="green", management_port=9000)
    assert (answer["active"], answer["drained"]) == ("green", "0/2")
    assert set(answer["unheard"]) == {f"auth-{slot}-{number}" for slot in ("blue", "green") for number in (0, 1)}


def test_a_pod_that_nobody_can_reach_does_not_pass_the_check(shop: Doors) -> None:
    shop.deploy("blue", "1.0.0")
    answer = shop.switch(slot="blue", check_path="/health")
    assert answer["failed"]
    assert "2 of 2 pods of slot blue of auth do not answer /health" in answer["msg"]
    assert shop.info()["active"] is None
    preview = shop.cluster.get("v1", "Service", "auth-preview", shop.namespace)
    assert preview is not None
    assert preview["spec"]["selector"] == selector("auth", "blue"), "the preview shows what is wrong"


def test_applying_the_service_again_leaves_its_selector_alone(shop: Doors, run_module: RunModule) -> None:
    shop.deploy("blue", "1.0.0")
    shop.switch(slot="blue")
    ports = {"ports": [{"name": "http", "port": 80, "targetPort": "http"}]}
    wanted = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "auth", "namespace": shop.namespace}}
    for _ in range(2):
        answer = run_module("kube_apply", objects=[{**wanted, "spec": ports}], manager="opsforge-service")
        assert not answer.get("failed"), answer
    assert shop.info()["active"] == "blue"


def test_many_writers_with_one_goal_leave_one_record(shop: Doors, control_plane: Any) -> None:
    shop.deploy("blue", "1.0.0")
    shop.deploy("green", "1.1.0")
    for slot in ("blue", "green", "blue", "green"):
        errors: list[Exception] = []
        start = threading.Barrier(4)

        def move(slot: str = slot, start: threading.Barrier = start, errors: list[Exception] = errors) -> None:
            mine = connect({"kubeconfig": str(control_plane.kubeconfig)})
            start.wait()
            try:
                Switch(mine, shop.namespace, "auth", Options()).run(Wish(slot=slot, check=False, drain=False))
            except Exception as error:
                errors.append(error)

        writers = [threading.Thread(target=move) for _ in range(4)]
        for writer in writers:
            writer.start()
        for writer in writers:
            writer.join()
        assert errors == []
        assert shop.info()["active"] == slot
    history = shop.info()["history"]
    assert [(entry["number"], entry["slot"]) for entry in history] == [
        (1, "blue"),
        (2, "green"),
        (3, "blue"),
        (4, "green"),
    ]


def test_a_lost_race_is_an_error_and_writes_nothing(shop: Doors, control_plane: Any) -> None:
    shop.deploy("blue", "1.0.0")
    shop.deploy("green", "1.1.0")
    shop.switch(slot="blue")

    class Slow(Cluster):
        """Somebody else takes the traffic off the service between this writer's look and its write."""

        def patch(self, api_version: str, kind: str, name: str, *args: Any, **kwargs: Any) -> Object:
            if (kind, name) == ("Service", "auth"):
                shop.cluster.patch("v1", "Service", "auth", shop.namespace, {"spec": {"selector": None}})
            return super().patch(api_version, kind, name, *args, **kwargs)

    slow = Slow(connect({"kubeconfig": str(control_plane.kubeconfig)})._pool)
    with pytest.raises(Conflict, match="somebody else moved the traffic of auth"):
        Switch(slow, shop.namespace, "auth", Options()).run(Wish(slot="green", check=False, drain=False))
    assert _slots.read(shop.cluster, shop.namespace, "auth").active is None


def test_info_of_a_service_that_does_not_exist(run_module: RunModule) -> None:
    answer = run_module("blue_green_info", service="auth", namespace="nowhere", first_version="1.0.0")
    assert (answer["active"], answer["slots"], answer["history"]) == (None, {}, [])
    assert (answer["target"], answer["versions"]) == ("blue", {"blue": "1.0.0"})
