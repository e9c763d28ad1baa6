# SPDX-License-Identifier: GPL-3.0-or-later
"""A canary gets the share it was given and no more, and no share is always one write away."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from ansible_collections.opsforge.platform.plugins.module_utils import _canary, _route, _share, _slots
from ansible_collections.opsforge.platform.plugins.module_utils._canary import Step, View, Wish
from ansible_collections.opsforge.platform.plugins.module_utils._errors import (
    Conflict,
    Invalid,
    NotFound,
    NotReady,
    TimedOut,
    Unreachable,
)
from ansible_collections.opsforge.platform.plugins.module_utils._releases import Release, append
from ansible_collections.opsforge.platform.plugins.module_utils._route import Cookie
from ansible_collections.opsforge.platform.plugins.module_utils._shift import Options, Shift
from ansible_collections.opsforge.platform.plugins.module_utils._slots import Slot, State, both, selector

from .fake_cluster import FakeCluster
from .test_switch import Ticks, deployment, pod, service

Object = dict[str, Any]

BLUE = Slot("blue", "1.0.0", "auth:1.0.0", replicas=4, ready=4, pods=("b0", "b1", "b2", "b3"))
GREEN = Slot("green", "1.1.0", "auth:1.1.0", replicas=1, ready=1, pods=("g0",))
FIRST = Release(1, "t", "release", "blue", "1.0.0")
PLAIN: Object = {
    "matches": [{"path": {"type": "PathPrefix", "value": "/auth"}}],
    "filters": [{"type": "URLRewrite"}],
    "backendRefs": [{"group": "", "kind": "Service", "name": "auth", "port": 80, "weight": 1}],
}
COOKIE = Cookie("green.1.1.0", "blue.1.0.0")


def shared(percent: int) -> Object:
    return _route.shared(PLAIN, "auth", percent)


def staying(percent: int) -> list[Object]:
    return _route.staying(PLAIN, "auth", percent, COOKIE)


def asleep(percent: int) -> list[Object]:
    return _route.asleep(staying(percent))


def state(*slots: Slot, **changes: Any) -> State:
    """A service that serves 1.0.0 from blue, has claimed green for a canary, unless told otherwise."""
    found = State("auth", "apps", "7", "blue", {slot.name: slot for slot in slots or (BLUE, GREEN)}, history=(FIRST,))
    return replace(found, **{"canary": "green", **changes})


def view(*rules: Object, **changes: Any) -> View:
    """A service with these rules in its route, whose preview reaches green."""
    return View(
        state=changes.pop("state", state()),
        rules=list(rules) or None,
        shown=changes.pop("shown", "green"),
        listening=frozenset(changes.pop("listening", {"g0"})),
    )


def wish(weight: int, **changes: Any) -> Wish:
    return Wish(weight, "green", "1.1.0", **{"check": False, **changes})


@pytest.mark.parametrize(
    "now, wanted, step",
    [
        pytest.param(view(PLAIN, state=state(canary="")), wish(20), Step("claim", "green"), id="others are told first"),
        pytest.param(
            view(PLAIN, state=state(resting="green")),
            wish(20),
            Step("wake", "green"),
            id="somebody is about to stop it",
        ),
        pytest.param(
            view(PLAIN, state=state(resting="green")),
            wish(20, woke=True),
            Step("claim", "green"),
            id="whoever announced a stop can't do it any more",
        ),
        pytest.param(view(PLAIN), wish(20), Step("shift", rules=[shared(20)]), id="large enough and reached"),
        pytest.param(view(PLAIN), wish(20, check=True), Step("check", "green"), id="not yet seen answering"),
        pytest.param(view(PLAIN), wish(26), Step("size", "green", 2), id="as large as its share of the live size"),
        pytest.param(view(PLAIN), wish(1, replicas_min=2), Step("size", "green", 2), id="as large as asked for"),
        pytest.param(
            view(PLAIN, state=state(BLUE, replace(GREEN, ready=0))),
            wish(20),
            Step("wait", "green", 1),
            id="no pod ready",
        ),
        pytest.param(
            view(PLAIN, state=state(BLUE, replace(GREEN, settled=False))),
            wish(20),
            Step("wait", "green", 1),
            id="of two templates",
        ),
        pytest.param(view(PLAIN, shown="blue"), wish(20), Step("aim", "green"), id="the preview shows the other slot"),
        pytest.param(
            view(PLAIN, shown="", listening=()), wish(20), Step("aim", "green"), id="the preview shows nothing"
        ),
        pytest.param(view(PLAIN, listening=()), wish(20), Step("listen", "green"), id="the preview reaches nobody yet"),
        pytest.param(
            view(PLAIN, listening={"g0", "b1"}), wish(20), Step("listen", "green"), id="it still reaches the other slot"
        ),
        pytest.param(view(shared(20)), wish(20), Step("done"), id="there already"),
        pytest.param(view(shared(20)), wish(50, replicas_min=0), Step("size", "green", 2), id="a larger share"),
        pytest.param(view(shared(20)), wish(10), Step("shift", rules=[shared(10)]), id="a smaller share"),
        pytest.param(
            view(shared(20), shown="blue"),
            wish(20),
            Step("shift", rules=[PLAIN]),
            id="what another canary has goes back before the preview is pointed elsewhere",
        ),
        # No share.
        pytest.param(view(shared(20)), wish(0), Step("shift", rules=[PLAIN]), id="back by one write"),
        pytest.param(
            view(shared(20), state=state(BLUE, replace(GREEN, ready=0, settled=False)), shown=None, listening=()),
            wish(0),
            Step("shift", rules=[PLAIN]),
            id="back from a canary in ruins",
        ),
        pytest.param(
            view(shared(20), state=state(BLUE)), wish(0), Step("shift", rules=[PLAIN]), id="back from one that is gone"
        ),
        pytest.param(view(PLAIN), wish(0), Step("release"), id="killed before others were told"),
        pytest.param(view(PLAIN, state=state(canary="")), wish(0), Step("done"), id="never had a canary"),
        pytest.param(
            view(shared(50), state=state(active="green")), wish(0), Step("shift", rules=[PLAIN]), id="after a promotion"
        ),
        # Staying.
        pytest.param(
            view(PLAIN), wish(20, sticky=True), Step("prepare", rules=[PLAIN, *asleep(20)]), id="rules come asleep"
        ),
        pytest.param(
            view(shared(10)),
            wish(20, sticky=True),
            Step("prepare", rules=[shared(10), *asleep(20)]),
            id="rules come asleep beside a share",
        ),
        pytest.param(
            view(PLAIN, *asleep(20)), wish(20, sticky=True), Step("settle"), id="every proxy has to have them"
        ),
        pytest.param(
            view(PLAIN, *asleep(10)),
            wish(20, sticky=True, settle=False),
            Step("prepare", rules=[PLAIN, *asleep(20)]),
            id="somebody else's rules asleep",
        ),
        pytest.param(
            view(shared(10), *asleep(20)),
            wish(20, sticky=True, settle=False),
            Step("shift", rules=[PLAIN, *staying(20)]),
            id="they wake up and take over",
        ),
        pytest.param(view(PLAIN, *staying(20)), wish(20, sticky=True), Step("done"), id="awake"),
        pytest.param(
            view(PLAIN, *staying(10)),
            wish(20, sticky=True),
            Step("shift", rules=[PLAIN, *staying(20)]),
            id="awake with another share",
        ),
        pytest.param(
            view(PLAIN, *staying(20)),
            wish(0),
            Step("shift", rules=[PLAIN, *asleep(20)]),
            id="back at once, by one write",
        ),
        pytest.param(
            view(PLAIN, *staying(20)),
            wish(10),
            Step("shift", rules=[shared(10), *asleep(20)]),
            id="nobody has to stay any more",
        ),
        pytest.param(view(PLAIN, *asleep(20)), wish(0), Step("settle"), id="nobody may match what goes"),
        pytest.param(
            view(PLAIN, *asleep(20)), wish(0, settle=False), Step("clean", rules=[PLAIN]), id="then the rules go"
        ),
    ],
)
def test_one_next_step(now: View, wanted: Wish, step: Step) -> None:
    assert _canary.plan(now, wanted) == step


@pytest.mark.parametrize(
    "now, wanted, step",
    [
        pytest.param(view(), wish(20), Step("shift", "green"), id="one beside four is a fifth"),
        pytest.param(view(), wish(50), Step("size", "green", 4), id="as many as the others are half"),
        pytest.param(
            view(state=state(BLUE, replace(GREEN, replicas=4, ready=4))),
            wish(20),
            Step("size", "green", 1),
            id="too many",
        ),
        pytest.param(view(state=state(replace(BLUE, replicas=2, ready=2), GREEN)), wish(1), Step("shift", "green")),
        pytest.param(view(), wish(20, check=True), Step("check", "green"), id="not yet seen answering"),
        pytest.param(view(state=state(overlapping=True)), wish(20), Step("done", "green"), id="there already"),
        pytest.param(view(state=state(overlapping=True)), wish(0), Step("shift"), id="back"),
        pytest.param(
            view(state=state(BLUE, replace(GREEN, ready=0), overlapping=True)),
            wish(0),
            Step("shift"),
            id="back from ruins",
        ),
        pytest.param(view(), wish(0), Step("release"), id="killed before or after it had a share"),
    ],
)
def test_one_next_step_without_a_route(now: View, wanted: Wish, step: Step) -> None:
    assert _canary.plan(now, wanted) == step


FOREIGN = {**PLAIN, "backendRefs": [*PLAIN["backendRefs"], {"name": "other", "port": 80}]}
ELSEWHERE = {**PLAIN, "backendRefs": [{**PLAIN["backendRefs"][0], "namespace": "shop"}]}


@pytest.mark.parametrize(
    "now, wanted, words",
    [
        pytest.param(view(PLAIN), Wish(20, "blue"), "slot blue of auth is in use", id="the slot in use"),
        pytest.param(view(PLAIN, state=state(BLUE)), Wish(20), "has no Deployment auth-green", id="unknown slot"),
        pytest.param(view(PLAIN), Wish(20, version="9"), "holds version 1.1.0, not 9", id="other version"),
        pytest.param(view(PLAIN, state=state(active=None)), Wish(20), "no traffic yet", id="no traffic"),
        pytest.param(view(PLAIN, shown=None), Wish(20), "no Service auth-preview", id="no preview"),
        pytest.param(
            view(FOREIGN), Wish(20), "sends requests to Service other, which is not ours", id="foreign backend"
        ),
        pytest.param(view(FOREIGN), Wish(0), "sends requests to Service other, which is not ours", id="nor taken back"),
        pytest.param(
            view(ELSEWHERE), Wish(20), "sends requests to Service auth, which is not ours", id="foreign namespace"
        ),
        pytest.param(view({"matches": []}), Wish(20), "sends requests to no backend", id="no backend"),
        pytest.param(view(PLAIN, PLAIN), Wish(20), r"rules that are not ours \(2\)", id="foreign rule"),
        pytest.param(
            view(), Wish(100), "has no HTTPRoute: all of its traffic is moved by a switch", id="all by replicas"
        ),
        pytest.param(view(), Wish(20, sticky=True), "has no HTTPRoute, and nothing else can keep people", id="sticky"),
        pytest.param(
            view(state=state(scaled="green")), Wish(20), "finish the switch to blue first", id="two hands on it"
        ),
        pytest.param(
            view(state=state(history=())), Wish(20), "no release of auth is on record", id="nothing to go back to"
        ),
        pytest.param(
            view(state=state(overlapping=True, canary="")), Wish(20), "a switch of auth is under way", id="in a switch"
        ),
        pytest.param(
            view(state=state(replace(BLUE, ready=0), GREEN, overlapping=True)),
            Wish(0),
            "slot blue of auth has no ready pod to take all of the traffic back",
            id="an empty set of endpoints",
        ),
    ],
)
def test_refusal(now: View, wanted: Wish, words: str) -> None:
    with pytest.raises(Invalid, match=words):
        _canary.plan(now, _canary.pin(now, wanted))


def test_another_release_ends_a_canary() -> None:
    with pytest.raises(Invalid, match="is no canary any more"):
        _canary.plan(view(PLAIN, state=state(BLUE, replace(GREEN, version="1.2.0"))), wish(20))


@pytest.mark.parametrize("weight", [-1, 101])
def test_a_share_is_a_percentage(weight: int) -> None:
    with pytest.raises(Invalid, match=f"a percentage from 0 to 100, not {weight}"):
        Wish.of({"weight": weight})


# -- the rules of a route ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("percent", [1, 5, 50, 99, 100])
def test_what_is_written_is_read_again(percent: int) -> None:
    assert _route.split([shared(percent)], "auth") == _route.Split(percent)
    assert _route.split([PLAIN, *staying(percent)], "auth") == _route.Split(percent, sticky=True)
    assert _route.split([shared(percent), *asleep(10)], "auth") == _route.Split(percent, asleep=True)
    assert shared(0) == _route.shared(shared(percent), "auth", 0) == PLAIN


def test_a_backend_keeps_its_place_whatever_the_share_is() -> None:
    """A gateway names what it keeps of a backend by its place: one that moves loses its connections and requests."""
    for percent in (1, 50, 100):
        assert [len(rule["backendRefs"]) for rule in staying(percent)] == [2, 1, 1]
        assert all(backend["weight"] > 0 for rule in staying(percent) for backend in rule["backendRefs"])


def test_who_has_no_cookie_is_divided_and_who_has_one_stays() -> None:
    new, canary, stable = staying(20)
    assert [(ref["name"], ref["weight"]) for ref in new["backendRefs"]] == [("auth", 80), ("auth-preview", 20)]
    assert [ref["name"] for ref in canary["backendRefs"] + stable["backendRefs"]] == ["auth-preview", "auth"]
    for rule in (new, canary, stable):
        assert rule["filters"] == PLAIN["filters"]
        assert rule["matches"][0]["path"] == PLAIN["matches"][0]["path"]
    given = [ref["filters"][0]["responseHeaderModifier"]["add"][0]["value"] for ref in new["backendRefs"]]
    tail = "; Path=/auth; Max-Age=3600; HttpOnly; SameSite=Lax"
    assert given == [f"auth-slot=blue.1.0.0{tail}", f"auth-slot=green.1.1.0{tail}"]


@pytest.mark.parametrize(
    "cookie, stays",
    [
        ("auth-slot=green.1.1.0", True),
        ("a=b; auth-slot=green.1.1.0; c=d", True),
        ("auth-slot=green.1.1.0;c=d", True),
        ("auth-slot=blue.1.0.0", False),
        ("auth-slot=green.1.1.01", False),
        ("auth-slot=green.1x1.0", False),
        ("xauth-slot=green.1.1.0", False),
    ],
)
def test_a_cookie_is_matched_as_a_whole(cookie: str, stays: bool) -> None:
    pattern = staying(20)[1]["matches"][0]["headers"][-1]["value"]
    assert bool(re.fullmatch(pattern, cookie)) is stays


def test_with_all_of_the_traffic_nobody_stays_away() -> None:
    assert {ref["name"] for rule in staying(100) for ref in rule["backendRefs"]} == {"auth-preview"}


def test_a_weight_for_those_who_look_at_a_route() -> None:
    route = {"metadata": {"name": "auth"}, "spec": {"rules": [shared(20)]}}
    assert (_route.weight(route), _route.weight(None)) == (20, 0)
    assert _route.weight({**route, "spec": {"rules": [FOREIGN]}}) == 0


# -- what was really served -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "served, samples, words",
    [
        pytest.param(20.5, 5000, "", id="as wished"),
        pytest.param(14.9, 5000, "the canary serves 14.9% of 5000 requests, not 20%", id="off"),
        pytest.param(30.0, 200, "200 requests were seen, too few to tell a share of 20% within 5 points: .* about 246"),
        pytest.param(None, 0, "0 requests were seen", id="nobody asked"),
    ],
)
def test_a_share_is_judged_by_enough_requests(served: float | None, samples: int, words: str) -> None:
    share = _share.Share(20, 5, served=served, samples=samples)
    assert bool(share.warning) is bool(words)
    if words:
        assert re.search(words, share.warning)


def test_a_canary_that_gets_nothing_is_outside_of_any_tolerance() -> None:
    assert _share.tolerance(5, 5) == 2.5
    assert _share.tolerance(99, 5) == 0.5
    assert _share.tolerance(50, 5) == 5
    assert "serves 0%" in _share.Share(5, _share.tolerance(5, 5), served=0.0, samples=1000).warning


# -- against a cluster ------------------------------------------------------------------------------------------------


class Apps(FakeCluster):
    """A cluster whose controllers work at once, unless `stuck` or `deaf`."""

    def __init__(self, *, route: bool = True, owner: str = "opsforge-service") -> None:
        super().__init__(service("auth-preview"), service("auth", selector=selector("auth", "blue")))
        self.stuck = self.deaf = False
        self.before_write: Callable[[], None] | None = None
        if route:
            metadata = {"name": "auth", "namespace": "apps", "labels": {"app.kubernetes.io/name": "auth"}}
            spec = {"parentRefs": [{"name": "platform"}], "rules": [PLAIN]}
            self.apply(
                {"apiVersion": _route.API_VERSION, "kind": _route.KIND, "metadata": metadata, "spec": spec},
                manager=owner,
            )
        append(self, "apps", "auth", FIRST, manager="t")
        self.put(deployment("blue", "1.0.0", 4))
        self.put(deployment("green", "1.1.0", 1))
        self._control()
        self.calls.clear()

    def list(self, api_version: str, kind: str, *args: Any, **kwargs: Any) -> list[Object]:
        self._control()
        return super().list(api_version, kind, *args, **kwargs)

    def get(self, api_version: str, kind: str, *args: Any, **kwargs: Any) -> Object | None:
        self._control()
        return super().get(api_version, kind, *args, **kwargs)

    def apply(self, obj: Object, **kwargs: Any) -> Object:
        live = self.objects.get(self._key(obj))
        if live:
            self._hook(obj["kind"])
            self._check_version(self._live(self._key(obj)), obj["metadata"].get("resourceVersion"))
            obj = {
                **obj,
                "metadata": {key: value for key, value in obj["metadata"].items() if key != "resourceVersion"},
            }
        return super().apply(obj, **kwargs)

    def patch(self, api_version: str, kind: str, *args: Any, **kwargs: Any) -> Object:
        self._hook(kind)
        return super().patch(api_version, kind, *args, **kwargs)

    def _hook(self, kind: str) -> None:
        if kind == _route.KIND and self.before_write:
            self.before_write()

    def _control(self) -> None:
        """Play the controllers: pods of the size asked for, endpoints of the pods that a Service selects."""
        for found in [obj for key, obj in self.objects.items() if key[1] == "Deployment"]:
            slot, count = found["metadata"]["name"].removeprefix("auth-"), found["spec"]["replicas"]
            ready = 0 if self.stuck and slot == "green" else count
            found["status"] = {
                "observedGeneration": found["metadata"]["generation"],
                **dict.fromkeys(("replicas", "updatedReplicas"), count),
                "availableReplicas": ready,
            }
            for number in range(9):
                key = ("v1", "Pod", "apps", f"auth-{slot}-{number}")
                if number >= count:
                    self.objects.pop(key, None)
                elif key not in self.objects:
                    self.put(pod(slot, number))
                if number < count and number >= ready:
                    self.objects[key]["status"] = {"conditions": []}
        for name in ("auth", "auth-preview"):
            found = self.objects.get(("v1", "Service", "apps", name), {"spec": {}})
            chosen = found["spec"].get("selector") or {"no": "pods"}
            reached = [
                {"conditions": {"ready": True}, "targetRef": {"name": obj["metadata"]["name"]}}
                for key, obj in self.objects.items()
                if key[1] == "Pod" and chosen.items() <= obj["metadata"]["labels"].items()
            ]
            part = {
                "apiVersion": "discovery.k8s.io/v1",
                "kind": "EndpointSlice",
                "metadata": {"name": name, "namespace": "apps", "labels": {"kubernetes.io/service-name": name}},
                "endpoints": [] if self.deaf else reached,
            }
            self.objects[self._key(part)] = part

    @property
    def route(self) -> Object:
        return self.objects[_route.API_VERSION, _route.KIND, "apps", "auth"]

    @property
    def selector(self) -> Object:
        found: Object = self.objects["v1", "Service", "apps", "auth"]["spec"]["selector"]
        return found

    @property
    def seen(self) -> Any:
        """What a reader makes of it all, but for versions of objects."""
        found = _canary.look(self, "apps", "auth")  # type: ignore[arg-type]
        slots = {slot.name: (slot.version, slot.replicas, slot.ready) for slot in found.state.slots.values()}
        return found.rules, found.shown, found.listening, slots, found.state.overlapping, found.state.canary


class Counted:
    """Prometheus, which has counted so many requests."""

    def __init__(self, total: float | None, mine: float | None) -> None:
        self.answers, self.asked = [total, mine], list[str]()

    def ask(self, query: str, time: float | None = None) -> float | None:
        self.asked.append(query)
        return self.answers[len(self.asked) - 1]


def shift(cluster: Apps, weight: int, *, check_mode: bool = False, prometheus: Any = None, **changes: Any) -> Object:
    """One run of the module's logic."""
    known = Options.__dataclass_fields__
    options = Options(**{key: value for key, value in changes.items() if key in known})
    wanted = Wish(weight, **{key: value for key, value in changes.items() if key not in known})
    run = Shift(cluster, "apps", "auth", options, Ticks().clock(), prometheus)  # type: ignore[arg-type]
    return run.run(wanted, check_mode=check_mode)


