# SPDX-License-Identifier: GPL-3.0-or-later
"""A run moves traffic by one write, waits for what has to be there, and yields to whoever moved it meanwhile."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from ansible_collections.opsforge.platform.plugins.module_utils import _slots
from ansible_collections.opsforge.platform.plugins.module_utils._clock import Clock
from ansible_collections.opsforge.platform.plugins.module_utils._errors import (
    Conflict,
    Forbidden,
    Invalid,
    NotFound,
    NotReady,
    TimedOut,
)
from ansible_collections.opsforge.platform.plugins.module_utils._slots import selector
from ansible_collections.opsforge.platform.plugins.module_utils._switch import Options, Switch
from ansible_collections.opsforge.platform.plugins.module_utils._traffic import Wish

from .fake_cluster import FakeCluster

Object = dict[str, Any]
Moves = list[tuple[str, str, str]]

TO_GREEN = Wish(slot="green", version="1.1.0")
DIGEST, OTHER = f"sha256:{1:064}", f"sha256:{2:064}"


def deployment(slot: str, content: str, replicas: int) -> Object:
    """`content` is a version, with a digest behind it where the image is named by one."""
    version = content.partition("@")[0]
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": f"auth-{slot}", "namespace": "apps", "labels": {"app.kubernetes.io/name": "auth"}},
        "spec": {
            "replicas": replicas,
            "template": {
                "metadata": {"labels": {**selector("auth", slot), "app.kubernetes.io/version": version}},
                "spec": {"containers": [{"name": "auth", "image": f"auth:{content}"}]},
            },
        },
    }


def pod(slot: str, number: int) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": f"auth-{slot}-{number}", "namespace": "apps", "labels": selector("auth", slot)},
        "status": {"conditions": [{"type": "Ready", "status": "True"}]},
    }


def service(name: str, **spec: Any) -> Object:
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": "apps"}, "spec": spec}


class Apps(FakeCluster):
    """A cluster whose controllers work at once, unless `stuck`."""

    def __init__(self) -> None:
        super().__init__(service("auth"), service("auth-preview"))
        self.stuck = False
        self.before_write: Callable[[], None] | None = None
        self.put(
            {
                "apiVersion": "autoscaling/v2",
                "kind": "HorizontalPodAutoscaler",
                "metadata": {"name": "auth", "namespace": "apps"},
                "spec": {"scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "auth-blue"}},
            }
        )

    def deploy(self, slot: str, content: str, replicas: int = 1) -> None:
        self.put(deployment(slot, content, replicas))

    def list(self, api_version: str, kind: str, *args: Any, **kwargs: Any) -> list[Object]:
        self._control()
        return super().list(api_version, kind, *args, **kwargs)

    def patch(self, api_version: str, kind: str, name: str, *args: Any, **kwargs: Any) -> Object:
        if (kind, name) == ("Service", "auth") and self.before_write:
            self.before_write()
        return super().patch(api_version, kind, name, *args, **kwargs)

    def get(self, api_version: str, kind: str, *args: Any, **kwargs: Any) -> Object | None:
        self._control()
        return super().get(api_version, kind, *args, **kwargs)

    def _control(self) -> None:
        for found in [obj for key, obj in self.objects.items() if key[1] == "Deployment"]:
            count = 0 if self.stuck else found["spec"]["replicas"]
            found["status"] = {
                "observedGeneration": found["metadata"]["generation"],
                "replicas": found["spec"]["replicas"],
                "updatedReplicas": found["spec"]["replicas"],
                "availableReplicas": count,
            }
            slot = found["metadata"]["name"].removeprefix("auth-")
            for number in range(count):
                if ("v1", "Pod", "apps", f"auth-{slot}-{number}") not in self.objects:
                    self.put(pod(slot, number))

    @property
    def selector(self) -> Object | None:
        return self.objects["v1", "Service", "apps", "auth"]["spec"].get("selector")

    @property
    def history(self) -> Moves:
        found = _slots.read(self, "apps", "auth").history
        return [(entry.action, entry.slot, entry.version) for entry in found]


class Ticks:
    """Time that passes only when somebody sleeps."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def clock(self) -> Clock:
        return Clock(monotonic=lambda: self.seconds, now=lambda: self.seconds, sleep=self.sleep)

    def sleep(self, seconds: float) -> None:
        self.seconds += seconds


