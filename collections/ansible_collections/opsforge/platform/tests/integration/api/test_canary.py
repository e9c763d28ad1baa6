# SPDX-License-Identifier: GPL-3.0-or-later
"""canary_shift against a real API server with the Gateway API's own definition. The test plays the controllers."""

from __future__ import annotations

import contextlib
import itertools
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from ansible_collections.opsforge.platform.plugins.module_utils import _canary, _route
from ansible_collections.opsforge.platform.plugins.module_utils._apply import Wish as ApplyWish
from ansible_collections.opsforge.platform.plugins.module_utils._apply import ensure_absent, ensure_present
from ansible_collections.opsforge.platform.plugins.module_utils._canary import Wish
from ansible_collections.opsforge.platform.plugins.module_utils._client import Cluster, connect
from ansible_collections.opsforge.platform.plugins.module_utils._errors import Conflict
from ansible_collections.opsforge.platform.plugins.module_utils._objects import parse
from ansible_collections.opsforge.platform.plugins.module_utils._shift import Options, Shift
from ansible_collections.opsforge.platform.plugins.module_utils._slots import both, selector

from .control_plane import ControlPlane, find_file
from .test_blue_green import Doors, Object, RunModule

QUICK = Options(check_path="", management_port=0, settle=0, timeout=5)
READY = {"conditions": [{"type": "Ready", "status": "True"}], "phase": "Running"}
KINDS = pytest.mark.parametrize(
    "route, sticky", [(True, False), (True, True), (False, False)], ids=["route", "sticky", "replicas"]
)


@pytest.fixture(scope="module", autouse=True)
def route_kind(control_plane: ControlPlane) -> Iterator[None]:
    """The definition of HTTPRoute, from the mirror. It goes again: the other tests prove life without it."""
    cluster = connect({"kubeconfig": str(control_plane.kubeconfig)})
    (definition,) = (
        found
        for found in parse([], [str(find_file("gateway-api-crds", "gateway-api.yaml"))])
        if found["metadata"]["name"] == "httproutes.gateway.networking.k8s.io"
    )
    ensure_present(cluster, [definition], ApplyWish())
    yield
    ensure_absent(cluster, [definition], ApplyWish(wait_timeout=30))