@pytest.fixture
def apps() -> Apps:
    return Apps()


@pytest.fixture
def routeless() -> Apps:
    return Apps(route=False)


def test_a_canary_from_its_first_share_to_its_end(apps: Apps) -> None:
    first = shift(apps, 20)
    assert first["steps"] == ["claim", "check", "aim", "shift"]
    assert (first["weight"], first["by"], first["slot"], first["changed"]) == (20, "route", "green", True)
    more = shift(apps, 50)
    assert more["steps"] == ["size", "check", "shift"]
    assert apps.objects["apps/v1", "Deployment", "apps", "auth-green"]["spec"]["replicas"] == 2
    assert apps.route["spec"]["rules"] == [shared(50)]
    back = shift(apps, 0)
    assert back["steps"] == ["shift", "release"]
    assert apps.route["spec"]["rules"] == [PLAIN]


@pytest.mark.parametrize("sticky", [False, True])
@pytest.mark.parametrize("weight", [20, 100, 0])
def test_the_same_again_does_nothing(apps: Apps, weight: int, sticky: bool) -> None:
    shift(apps, 20, sticky=sticky)
    shift(apps, weight, sticky=sticky)
    apps.calls.clear()
    again = shift(apps, weight, sticky=sticky)
    assert (again["changed"], again["steps"], apps.writes) == (False, [], [])