@pytest.fixture
def apps() -> Apps:
    return Apps()


def move(cluster: Apps, wish: Wish, *, check_mode: bool = False, **options: Any) -> dict[str, Any]:
    """One run of the module's logic."""
    chosen = Options(by="somebody", **options)
    return Switch(cluster, "apps", "auth", chosen, Ticks().clock()).run(wish, check_mode=check_mode)  # type: ignore[arg-type]


def released(cluster: Apps, *versions: str) -> None:
    """Release versions one after the other, each to the idle slot."""
    for number, version in enumerate(versions):
        slot = _slots.SLOTS[number % 2]
        cluster.deploy(slot, version)
        move(cluster, Wish(slot=slot, version=version, replicas_min=2))
    cluster.calls.clear()


def test_the_first_traffic_of_a_service(apps: Apps) -> None:
    apps.deploy("blue", "1.0.0")
    answer = move(apps, Wish(slot="blue", version="1.0.0", replicas_min=2))
    assert answer["steps"] == ["size", "check", "switch", "drain", "record"]
    assert answer["changed"]
    assert apps.selector == selector("auth", "blue")
    assert apps.history == [("release", "blue", "1.0.0")]


def test_a_release_and_the_same_again(apps: Apps) -> None:
    released(apps, "1.0.0")
    apps.deploy("green", "1.1.0")
    answer = move(apps, TO_GREEN)
    assert answer["steps"] == ["size", "check", "switch", "aim", "drain", "record"]
    assert answer["drained"] == "2/2"
    assert (answer["diff"]["before"]["traffic"], answer["diff"]["after"]["traffic"]) == ("blue 1.0.0", "green 1.1.0")
    assert apps.selector == selector("auth", "green")
    assert _slots.read(apps, "apps", "auth").scaled == "green"

    apps.calls.clear()
    again = move(apps, TO_GREEN)
    assert (again["changed"], again["steps"], apps.writes) == (False, [], [])


SCALED_OBJECT = {
    "apiVersion": "keda.sh/v1alpha1",
    "kind": "ScaledObject",
    "metadata": {"name": "auth", "namespace": "apps"},
    "spec": {"scaleTargetRef": {"name": "auth-blue"}, "minReplicaCount": 2},
}


def test_a_service_with_a_scaled_object_has_that_moved_and_not_the_autoscaler_behind_it(apps: Apps) -> None:
    apps.put(SCALED_OBJECT)
    released(apps, "1.0.0")
    apps.deploy("green", "1.1.0")
    answer = move(apps, TO_GREEN)
    assert answer["steps"] == ["size", "check", "switch", "aim", "drain", "record"]
    assert ("PATCH", "ScaledObject", "auth") in apps.writes
    assert ("PATCH", "HorizontalPodAutoscaler", "auth") not in apps.writes
    spec = apps.objects["keda.sh/v1alpha1", "ScaledObject", "apps", "auth"]["spec"]
    assert spec == {"scaleTargetRef": {"name": "auth-green"}, "minReplicaCount": 2}, "nothing else of it changes"
    assert not move(apps, TO_GREEN)["changed"]


def test_what_sizes_a_service_is_told_by_its_kind(apps: Apps) -> None:
    known = _slots.described(_slots.read(apps, "apps", "auth"))
    assert (known["autoscaler"], known["autoscaler_follows"]) == ("HorizontalPodAutoscaler", "blue")
    apps.put(SCALED_OBJECT | {"spec": {"scaleTargetRef": {"name": "auth-green"}}})
    known = _slots.described(_slots.read(apps, "apps", "auth"))
    assert (known["autoscaler"], known["autoscaler_follows"]) == ("ScaledObject", "green")


def test_a_service_that_nothing_sizes_is_switched_all_the_same(apps: Apps) -> None:
    apps.delete("autoscaling/v2", "HorizontalPodAutoscaler", "auth", "apps")
    released(apps, "1.0.0")
    apps.deploy("green", "1.1.0")
    assert move(apps, TO_GREEN)["steps"] == ["size", "check", "switch", "drain", "record"]
    assert _slots.described(_slots.read(apps, "apps", "auth"))["autoscaler"] is None