class Entrance(Doors):
    """A service that serves from blue, holds its next version in green, and has a route unless told otherwise."""

    def __init__(self, cluster: Cluster, namespace: str, run_module: RunModule, *, route: bool = True) -> None:
        super().__init__(cluster, namespace, run_module)
        self.deploy("blue", "1.0.0", pods=4)
        self.deploy("green", "1.1.0", pods=4)
        self.switch(slot="blue")
        self.reached("green")
        if route:
            assert self.site()["changed"]

    def reached(self, slot: str, pods: int = 4) -> None:
        """The preview's endpoints."""
        labels = {"kubernetes.io/service-name": "auth-preview"}
        metadata = {"name": "auth-preview", "namespace": self.namespace, "labels": labels}
        reached = [
            {
                "addresses": [f"10.0.0.{number + 1}"],
                "conditions": {"ready": True},
                "targetRef": {"kind": "Pod", "namespace": self.namespace, "name": f"auth-{slot}-{number}"},
            }
            for number in range(pods)
        ]
        part = {"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": metadata}
        self.cluster.apply({**part, "addressType": "IPv4", "endpoints": reached}, manager="controller", force=True)

    @contextlib.contextmanager
    def controllers(self, other: Cluster) -> Iterator[None]:
        """Have green's pods and the preview's endpoints follow what is written, in a thread, until the end."""
        ended = threading.Event()

        def follow() -> None:
            mine = Entrance.__new__(Entrance)
            mine.cluster, mine.namespace, mine.service = other, self.namespace, self.service
            while not ended.wait(0.05):
                mine.control()

        thread = threading.Thread(target=follow)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()

    def control(self) -> None:
        """What the controllers and the kubelet do to green, once."""
        found = self.cluster.get("apps/v1", "Deployment", "auth-green", self.namespace)
        assert found is not None
        count = found["spec"]["replicas"]
        for number in range(count):
            if not self.cluster.get("v1", "Pod", f"auth-green-{number}", self.namespace):
                made = self.object("v1", "Pod", f"auth-green-{number}", spec=found["spec"]["template"]["spec"])
                made["metadata"]["labels"] = selector("auth", "green")
                self.cluster.create(made)
            body: Object = {"status": READY}
            self.cluster.patch("v1", "Pod", f"auth-green-{number}", self.namespace, body, subresource="status")
        for number in range(count, 4):
            self.cluster.delete("v1", "Pod", f"auth-green-{number}", self.namespace)
        status = dict.fromkeys(["replicas", "updatedReplicas", "availableReplicas", "readyReplicas"], count)
        body = {"status": {"observedGeneration": found["metadata"]["generation"], **status}}
        self.cluster.patch("apps/v1", "Deployment", "auth-green", self.namespace, body, subresource="status")
        self.reached("green", count)

    def site(self, path: str = "/auth", *, check: bool = False) -> Object:
        """What a site run does with the route."""
        rule = {
            "matches": [{"path": {"type": "PathPrefix", "value": path}}],
            "filters": [
                {
                    "type": "URLRewrite",
                    "urlRewrite": {"path": {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/"}},
                }
            ],
            "backendRefs": [{"group": "", "kind": "Service", "name": "auth", "port": 80}],
        }
        parent = {"group": "gateway.networking.k8s.io", "kind": "Gateway", "namespace": "gateway", "name": "platform"}
        wanted = self.object(_route.API_VERSION, _route.KIND, "auth", spec={"parentRefs": [parent], "rules": [rule]})
        return self._run_module("kube_apply", check=check, diff=True, objects=[wanted], manager="opsforge-service")

    def shift(self, weight: int, *, check: bool = False, **options: Any) -> Object:
        options = {"check_path": "", "management_port": 0, "settle_seconds": 0, "timeout": 5, **options}
        where = {"service": "auth", "namespace": self.namespace}
        return self._run_module("canary_shift", check=check, diff=True, weight=weight, **where, **options)

    @property
    def route(self) -> Object:
        found = self.cluster.get(_route.API_VERSION, _route.KIND, "auth", self.namespace)
        assert found is not None
        return found

    @property
    def selector(self) -> Object:
        found = self.cluster.get("v1", "Service", "auth", self.namespace)
        assert found is not None
        chosen: Object = found["spec"]["selector"]
        return chosen

    @property
    def versions(self) -> list[str | None]:
        """What changes with every write to anything that a canary writes."""
        addresses = [
            ("v1", "Service", "auth"),
            ("v1", "Service", "auth-preview"),
            ("apps/v1", "Deployment", "auth-green"),
            (_route.API_VERSION, _route.KIND, "auth"),
        ]
        found = [self.cluster.get(*address, self.namespace) for address in addresses]
        return [obj["metadata"]["resourceVersion"] if obj else None for obj in found]

    @property
    def seen(self) -> Any:
        """What a reader makes of it all, but for versions of objects."""
        view = _canary.look(self.cluster, self.namespace, "auth")
        slots = {slot.name: (slot.version, slot.replicas) for slot in view.state.slots.values()}
        return view.rules, view.shown, slots, view.state.active, view.state.overlapping, view.state.canary


@pytest.fixture
def entrance(cluster: Cluster, namespace: str, run_module: RunModule) -> Entrance:
    return Entrance(cluster, namespace, run_module)


@pytest.fixture
def another(cluster: Cluster, namespace: str, run_module: RunModule) -> Callable[..., Entrance]:
    """Makes entrances, each in a namespace of its own."""
    numbers = itertools.count()

    def make(**options: Any) -> Entrance:
        name = f"{namespace}-{next(numbers)}"
        cluster.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
        return Entrance(cluster, name, run_module, **options)

    return make


@KINDS
def test_create_again_change_again_to_zero_again_each_in_check_mode_too(
    another: Callable[..., Entrance], control_plane: ControlPlane, route: bool, sticky: bool
) -> None:
    shop = another(route=route)
    shop.deploy("green", "1.1.0", pods=1)
    with shop.controllers(connect({"kubeconfig": str(control_plane.kubeconfig)})):
        for weight in (20, 50, 0):
            options: Object = {"sticky": sticky and weight > 0, "version": "1.1.0"}
            before = shop.seen
            foretold = shop.shift(weight, check=True, **options)
            assert shop.seen == before, "check mode writes nothing"
            done = shop.shift(weight, **options)
            assert not done.get("failed"), done["msg"]
            for answer in (foretold, done):  # nobody can know how fast pods start and are reached
                answer["steps"] = [kind for kind in answer["steps"] if kind not in ("wait", "listen")]
            for key in set(done) - {"timings", "invocation"}:
                assert foretold[key] == done[key], (weight, key)
            assert (done["changed"], done["weight"], done["sticky"]) == (True, weight, options["sticky"])

            before = shop.seen, shop.route["metadata"]["resourceVersion"] if route else None
            assert not shop.shift(weight, check=True, **options)["changed"]
            assert not shop.shift(weight, **options)["changed"]
            after = shop.seen, shop.route["metadata"]["resourceVersion"] if route else None
            assert after == before, "the second time writes nothing"


@pytest.mark.parametrize("percent", [1, 50, 100])
@pytest.mark.parametrize("sticky", [False, True])
def test_the_server_keeps_the_rules_as_they_were_written(entrance: Entrance, percent: int, sticky: bool) -> None:
    """What it would add or leave out would be written again by each run."""
    assert entrance.shift(percent, sticky=sticky)["weight"] == percent
    assert not entrance.shift(percent, sticky=sticky)["changed"]


@pytest.mark.parametrize("sticky", [False, True])
def test_a_site_run_can_not_reset_a_canary_and_gets_the_route_back(entrance: Entrance, sticky: bool) -> None:
    before = entrance.route
    entrance.shift(20, sticky=sticky)
    for check in (True, False):
        answer = entrance.site(check=check)
        assert answer["failed"]
        assert "owned by another manager: spec.rules by opsforge-canary" in answer["msg"]
    assert entrance.shift(20, sticky=sticky)["changed"] is False

    entrance.shift(0)
    assert entrance.route["spec"] == before["spec"]
    assert entrance.route["metadata"]["labels"] == before["metadata"]["labels"]
    assert {entry["manager"] for entry in entrance.route["metadata"]["managedFields"]} == {"opsforge-service"}
    assert not entrance.site()["changed"]
    assert entrance.site("/login")["changed"]
    assert entrance.route["spec"]["rules"][0]["matches"][0]["path"]["value"] == "/login"


def test_a_canary_that_is_promoted(entrance: Entrance) -> None:
    entrance.shift(50)
    assert entrance.info()["canary"] == {"slot": "green", "weight": 50, "sticky": False, "by": "route"}
    assert entrance.switch(slot="green")["active"] == "green"
    answer = entrance.shift(0)
    assert (answer["weight"], answer["steps"]) == (0, ["shift", "release"])
    assert (entrance.info()["active"], entrance.info()["canary"]) == ("green", None)


@pytest.mark.parametrize(
    "options, words",
    [
        ({"weight": 101}, "weight is a percentage from 0 to 100, not 101"),
        ({"weight": 20, "slot": "blue"}, "slot blue of auth is in use and can't be its canary"),
        ({"weight": 20, "version": "9.9.9"}, "holds version 1.1.0, not 9.9.9"),
        ({"weight": 20, "replicas_min": 5, "timeout": 1}, "the canary of auth stays at 0%"),
    ],
)
def test_refusal_leaves_the_route_as_it_was(entrance: Entrance, options: Object, words: str) -> None:
    before = entrance.route["metadata"]["resourceVersion"]
    answer = entrance.shift(**options)
    assert answer["failed"]
    assert words in answer["msg"]
    assert entrance.route["metadata"]["resourceVersion"] == before


def test_a_foreign_backend_is_left_alone(entrance: Entrance) -> None:
    rule = entrance.route["spec"]["rules"][0]
    rule["backendRefs"].append({"name": "other", "port": 80})
    body = {"spec": {"rules": [rule]}}
    entrance.cluster.patch(_route.API_VERSION, _route.KIND, "auth", entrance.namespace, body)
    before = entrance.versions
    for weight in (20, 0):
        answer = entrance.shift(weight)
        assert answer["failed"]
        assert "HTTPRoute auth sends requests to Service other, which is not ours" in answer["msg"]
    assert entrance.versions == before
    assert entrance.info()["canary"] is None


def test_without_a_route_the_service_selects_both_slots(another: Callable[..., Entrance]) -> None:
    shop = another(route=False)
    answer = shop.shift(50)
    assert (answer["by"], answer["weight"], answer["approximate"]) == ("replicas", 50, "4 of 8 pods")
    assert shop.selector == both("auth")
    assert shop.info()["canary"] == {"slot": "green", "weight": 50, "sticky": False, "by": "replicas"}
    assert shop.shift(0)["weight"] == 0
    assert shop.selector == selector("auth", "blue")


def test_a_share_that_nobody_can_measure_is_given_all_the_same(entrance: Entrance) -> None:
    answer = entrance.shift(20, measure_seconds=1)
    assert (answer["weight"], answer["served_percent"], answer["samples"]) == (20, None, None)
    assert "the share really served is not known: Prometheus" in str(answer["warnings"])


# -- several at once, and killed in the middle ------------------------------------------------------------------------


def race(shop: Entrance, control_plane: ControlPlane, weights: list[int]) -> list[Exception]:
    """Have one writer for each weight begin at once; returns their errors."""
    errors: list[Exception] = []
    start = threading.Barrier(len(weights))

    def move(weight: int) -> None:
        mine = connect({"kubeconfig": str(control_plane.kubeconfig)})
        start.wait()
        try:
            Shift(mine, shop.namespace, "auth", QUICK).run(Wish(weight, check=False))
        except Exception as error:
            errors.append(error)

    writers = [threading.Thread(target=move, args=(weight,)) for weight in weights]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    return errors


def test_many_writers_with_one_goal_all_reach_it(entrance: Entrance, control_plane: ControlPlane) -> None:
    for weight in (20, 50, 0, 20):
        assert race(entrance, control_plane, [weight] * 4) == []
        assert _route.weight(entrance.route) == weight


def test_writers_with_different_goals_do_not_fight(entrance: Entrance, control_plane: ControlPlane) -> None:
    for _ in range(5):
        errors = race(entrance, control_plane, [10, 20])
        assert {type(error) for error in errors} <= {Conflict}
        assert _route.weight(entrance.route) in (10, 20)
        assert entrance.shift(0)["weight"] == 0


def test_a_lost_race_is_an_error_and_writes_nothing(entrance: Entrance, control_plane: ControlPlane) -> None:
    class Slow(Cluster):
        """Somebody else gives a share between this writer's look and its write."""

        def patch(self, api_version: str, kind: str, name: str, *args: Any, **kwargs: Any) -> Object:
            if kind == _route.KIND:
                assert entrance.shift(5)["weight"] == 5
            return super().patch(api_version, kind, name, *args, **kwargs)

    slow = Slow(connect({"kubeconfig": str(control_plane.kubeconfig)})._pool)
    with pytest.raises(Conflict, match="somebody else moved the traffic of auth meanwhile: its canary has 5% now"):
        Shift(slow, entrance.namespace, "auth", QUICK).run(Wish(20, check=False))
    assert _route.weight(entrance.route) == 5


def test_the_way_back_wins_a_race(entrance: Entrance, control_plane: ControlPlane) -> None:
    entrance.shift(5)

    class Slow(Cluster):
        """Somebody else gives a larger share between this writer's look and its write, once."""

        late = False

        def apply(self, *args: Any, **kwargs: Any) -> Object:
            if not self.late:
                self.late = True
                assert entrance.shift(20)["weight"] == 20
            return super().apply(*args, **kwargs)

    slow = Slow(connect({"kubeconfig": str(control_plane.kubeconfig)})._pool)
    answer = Shift(slow, entrance.namespace, "auth", QUICK).run(Wish(0))
    assert (answer["weight"], slow.late, _route.weight(entrance.route)) == (0, True, 0)


class Killed(BaseException):
    """kill -9."""


class Mortal(Cluster):
    """A client that is killed at its n-th write: before it is sent, or after the server has done it."""

    def __init__(self, pool: Any, last: int, *, sent: bool) -> None:
        super().__init__(pool)
        self.left, self.sent = last, sent

    def patch(self, *args: Any, **kwargs: Any) -> Object:
        return self._once(lambda: super(Mortal, self).patch(*args, **kwargs))

    def apply(self, *args: Any, **kwargs: Any) -> Object:
        return self._once(lambda: super(Mortal, self).apply(*args, **kwargs))

    def _once(self, write: Callable[[], Object]) -> Object:
        self.left -= 1
        if not self.left and not self.sent:
            raise Killed
        found = write()
        if not self.left:
            raise Killed
        return found


@KINDS
@pytest.mark.parametrize("goal", [50, 0])
@pytest.mark.parametrize("sent", [False, True], ids=["before", "after"])
def test_killed_at_any_write_and_resumed(
    another: Callable[..., Entrance], control_plane: ControlPlane, route: bool, sticky: bool, goal: int, sent: bool
) -> None:
    def run(shop: Entrance, cluster: Cluster, weight: int) -> None:
        wish = Wish(weight, sticky=sticky and weight > 0, check=False)
        Shift(cluster, shop.namespace, "auth", QUICK).run(wish)

    # Back from a share, or up to one; the slots have the size for it.
    whole = another(route=route)
    first = [50] if goal == 0 else []
    for weight in (*first, goal):
        run(whole, whole.cluster, weight)
    for write in itertools.count(1):
        shop = another(route=route)
        for weight in first:
            run(shop, shop.cluster, weight)
        try:
            run(shop, Mortal(shop.cluster._pool, write, sent=sent), goal)
            break
        except Killed:
            pass
        run(shop, shop.cluster, goal)
        assert shop.seen == whole.seen, write
    assert write > 2