@pytest.mark.parametrize("sticky", [False, True])
def test_traffic_is_taken_back_by_the_first_write(apps: Apps, sticky: bool) -> None:
    shift(apps, 20, sticky=sticky)
    apps.stuck = apps.deaf = True
    apps.calls.clear()
    answer = shift(apps, 0)
    assert apps.writes[0][1:] == ("HTTPRoute", "auth")
    assert answer["steps"] == (["shift", "settle", "clean", "release"] if sticky else ["shift", "release"])
    assert apps.route["spec"]["rules"] == [PLAIN]
    assert "proxy" not in {call[0] for call in apps.calls}


def test_people_who_stay_cost_no_request_at_the_beginning_or_the_end(apps: Apps) -> None:
    """New rules are known to the gateway before they match, and match nobody before they go."""
    seen: list[tuple[int, bool, bool]] = []

    def note() -> None:
        split = _route.split(apps.route["spec"]["rules"], "auth")
        seen.append((split.weight, split.sticky, split.asleep))

    apps.before_write = note
    shift(apps, 20, sticky=True)
    shift(apps, 0)
    assert seen == [(0, False, False), (0, False, True), (20, True, False), (0, False, True)]


def test_the_route_goes_back_to_who_applies_it(apps: Apps) -> None:
    before = apps.route
    shift(apps, 20)
    site: Object = {
        **{key: before[key] for key in ("apiVersion", "kind")},
        "metadata": {key: before["metadata"][key] for key in ("name", "namespace", "labels")},
        "spec": {"parentRefs": before["spec"]["parentRefs"], "rules": [PLAIN]},
    }
    shift(apps, 0)
    owners = {entry["manager"] for entry in apps.route["metadata"]["managedFields"]}
    assert (owners, apps.route["spec"], apps.route["metadata"]["labels"]) == (
        {"opsforge-service"},
        before["spec"],
        before["metadata"]["labels"],
    )
    elsewhere = {**PLAIN, "matches": [{"path": {"type": "PathPrefix", "value": "/login"}}]}
    apps.apply({**site, "spec": {**site["spec"], "rules": [elsewhere]}}, manager="opsforge-service")