def test_a_worker_is_told_to_rest_before_its_pods_go_and_comes_back_with_new_ones(apps: Apps) -> None:
    released(apps, "1.0.0")
    apps.deploy("green", "1.1.0")
    answer = move(apps, replace(TO_GREEN, keep_seconds=0))
    assert answer["steps"] == ["size", "check", "switch", "aim", "drain", "record", "rest", "stop"]
    assert [slot.replicas for slot in _slots.read(apps, "apps", "auth").slots.values()] == [0, 2]
    assert move(apps, replace(TO_GREEN, keep_seconds=0))["steps"] == []

    back = move(apps, Wish(previous=True, patient=True, keep_seconds=0))
    assert (back["active"], back["steps"][0], back["steps"][-1]) == ("blue", "size", "stop")
    assert [slot.replicas for slot in _slots.read(apps, "apps", "auth").slots.values()] == [2, 0]


def test_a_release_writes_the_selector_once_and_before_anybody_is_drained(apps: Apps) -> None:
    released(apps, "1.0.0")
    apps.deploy("green", "1.1.0")
    move(apps, TO_GREEN)
    assert apps.writes.count(("PATCH", "Service", "auth")) == 1
    drains = [index for index, call in enumerate(apps.calls) if call[0] == "PROXY"]
    assert min(drains) > apps.calls.index(("PATCH", "Service", "auth"))


def test_rollback_moves_traffic_with_its_first_write_and_a_second_one_does_nothing(apps: Apps) -> None:
    released(apps, "1.0.0", "1.1.0")
    answer = move(apps, Wish(previous=True, patient=False, check=False))
    assert answer["steps"] == ["switch", "aim", "drain", "record"]
    assert apps.writes[0] == ("PATCH", "Service", "auth")
    assert apps.history[-1] == ("rollback", "blue", "1.0.0")

    apps.calls.clear()
    again = move(apps, Wish(previous=True, patient=False, check=False))
    assert (again["active"], again["changed"], apps.writes) == ("blue", False, [])


@pytest.mark.parametrize(
    "wish", [TO_GREEN, Wish(previous=True, patient=False, check=False)], ids=["release", "rollback"]
)
def test_check_mode_foretells_what_happens_and_writes_nothing(apps: Apps, wish: Wish) -> None:
    released(apps, "1.0.0", *([] if wish.slot else ["1.1.0"]))
    if wish.slot:
        apps.deploy("green", "1.1.0")
    foretold = move(apps, wish, check_mode=True)
    assert apps.writes == []
    done = move(apps, wish)
    foretold["steps"] = [kind for kind in foretold["steps"] if kind != "wait"]  # nobody can know how fast pods start
    for key in ("changed", "steps", "active", "version", "diff"):
        assert foretold[key] == done[key], key


def test_check_mode_on_nothing(apps: Apps) -> None:
    apps.objects.clear()
    answer = move(apps, Wish(slot="blue", version="1.0.0"), check_mode=True)
    assert (answer["changed"], answer["active"], answer["version"]) == (True, "blue", "1.0.0")


def test_check_mode_of_a_release_that_nothing_was_deployed_for(apps: Apps) -> None:
    released(apps, "1.0.0", "1.1.0")
    answer = move(apps, Wish(slot="blue", version="1.2.0"), check_mode=True)
    assert (answer["active"], answer["version"], apps.writes) == ("blue", "1.2.0", [])


def test_without_a_service_there_is_nothing_to_switch(apps: Apps) -> None:
    apps.objects.clear()
    with pytest.raises(NotFound, match="namespace apps has no Service auth"):
        move(apps, TO_GREEN)


def test_a_slot_that_never_gets_ready(apps: Apps) -> None:
    released(apps, "1.0.0")
    apps.deploy("green", "1.1.0")
    apps.stuck = True
    with pytest.raises(TimedOut, match="traffic of auth stays on blue: .*auth-green is not ready after 30 s"):
        move(apps, TO_GREEN, timeout=30)
    assert apps.selector == selector("auth", "blue")