KINDS = pytest.mark.parametrize(
    "route, sticky", [(True, False), (True, True), (False, False)], ids=["route", "sticky", "replicas"]
)


@KINDS
def test_check_mode_foretells_what_happens_and_writes_nothing(route: bool, sticky: bool) -> None:
    apps = Apps(route=route)
    for weight in (20, 50, 50, 0, 0):
        options = {"sticky": sticky and weight > 0}
        apps.calls.clear()
        foretold = shift(apps, weight, check_mode=True, **options)
        assert apps.writes == []
        done = shift(apps, weight, **options)
        # Nobody can know how fast pods start and are reached.
        foretold["steps"] = [kind for kind in foretold["steps"] if kind not in ("wait", "listen")]
        for key in set(done) - {"timings"}:
            assert foretold[key] == done[key], key


def test_check_mode_of_what_earlier_tasks_would_only_have_made(apps: Apps) -> None:
    answer = shift(apps, 20, version="1.2.0", check_mode=True)
    assert (answer["weight"], answer["changed"], apps.writes) == (20, True, [])
    apps.objects.clear()
    answer = shift(apps, 20, version="1.0.0", check_mode=True)
    assert (answer["weight"], answer["by"], answer["changed"]) == (20, "route", True)
    assert not shift(apps, 0, check_mode=True)["changed"]
    with pytest.raises(NotFound, match="namespace apps has no Service auth"):
        shift(apps, 20)


def test_a_canary_that_never_gets_ready_gets_nothing(apps: Apps) -> None:
    apps.stuck = True
    with pytest.raises(TimedOut, match="the canary of auth stays at 0%: .*auth-green is not ready after 30 s"):
        shift(apps, 20, timeout=30)
    assert apps.route["spec"]["rules"] == [PLAIN]


def test_a_canary_that_nobody_reaches_gets_nothing(apps: Apps) -> None:
    apps.deaf = True
    with pytest.raises(TimedOut, match="auth-preview reaches 0 of the 1 pods of slot green, and 0 others, after 30 s"):
        shift(apps, 20, timeout=30)
    assert apps.route["spec"]["rules"] == [PLAIN]


def test_a_canary_that_does_not_answer_gets_nothing(apps: Apps) -> None:
    apps.proxy_status = lambda namespace, pod, method, path: 500
    with pytest.raises(NotReady, match=r"1 of 1 pods of slot green .* \(auth-green-0: HTTP 500\): .* stays at 0%"):
        shift(apps, 20)
    assert apps.route["spec"]["rules"] == [PLAIN]


def test_pods_that_were_drained_keep_connections_again(apps: Apps) -> None:
    told = []
    apps.proxy_status = lambda namespace, pod, method, path: told.append((pod, method, path)) or 200  # type: ignore[func-returns-value]
    shift(apps, 20)
    assert told[1:] == [("auth-green-0", "DELETE", "/drain")]
    apps.proxy_status = lambda namespace, pod, method, path: 503 if method == "DELETE" else 200
    assert shift(apps, 10)["warnings"] == ["pod auth-green-0 was not told to keep its connections: HTTP 503"]