def test_a_slot_that_is_ready_and_does_not_answer(apps: Apps) -> None:
    released(apps, "1.0.0")
    apps.deploy("green", "1.1.0")
    apps.proxy_status = lambda namespace, pod, method, path: 500 if pod == "auth-green-1" else 200
    with pytest.raises(
        NotReady, match=r"1 of 2 pods of slot green .* \(auth-green-1: HTTP 500\): traffic stays on blue"
    ):
        move(apps, TO_GREEN)
    assert apps.selector == selector("auth", "blue")


def test_pods_that_can_not_be_drained_are_told_of_and_hold_nothing_up(apps: Apps) -> None:
    released(apps, "1.0.0")
    apps.deploy("green", "1.1.0")
    apps.proxy_status = lambda namespace, pod, method, path: 503 if pod == "auth-blue-0" else 200
    answer = move(apps, TO_GREEN)
    assert (answer["drained"], answer["unheard"]) == ("1/2", {"auth-blue-0": "HTTP 503"})
    assert apps.selector == selector("auth", "green")


def test_the_slot_that_gets_traffic_keeps_connections_and_the_other_lets_them_go(apps: Apps) -> None:
    released(apps, "1.0.0", "1.1.0")
    told = []
    apps.proxy_status = lambda namespace, pod, method, path: told.append((pod, method, path)) or 200  # type: ignore[func-returns-value]
    move(apps, Wish(previous=True, patient=False, check=False))
    assert sorted(told) == [
        ("auth-blue-0", "DELETE", "/drain"),
        ("auth-blue-1", "DELETE", "/drain"),
        ("auth-green-0", "PUT", "/drain"),
        ("auth-green-1", "PUT", "/drain"),
    ]


@pytest.mark.parametrize(
    "foreign", [{"app": "auth"}, {**selector("auth", "blue"), "canary": "yes"}, {"opsforge.dev/slot": "blue"}], ids=str
)
def test_a_foreign_selector_is_left_alone(apps: Apps, foreign: dict[str, str]) -> None:
    apps.put(service("auth", selector=foreign))
    apps.deploy("blue", "1.0.0")
    with pytest.raises(Invalid, match="not ours"):
        move(apps, Wish(slot="blue"))
    assert apps.writes == []


def test_an_unrelated_change_of_the_service_is_looked_at_again(apps: Apps) -> None:
    released(apps, "1.0.0")
    apps.deploy("green", "1.1.0")
    apps.before_write = lambda: label(apps)
    assert move(apps, TO_GREEN)["active"] == "green"
    assert apps.writes.count(("PATCH", "Service", "auth")) == 2


def label(cluster: Apps) -> None:
    """Somebody else changes the Service, once."""
    cluster.before_write = None
    found = cluster.objects["v1", "Service", "apps", "auth"]
    cluster.put({**found, "metadata": {**found["metadata"], "labels": {"a": "b"}}})


def test_a_lost_race_is_an_error_and_writes_nothing(apps: Apps) -> None:
    released(apps, "1.0.0", "1.1.0")
    apps.deploy("blue", "1.2.0", replicas=2)

    def somebody_empties_it() -> None:
        apps.before_write = None
        apps.put(service("auth"))

    apps.before_write = somebody_empties_it
    with pytest.raises(Conflict, match="somebody else moved the traffic of auth"):
        move(apps, Wish(slot="blue", version="1.2.0"))
    assert apps.selector is None
    assert [entry[2] for entry in apps.history] == ["1.0.0", "1.1.0"]


def test_two_writers_with_the_same_goal_both_end_well(apps: Apps) -> None:
    released(apps, "1.0.0")
    apps.deploy("green", "1.1.0")

    def the_other_one_is_faster() -> None:
        apps.before_write = None
        move(apps, TO_GREEN)

    apps.before_write = the_other_one_is_faster
    answer = move(apps, TO_GREEN)
    assert (answer["active"], answer["steps"]) == ("green", ["size", "check"])
    assert apps.history == [("release", "blue", "1.0.0"), ("release", "green", "1.1.0")]