def test_an_announced_stop_can_not_happen_any_more(apps: Apps) -> None:
    notes = {"opsforge.dev/resting": "green"}
    apps.patch("v1", "Service", "auth", "apps", {"metadata": {"annotations": notes}})
    looked_at = _slots.read(apps, "apps", "auth").slots["green"].resource_version
    answer = shift(apps, 20)
    assert answer["steps"] == ["claim", "wake", "claim", "check", "aim", "shift"]
    found = _slots.read(apps, "apps", "auth")
    assert (found.resting, found.canary) == ("", "green")
    with pytest.raises(Conflict):
        body: Object = {"metadata": {"resourceVersion": looked_at}, "spec": {"replicas": 0}}
        apps.patch("apps/v1", "Deployment", "auth-green", "apps", body, subresource="scale")


# -- without a route --------------------------------------------------------------------------------------------------


def test_without_a_route_the_sizes_make_the_share(routeless: Apps) -> None:
    answer = shift(routeless, 20)
    assert answer["steps"] == ["claim", "check", "shift"]
    assert (answer["by"], answer["weight"], answer["approximate"]) == ("replicas", 20, "1 of 5 pods")
    assert routeless.selector == both("auth")
    assert _slots.read(routeless, "apps", "auth").active == "blue"
    assert shift(routeless, 50)["approximate"] == "4 of 8 pods"
    assert not shift(routeless, 50)["changed"]
    assert shift(routeless, 0)["steps"] == ["shift", "release"]
    assert routeless.selector == selector("auth", "blue")
    assert not shift(routeless, 0)["changed"]