def test_a_slot_that_another_release_takes_over_is_not_switched_to(apps: Apps) -> None:
    released(apps, "1.0.0")
    apps.deploy("green", "1.1.0")

    def another_release() -> None:
        apps.before_write = None
        label(apps)
        apps.deploy("green", "1.2.0")

    apps.before_write = another_release
    with pytest.raises(Invalid, match="holds version 1.2.0, not 1.1.0"):
        move(apps, TO_GREEN)
    assert apps.selector == selector("auth", "blue")


def test_a_service_that_always_changes_is_given_up(apps: Apps) -> None:
    released(apps, "1.0.0")
    apps.deploy("green", "1.1.0")

    def again() -> None:
        label(apps)
        found = apps.objects["v1", "Service", "apps", "auth"]
        found["metadata"]["resourceVersion"] += "0"
        apps.before_write = again

    apps.before_write = again
    with pytest.raises(Conflict):
        move(apps, TO_GREEN)
    assert apps.selector == selector("auth", "blue")


@pytest.mark.parametrize("killed_at", ["PATCH", "PROXY", "REPLACE"])
def test_a_killed_run_is_finished_by_the_next(apps: Apps, killed_at: str) -> None:
    """Killed before the autoscaler, the drain or the record was written."""
    released(apps, "1.0.0")
    apps.deploy("green", "1.1.0", replicas=2)
    whole = Apps()
    released(whole, "1.0.0")
    whole.deploy("green", "1.1.0", replicas=2)
    move(whole, TO_GREEN)

    class Killed(BaseException):
        pass

    def record(verb: str, obj: Object, dry_run: bool) -> None:
        if (
            verb.upper() == killed_at
            and obj["metadata"]["name"] != "auth-preview"
            and apps.selector == selector("auth", "green")
        ):
            raise Killed
        original(verb, obj, dry_run)

    def die(namespace: str, pod: str, method: str, path: str) -> int:
        if killed_at == "PROXY" and method == "PUT":
            raise Killed
        return 200

    original = apps._record
    apps._record, apps.proxy_status = record, die  # type: ignore[method-assign]
    with pytest.raises(Killed):
        move(apps, TO_GREEN)
    apps._record, apps.proxy_status = original, lambda *args: 200  # type: ignore[method-assign]
    assert move(apps, TO_GREEN)["changed"]
    assert apps.history == whole.history
    assert _slots.described(_slots.read(apps, "apps", "auth")) == _slots.described(_slots.read(whole, "apps", "auth"))


def move_as_somebody_else(apps: Apps, slot: str) -> int:
    """Move traffic by hand; answers as a pod does."""
    apps.put({**apps.objects["v1", "Service", "apps", "auth"], "spec": {"selector": selector("auth", slot)}})
    return 200


def test_traffic_that_was_taken_away_again_is_not_taken_back(apps: Apps) -> None:
    released(apps, "1.0.0")
    apps.deploy("green", "1.1.0")
    apps.proxy_status = lambda _namespace, _pod, _method, path: (
        move_as_somebody_else(apps, "blue") if path == "/drain" else 200
    )
    with pytest.raises(Conflict, match="it is on blue now and stays there"):
        move(apps, TO_GREEN)
    assert apps.selector == selector("auth", "blue")


def test_nor_when_it_was_taken_away_before_the_next_look(apps: Apps) -> None:
    released(apps, "1.0.0")
    apps.deploy("green", "1.1.0")
    original = apps.patch

    def taken_away_right_after(api_version: str, kind: str, name: str, *args: Any, **kwargs: Any) -> Object:
        written = original(api_version, kind, name, *args, **kwargs)
        if (kind, name) == ("Service", "auth"):
            move_as_somebody_else(apps, "blue")
        return written

    apps.patch = taken_away_right_after  # type: ignore[method-assign]
    with pytest.raises(Conflict, match="it is on blue now and stays there"):
        move(apps, TO_GREEN)
    assert apps.writes.count(("PATCH", "Service", "auth")) == 1