def test_a_share_that_so_few_pods_can_not_make_is_told(routeless: Apps) -> None:
    answer = shift(routeless, 5)
    assert (answer["weight"], answer["warnings"]) == (20, ["1 of 5 pods make a share of 20%, not of 5%"])


# -- several at once, and killed in the middle ------------------------------------------------------------------------


def somebody(cluster: Apps, act: Callable[[], Any]) -> Callable[[], None]:
    """Have somebody else act before the next write, once."""

    def once() -> None:
        cluster.before_write = None
        act()

    return once


def test_an_unrelated_change_of_the_route_is_looked_at_again(apps: Apps) -> None:
    labels = {"metadata": {"labels": {"a": "b"}}}
    apps.before_write = somebody(apps, lambda: apps.patch(_route.API_VERSION, _route.KIND, "auth", "apps", labels))
    assert shift(apps, 20)["weight"] == 20


def test_a_lost_race_is_an_error_and_writes_nothing(apps: Apps) -> None:
    shift(apps, 10)
    apps.before_write = somebody(apps, lambda: shift(apps, 5))
    with pytest.raises(Conflict, match="somebody else moved the traffic of auth meanwhile: its canary has 5% now"):
        shift(apps, 20)
    assert _route.weight(apps.route) == 5


def test_a_lost_race_to_the_same_goal_is_none(apps: Apps) -> None:
    apps.before_write = somebody(apps, lambda: shift(apps, 20))
    assert shift(apps, 20)["weight"] == 20


def test_the_way_back_wins_a_race(apps: Apps) -> None:
    shift(apps, 10)
    apps.before_write = somebody(apps, lambda: shift(apps, 20))
    assert shift(apps, 0)["weight"] == 0
    shift(apps, 10)
    apps.before_write = somebody(apps, lambda: shift(apps, 0))
    with pytest.raises(Conflict, match="its canary has 0% now"):
        shift(apps, 20)
    assert apps.route["spec"]["rules"] == [PLAIN]


def test_a_run_does_not_fight_for_its_share(apps: Apps) -> None:
    written = apps.patch

    def patch(api_version: str, kind: str, *args: Any, **kwargs: Any) -> Object:
        found = written(api_version, kind, *args, **kwargs)
        if kind == _route.KIND:
            apps.patch = written  # type: ignore[method-assign]
            shift(apps, 5)
        return found

    apps.patch = patch  # type: ignore[method-assign]
    with pytest.raises(Conflict, match="its canary has 5% now"):
        shift(apps, 20)
    assert _route.weight(apps.route) == 5