def test_pods_are_not_stopped_that_somebody_switched_to_meanwhile(apps: Apps) -> None:
    """Between the look and the write that stops them, traffic comes back to them."""
    released(apps, "1.0.0")
    apps.deploy("green", "1.1.0")
    move(apps, TO_GREEN)
    stops = replace(TO_GREEN, keep_seconds=0)
    original = apps.patch

    def rolled_back_just_before(api_version: str, kind: str, name: str, *args: Any, **kwargs: Any) -> Object:
        if (kind, kwargs.get("subresource")) == ("Deployment", "scale"):
            apps.patch = original  # type: ignore[method-assign]
            move(apps, Wish(previous=True, patient=False, check=False))
        return original(api_version, kind, name, *args, **kwargs)

    apps.patch = rolled_back_just_before  # type: ignore[method-assign]
    with pytest.raises(Conflict, match="it is on blue now"):
        move(apps, stops)
    found = _slots.read(apps, "apps", "auth")
    assert (found.active, found.slots["blue"].replicas, found.resting) == ("blue", 2, "")


def test_a_move_is_announced_once_and_a_refused_announcement_is_no_failure(apps: Apps) -> None:
    released(apps, "1.0.0", "1.1.0")
    events = [obj for (_, kind, _, _), obj in apps.objects.items() if kind == "Event"]
    assert [(event["reason"], event["note"]) for event in events] == [
        ("Released", "traffic is on blue 1.0.0, moved by somebody"),
        ("Released", "traffic is on green 1.1.0 from blue 1.0.0, moved by somebody"),
    ]
    assert all(event["regarding"]["name"] == "auth" for event in events)
    honest = apps.create

    def create(obj: Object, **options: Any) -> Object:
        if obj["kind"] == "Event":
            raise Forbidden("events are not yours to write")
        return honest(obj, **options)

    apps.create = create  # type: ignore[method-assign]
    assert move(apps, Wish(previous=True))["active"] == "blue"
    assert apps.history[-1] == ("rollback", "blue", "1.0.0")


def test_an_old_look_at_the_service_is_not_recorded(apps: Apps) -> None:
    released(apps, "1.0.0", "1.1.0")
    on_green = copy.deepcopy(apps.objects["v1", "Service", "apps", "auth"])
    move(apps, Wish(previous=True))
    before, honest = apps.history, apps.get

    def get(api_version: str, kind: str, name: str, *args: Any, **kwargs: Any) -> Object | None:
        if (kind, name) != ("Service", "auth"):
            return honest(api_version, kind, name, *args, **kwargs)
        apps.get = honest  # type: ignore[method-assign]
        return on_green

    apps.get = get  # type: ignore[method-assign]
    assert not move(apps, Wish(previous=True, patient=False, check=False))["changed"]
    assert (apps.selector, apps.history) == (selector("auth", "blue"), before)


def test_an_old_record_does_not_say_where_traffic_was_before_it_went_to_both_slots(apps: Apps) -> None:
    released(apps, "1.0.0")
    old = copy.deepcopy(apps.objects["v1", "ConfigMap", "apps", "auth-releases"])
    apps.deploy("green", "1.1.0")
    move(apps, TO_GREEN)
    apps.objects["v1", "Service", "apps", "auth"]["spec"]["selector"] = _slots.both("auth")
    honest = apps.get

    def get(api_version: str, kind: str, name: str, *args: Any, **kwargs: Any) -> Object | None:
        if (kind, name) != ("ConfigMap", "auth-releases"):
            return honest(api_version, kind, name, *args, **kwargs)
        apps.get = honest  # type: ignore[method-assign]
        return old

    apps.get = get  # type: ignore[method-assign]
    assert move(apps, Wish(previous=True, patient=False, check=False))["active"] == "green"
    assert apps.history == [("release", "blue", "1.0.0"), ("release", "green", "1.1.0")]


def bring_to_both(apps: Apps) -> None:
    """Somebody else begins to move traffic."""
    apps.patch("v1", "Service", "auth", "apps", {"spec": {"selector": {"opsforge.dev/slot": None}}})


def follow_next_write(apps: Apps, meanwhile: Callable[[], object]) -> None:
    """Have something else happen right after the next write, and so before the next look."""
    original = apps.patch

    def patch(*args: Any, **kwargs: Any) -> Object:
        apps.patch = original  # type: ignore[method-assign]
        written = original(*args, **kwargs)
        meanwhile()
        return written

    apps.patch = patch  # type: ignore[method-assign]


def test_a_way_back_ends_when_somebody_begins_to_bring_traffic_to_both_slots(apps: Apps) -> None:
    released(apps, "1.0.0", "1.1.0")

    def both_have_it() -> None:
        apps.before_write = None
        bring_to_both(apps)

    apps.before_write = both_have_it
    with pytest.raises(Conflict, match="it is on both slots now and stays there"):
        move(apps, Wish(previous=True, patient=False, check=False))
    assert apps.selector == _slots.both("auth")


def test_nor_does_it_go_on_from_a_look_that_another_hand_made_old(apps: Apps) -> None:
    """Between two looks with no lost write of its own: its first write is to a Deployment, which nobody else wrote."""
    released(apps, "1.0.0", "1.1.0")
    move(apps, replace(TO_GREEN, keep_seconds=0))
    follow_next_write(apps, lambda: bring_to_both(apps))
    with pytest.raises(Conflict, match="it is on both slots now and stays there"):
        move(apps, Wish(previous=True, patient=False, check=False))
    assert apps.selector == _slots.both("auth")


def test_the_late_record_of_a_move_that_was_seen_is_no_other_move(apps: Apps) -> None:
    released(apps, "1.0.0")
    apps.deploy("green", "1.1.0")
    move_as_somebody_else(apps, "green")
    apps.deploy("blue", "1.2.0", replicas=1)
    follow_next_write(apps, lambda: move(apps, TO_GREEN))
    assert move(apps, Wish(slot="blue", version="1.2.0"))["active"] == "blue"
    assert [entry[2] for entry in apps.history] == ["1.0.0", "1.1.0", "1.2.0"]


def test_content_is_a_goal_as_a_version_is(apps: Apps) -> None:
    released(apps, "1.0.0")
    apps.deploy("green", f"1.1.0@{DIGEST}")
    assert move(apps, Wish(digest=DIGEST))["active"] == "green"
    assert not move(apps, Wish(digest=DIGEST))["changed"]
    with pytest.raises(Invalid, match=f"no slot of auth holds image {OTHER}"):
        move(apps, Wish(digest=OTHER))


def test_the_record_names_who_approved(apps: Apps) -> None:
    apps.deploy("blue", "1.0.0")
    move(apps, Wish(slot="blue"), approved_by="a colleague")
    assert _slots.read(apps, "apps", "auth").history[-1].approved_by == "a colleague"


def test_the_record_names_who_moved_with_it(apps: Apps) -> None:
    apps.deploy("blue", "1.0.0")
    move(apps, Wish(slot="blue"), together="auth orders")
    assert _slots.read(apps, "apps", "auth").history[-1].together == "auth orders"


def test_a_way_back_to_a_stopped_slot_waits_for_each_pod_that_it_asked_for(apps: Apps) -> None:
    released(apps, "1.0.0", "1.1.0")
    move(apps, Wish(slot="green", keep_seconds=0))
    complete = apps.list
    looks = []

    def one_after_the_other(api_version: str, kind: str, *args: Any, **kwargs: Any) -> list[Object]:
        found = complete(api_version, kind, *args, **kwargs)
        size = apps.objects["apps/v1", "Deployment", "apps", "auth-blue"]["spec"]["replicas"]
        if kind != "Pod" or not size:
            return found
        looks.append(kind)
        return [each for each in found if len(looks) > 1 or each["metadata"]["name"] != "auth-blue-1"]

    apps.list = one_after_the_other  # type: ignore[method-assign]
    answer = move(apps, Wish(previous=True, patient=False, check=False))
    assert answer["steps"][:4] == ["size", "wait", "wake", "switch"]


def test_preparing_leaves_traffic_and_record_alone(apps: Apps) -> None:
    released(apps, "1.0.0", "1.1.0")
    apps.deploy("blue", "1.2.0")
    answer = move(apps, Wish(slot="blue", version="1.2.0", prepare=True))
    assert (answer["steps"], answer["active"]) == (["size", "check"], "green")
    assert len(apps.history) == 2