def test_what_somebody_changes_meanwhile_is_not_taken_back_with_the_share(apps: Apps) -> None:
    shift(apps, 20)
    elsewhere = {**shared(20), "matches": [{"path": {"type": "PathPrefix", "value": "/login"}}]}
    body = {"spec": {"rules": [elsewhere]}}
    apps.before_write = somebody(apps, lambda: apps.patch(_route.API_VERSION, _route.KIND, "auth", "apps", body))
    shift(apps, 0)
    assert apps.route["spec"]["rules"] == [{**PLAIN, "matches": elsewhere["matches"]}]


class Killed(BaseException):
    """kill -9."""


@KINDS
@pytest.mark.parametrize("goal", [50, 0])
def test_killed_before_any_write_and_resumed(route: bool, sticky: bool, goal: int) -> None:
    whole = Apps(route=route)
    for weight in (20, 50, 0)[: 3 if goal == 0 else 2]:
        shift(whole, weight, sticky=sticky and weight > 0)
    for write in itertools.count(1):
        apps = Apps(route=route)
        left = itertools.count(1)

        def kill(verb: str, obj: Object, dry_run: bool, apps: Apps = apps, left: Any = left, last: int = write) -> None:
            if next(left) == last:
                raise Killed
            FakeCluster._record(apps, verb, obj, dry_run)

        apps._record = kill  # type: ignore[method-assign]
        try:
            for weight in (20, 50, 0)[: 3 if goal == 0 else 2]:
                shift(apps, weight, sticky=sticky and weight > 0)
            break
        except Killed:
            del apps._record
        shift(apps, goal, sticky=sticky and goal > 0)
        if goal:  # how large the slot became on the way is nobody's business after it
            assert apps.seen == whole.seen, write
        else:
            assert (apps.seen[0], *apps.seen[4:]) == (whole.seen[0], *whole.seen[4:]), write
    assert write >= 4


# -- measured ---------------------------------------------------------------------------------------------------------


def test_the_share_really_served_is_told(apps: Apps) -> None:
    counted = Counted(1000.4, 203.0)
    answer = shift(apps, 20, measure=60, prometheus=counted)
    assert (answer["served_percent"], answer["samples"], answer["samples_needed"]) == (20.29, 1000, 246)
    assert answer["warnings"] == []
    assert counted.asked == [
        'sum(increase(http_requests_total{namespace="apps",service="auth"}[60s]))',
        'sum(increase(http_requests_total{namespace="apps",service="auth",slot="green"}[60s]))',
    ]


@pytest.mark.parametrize(
    "counted, served, words",
    [
        (Counted(1000, 0), 0, "the canary serves 0% of 1000 requests, not 20%"),
        (Counted(1000, None), 0, "the canary serves 0%"),
        (Counted(10, 2), 20, "10 requests were seen, too few"),
        (Counted(None, None), None, "0 requests were seen, too few"),
    ],
)
def test_a_share_that_is_not_as_wished_is_a_warning(apps: Apps, counted: Counted, served: Any, words: str) -> None:
    answer = shift(apps, 20, measure=60, prometheus=counted)
    assert answer["served_percent"] == served
    assert words in answer["warnings"][0]
    assert (answer["weight"], answer["changed"]) == (20, True)


def test_prometheus_being_away_is_a_warning(apps: Apps) -> None:
    class Away:
        def ask(self, query: str, time: float | None = None) -> float | None:
            raise Unreachable("nobody answers")

    answer = shift(apps, 20, measure=60, prometheus=Away())
    assert answer["warnings"] == ["the share really served is not known: nobody answers"]
    assert (answer["served_percent"], answer["samples"], answer["weight"]) == (None, None, 20)


def test_a_check_measures_nothing(apps: Apps) -> None:
    counted = Counted(1000, 200)
    assert shift(apps, 20, measure=60, prometheus=counted, check_mode=True)["served_percent"] is None
    assert counted.asked == []


# -- for those who only look ------------------------------------------------------------------------------------------


def described(cluster: Apps) -> Object | None:
    return _canary.described(cluster, _slots.read(cluster, "apps", "auth"))  # type: ignore[arg-type]


def test_a_look_tells_of_a_canary(apps: Apps, routeless: Apps) -> None:
    assert described(apps) is None
    shift(apps, 20, sticky=True)
    assert described(apps) == {"slot": "green", "weight": 20, "sticky": True, "by": "route"}
    shift(apps, 0)
    assert described(apps) is None
    assert described(routeless) is None
    shift(routeless, 20)
    assert described(routeless) == {"slot": "green", "weight": 20, "sticky": False, "by": "replicas"}
